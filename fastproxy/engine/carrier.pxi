# SPDX-License-Identifier: MIT
# Before HTTP, and below it: handshakes of a transport on either side, and carriers, which carry
# streams (HTTP/2). The contracts are TlsPlug and CarrierPlug in types.pxd; sister extensions fill
# them, and without these such listeners and upstreams do not exist (config/check.py).

# ---- clients --------------------------------------------------------------------------------

cdef void client_await(Engine *eng, Connection *conn) noexcept nogil:
    """The first byte of HTTP may come now."""
    connection_move(conn, PEER_IDLE)
    list_link(eng, conn)


cdef void client_open_secure(Engine *eng, Connection *conn) noexcept nogil:
    """A client of a TLS listener: the handshake first. Until it is over the connection is not
    idle: its own, absolute timer ends it."""
    conn.flags |= CONN_SECURE
    if eng.tls == NULL or not eng.tls.accept(eng, conn):
        count_add(&eng.me.refused, 1)
        client_close(eng, conn)
        return
    connection_timer(eng, conn, eng.plan.settings.tls_handshake_ms)


cdef bint client_step_handshake(Engine *eng, Connection *conn) noexcept nogil:
    """True: it is done, go on with the first request."""
    cdef int result = conn.transport.handshake(eng, conn)
    if result == IO_AGAIN:
        if conn.ready & READY_DEAD:
            client_close(eng, conn)
        return False
    if result < 0:
        client_close(eng, conn)
        return False
    connection_timer(eng, conn, eng.plan.settings.client_header_ms)
    if conn.protocol == PROTOCOL_HTTP2:
        client_carry(eng, conn)
        return False
    client_await(eng, conn)
    return True


cdef void client_carry(Engine *eng, Connection *conn) noexcept nogil:
    """This client speaks HTTP/2; what it has sent already stands in `input`."""
    list_unlink(conn)
    if conn.partial != NULL:
        block_give(&eng.blocks, <char *> conn.partial, partial_cap())
        conn.partial = NULL
    conn.protocol = PROTOCOL_HTTP2
    if eng.http2 == NULL or not eng.http2.accept(eng, conn):
        count_add(&eng.me.refused, 1)
        client_close(eng, conn)
        return
    connection_move(conn, PEER_CARRIER)
    eng.http2.pump(eng, conn)
    if eng.draining and conn.state == PEER_CARRIER:
        eng.http2.drain(eng, conn)


cdef inline bint client_prefers_http2(Engine *eng, Connection *conn, const char *base,
                                      size_t size) noexcept nogil:
    """Is this the preface of HTTP/2 (RFC 9113 3.4), on a listener that expects it in plain text?
    No method begins like that, so a few bytes of it are enough."""
    return (conn.requests == 0 and size >= 4 and base[0] == c'P' and memcmp(base, b"PRI ", 4) == 0
            and not conn.flags & (CONN_SECURE | CONN_STREAM)
            and plan_listener(eng.plan, conn.listener).http2 != 0 and eng.http2 != NULL)


cdef Connection *stream_open(Engine *eng, Connection *carrier,
                             const Transport *transport) noexcept nogil:
    """A connection without an fd, for one stream of this carrier: IDLE if a client's, CONNECTING
    if an upstream's (its `exchange` comes with upstream_attach). NULL: no memory."""
    cdef Connection *conn = <Connection *> pool_take(&eng.connections)
    if conn == NULL:
        return NULL
    conn.fd = -1
    conn.role = carrier.role
    conn.transport = transport
    conn.opened_ms = eng.now_ms
    conn.ip_slot = -1
    conn.reading = 14           # READ_START_BYTES
    conn.timer.owner = TIMER_CONNECTION
    conn.ready = READY_WRITE
    conn.protocol = PROTOCOL_HTTP2
    conn.flags = CONN_STREAM | carrier.flags & (
        CONN_TRUSTED | CONN_UNIX | CONN_SECURE | CONN_EARLY)
    conn.tls = carrier.tls      # lent: who the peer is
    conn.listener = carrier.listener
    conn.peer_port = carrier.peer_port
    memcpy(conn.peer, carrier.peer, sizeof(conn.peer))
    conn.backend = carrier.backend
    conn.backend_generation = carrier.backend_generation
    connection_move(conn, PEER_IDLE if carrier.role == ROLE_CLIENT else PEER_CONNECTING)
    return conn


# ---- upstreams ------------------------------------------------------------------------------

cdef bint upstream_reached(Engine *eng, Connection *conn) noexcept nogil:
    """TCP is connected, or refused (False). Where TLS is wanted, it begins here: not a byte that
    came in plain text before it is looked at."""
    cdef int trouble = 0
    cdef socklen_t size = sizeof(trouble)
    if getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &trouble, &size) != 0 or trouble != 0:
        return False
    conn.flags |= CONN_REACHED
    conn.ready &= <uint8_t> ~READY_DEAD
    if upstream_row(conn.exchange).tls == 0:
        return True
    conn.flags |= CONN_SECURE
    return eng.tls != NULL and eng.tls.connect(eng, conn)


cdef bint upstream_shakes(Engine *eng, Connection *conn) noexcept nogil:
    """A step of the handshake. False: not done yet, or it failed and the exchange went on to the
    next backend (the connection is gone)."""
    cdef int result = conn.transport.handshake(eng, conn)
    if result == IO_AGAIN and not conn.ready & READY_DEAD:
        return False
    if result <= 0:
        if conn.flags & CONN_UNTRUSTED:
            conn.exchange.flags |= X_UNTRUSTED
        end_state(conn.exchange, b"S", b"C")
        upstream_refused(eng, conn)
        return False
    return True


cdef void upstream_carry(Engine *eng, Connection *conn) noexcept nogil:
    """The backend speaks HTTP/2: the connection becomes a carrier, the exchange its first stream.
    Who has waited for it gets one when it is known how many there may be. May end the exchange."""
    cdef Exchange *x = conn.exchange
    conn.exchange = NULL
    x.upstream = NULL
    if eng.http2 == NULL or not eng.http2.connect(eng, conn):
        upstream_close(eng, conn)
        exchange_fail(eng, x, 503, b"out of memory")
        return
    connection_move(conn, PEER_CARRIER)
    eng.speaks[conn.backend] = SPEAKS_HTTP2
    carrier_link(eng, conn)
    run_later(eng, conn)
    if x.flags & X_UPGRADE:
        carrier_wait_for(x, conn)       # until it has said whether it takes them (carrier_ready)
        return
    stream_begin(eng, x, conn)


cdef void carrier_ready(Engine *eng, Connection *conn) noexcept nogil:
    """The upstream's SETTINGS have come (RFC 9113 6.5): what it takes, and how many at once, is
    known."""
    carrier_reach_over(eng, conn)


cdef void stream_begin(Engine *eng, Exchange *x, Connection *carrier) noexcept nogil:
    """A stream for this exchange; without room it is dialled anew. May end the exchange."""
    cdef Connection *stream = NULL
    if carrier.state == PEER_CARRIER:
        stream = eng.http2.stream(eng, carrier, x.flags & X_UPGRADE != 0)
    if stream == NULL and x.flags & X_UPGRADE and carrier.state == PEER_CARRIER and (
            upstream_row(x).protocol != UPSTREAM_AUTO):
        exchange_fail(eng, x, 502, b"the upstream takes no WebSockets over HTTP/2")
        return
    if stream == NULL:
        if not exchange_dial_backend(eng, x, False):
            exchange_dial(eng, x)
        return
    upstream_attach(x, stream)
    connection_move(stream, PEER_BUSY)
    exchange_send(eng, x)


cdef bint carrier_wait(Engine *eng, Exchange *x, const RosterBackend *backend) noexcept nogil:
    """Somebody is just connecting to this backend, which speaks HTTP/2, or may: wait for that
    connection instead of making one more. False: there is none, make it."""
    cdef Connection *conn = eng.reaching[backend.row]
    if conn == NULL or conn.backend_generation != backend.generation or x.flags & X_UPGRADE:
        return False
    carrier_wait_for(x, conn)
    return True


cdef void carrier_wait_for(Exchange *x, Connection *conn) noexcept nogil:
    x.waits_for = conn
    x.queue_prev = NULL
    x.queue_next = conn.waiting
    if conn.waiting != NULL:
        conn.waiting.queue_prev = x
    conn.waiting = x


cdef void carrier_expect(Engine *eng, Exchange *x, Connection *conn) noexcept nogil:
    """A connection is begun: will it be a carrier that others should wait for?"""
    cdef const UpstreamRow *row = upstream_row(x)
    cdef uint8_t speaks = eng.speaks[conn.backend]
    if row.protocol == UPSTREAM_H2C or row.protocol == UPSTREAM_HTTP2:
        speaks = eng.speaks[conn.backend] = SPEAKS_HTTP2
    elif speaks == SPEAKS_UNKNOWN and row.protocol == UPSTREAM_AUTO and row.tls != 0:
        speaks = SPEAKS_HTTP2       # as it may say
    if (speaks == SPEAKS_HTTP2 and eng.reaching[conn.backend] == NULL
            and not x.flags & X_UPGRADE):
        eng.reaching[conn.backend] = conn


cdef bint carrier_hand_over(Connection *conn) noexcept nogil:
    """Who began this connection does not want it any more; somebody else waits for it. False: it
    is not on its way."""
    cdef Exchange *x = conn.waiting
    if conn.state != PEER_CONNECTING:
        return False
    carrier_wait_over(x)
    upstream_attach(x, conn)
    return True


cdef void carrier_wait_over(Exchange *x) noexcept nogil:
    """It does not wait any more."""
    if x.queue_prev != NULL:
        x.queue_prev.queue_next = x.queue_next
    else:
        x.waits_for.waiting = x.queue_next
    if x.queue_next != NULL:
        x.queue_next.queue_prev = x.queue_prev
    x.waits_for = NULL
    x.queue_next = x.queue_prev = NULL


cdef void carrier_reach_over(Engine *eng, Connection *conn) noexcept nogil:
    """It is known what this connection carries: all who wait for it go on."""
    cdef Exchange *x
    if eng.reaching[conn.backend] == conn:
        eng.reaching[conn.backend] = NULL
    while conn.waiting != NULL:
        x = conn.waiting
        carrier_wait_over(x)
        stream_begin(eng, x, conn)


cdef void carrier_not_reached(Engine *eng, Connection *conn) noexcept nogil:
    """It never will be: who has waited for it fares as the one that began it. They do not try one
    after the other, each as long as it takes to connect."""
    cdef Exchange *x
    if eng.reaching[conn.backend] == conn:
        eng.reaching[conn.backend] = NULL
    while conn.waiting != NULL:
        x = conn.waiting
        carrier_wait_over(x)
        if conn.flags & CONN_UNTRUSTED:
            x.flags |= X_UNTRUSTED
        end_state(x, b"s" if conn.flags & CONN_LATE else b"S", b"C")
        exchange_dial_failed(eng, x)
        exchange_dial(eng, x)


cdef Connection *carrier_stream(Engine *eng, Exchange *x,
                                const RosterBackend *backend) noexcept nogil:
    """A stream on a connection to this backend that has room, or NULL."""
    cdef Connection *carrier = eng.carriers[backend.row]
    cdef Connection *stream
    while carrier != NULL:
        if carrier.backend_generation == backend.generation and not carrier.ready & READY_DEAD:
            stream = eng.http2.stream(eng, carrier, x.flags & X_UPGRADE != 0)
            if stream != NULL:
                stream.flags |= CONN_REUSED
                return stream
        carrier = carrier.list_next
    return NULL


cdef void carrier_link(Engine *eng, Connection *carrier) noexcept nogil:
    """Streams may be had from this one (upstream side)."""
    carrier.list_prev = NULL
    carrier.list_next = eng.carriers[carrier.backend]
    if carrier.list_next != NULL:
        carrier.list_next.list_prev = carrier
    eng.carriers[carrier.backend] = carrier


cdef void carrier_unlink(Engine *eng, Connection *carrier) noexcept nogil:
    """Also out of who is due. Safe for one that is in neither."""
    cdef Connection **at = &eng.due_carriers
    if carrier.flags & CONN_DUE:
        while at[0] != carrier and at[0] != NULL:
            at = &at[0].due_next
        if at[0] == NULL:
            at = &eng.flushed_carriers
            while at[0] != carrier:
                at = &at[0].due_next
        at[0] = carrier.due_next
        carrier.flags &= <uint32_t> ~CONN_DUE
    if carrier.role == ROLE_CLIENT:
        return
    if carrier.list_prev != NULL:
        carrier.list_prev.list_next = carrier.list_next
    elif eng.carriers[carrier.backend] == carrier:
        eng.carriers[carrier.backend] = carrier.list_next
    if carrier.list_next != NULL:
        carrier.list_next.list_prev = carrier.list_prev
    carrier.list_next = carrier.list_prev = NULL


# ---- all carriers ---------------------------------------------------------------------------

cdef void carrier_due(Engine *eng, Connection *carrier) noexcept nogil:
    """It has something to send: once, when the round is over, for all its streams."""
    if carrier.flags & CONN_DUE:
        return
    carrier.flags |= CONN_DUE
    carrier.due_next = eng.due_carriers
    eng.due_carriers = carrier


cdef void carriers_flush(Engine *eng) noexcept nogil:
    """Those that are due now; who becomes due by that has its turn in the next round. One of them
    may close another."""
    cdef Connection *carrier
    eng.flushed_carriers = eng.due_carriers
    eng.due_carriers = NULL
    while eng.flushed_carriers != NULL:
        carrier = eng.flushed_carriers
        eng.flushed_carriers = carrier.due_next
        carrier.flags &= <uint32_t> ~CONN_DUE
        if carrier.state == PEER_CARRIER:
            eng.http2.flush(eng, carrier)


cdef void carriers_drain(Engine *eng) noexcept nogil:
    """We leave: say so to upstreams that carry streams (clients: parting.pxi)."""
    cdef uint32_t index
    cdef Connection *conn
    for index in range(eng.connections.slab_count * SLAB_ITEMS):
        conn = <Connection *> pool_at(&eng.connections, index)
        if (conn.item.generation & 1 != 0 and conn.state == PEER_CARRIER
                and conn.role == ROLE_UPSTREAM):
            eng.http2.drain(eng, conn)


# ---- what sisters call ----------------------------------------------------------------------

cdef ssize_t carrier_read(Engine *eng, Connection *conn, char *buf, size_t size) noexcept nogil:
    """connection_read, for who is compiled apart."""
    return connection_read(eng, conn, buf, size)


cdef void carrier_timer(Engine *eng, Connection *conn, uint64_t after_ms) noexcept nogil:
    """connection_timer, likewise."""
    connection_timer(eng, conn, after_ms)


cdef void carrier_idle(Engine *eng, Connection *conn, bint idle) noexcept nogil:
    """A client's carrier without streams may be closed to make room for others."""
    if idle and not conn.flags & CONN_IN_LIST:
        list_link(eng, conn)
    elif not idle:
        list_unlink(conn)
        conn.requests += 1


cdef void carrier_close(Engine *eng, Connection *conn) noexcept nogil:
    """A carrier of either side goes; streams it still has end with it (CarrierPlug.free). Also for
    a stream that never got an exchange."""
    if conn.role == ROLE_CLIENT:
        client_close(eng, conn)
    else:
        upstream_close(eng, conn)


cdef void stream_gone(Engine *eng, Connection *conn) noexcept nogil:
    """The peer has reset this stream, or its carrier goes. May end its exchange."""
    cdef Exchange *x = conn.exchange
    if conn.state == PEER_FREE:
        return
    conn.ready |= READY_READ | READY_WRITE | READY_FIN | READY_DEAD
    if conn.role == ROLE_CLIENT:
        client_gone(eng, conn)
    elif x == NULL:
        upstream_close(eng, conn)
    else:
        conn.flags |= CONN_WRITE_DEAD
        upstream_stream_gone(eng, conn, x)


cdef void upstream_stream_gone(Engine *eng, Connection *conn, Exchange *x) noexcept nogil:
    if conn.state == PEER_CONNECTING:
        upstream_refused(eng, conn)
    elif conn.state == PEER_TUNNEL:
        tunnel_end(eng, x, b"S")
    elif x.flags & X_ANSWER_BEGUN:
        end_state(x, b"S", b"D")
        exchange_cut(eng, x)
    else:
        end_state(x, b"S", b"H")
        upstream_failed(eng, x, 502, b"the upstream ended the stream without an answer")
