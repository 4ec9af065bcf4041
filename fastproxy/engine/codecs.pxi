# SPDX-License-Identifier: MIT
# HTTP/1.1 as a plug: the AskerCodec of client connections and the table of both codecs.

cdef AskerCodec HTTP1_ASKER
cdef ServerCodec HTTP1_SERVER
cdef AskerCodec COLLECTOR


cdef void client_send(Engine *eng, Exchange *x, iovec *spans, int count,
                      bint last) noexcept nogil:
    """Send to the client of this exchange; `last`: its answer ends with this. A dead client ends
    the exchange."""
    cdef Connection *conn = x.client
    cdef Sent sent
    if last:
        count_request(eng, x)
        if x.flags & X_ANSWER_CLOSES:
            conn.flags |= CONN_LAST_PIECE
    sent = connection_send(eng, conn, spans, count)
    if sent == SENT_DEAD:
        client_gone(eng, conn)
    elif sent == SENT_KEPT:
        connection_timer(eng, conn, x.plan.settings.client_write_ms)


cdef void asker_head(Engine *eng, Exchange *x, Head *head, Span piece, bint last) noexcept nogil:
    """AskerCodec.head: head and first bytes leave in one call; small ones in one piece."""
    cdef Out out = out_over(eng.build, BUILD_BYTES)
    cdef char room[24]
    cdef iovec spans[1 + CHUNK_SPANS]
    cdef int count = 1
    head_to_client(eng, x, head, &out)
    if out.full:
        exchange_fail(eng, x, 502, b"the answer's head is too large as rewritten")
        return
    if not x.flags & X_HEAD:
        if piece.len <= READ_START_BYTES and (
                out.cap - out.len > READ_START_BYTES + TRAILER_ROOM + 64):
            put_body_piece(&out, &x.answer_flow, piece, last)
        elif x.answer_flow.out_chunked:
            count += put_chunk(&x.answer_flow.trailers, piece, last, room, &spans[1])
        else:
            spans[1].iov_base = <void *> piece.ptr
            spans[1].iov_len = piece.len
            count = 2
    spans[0].iov_base = out.ptr
    spans[0].iov_len = out.len
    client_send(eng, x, spans, count, last)


cdef void asker_body(Engine *eng, Exchange *x, Span piece, bint last) noexcept nogil:
    """AskerCodec.body."""
    cdef char room[24]
    cdef iovec spans[CHUNK_SPANS]
    cdef int count = 1
    if x.answer_flow.out_chunked:
        count = put_chunk(&x.answer_flow.trailers, piece, last, room, spans)
    else:
        spans[0].iov_base = <void *> piece.ptr
        spans[0].iov_len = piece.len
    client_send(eng, x, spans, count, last)


cdef void asker_interim(Engine *eng, Exchange *x, Head *head) noexcept nogil:
    """AskerCodec.interim: 100 only to who waits for it, none to HTTP/1.0 (RFC 9110 15.2)."""
    cdef Out out = out_over(eng.build, BUILD_BYTES)
    cdef iovec one
    if x.flags & X_CLIENT_10:
        return
    if head.status == 100:
        if not x.flags & X_EXPECTS:
            return
        x.flags &= ~<uint32_t> X_EXPECTS
    put(&out, b"HTTP/1.1 ", 9)
    put_uint(&out, head.status)
    put_char(&out, c' ')
    put_span(&out, text_span(head.base, head.reason))
    put(&out, b"\r\n", 2)
    put_fields(&out, x.plan.base, NULL, head,
               DROP_FROM_ANSWER, FIELD_NOMINATED)
    put(&out, b"\r\n", 2)
    if out.full:
        return
    one.iov_base = out.ptr
    one.iov_len = out.len
    client_send(eng, x, &one, 1, False)


cdef void asker_cut(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.cut: end the connection so that nobody can take the answer for complete. With a
    length or chunks an early end says so; what only the close delimits needs a reset."""
    cdef Connection *conn = x.client
    if conn == NULL:
        return
    if x.state == EXCHANGE_RECEIVING and x.answer_flow.kind != BODY_LENGTH and (
            not x.answer_flow.out_chunked):
        conn.transport.reset(eng, conn)
        conn.flags |= CONN_WRITE_DEAD   # close now: a FIN first would say that this was all
    x.flags |= X_ANSWER_CLOSES
    conn.flags |= CONN_CLOSE_AFTER


cdef bint asker_blocked(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.blocked."""
    return x.client != NULL and buffer_size(&x.client.output) != 0


cdef void asker_resume(Engine *eng, Exchange *x) noexcept nogil:
    """AskerCodec.resume: the upstream takes body bytes (again)."""
    cdef Connection *conn = x.client
    if conn == NULL:
        return
    if buffer_size(&conn.input) != 0 or conn.ready & READY_READ:
        run_later(eng, conn)
    else:
        client_timer_running(eng, conn, x)


cdef void codecs_init() noexcept nogil:
    """Fill the plugs; at import, before any engine."""
    TCP.read = tcp_read
    TCP.write = tcp_write
    TCP.finish = tcp_finish
    TCP.close = tcp_close
    TCP.handshake = NULL
    TCP.refused = tcp_refused
    TCP.unsent = tcp_unsent
    TCP.unasked = tcp_unasked
    TCP.reset = tcp_reset
    HTTP1_ASKER.head = asker_head
    HTTP1_ASKER.body = asker_body
    HTTP1_ASKER.interim = asker_interim
    HTTP1_ASKER.error = answer_error
    HTTP1_ASKER.cut = asker_cut
    HTTP1_ASKER.finished = client_finished
    HTTP1_ASKER.blocked = asker_blocked
    HTTP1_ASKER.resume = asker_resume
    HTTP1_SERVER.send = http1_send
    HTTP1_SERVER.body = http1_body
    HTTP1_SERVER.blocked = http1_blocked
    HTTP1_SERVER.resume = http1_resume
    HTTP1_SERVER.drop = http1_drop
    COLLECTOR.head = collector_head
    COLLECTOR.body = collector_body
    COLLECTOR.interim = collector_interim
    COLLECTOR.error = collector_error
    COLLECTOR.cut = collector_cut
    COLLECTOR.finished = collector_finished
    COLLECTOR.blocked = collector_blocked
    COLLECTOR.resume = collector_resume


codecs_init()
