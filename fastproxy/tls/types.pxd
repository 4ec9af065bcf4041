# SPDX-License-Identifier: MIT
"""What TLS keeps: contexts of a keyring, one TlsConn a connection, and a room per worker.

A keyring that was replaced lives on while a connection made under it does (`holders`). All of it is
the worker's own; nothing is touched by two threads.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastproxy.clib.openssl cimport (
    BIO_METHOD, EVP_CIPHER, SSL, SSL_CTX, SSL_SESSION, X509, X509_STORE)
from fastproxy.engine.types cimport Connection, Engine
from fastproxy.memory.buffer cimport Buffer
from fastproxy.memory.limits cimport TICKET_KEYS_KEPT, UPSTREAM_SESSIONS
from fastproxy.memory.pool cimport Pool, PoolItem


cdef enum:
    VHOST_BYTES = 32            # a SHA-256
    TICKET_KEY_BYTES = 80       # name 16, HMAC-SHA256 key 32, AES-256 key 32: as nginx's files


cdef struct TlsRoom


cdef struct TlsPair:
    X509 *leaf                  # ours
    unsigned char *ocsp         # a DER answer to staple, or NULL
    uint32_t ocsp_len
    uint64_t ocsp_until         # Unix time: stapled no longer than that; 0: for good


cdef struct TlsHost:
    # A virtual host: the names that share certificates and a rule for those of clients.
    SSL_CTX *context
    TlsPair *pairs
    uint32_t pair_count
    uint32_t rule               # 0: no certificates of clients; else which ClientAuth, from 1
    uint8_t vhost[VHOST_BYTES]  # sessions of another one are not resumed


cdef struct TlsName:
    char *text                  # lower case; "*.example.com"
    uint32_t len
    uint32_t number             # what it stands for


cdef struct TlsNames:
    TlsName *items              # sorted by (len, text)
    uint32_t count


cdef struct TlsListener:
    TlsHost *hosts              # NULL: speaks no TLS
    TlsNames names              # of certificates -> index into `hosts`
    TlsNames ruled              # of rules -> TlsHost.rule; ".example.com" for all below it
    uint32_t *others            # by rule: the host (its index) for names that no certificate has
    uint32_t host_count
    uint32_t rule               # for names that no rule names
    uint32_t early_data         # most bytes of it; 0: none
    uint8_t refuse              # unknown_sni = "refuse"; else `others` are for them
    uint8_t http2               # offer h2
    uint8_t rules               # some host asks clients for certificates
    uint8_t ktls                # the kernel may do the records' work


cdef struct TlsUpstream:
    SSL_CTX *context            # NULL: speaks no TLS
    char *server_name           # NULL: the host of the backend's URL
    uint32_t stamp              # the keyring's generation since which it is what it is
    uint8_t verify
    uint8_t protocol            # UpstreamProtocol
    uint8_t digest[VHOST_BYTES]     # of all that decides


cdef struct TlsKeys:
    TlsListener *listeners
    TlsUpstream *upstreams
    uint32_t listener_count
    uint32_t upstream_count
    uint64_t holders            # connections; one more while it is in force
    TlsRoom *room
    uint32_t generation


cdef enum TlsFlag:
    TLS_UP = 1                  # the handshake is over
    TLS_BROKEN = 2              # not to be used any more; reads and writes fail
    TLS_BYE = 4                 # our close_notify is written
    TLS_RESET = 8               # it ends without one
    TLS_FLOOD = 16              # too many messages of a handshake after it, or a renegotiation
    TLS_READS_EARLY = 32        # early data may come
    TLS_SOCKET = 512            # libssl has the socket itself, for the kernel's sake (kTLS)
    TLS_EARLY = 256             # the engine speaks with the client, the handshake is not over
    TLS_CLIENT = 64             # we are the client: a backend's
    TLS_UNNAMED = 1024          # refused for the server name that it sent, or did not send
    TLS_DRY = 128               # in `dry_round` the socket was read empty


cdef struct TlsConn:
    PoolItem item
    SSL *ssl
    Connection *conn
    TlsKeys *keys
    const TlsListener *listener     # client
    const TlsHost *host             # client: chosen by its server name
    const TlsUpstream *upstream     # upstream
    Buffer raw                  # came, and was not decrypted yet
    Buffer out                  # encrypted, and not taken by the kernel yet
    uint32_t flags              # TlsFlag
    uint32_t owed               # bytes that were encrypted, and not said to be taken (write.pxi)
    uint32_t dry_round          # Engine.round
    uint32_t messages           # of a handshake, after it, since messages_ms
    uint64_t messages_ms
    uint8_t purpose[VHOST_BYTES]    # client: host and server name; what its tickets are bound to


cdef struct TicketKeys:
    # The scoreboard's, as this worker last copied them.
    uint64_t count              # TicketBoard.count then
    uint32_t used
    uint8_t keys[TICKET_KEYS_KEPT][TICKET_KEY_BYTES]    # newest first


cdef struct KeptSession:
    SSL_SESSION *session        # NULL: none
    uint32_t row                # of the backend
    uint32_t generation
    uint32_t stamp


cdef struct Said:
    # Lines of one kind in the error log (said.pxi).
    uint64_t since_ms           # `count` of them since then
    uint32_t count
    uint32_t unsaid             # what was worth one, and had none


cdef struct TlsRoom:
    # Engine.tls_keys: one per worker.
    TlsKeys *keys               # in force; NULL: none yet
    Pool conns
    BIO_METHOD *method
    EVP_CIPHER *ticket_cipher
    X509_STORE *system_store    # loaded when first wanted
    TicketKeys tickets
    KeptSession sessions[UPSTREAM_SESSIONS]
    Said said_backends
    Said said_clients
    uint8_t debug               # failures of clients are logged
    uint8_t kernel              # it can do records (kTLS)
    # What the BIO works on, within one call of a plug's function:
    Engine *eng
    TlsConn *tls
    char *raw                   # TLS_RAW_BYTES
    char *out                   # TLS_OUT_BYTES
    char *gather                # TLS_RECORD_BYTES
    const char *in_ptr          # what was received and not decrypted yet
    size_t in_len
    size_t want                 # what is asked of the kernel at once
    size_t out_len
    bint in_kept                # in_ptr lies in tls.raw
    bint dry                    # the socket was read empty
    bint ended                  # its end, or an error
