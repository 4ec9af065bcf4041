# SPDX-License-Identifier: MIT
# TLS toward backends: whom we expect, which session may be resumed, and why it went wrong.

cdef bint plug_connect(Engine *eng, Connection *conn) noexcept nogil:
    """TlsPlug.connect."""
    cdef TlsRoom *room = room_of(eng)
    cdef Exchange *x = conn.exchange
    cdef const TlsUpstream *upstream
    cdef TlsConn *tls
    if room.keys == NULL or x.upstream_index >= room.keys.upstream_count:
        return False
    upstream = &room.keys.upstreams[x.upstream_index]
    if upstream.context == NULL:
        return False
    tls = conn_make(eng, conn, upstream.context, False)
    if tls == NULL:
        return False
    tls.flags |= TLS_CLIENT
    tls.upstream = upstream
    if not peer_expect(x, tls):
        return False
    session_offer(room, tls)
    if x.flags & X_UPGRADE and upstream.protocol == UPSTREAM_AUTO:
        # Not every HTTP/2 server takes WebSockets (RFC 8441), and which does is known too late.
        SSL_set_alpn_protos(tls.ssl, <const unsigned char *> b"\x08http/1.1", 9)
    SSL_set_connect_state(tls.ssl)
    return True


cdef bint peer_expect(Exchange *x, TlsConn *tls) noexcept nogil:
    """Whom the certificate must be for: a host by its name, or an address. Names are sent, too."""
    cdef const RosterBackend *backend
    cdef Span authority
    cdef char room[256]
    cdef const char *name = tls.upstream.server_name
    cdef X509_VERIFY_PARAM *param = SSL_get0_param(tls.ssl)
    if name == NULL:
        backend = roster_backend(x.roster.base, (<const RosterUpstream *> (
            x.roster.base + x.roster.header.upstreams.off)) + x.upstream_index,
            <uint32_t> x.backend)
        authority = without_port(text_span(x.roster.base, backend.authority))
        if authority.len != 0 and authority.ptr[authority.len - 1] == c'.':
            authority.len -= 1      # what keeps a resolver from guessing is not in names here
        if authority.len == 0 or authority.len >= sizeof(room):
            return False
        memcpy(room, authority.ptr, authority.len)
        room[authority.len] = 0
        name = room
    if X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1:
        return True             # RFC 6066 3: an address is no server name
    ERR_clear_error()
    # Names are those of the SAN (RFC 9525 2): what a common name says nobody has checked.
    X509_VERIFY_PARAM_set_hostflags(
        param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
    return (X509_VERIFY_PARAM_set1_host(param, name, 0) == 1
            and SSL_set_tlsext_host_name(tls.ssl, name) == 1)


cdef inline Span without_port(Span authority) noexcept nogil:
    """host of host[:port]; an IPv6 address without its brackets."""
    cdef size_t i
    if authority.len != 0 and authority.ptr[0] == c'[':
        for i in range(authority.len):
            if authority.ptr[i] == c']':
                return span(authority.ptr + 1, i - 1)
        return span(authority.ptr, 0)
    for i in range(authority.len):
        if authority.ptr[i] == c':':
            return span(authority.ptr, i)
    return authority


# ---- sessions -------------------------------------------------------------------------------

cdef inline KeptSession *session_slot(TlsRoom *room, uint32_t row) noexcept nogil:
    return &room.sessions[row % UPSTREAM_SESSIONS]


cdef void session_offer(TlsRoom *room, TlsConn *tls) noexcept nogil:
    """Resume the newest session with this backend, if it was made under the same keys."""
    cdef KeptSession *kept = session_slot(room, tls.conn.backend)
    if (kept.session != NULL and kept.row == tls.conn.backend
            and kept.generation == tls.conn.backend_generation
            and kept.stamp == tls.upstream.stamp
            and SSL_SESSION_is_resumable(kept.session)):
        SSL_set_session(tls.ssl, kept.session)


cdef int on_new_session(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """libssl has one for us: keep it (1), and forget the one before."""
    cdef TlsConn *tls = <TlsConn *> SSL_get_app_data(ssl)
    cdef KeptSession *kept = session_slot(tls.keys.room, tls.conn.backend)
    if tls.conn.backend_generation == 0:
        return 0                # made under keys that are no longer in force
    SSL_SESSION_free(kept.session)
    kept.session = session
    kept.row = tls.conn.backend
    kept.generation = tls.conn.backend_generation
    kept.stamp = tls.upstream.stamp
    return 1


cdef void upstreams_outdate(Engine *eng, TlsRoom *room) noexcept nogil:
    """New keys are in force: what was made under others is not used again. Generation 0 is no
    backend's, so that neither pool nor carriers offer such a connection (engine/pool.pxi)."""
    cdef uint32_t index
    cdef uint32_t number
    cdef TlsConn *tls
    for index in range(room.conns.slab_count * SLAB_ITEMS):
        tls = <TlsConn *> pool_at(&room.conns, index)
        if tls.item.generation & 1 == 0 or not tls.flags & TLS_CLIENT:
            continue
        number = <uint32_t> (tls.upstream - tls.keys.upstreams)
        if (number >= room.keys.upstream_count
                or room.keys.upstreams[number].context == NULL
                or room.keys.upstreams[number].stamp != tls.upstream.stamp):
            tls.conn.backend_generation = 0
