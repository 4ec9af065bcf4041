# SPDX-License-Identifier: MIT
# TlsPlug: a TCP connection becomes a TLS one, on either side, and what the engine may ask of it.

cdef TlsPlug PLUG


cdef TlsConn *conn_make(Engine *eng, Connection *conn, SSL_CTX *context,
                        bint ktls) noexcept nogil:
    """NULL: no memory. `ktls`: libssl gets the socket, and lets the kernel do what it can."""
    cdef TlsRoom *room = room_of(eng)
    cdef TlsConn *tls = <TlsConn *> pool_take(&room.conns)
    cdef BIO *bio
    if tls == NULL:
        return NULL
    bio = BIO_new(room.method)
    tls.ssl = SSL_new(context)
    if bio == NULL or tls.ssl == NULL:
        BIO_free(bio)
        SSL_free(tls.ssl)
        ERR_clear_error()
        pool_give(&room.conns, &tls.item)
        return NULL
    if ktls and SSL_set_fd(tls.ssl, conn.fd) == 1:
        BIO_free(bio)
        tls.flags |= TLS_SOCKET
    else:
        BIO_set_data(bio, room)
        BIO_set_init(bio, 1)
        SSL_set_bio(tls.ssl, bio, bio)
    SSL_set_app_data(tls.ssl, tls)
    tls.conn = conn
    tls.keys = room.keys
    tls.keys.holders += 1
    conn.tls = tls
    conn.transport = &TLS
    return tls


cdef void conn_drop(Engine *eng, TlsConn *tls) noexcept nogil:
    cdef TlsRoom *room = room_of(eng)
    # Else libssl takes an end without close_notify for a reason not to resume the session.
    SSL_set_shutdown(tls.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
    SSL_free(tls.ssl)
    keep_change(eng, -<int64_t> buffer_size(&tls.out))
    buffer_drop(&eng.blocks, &tls.raw)
    buffer_drop(&eng.blocks, &tls.out)
    keys_release(tls.keys)
    pool_give(&room.conns, &tls.item)


cdef bint plug_accept(Engine *eng, Connection *conn) noexcept nogil:
    """TlsPlug.accept. The host is chosen when the ClientHello is there (hello.pxi)."""
    cdef TlsRoom *room = room_of(eng)
    cdef const TlsListener *listener
    cdef TlsConn *tls
    if room.keys == NULL or conn.listener >= room.keys.listener_count:
        return False
    listener = &room.keys.listeners[conn.listener]
    if listener.hosts == NULL:
        return False
    tls = conn_make(eng, conn, listener.hosts[0].context, listener.ktls)
    if tls == NULL:
        return False
    tls.listener = listener
    tls.host = &listener.hosts[0]
    if listener.early_data != 0:
        tls.flags |= TLS_READS_EARLY
    SSL_set_accept_state(tls.ssl)
    return True


cdef Span plug_sni(Engine *eng, Connection *conn) noexcept nogil:
    """TlsPlug.sni."""
    cdef const char *name
    if conn.tls == NULL:
        return span(NULL, 0)
    name = SSL_get_servername(tls_of(conn).ssl, TLSEXT_NAMETYPE_host_name)
    return span(name, strlen(name)) if name != NULL else span(NULL, 0)


cdef bint plug_misdirected(Engine *eng, Connection *conn, Span host) noexcept nogil:
    """TlsPlug.misdirected: of this connection a certificate was asked by another rule than that of
    this host (B3 30)."""
    cdef TlsConn *tls = tls_of(conn)
    if tls == NULL or tls.flags & TLS_CLIENT or not tls.listener.rules:
        return False
    return rule_find(tls.listener, host) != tls.host.rule


# ---- a keyring's end -------------------------------------------------------------------------

cdef void keys_release(TlsKeys *keys) noexcept nogil:
    """One holder less. Contexts live on in connections by libssl's own count."""
    cdef uint32_t i
    keys.holders -= 1
    if keys.holders != 0:
        return
    for i in range(keys.listener_count):
        listener_free(&keys.listeners[i])
    for i in range(keys.upstream_count):
        SSL_CTX_free(keys.upstreams[i].context)
        free(keys.upstreams[i].server_name)
    free(keys.listeners)
    free(keys.upstreams)
    free(keys)


cdef void listener_free(TlsListener *listener) noexcept nogil:
    cdef TlsHost *host
    cdef uint32_t i, j
    for i in range(listener.host_count):
        host = &listener.hosts[i]
        SSL_CTX_free(host.context)
        for j in range(host.pair_count):
            X509_free(host.pairs[j].leaf)
            free(host.pairs[j].ocsp)
        free(host.pairs)
    names_free(&listener.names)
    names_free(&listener.ruled)
    free(listener.others)
    free(listener.hosts)


cdef void names_free(TlsNames *names) noexcept nogil:
    cdef uint32_t i
    for i in range(names.count):
        free(names.items[i].text)
    free(names.items)
