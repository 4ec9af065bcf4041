# SPDX-License-Identifier: MIT
# The client side, after an exchange: on to the next request, or the end of the connection, which is
# only over when the client can have read its answer. And what a client is not waited for.

cdef enum:
    # A short rest of an unwanted body is read and thrown away to save the connection.
    DRAIN_BYTES_MAX = 65536


cdef void client_finished(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.finished: on with the next request, or close."""
    cdef Connection *conn = x.client
    cdef const Settings *settings = x.plan.settings
    cdef bint body_left = not x.request_flow.done
    if conn == NULL:
        return
    conn.exchange = NULL
    x.client = NULL
    timer_clear(&conn.timer)
    if conn.flags & CONN_WRITE_DEAD:
        client_close(eng, conn)
        return
    if x.flags & X_ANSWER_CLOSES:
        if body_left or buffer_size(&conn.input) != 0:
            conn.flags |= CONN_CLOSE_AFTER
        client_shut_when_sent(eng, conn)
        return
    if body_left:
        # Only a sized, short rest gets here; everything else was answered with close.
        connection_move(conn, PEER_DRAINING)
        conn.skip = <uint64_t> x.request_flow.left
        connection_timer(eng, conn, settings.client_body_ms)
        run_later(eng, conn)
        return
    client_idle(eng, conn)
    if buffer_size(&conn.input) != 0 or conn.ready & READY_READ:
        run_later(eng, conn)


cdef void client_idle(Engine *eng, Connection *conn) noexcept nogil:
    """Wait for the next request."""
    connection_move(conn, PEER_IDLE)
    list_link(eng, conn)
    if buffer_size(&conn.output) != 0:
        connection_timer(eng, conn, eng.plan.settings.client_write_ms)
    else:
        connection_timer(eng, conn, keepalive_ms(eng))


cdef inline uint64_t keepalive_ms(Engine *eng) noexcept nogil:
    """How long a client may stay idle from now on."""
    return DRAIN_IDLE_MS if eng.draining else eng.plan.settings.keepalive_ms


cdef void client_shut_when_sent(Engine *eng, Connection *conn) noexcept nogil:
    connection_move(conn, PEER_CLOSING)
    if buffer_size(&conn.output) == 0:
        client_shut(eng, conn)
    else:
        connection_timer(eng, conn, eng.plan.settings.client_write_ms)


cdef void client_shut(Engine *eng, Connection *conn) noexcept nogil:
    """All is sent. If input may still come, closing now would make the kernel send RST and the
    client lose the answer: shut our side down and read on for a while (RFC 9112 9.6)."""
    if not conn.flags & CONN_CLOSE_AFTER and not conn.ready & READY_READ:
        if conn.flags & CONN_LAST_PIECE:
            # Not left to close(): with unread bytes that would be a RST, and the piece lost.
            conn.transport.finish(eng, conn)
        client_close(eng, conn)
        return
    if conn.flags & CONN_EOF or conn.ready & READY_DEAD:
        client_close(eng, conn)
        return
    conn.transport.finish(eng, conn)
    if conn.flags & CONN_STREAM:
        client_close(eng, conn)     # its close tells the peer to send no more of it
        return
    buffer_drop(&eng.blocks, &conn.input)
    connection_move(conn, PEER_LINGERING)
    connection_timer(eng, conn, eng.plan.settings.lingering_ms)
    run_later(eng, conn)


cdef void client_timeout(Engine *eng, Connection *conn) noexcept nogil:
    """The connection's timer fired; what it meant is in the state."""
    cdef Exchange *x = conn.exchange
    cdef Fault fault
    if conn.state == PEER_CARRIER:
        eng.http2.timeout(eng, conn)
        return
    if buffer_size(&conn.output) != 0 and conn.state != PEER_LINGERING:
        if connection_moves(eng, conn):
            connection_timer(eng, conn, eng.plan.settings.client_write_ms)
            return
        # The client does not read.
        if x != NULL:
            end_state(x, b"c", b"D")
            conn.exchange = NULL
            x.client = NULL
            exchange_abandon(eng, x)
        conn.transport.reset(eng, conn)
        client_close(eng, conn)
    elif conn.state == PEER_HEAD:
        fault.status = 408
        fault.reason = FAULT_NONE
        fault.offset = 0
        fault.side = SIDE_CLIENT
        client_refuse(eng, conn, NULL, &fault)
    elif conn.state == PEER_RUNNING:
        if x.flags & X_STREAM:
            return              # the timer of the other side serves both
        if x.flags & X_ANSWER_BEGUN:
            end_state(x, b"c", b"D")
            exchange_cut(eng, x)
        else:
            end_state(x, b"c", b"Q")
            x.flags |= X_ANSWER_CLOSES      # a rest that did not come is not waited for again
            exchange_fail(eng, x, 408, b"the request body did not come in time")
    elif conn.state == PEER_TUNNEL:
        tunnel_leave(eng, x, b"c")
    else:
        client_close(eng, conn)
