# SPDX-License-Identifier: MIT
# Connecting to a backend: TCP, the handshake of TLS where it is wanted, and what becomes of the
# connection then (one exchange's own, or a carrier of streams, carrier.pxi).

cdef bint upstream_connect(Engine *eng, Exchange *x, const RosterBackend *backend) noexcept nogil:
    """Begin a connection to this backend. False: refused at once (X_NO_ROOM: not its fault)."""
    cdef const sockaddr *address = <const sockaddr *> backend.address
    cdef const UpstreamRow *row = upstream_row(x)
    cdef Connection *conn
    cdef int one = 1
    cdef int result
    cdef bint is_unix = address.sa_family == AF_UNIX
    cdef int fd = socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0 and (errno == EMFILE or errno == ENFILE) and (
            parked_close_any(eng) or idle_close_oldest(eng)):
        fd = socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        count_add(&eng.me.odd[<int> ODD_NO_FD], 1)
        x.flags |= X_NO_ROOM
        return False
    if not is_unix:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    result = connect(fd, address, backend.address_len)
    if result != 0 and errno != EINPROGRESS:
        close(fd)
        return False
    count_add(&eng.me.upstream_connects, 1)
    conn = connection_open(eng, fd, ROLE_UPSTREAM)
    if conn == NULL:
        x.flags |= X_NO_ROOM
        return False
    connection_move(conn, PEER_CONNECTING)
    conn.backend = backend.row
    conn.backend_generation = backend.generation
    conn.protocol = row.protocol == UPSTREAM_H2C
    if is_unix:
        conn.flags |= CONN_UNIX
    eng.upstream_count += 1
    upstream_attach(x, conn)
    carrier_expect(eng, x, conn)
    connection_timer(eng, conn, row.connect_ms)
    return True


cdef inline void upstream_attach(Exchange *x, Connection *conn) noexcept nogil:
    x.upstream = conn
    x.server = &HTTP1_SERVER
    conn.exchange = x


cdef void upstream_connected(Engine *eng, Connection *conn) noexcept nogil:
    """The first readiness of a connecting fd: up, or refused. May end the exchange."""
    cdef Exchange *x = conn.exchange
    if not conn.flags & CONN_REACHED:
        if not conn.ready & (READY_WRITE | READY_DEAD):
            return
        if not upstream_reached(eng, conn):
            upstream_refused(eng, conn)
            return
    if conn.transport.handshake != NULL and not upstream_shakes(eng, conn):
        return
    timer_clear(&conn.timer)
    x.connected_us = eng.now_us
    if conn.protocol == PROTOCOL_HTTP2 and not conn.flags & CONN_STREAM:
        upstream_carry(eng, conn)
        return
    eng.speaks[conn.backend] = SPEAKS_HTTP1
    if eng.reaching[conn.backend] == conn or conn.waiting != NULL:
        carrier_reach_over(eng, conn)
    connection_move(conn, PEER_BUSY)
    exchange_send(eng, x)


cdef void upstream_refused(Engine *eng, Connection *conn) noexcept nogil:
    """It could not be reached; nothing was sent: on to the next one."""
    cdef Exchange *x = conn.exchange
    x.upstream = NULL
    eng.speaks[conn.backend] = SPEAKS_UNKNOWN
    conn.exchange = NULL
    upstream_close(eng, conn)
    exchange_dial_failed(eng, x)
    exchange_dial(eng, x)


cdef inline const char *unreached(const Exchange *x) noexcept nogil:
    """Why no backend was reached, as far as a client may know."""
    if x.flags & X_UNTRUSTED:
        return b"the upstream's certificate is not valid"
    return b"the upstream could not be reached"


cdef void upstream_close(Engine *eng, Connection *conn) noexcept nogil:
    """Close now; the exchange, if any, was let go before."""
    parked_unlink(eng, conn)
    conn.exchange = NULL
    if conn.state == PEER_CONNECTING and not conn.flags & CONN_STREAM:
        carrier_not_reached(eng, conn)
    if not conn.flags & CONN_STREAM:
        eng.upstream_count -= 1
    connection_free(eng, conn)
