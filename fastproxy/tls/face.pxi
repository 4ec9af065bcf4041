# SPDX-License-Identifier: MIT
# The Python face; its contract is in _tls.pyi.

TCP_ULP = 31                    # <linux/tcp.h>
PROTOCOLS = {"http1": UPSTREAM_HTTP1, "auto": UPSTREAM_AUTO, "http2": UPSTREAM_HTTP2}


def version():
    return OpenSSL_version(OPENSSL_VERSION).decode()


def ktls_trouble():
    """Why the kernel cannot do the work of records; "": it can. Asked of a connection, for what
    counts is whether it does it here and now."""
    with sockets.create_server(("127.0.0.1", 0)) as door:
        with sockets.create_connection(door.getsockname()) as line:
            try:
                line.setsockopt(sockets.IPPROTO_TCP, TCP_ULP, b"tls")
            except OSError as error:
                return f"the kernel has no TLS ({error.strerror}; its module is `tls`)"
    return ""


def attach(WorkerEngine engine not None, bint debug=False):
    cdef Engine *eng = engine.eng
    cdef TlsRoom *room
    if eng.tls != NULL:
        return
    room = <TlsRoom *> calloc(1, sizeof(TlsRoom))
    if room == NULL:
        raise MemoryError
    room.raw = <char *> malloc(TLS_RAW_BYTES)
    room.out = <char *> malloc(TLS_OUT_BYTES)
    room.gather = <char *> malloc(TLS_RECORD_BYTES)
    room.method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"fastproxy")
    room.ticket_cipher = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)
    if (room.raw == NULL or room.out == NULL or room.gather == NULL or room.method == NULL
            or room.ticket_cipher == NULL or not pool_init(&room.conns, sizeof(TlsConn))):
        raise MemoryError       # the worker does not start, and its process ends
    BIO_meth_set_read(room.method, bio_read)
    BIO_meth_set_write(room.method, bio_write)
    BIO_meth_set_ctrl(room.method, bio_ctrl)
    room.debug = debug
    eng.tls_keys = room
    eng.tls = &PLUG


def load(WorkerEngine engine not None, bytes data not None, kernel=None):
    cdef Engine *eng = engine.eng
    cdef TlsRoom *room = room_of(eng)
    cdef TlsKeys *before
    if room == NULL:
        raise ValueError("attach comes first")
    try:
        keyring = keyring_room.decode(data)
    except Exception as error:
        raise ValueError(f"no keyring: {error}") from None
    ERR_clear_error()
    notes = []
    if kernel is None and any(one is not None and one.ktls for one in keyring.listeners):
        trouble = ktls_trouble()
        kernel = not trouble
        if trouble:
            notes.append(f"ktls is asked for, and not used: {trouble}")
    room.kernel = bool(kernel)
    before = room.keys
    room.keys = _build_keys(eng, room, keyring)
    if before != NULL:
        upstreams_outdate(eng, room)
        keys_release(before)
    return notes


cdef void plugs_init() noexcept nogil:
    """Fill the plugs; at import."""
    TLS.read = tls_read
    TLS.write = tls_write
    TLS.finish = tls_finish
    TLS.close = tls_close
    TLS.handshake = tls_handshake
    TLS.refused = tls_refused
    TLS.unsent = tls_unsent
    TLS.unasked = tls_unasked
    TLS.reset = tls_reset
    PLUG.accept = plug_accept
    PLUG.connect = plug_connect
    PLUG.sni = plug_sni
    PLUG.misdirected = plug_misdirected
    PLUG.peer = plug_peer
