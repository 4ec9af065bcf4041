# SPDX-License-Identifier: MIT
# The upstream side: connections that answer, in HTTP/1.1, and their ServerCodec (HTTP1_SERVER,
# filled in codecs.pxi). They are made in dial.pxi, idle ones wait in pool.pxi.

# ---- pump -----------------------------------------------------------------------------------

cdef void upstream_pump(Engine *eng, Connection *conn) noexcept nogil:
    cdef int steps = 0
    cdef bint go_on = True
    if conn.state == PEER_PARKED:
        if (conn.ready & (READY_READ | READY_FIN | READY_DEAD)
                and conn.transport.unasked(eng, conn)):
            upstream_close(eng, conn)
        return
    if conn.state == PEER_CONNECTING:
        upstream_connected(eng, conn)
    if buffer_size(&conn.output) != 0 and conn.ready & READY_WRITE and conn.exchange != NULL:
        upstream_flush(eng, conn)
    while go_on:
        if conn.state == PEER_BUSY:
            go_on = upstream_step(eng, conn)
        elif conn.state == PEER_TUNNEL:
            go_on = tunnel_step(eng, conn, conn.exchange.client)
        else:
            go_on = False
        steps += 1
        if go_on and quantum_used(conn, steps):
            run_later(eng, conn)
            go_on = False


cdef void upstream_flush(Engine *eng, Connection *conn) noexcept nogil:
    """Kept request bytes move on; then the asker may send more."""
    cdef Exchange *x = conn.exchange
    cdef Sent sent = connection_flush(eng, conn)
    if sent == SENT_DEAD:
        upstream_write_dead(eng, x)
    elif conn.state == PEER_TUNNEL:
        if sent == SENT_ALL:
            tunnel_flushed(eng, conn, x.client)
    else:
        upstream_timer(eng, x)
        if sent == SENT_ALL and not x.request_flow.done:
            x.asker.resume(eng, x)


cdef inline void upstream_timer(Engine *eng, Exchange *x) noexcept nogil:
    """While the request is still on its way the upstream's silence is fine; once it is there the
    first byte is due, and then each next one."""
    cdef const UpstreamRow *row = upstream_row(x)
    cdef uint64_t after
    if x.state == EXCHANGE_RECEIVING or buffer_size(&x.upstream.output) != 0:
        after = row.idle_ms if not x.flags & X_STREAM else stream_idle_ms(x)
    elif not x.request_flow.done:
        after = 0               # the client's body timeout watches
    else:
        after = row.first_byte_ms
    connection_timer(eng, x.upstream, after)


cdef bint upstream_step(Engine *eng, Connection *conn) noexcept nogil:
    """Read once and hand it on. True: go on."""
    cdef Exchange *x = conn.exchange
    cdef ssize_t got
    cdef size_t size
    if x.asker.blocked(eng, x):
        timer_clear(&conn.timer)        # the client is slow, not the upstream
        return False
    if not conn.ready & READY_READ:
        return False
    if x.state == EXCHANGE_WAITING:
        return upstream_step_head(eng, conn, x)
    size = read_size(eng, conn, x.plan.settings.read_bytes)
    got = connection_read(eng, conn, eng.scratch, size)
    if got == IO_AGAIN:
        return False
    if got <= 0:
        if got == 0:
            exchange_answer_end(eng, x)
        else:
            end_state(x, b"S", b"D")
            exchange_cut(eng, x)
        return False
    upstream_timer(eng, x)
    exchange_answer_body(eng, x, eng.scratch, <size_t> got)
    if conn.exchange != x or x.state == EXCHANGE_FINISHED:
        return False
    reading_adapt(conn, <size_t> got == size, x.asker.blocked(eng, x))
    return True


# ---- answer heads ---------------------------------------------------------------------------

cdef bint upstream_step_head(Engine *eng, Connection *conn, Exchange *x) noexcept nogil:
    """Bytes of an answer's head. True: go on."""
    cdef HeadParser *parser = &eng.upstream_parser
    cdef Buffer held
    cdef ssize_t got
    cdef char *base = eng.scratch
    cdef size_t size = 0
    if conn.partial == NULL:
        got = connection_read(eng, conn, base, READ_START_BYTES)
        size = <size_t> got
    else:
        if not buffer_room(&eng.blocks, &conn.input, 1024):
            upstream_failed(eng, x, 502, b"out of memory")
            return False
        got = connection_read(eng, conn, conn.input.ptr + conn.input.len,
                              conn.input.cap - conn.input.len)
    if got <= 0:
        if got != IO_AGAIN:
            end_state(x, b"S", b"H")
            upstream_failed(eng, x, 502, b"the upstream closed the connection without an answer")
        return False
    if not x.flags & X_UPSTREAM_BYTES:
        x.flags |= X_UPSTREAM_BYTES
        x.first_byte_us = eng.now_us
        body_drop(eng, x)
    if conn.partial != NULL:
        memcpy(parser, conn.partial, sizeof(HeadParser))
        block_give(&eng.blocks, <char *> conn.partial, partial_cap())
        conn.partial = NULL
        conn.input.len += <uint32_t> got
        base = conn.input.ptr + conn.input.off
        size = buffer_size(&conn.input)
    else:
        parser_init_response(parser, eng.scan, &x.plan.answer_limits)
    held = conn.input
    memset(&conn.input, 0, sizeof(Buffer))
    upstream_heads(eng, conn, x, base, size)
    buffer_drop(&eng.blocks, &held)
    return conn.exchange == x and x.state != EXCHANGE_FINISHED


cdef void upstream_heads(Engine *eng, Connection *conn, Exchange *x, char *base,
                         size_t size) noexcept nogil:
    """Interim answers, then the final one, as far as they are in these bytes. May end it."""
    cdef HeadParser *parser = &eng.upstream_parser
    cdef Fault fault
    cdef int64_t used
    while True:
        used = parse_response(parser, base, size, &fault)
        if used < 0:
            upstream_fault(eng, x, &fault)
            return
        if used == 0:
            upstream_keep_partial(eng, conn, x, base, size)
            return
        if parser.head.status >= 200:
            upstream_final(eng, x, &parser.head, base + used, size - <size_t> used)
            return
        if parser.head.status == 101:
            tunnel_begin(eng, x, &parser.head, base + used, size - <size_t> used)
            return
        x.interims += 1
        if x.interims > INTERIM_ANSWERS_MAX:
            end_state(x, b"S", b"H")
            upstream_failed(eng, x, 502, b"the upstream sent too many interim answers")
            return
        if frame_response(&parser.head, x.method, &eng.framing, &fault) != 0:
            upstream_fault(eng, x, &fault)
            return
        x.asker.interim(eng, x, &parser.head)
        if x.state != EXCHANGE_WAITING:
            return
        base += used
        size -= <size_t> used
        if size == 0:
            return
        parser_init_response(parser, eng.scan, &x.plan.answer_limits)


cdef void upstream_final(Engine *eng, Exchange *x, Head *head, char *rest,
                         size_t size) noexcept nogil:
    cdef Fault fault
    cdef Connection *conn = x.upstream
    if frame_response(head, x.method, &eng.framing, &fault) != 0:
        upstream_fault(eng, x, &fault)
        return
    exchange_answer(eng, x, head, &eng.framing, rest, size)
    if conn.exchange == x and x.state == EXCHANGE_RECEIVING:
        upstream_timer(eng, x)


cdef void upstream_keep_partial(Engine *eng, Connection *conn, Exchange *x, const char *base,
                                size_t size) noexcept nogil:
    cdef uint32_t cap
    cdef HeadParser *partial = <HeadParser *> block_take(&eng.blocks, sizeof(HeadParser), &cap)
    if partial == NULL or not buffer_add(&eng.blocks, &conn.input, base, size):
        if partial != NULL:
            block_give(&eng.blocks, <char *> partial, cap)
        upstream_failed(eng, x, 502, b"out of memory")
        return
    memcpy(partial, &eng.upstream_parser, sizeof(HeadParser))
    conn.partial = partial


cdef enum:
    # How often a request that was not looked at is sent again, to a backend that refuses streams.
    UNPROCESSED_RETRIES = 3


# ---- trouble --------------------------------------------------------------------------------

cdef void upstream_fault(Engine *eng, Exchange *x, const Fault *fault) noexcept nogil:
    """The answer is malformed: 502, and nothing of it is passed on (B3 17). Ends the exchange."""
    end_state(x, b"S", b"H")
    x.flags |= X_REPLAYED
    upstream_failed(eng, x, 502, fault_text(fault.reason))


cdef void upstream_failed(Engine *eng, Exchange *x, int status, const char *cause) noexcept nogil:
    """The upstream connection is of no use any more, and no final answer has begun. Once more if
    the method rules allow (RFC 9110 9.2.2), else an error. May end the exchange."""
    cdef Connection *conn = x.upstream
    cdef bint again = (conn.flags & CONN_REUSED and x.flags & X_REPLAYABLE
                       and not x.flags & (X_UPSTREAM_BYTES | X_REPLAYED | X_ANSWER_BEGUN))
    if conn.flags & CONN_UNPROCESSED and not x.flags & (X_UPSTREAM_BYTES | X_ANSWER_BEGUN):
        # It says itself that it has not looked at it (GOAWAY, REFUSED_STREAM: RFC 9113 8.7): any
        # method may be sent again, if all of the request that came so far is kept.
        again = not x.body_lost and not x.flags & X_BODY_ERROR and x.retries < UNPROCESSED_RETRIES
    if not again:
        exchange_fail(eng, x, status, cause)
        return
    x.end_state[0] = x.end_state[1] = 0
    tally_backend(eng, x)
    conn.exchange = NULL
    x.upstream = NULL
    upstream_close(eng, conn)
    exchange_redial(eng, x)


cdef void upstream_write_dead(Engine *eng, Exchange *x) noexcept nogil:
    """A write failed. An answer may already be there (413 and close): read it first; the rest of
    the request's body is not wanted any more. May end the exchange."""
    cdef Connection *conn = x.upstream
    x.flags |= X_BODY_ERROR
    x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
    if conn.state == PEER_TUNNEL:
        tunnel_end(eng, x, b"S")
        return
    keep_change(eng, -<int64_t> buffer_size(&conn.output))
    buffer_drop(&eng.blocks, &conn.output)
    conn.ready |= READY_READ
    connection_timer(eng, conn, upstream_row(x).first_byte_ms)
    run_later(eng, conn)


cdef void upstream_timeout(Engine *eng, Connection *conn) noexcept nogil:
    """The connection's timer fired; what it meant is in the state."""
    cdef Exchange *x = conn.exchange
    if conn.state == PEER_CARRIER:
        eng.http2.timeout(eng, conn)
        return
    if conn.state == PEER_PARKED:
        upstream_close(eng, conn)
        return
    if conn.state == PEER_BUSY and connection_moves(eng, conn):
        upstream_timer(eng, x)          # it still takes the request, slowly
        return
    count_add(&backend_count(board_of(eng), eng.slot, x.backend_row).timeouts, 1)
    if x.flags & X_STREAM and not x.request_flow.done:
        x.flags |= X_BLAMELESS          # both were silent
    if conn.state == PEER_CONNECTING:
        x.end_state[0] = c's'
        x.end_state[1] = c'C'
        conn.flags |= CONN_LATE
        upstream_refused(eng, conn)
    elif conn.state == PEER_TUNNEL:
        tunnel_leave(eng, x, b"s")
    elif x.flags & X_ANSWER_BEGUN:
        end_state(x, b"s", b"D")
        exchange_cut(eng, x)
    else:
        end_state(x, b"s", b"H")
        exchange_fail(eng, x, 504, b"the upstream did not answer in time")


# ---- ServerCodec of HTTP/1.1 ----------------------------------------------------------------

cdef void http1_send(Engine *eng, Exchange *x) noexcept nogil:
    """ServerCodec.send: the request as prepared."""
    cdef iovec spans[4]
    cdef Span host
    cdef int count = 1
    cdef Sent sent
    spans[0].iov_base = <void *> x.sent.ptr
    spans[0].iov_len = x.sent.len
    if x.host_at != 0:
        host = text_span(x.roster.base, roster_backend(
            x.roster.base, roster_upstream(x.roster, x.upstream_index),
            <uint32_t> x.backend).authority)
        spans[0].iov_len = x.host_at
        spans[1].iov_base = <void *> host.ptr
        spans[1].iov_len = host.len
        spans[2].iov_base = <void *> (x.sent.ptr + x.host_at)
        spans[2].iov_len = x.sent.len - x.host_at
        count = 3
    if buffer_size(&x.later) != 0:
        spans[count].iov_base = x.later.ptr + x.later.off
        spans[count].iov_len = buffer_size(&x.later)
        count += 1
    sent = connection_send(eng, x.upstream, spans, count)
    if sent == SENT_DEAD:
        # A kept connection that was closed meanwhile; nothing of an answer can be there.
        end_state(x, b"S", b"H")
        upstream_failed(eng, x, 502, b"the upstream closed the connection")
        return
    upstream_timer(eng, x)


cdef void http1_body(Engine *eng, Exchange *x, Span piece, bint last) noexcept nogil:
    """ServerCodec.body."""
    cdef char room[24]
    cdef iovec spans[CHUNK_SPANS]
    cdef int count = 1
    if x.upstream == NULL or x.upstream.flags & CONN_WRITE_DEAD:
        body_lose(eng, x)
        return                  # the answer is awaited, the body goes nowhere
    if x.request_flow.out_chunked:
        count = put_chunk(&x.request_flow.trailers, piece, last, room, spans)
    else:
        spans[0].iov_base = <void *> piece.ptr
        spans[0].iov_len = piece.len
    if not x.body_lost:
        body_keep(eng, x, spans, count)
    if connection_send(eng, x.upstream, spans, count) == SENT_DEAD:
        upstream_write_dead(eng, x)
        return
    upstream_timer(eng, x)


cdef void body_keep(Engine *eng, Exchange *x, const iovec *spans, int count) noexcept nogil:
    """These bytes of a body go out now, and may have to once more: only HTTP/2 has a word for that.
    A body that is too large is not kept at all."""
    cdef const Flow *flow = &x.request_flow
    cdef uint64_t most = x.plan.settings.replay_bytes
    cdef size_t size = 0
    cdef int i
    for i in range(count):
        size += spans[i].iov_len
    if (not x.upstream.flags & CONN_STREAM or x.flags & X_UPSTREAM_BYTES
            or (flow.kind == BODY_LENGTH and flow.moved + <uint64_t> flow.left > most)
            or buffer_size(&x.later) + size > most
            or eng.me.kept_bytes >= KEPT_BUDGET_BYTES
            or not buffer_room(&eng.blocks, &x.later, size)):
        body_lose(eng, x)
        return
    for i in range(count):
        buffer_add(&eng.blocks, &x.later, <const char *> spans[i].iov_base, spans[i].iov_len)
    keep_change(eng, <int64_t> size)


cdef inline void body_lose(Engine *eng, Exchange *x) noexcept nogil:
    x.body_lost = True
    body_drop(eng, x)


cdef inline void body_drop(Engine *eng, Exchange *x) noexcept nogil:
    """What was kept is not needed (any more)."""
    if x.later.ptr != NULL:
        keep_change(eng, -<int64_t> buffer_size(&x.later))
        buffer_drop(&eng.blocks, &x.later)


cdef bint http1_blocked(Engine *eng, Exchange *x) noexcept nogil:
    """ServerCodec.blocked."""
    return x.upstream != NULL and buffer_size(&x.upstream.output) != 0


cdef void http1_resume(Engine *eng, Exchange *x) noexcept nogil:
    """ServerCodec.resume: the asker has drained, read on."""
    if x.upstream != NULL and x.upstream.state >= PEER_CONNECTING:
        if x.upstream.ready & READY_READ:
            run_later(eng, x.upstream)
        elif x.upstream.state == PEER_BUSY:
            upstream_timer(eng, x)


cdef void http1_drop(Engine *eng, Exchange *x, bint reusable) noexcept nogil:
    """ServerCodec.drop: park it, or close it."""
    cdef Connection *conn = x.upstream
    x.upstream = NULL
    conn.exchange = NULL
    if conn.waiting != NULL and carrier_hand_over(conn):
        return
    if reusable and conn.state == PEER_BUSY and parked_put(eng, conn, x.plan.settings):
        return
    upstream_close(eng, conn)
