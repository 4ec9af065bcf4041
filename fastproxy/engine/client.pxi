# SPDX-License-Identifier: MIT
# The client side: a connection that asks, in HTTP/1.1. Reads heads and bodies, hands them to
# exchanges, and is their AskerCodec (HTTP1_ASKER, filled in codecs.pxi).

cdef void client_open(Engine *eng, int fd, Listener *listener,
                      sockaddr_storage *address) noexcept nogil:
    """A connection was accepted."""
    cdef Connection *conn = connection_open(eng, fd, ROLE_CLIENT)
    cdef sockaddr_in *v4 = <sockaddr_in *> address
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *> address
    cdef const Settings *settings = eng.plan.settings
    if conn == NULL:
        return
    conn.listener = listener.index
    if address.ss_family == AF_INET:
        conn.peer[10] = 0xff
        conn.peer[11] = 0xff
        memcpy(&conn.peer[12], &v4.sin_addr, 4)
        conn.peer_port = ntohs(v4.sin_port)
    elif address.ss_family == AF_INET6:
        memcpy(conn.peer, &v6.sin6_addr, 16)
        conn.peer_port = ntohs(v6.sin6_port)
    else:
        conn.flags |= CONN_UNIX
    eng.client_count += 1
    connection_move(conn, PEER_HANDSHAKE)
    if settings.connections_per_ip != 0 and not conn.flags & CONN_UNIX:
        conn.ip_slot = client_ip_enter(board_of(eng), eng.slot,
                                       address_hash(board_of(eng), conn.peer),
                                       settings.connections_per_ip)
        if conn.ip_slot == -1:
            count_add(&eng.me.refused, 1)
            client_close(eng, conn)
            return
        if conn.ip_slot >= 0:
            conn.flags |= CONN_COUNTED_IP
        else:
            count_add(&eng.me.odd[<int> ODD_IP_TABLE_FULL], 1)
    if is_trusted(eng.plan, conn):
        conn.flags |= CONN_TRUSTED
    if plan_listener(eng.plan, conn.listener).tls != 0:
        client_open_secure(eng, conn)
        return
    client_await(eng, conn)
    connection_timer(eng, conn, DRAIN_NEWCOMER_MS if eng.draining else settings.client_header_ms)


cdef void client_close(Engine *eng, Connection *conn) noexcept nogil:
    """Close now. Its exchange, if any, must have been let go before."""
    list_unlink(conn)
    if conn.flags & CONN_STREAM:
        connection_free(eng, conn)
        return
    if conn.flags & CONN_COUNTED_IP:
        client_ip_leave(board_of(eng), eng.slot, conn.ip_slot)
    eng.client_count -= 1
    connection_free(eng, conn)
    if eng.accept_paused:
        accept_resume(eng)


cdef void client_gone(Engine *eng, Connection *conn) noexcept nogil:
    """The client is not there any more (RST, error, FIN inside a body)."""
    cdef Exchange *x = conn.exchange
    if x != NULL:
        end_state(x, b"C", cut_where(x))
        conn.exchange = NULL
        x.client = NULL
        exchange_abandon(eng, x)
    client_close(eng, conn)


# ---- the idle list --------------------------------------------------------------------------

cdef inline void list_link(Engine *eng, Connection *conn) noexcept nogil:
    conn.list_prev = eng.idle.list_prev
    conn.list_next = &eng.idle
    conn.list_prev.list_next = conn
    eng.idle.list_prev = conn
    conn.flags |= CONN_IN_LIST


cdef inline void list_unlink(Connection *conn) noexcept nogil:
    if conn.flags & CONN_IN_LIST:
        conn.list_prev.list_next = conn.list_next
        conn.list_next.list_prev = conn.list_prev
        conn.flags &= <uint32_t> ~CONN_IN_LIST


# ---- pump -----------------------------------------------------------------------------------

cdef void client_pump(Engine *eng, Connection *conn) noexcept nogil:
    """Do all that can be done now; come again through the run queue when the quantum is used up."""
    cdef int steps = 0
    cdef bint go_on = True
    if buffer_size(&conn.output) != 0 and conn.ready & READY_WRITE:
        if not client_flush(eng, conn):
            return
    while go_on:
        if conn.state == PEER_RUNNING:
            go_on = client_step_running(eng, conn)
        elif conn.state == PEER_IDLE:
            go_on = client_step_idle(eng, conn)
        elif conn.state == PEER_HEAD:
            go_on = client_step_head(eng, conn)
        elif conn.state == PEER_TUNNEL:
            go_on = tunnel_step(eng, conn, conn.exchange.upstream)
        elif conn.state == PEER_HANDSHAKE:
            go_on = client_step_handshake(eng, conn)
        elif conn.state == PEER_CARRIER:
            go_on = False
        elif conn.state == PEER_DRAINING or conn.state == PEER_LINGERING:
            go_on = client_step_discard(eng, conn)
        elif conn.state == PEER_CLOSING:
            if conn.ready & READY_DEAD:
                client_close(eng, conn)
            go_on = False
        else:
            go_on = False
        steps += 1
        if go_on and quantum_used(conn, steps):
            run_later(eng, conn)
            go_on = False


cdef bint client_flush(Engine *eng, Connection *conn) noexcept nogil:
    """Kept output moves on. False: the connection is gone."""
    cdef Sent sent = connection_flush(eng, conn)
    cdef Exchange *x = conn.exchange
    if sent == SENT_DEAD:
        client_gone(eng, conn)
        return False
    if sent == SENT_KEPT:
        connection_timer(eng, conn, eng.plan.settings.tunnel_idle_ms if conn.state == PEER_TUNNEL
                         else eng.plan.settings.client_write_ms)
        return True
    if conn.state == PEER_CLOSING:
        client_shut(eng, conn)
        return conn.state != PEER_FREE
    if conn.state == PEER_TUNNEL:
        tunnel_flushed(eng, conn, x.upstream)
        return conn.state != PEER_FREE
    if conn.state == PEER_IDLE:
        connection_timer(eng, conn, keepalive_ms(eng))
    elif conn.state == PEER_RUNNING:
        client_timer_running(eng, conn, x)
        if x.upstream != NULL and x.server != NULL:
            x.server.resume(eng, x)
    return True


cdef inline void client_timer_running(Engine *eng, Connection *conn, Exchange *x) noexcept nogil:
    """While an exchange runs, the client is waited for when it has to read (the timer was set as
    bytes were kept for it), or when its body is due and the other side would take it."""
    if buffer_size(&conn.output) != 0:
        return
    if (x.request_flow.done or x.state < EXCHANGE_WAITING or x.server == NULL
            or x.flags & X_STREAM or x.server.blocked(eng, x)):
        timer_clear(&conn.timer)
    else:
        connection_timer(eng, conn, eng.plan.settings.tunnel_idle_ms if x.flags & X_GRPC
                         else eng.plan.settings.client_body_ms)


# ---- heads ----------------------------------------------------------------------------------

cdef bint client_step_idle(Engine *eng, Connection *conn) noexcept nogil:
    """The first bytes of a request: from what is kept, else into the scratch. True: go on."""
    cdef Buffer held
    cdef ssize_t got
    cdef int64_t used
    cdef char *base
    cdef size_t size
    cdef Fault fault
    cdef HeadParser *parser = &eng.client_parser
    if buffer_size(&conn.output) != 0:
        return False            # the answer before is not out yet
    held = conn.input
    if buffer_size(&held) != 0:
        base = held.ptr + held.off
        size = buffer_size(&held)
    else:
        if not conn.ready & READY_READ:
            return False
        got = connection_read(eng, conn, eng.scratch, READ_START_BYTES)
        if got <= 0:
            if got != IO_AGAIN:
                client_close(eng, conn)
            return False
        base = eng.scratch
        size = <size_t> got
    if client_prefers_http2(eng, conn, base, size):
        if base == eng.scratch and not buffer_add(&eng.blocks, &conn.input, base, size):
            client_close(eng, conn)
        else:
            client_carry(eng, conn)
        return False
    parser_init_request(parser, eng.scan, &eng.plan.request_limits)
    used = parse_request(parser, base, size, &fault)
    list_unlink(conn)
    if used == 0:
        return client_keep_partial(eng, conn, base, size)
    memset(&conn.input, 0, sizeof(Buffer))
    if used < 0:
        buffer_drop(&eng.blocks, &held)
        client_refuse(eng, conn, NULL, &fault)
        return conn.state != PEER_FREE
    client_request(eng, conn, &parser.head, base, size, <size_t> used, &held)
    return conn.state != PEER_FREE


cdef bint client_keep_partial(Engine *eng, Connection *conn, const char *base,
                              size_t size) noexcept nogil:
    """The head is not whole: keep bytes and parser until more comes."""
    cdef uint32_t cap
    cdef HeadParser *partial = <HeadParser *> block_take(&eng.blocks, sizeof(HeadParser), &cap)
    if partial == NULL or (buffer_size(&conn.input) == 0
                           and not buffer_add(&eng.blocks, &conn.input, base, size)):
        if partial != NULL:
            block_give(&eng.blocks, <char *> partial, cap)
        count_add(&eng.me.refused, 1)
        client_close(eng, conn)
        return False
    memcpy(partial, &eng.client_parser, sizeof(HeadParser))
    conn.partial = partial
    connection_move(conn, PEER_HEAD)
    if conn.requests != 0:
        connection_timer(eng, conn, eng.plan.settings.client_header_ms)
    return True


cdef bint client_step_head(Engine *eng, Connection *conn) noexcept nogil:
    """More bytes of a head that comes in pieces."""
    cdef HeadParser *parser = conn.partial
    cdef ssize_t got
    cdef int64_t used
    cdef Fault fault
    cdef Buffer held
    cdef Buffer *input = &conn.input
    if not conn.ready & READY_READ:
        return False
    if not buffer_room(&eng.blocks, input, 1024):
        client_close(eng, conn)
        return False
    got = connection_read(eng, conn, input.ptr + input.len, input.cap - input.len)
    if got <= 0:
        if got != IO_AGAIN:
            client_close(eng, conn)
        return False
    input.len += <uint32_t> got
    if client_prefers_http2(eng, conn, input.ptr + input.off, buffer_size(input)):
        client_carry(eng, conn)
        return False
    used = parse_request(parser, input.ptr + input.off, buffer_size(input), &fault)
    if used == 0:
        return True
    if used > 0:
        memcpy(&eng.client_parser, parser, sizeof(HeadParser))
    conn.partial = NULL
    block_give(&eng.blocks, <char *> parser, partial_cap())
    held = conn.input
    memset(input, 0, sizeof(Buffer))
    if used < 0:
        buffer_drop(&eng.blocks, &held)
        client_refuse(eng, conn, NULL, &fault)
    else:
        client_request(eng, conn, &eng.client_parser.head, held.ptr + held.off,
                       buffer_size(&held), <size_t> used, &held)
    return conn.state != PEER_FREE


cdef void client_request(Engine *eng, Connection *conn, Head *head, char *base, size_t size,
                         size_t used, Buffer *held) noexcept nogil:
    """A whole head: begin an exchange. `held` owns the bytes if they are not in the scratch; what
    the exchange does not take (body to come, the next request) is kept for later."""
    cdef size_t taken
    cdef Exchange *x = exchange_take(eng, conn, &HTTP1_ASKER)
    if x == NULL:
        buffer_drop(&eng.blocks, held)
        count_add(&eng.me.refused, 1)
        client_close(eng, conn)
        return
    conn.requests += 1
    connection_move(conn, PEER_RUNNING)
    timer_clear(&conn.timer)
    taken = exchange_begin(eng, x, head, base + used, size - used)
    if conn.state == PEER_FREE or used + taken == size:
        buffer_drop(&eng.blocks, held)
        return
    if held.ptr != NULL:
        buffer_consume(&eng.blocks, held, <uint32_t> (used + taken))
        conn.input = held[0]
    elif not buffer_add(&eng.blocks, &conn.input, base + used + taken, size - used - taken):
        client_gone(eng, conn)


# ---- bodies ---------------------------------------------------------------------------------

cdef bint client_step_running(Engine *eng, Connection *conn) noexcept nogil:
    """The request's body, as far as the other side takes it."""
    cdef Exchange *x = conn.exchange
    cdef Buffer held
    cdef ssize_t got
    cdef size_t size, used
    if x.state == EXCHANGE_QUEUED and conn.ready & (READY_FIN | READY_DEAD):
        client_gone(eng, conn)      # who waits in line and hangs up gives the wait up
        return False
    if x.request_flow.done:
        if conn.ready & READY_DEAD or (conn.ready & READY_FIN and (
                eng.plan.settings.abort_on_close or x.flags & X_STREAM)):
            client_gone(eng, conn)      # who ends his side of a stream does not wait for its end
        else:
            client_timer_running(eng, conn, x)
        return False
    if conn.ready & READY_DEAD and not conn.ready & READY_READ:
        client_gone(eng, conn)
        return False
    if x.state < EXCHANGE_WAITING or x.server == NULL or x.server.blocked(eng, x):
        client_timer_running(eng, conn, x)
        return False
    held = conn.input
    if buffer_size(&held) != 0:
        memset(&conn.input, 0, sizeof(Buffer))
        size = buffer_size(&held)
        used = exchange_body(eng, x, held.ptr + held.off, size)
        if conn.state == PEER_FREE or used == size:
            buffer_drop(&eng.blocks, &held)
        else:
            buffer_consume(&eng.blocks, &held, <uint32_t> used)
            conn.input = held
        return conn.state == PEER_RUNNING
    if not conn.ready & READY_READ:
        client_timer_running(eng, conn, x)
        return False
    size = read_size(eng, conn, eng.plan.settings.read_bytes)
    got = connection_read(eng, conn, eng.scratch, size)
    if got <= 0:
        if got != IO_AGAIN:
            client_gone(eng, conn)
        else:
            client_timer_running(eng, conn, x)
        return False
    used = exchange_body(eng, x, eng.scratch, <size_t> got)
    if conn.state == PEER_FREE:
        return False
    if used < <size_t> got and not buffer_add(&eng.blocks, &conn.input, eng.scratch + used,
                                              <size_t> got - used):
        client_gone(eng, conn)
        return False
    if conn.state == PEER_RUNNING and conn.exchange == x and x.server != NULL:
        reading_adapt(conn, <size_t> got == size, x.server.blocked(eng, x))
    return True


cdef inline void reading_adapt(Connection *conn, bint filled, bint refused) noexcept nogil:
    """The next read: twice as much if this one was full and all went out, else the least."""
    if refused:
        conn.reading = 14
    elif filled and conn.reading < 19:
        conn.reading += 1


cdef bint client_step_discard(Engine *eng, Connection *conn) noexcept nogil:
    """Throw input away: the rest of a body nobody wants (DRAINING), or all of it (LINGERING)."""
    cdef ssize_t got
    cdef size_t size = READ_START_BYTES
    cdef uint32_t kept = buffer_size(&conn.input)
    if conn.state == PEER_DRAINING:
        if kept > conn.skip:
            kept = <uint32_t> conn.skip
        if kept > 0:
            buffer_consume(&eng.blocks, &conn.input, kept)
            conn.skip -= kept
        if conn.skip == 0:
            client_idle(eng, conn)
            return True
        if conn.skip < size:
            size = conn.skip
    if not conn.ready & READY_READ:
        return False
    got = connection_read(eng, conn, eng.scratch, size)
    if got == IO_AGAIN:
        return False
    if got <= 0:
        client_close(eng, conn)
        return False
    if conn.state == PEER_DRAINING:
        conn.skip -= <uint64_t> got
    return True
