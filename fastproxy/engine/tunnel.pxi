# SPDX-License-Identifier: MIT
# Tunnels: after a validated 101 both sides only relay bytes, with back-pressure and half-close.
#
# Nothing the client sent behind its upgrade request is forwarded before the 101 has been checked
# (status, Upgrade, Connection, Sec-WebSocket-Accept; B3 19): it waits in the client's input.
#
# A tunnel that we end (a stop, its age, its silence) is ended by a close frame to each side that is
# between two frames (websocket/frames.pxd); who is in the midst of one only sees the end.

cdef extern from "fastproxy/clib/sha1.h" nogil:
    void websocket_accept(const char *key, size_t length, char *out) noexcept

cdef enum:
    WEBSOCKET_ACCEPT_BYTES = 28


cdef Span single_field(const Head *head, uint8_t id) noexcept nogil:
    """The value of a field that must occur once; empty otherwise."""
    cdef uint16_t i
    cdef Span found = span(NULL, 0)
    cdef int count = 0
    for i in range(head.count):
        if head.fields[i].id == id:
            found = value_of(head, &head.fields[i])
            count += 1
    return found if count == 1 else span(NULL, 0)


cdef bint upgrade_valid(Exchange *x, const Head *answer, const Framing *framing) noexcept nogil:
    """Is this 101 the answer to what was asked (RFC 6455 4.1)?"""
    cdef char wanted[WEBSOCKET_ACCEPT_BYTES]
    cdef Span key, accept
    if not x.flags & X_UPGRADE or framing.upgrade != UPGRADE_WEBSOCKET or x.kept == NULL:
        return False
    key = single_field(x.kept.head, FIELD_SEC_WEBSOCKET_KEY)
    accept = single_field(answer, FIELD_SEC_WEBSOCKET_ACCEPT)
    if key.len == 0:
        return False
    websocket_accept(key.ptr, key.len, wanted)
    return span_equal(accept, span(wanted, WEBSOCKET_ACCEPT_BYTES))


cdef void tunnel_begin(Engine *eng, Exchange *x, Head *head, char *rest,
                       size_t size) noexcept nogil:
    """A 101 has come. Pass it on and relay from now on, or answer 502. May end the exchange."""
    cdef Fault fault
    cdef Out out = out_over(eng.build, BUILD_BYTES)
    cdef iovec spans[2]
    cdef Connection *client = x.client
    cdef Connection *upstream = x.upstream
    if frame_response(head, x.method, &eng.framing, &fault) != 0:
        upstream_fault(eng, x, &fault)
        return
    if client == NULL or not upgrade_valid(x, head, &eng.framing):
        end_state(x, b"S", b"H")
        upstream_failed(eng, x, 502, b"the upstream's protocol switch is not valid")
        return
    x.status = 101
    choose_answered(eng, x)
    put_text(&out, b"HTTP/1.1 101 Switching Protocols\r\n")
    put_fields(&out, x.plan.base, NULL, head,
               DROP_FROM_ANSWER, FIELD_NOMINATED)
    put_text(&out, b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    if out.full:
        exchange_fail(eng, x, 502, b"the answer's head is too large")
        return
    exchange_move(x, EXCHANGE_TUNNEL)
    connection_move(client, PEER_TUNNEL)
    connection_move(upstream, PEER_TUNNEL)
    x.flags |= X_ANSWER_BEGUN | X_ANSWER_CLOSES
    x.bytes_out += size
    frames_walk(&x.frames[<int> ROLE_UPSTREAM], rest, size)
    timer_clear(&x.timer)
    if x.plan.settings.tunnel_age_ms != 0:
        timer_set(&eng.wheel, &x.timer, eng.now_ms + x.plan.settings.tunnel_age_ms)
    spans[0].iov_base = out.ptr
    spans[0].iov_len = out.len
    spans[1].iov_base = rest
    spans[1].iov_len = size
    if connection_send(eng, client, spans, 2) == SENT_DEAD:
        client_gone(eng, client)
        return
    tunnel_alive(eng, x)
    run_later(eng, client)
    if upstream.ready & READY_READ:
        run_later(eng, upstream)


cdef inline void tunnel_alive(Engine *eng, Exchange *x) noexcept nogil:
    """Bytes moved: the idle time starts again. One timer serves both sides."""
    timer_clear(&x.upstream.timer)
    connection_timer(eng, x.client, x.plan.settings.tunnel_idle_ms)


cdef bint tunnel_step(Engine *eng, Connection *source, Connection *target) noexcept nogil:
    """Relay what source has to target. True: go on."""
    cdef Exchange *x = source.exchange
    cdef Buffer held
    cdef ssize_t got
    cdef size_t size
    cdef Sent sent
    if source.flags & CONN_EOF and source.ready & READY_DEAD:
        tunnel_end(eng, x, b"C" if source.role == ROLE_CLIENT else b"S")
        return False
    if buffer_size(&target.output) != 0 or source.flags & CONN_EOF:
        return False
    held = source.input
    if buffer_size(&held) != 0:
        memset(&source.input, 0, sizeof(Buffer))
        tunnel_count(source, x, buffer_span(&held))
        sent = connection_send_span(eng, target, buffer_span(&held))
        buffer_drop(&eng.blocks, &held)
    else:
        if not source.ready & READY_READ:
            return False
        size = read_size(eng, source, x.plan.settings.read_bytes)
        got = connection_read(eng, source, eng.scratch, size)
        if got == IO_AGAIN:
            return False
        if got < 0:
            tunnel_end(eng, x, b"C" if source.role == ROLE_CLIENT else b"S")
            return False
        if got == 0:
            tunnel_half_close(eng, source, target)
            return False
        tunnel_count(source, x, span(eng.scratch, <size_t> got))
        sent = connection_send_span(eng, target, span(eng.scratch, <size_t> got))
        reading_adapt(source, <size_t> got == size, sent == SENT_KEPT)
    if sent == SENT_DEAD:
        tunnel_end(eng, x, b"C" if target.role == ROLE_CLIENT else b"S")
        return False
    tunnel_alive(eng, x)
    return sent == SENT_ALL


cdef inline void tunnel_count(const Connection *source, Exchange *x, Span data) noexcept nogil:
    """What source has sent is passed on now."""
    frames_walk(&x.frames[source.role], data.ptr, data.len)
    if source.role == ROLE_CLIENT:
        x.bytes_in += data.len
    else:
        x.bytes_out += data.len


cdef void tunnel_half_close(Engine *eng, Connection *source, Connection *target) noexcept nogil:
    """Source will send no more: tell target, and end when both are done."""
    if buffer_size(&target.output) != 0:
        target.flags |= CONN_FINISH_AFTER
        return
    target.transport.finish(eng, target)
    if target.flags & CONN_EOF and buffer_size(&source.output) == 0:
        tunnel_end(eng, source.exchange, b"-")


cdef void tunnel_flushed(Engine *eng, Connection *conn, Connection *other) noexcept nogil:
    """What was kept for conn is out: other may be read again, or its FIN passed on."""
    if conn.flags & CONN_FINISH_AFTER:
        conn.flags &= <uint32_t> ~CONN_FINISH_AFTER
        tunnel_half_close(eng, other, conn)
    elif other.flags & CONN_EOF and conn.flags & CONN_EOF:
        tunnel_end(eng, conn.exchange, b"-")
    elif other.ready & READY_READ:
        run_later(eng, other)


cdef void tunnel_end(Engine *eng, Exchange *x, char who) noexcept nogil:
    """Close both sides. Ends the exchange."""
    cdef Connection *client = x.client
    tunnel_let_go(eng, x, who)
    client_close(eng, client)


cdef inline void tunnel_let_go(Engine *eng, Exchange *x, char who) noexcept nogil:
    """The end of the exchange and of its upstream, not of its client."""
    end_state(x, who, b"T")
    x.client.exchange = NULL
    x.client = NULL
    exchange_finish(eng, x)


# ---- ends of our own ------------------------------------------------------------------------

cdef void tunnel_leave(Engine *eng, Exchange *x, char who) noexcept nogil:
    """We end it. A client that was told so may still answer, and is waited for as after any last
    answer (client_end.pxi). Ends the exchange."""
    cdef Connection *client = x.client
    cdef bint told = tunnel_goodbye(eng, x)
    tunnel_let_go(eng, x, who)
    if not told or client.flags & CONN_WRITE_DEAD:
        client_close(eng, client)
        return
    client.flags |= CONN_CLOSE_AFTER
    client_shut_when_sent(eng, client)


cdef bint tunnel_goodbye(Engine *eng, Exchange *x) noexcept nogil:
    """Say 1001 to each side that can read it. Was it said to the client?"""
    cdef uint32_t key = <uint32_t> random_next(eng.random) | 1
    if tunnel_say(eng, x.upstream, x.client, &x.frames[<int> ROLE_CLIENT], key):
        x.upstream.transport.finish(eng, x.upstream)
    return tunnel_say(eng, x.client, x.upstream, &x.frames[<int> ROLE_UPSTREAM], 0)


cdef bint tunnel_say(Engine *eng, Connection *conn, const Connection *other,
                     const FrameWalk *walk, uint32_t key) noexcept nogil:
    """A close frame to conn, if what it got from `other` ends between two frames and is not all."""
    cdef char room[GOODBYE_BYTES]
    cdef Out out = out_over(room, GOODBYE_BYTES)
    if other.flags & CONN_EOF or not frames_between(walk):
        return False
    frames_goodbye(&out, key)
    return connection_send_span(eng, conn, span(out.ptr, out.len)) != SENT_DEAD
