# SPDX-License-Identifier: MIT
"""The bits and small words of connections and exchanges. Types only; worker only."""


cdef enum Io:
    IO_AGAIN = -1               # nothing now; readiness will tell
    IO_ERROR = -2               # the connection is dead


cdef enum Verdict:
    VERDICT_PASS = 0            # go on to the upstream
    VERDICT_REPLY = 1           # answered here; nothing more to do
    VERDICT_AWAIT = 2           # parked: Python will say


cdef enum Role:
    ROLE_CLIENT = 0
    ROLE_UPSTREAM = 1


cdef enum Ready:
    READY_READ = 1
    READY_WRITE = 2
    READY_FIN = 4               # the peer's FIN was seen by epoll
    READY_DEAD = 8              # RST or error


cdef enum ConnectionFlag:
    CONN_QUEUED = 1             # in the run queue
    CONN_EOF = 2                # read returned 0
    CONN_WRITE_DEAD = 4         # a write failed; reading may still bring an answer
    CONN_CLOSE_AFTER = 8        # close when the exchange ends (client)
    CONN_TRUSTED = 16           # the peer is in trusted_proxies
    CONN_COUNTED_IP = 32        # holds a slot in the per-address table
    CONN_REUSED = 64            # upstream: served an exchange before this one
    CONN_UNIX = 128
    CONN_IN_LIST = 256          # in the idle list (client) or the idle pool (upstream)
    CONN_SHUT = 512             # our side is shut down (finish was called)
    CONN_FINISH_AFTER = 1024    # tunnel: shut our side down when the output is flushed
    CONN_LAST_PIECE = 2048      # client: what is sent now is the last, `finish` follows at once
    CONN_WATCHES_WRITE = 4096   # registered for EPOLLOUT
    CONN_STREAM = 8192          # carried by another connection; it has no fd
    CONN_DUE = 16384            # a carrier in Engine.due_carriers
    CONN_SECURE = 32768         # by TLS, or carried by it
    CONN_REACHED = 65536        # upstream: TCP is connected, a handshake may be under way
    CONN_UNPROCESSED = 131072   # upstream stream: the peer says that it has not looked at it
    CONN_EARLY = 262144         # client: what comes now is early data (RFC 8470)
    CONN_UNTRUSTED = 524288     # upstream: its certificate is not valid
    CONN_LATE = 1048576         # upstream: connecting took too long


cdef enum Protocol:
    # What a connection speaks, as ALPN, a preface or the configuration said.
    PROTOCOL_HTTP1 = 0
    PROTOCOL_HTTP2 = 1


cdef enum Speaks:
    # What a backend spoke when it was last reached.
    SPEAKS_UNKNOWN = 0          # it never was, or not the last time
    SPEAKS_HTTP1 = 1
    SPEAKS_HTTP2 = 2


cdef enum PeerText:
    # What TlsPlug.peer can tell of a connection, and of the certificate its peer has shown.
    PEER_DER = 0                # the certificate
    PEER_SUBJECT = 1            # as RFC 2253 writes it
    PEER_FINGERPRINT = 2        # SHA-256 in lower-case hexadecimal
    PEER_URIS = 3               # of its SANs, each ended by a newline
    PEER_DNS = 4                # likewise
    PEER_CHAIN_DER = 5          # the certificates above it that it showed: 4 bytes length, DER
    PEER_VERSION = 6            # "TLSv1.3"
    PEER_CIPHER = 7             # "TLS_AES_128_GCM_SHA256"


cdef enum ExchangeFlag:
    X_CLIENT_KEEPS = 1          # the client wants to go on afterwards
    X_ANSWER_BEGUN = 2          # final answer bytes went to the asker
    X_ANSWER_CLOSES = 4         # the answer said Connection: close (or must be ended by close)
    X_UPSTREAM_KEEPS = 8        # the upstream's answer allows reuse
    X_EXPECTS = 16              # the client waits for 100
    X_UPGRADE = 32              # a WebSocket upgrade is asked for
    X_REPLAYABLE = 64           # idempotent, and all of the request is kept
    X_REPLAYED = 128
    X_HEAD = 256                # HEAD: the answer has no body
    X_UPSTREAM_BYTES = 512      # the upstream answered at least one byte
    X_NO_CLIENT_LOG = 1024      # no access-log line
    X_CLIENT_10 = 2048          # HTTP/1.0
    X_IN_FLIGHT = 4096          # counted in the in-flight column
    X_COUNTED = 8192            # it is in the counts of requests
    X_TE_TRAILERS = 16384
    X_BODY_ERROR = 32768        # the request body broke; no replay, no reuse
    X_REJECTED = 65536          # refused before routing
    X_HELD = 131072             # Python still wants its collected answer: not released yet
    X_JSON = 262144             # errors as JSON (RFC 9457)
    X_TRUSTED = 524288          # the peer is in trusted_proxies
    X_PEER_UNIX = 1048576       # the peer has no address (unix socket, or no client at all)
    X_NO_ROOM = 2097152         # no descriptor or memory for an upstream connection
    X_HAS_KEY = 4194304         # `key` is the hash of what decides about the backend
    X_SECURE = 8388608          # the client came by TLS
    X_HTTP2 = 16777216          # the client speaks HTTP/2
    X_EARLY = 33554432          # the request came as early data (RFC 8470)
    X_TRAILERS = 67108864       # trailers are passed on: by the setting, or it is gRPC
    X_UNTRUSTED = 134217728     # a backend's certificate was not valid
    X_CAPPED = 268435456        # its place is at a member that has a most: others may wait for it
    X_BLAMELESS = 536870912     # what ends it is no fault of the backend
    X_STREAM = 1073741824       # silence belongs to the answer: a gRPC call, an event stream
    X_GRPC = 2147483648         # gRPC: errors of ours have a grpc-status
