# SPDX-License-Identifier: MIT
# The exchange: one request and its answer. It knows routes, backends and time; it speaks to its two
# sides only through AskerCodec and ServerCodec, and every path through it ends in exchange_finish.
#
# A function that may end the exchange says so; its caller looks at `x.state` before going on. The
# memory of a finished exchange stays what it is until the round is over (loop.pxi).

cdef enum:
    # The first piece of a body leaves with the head, in one call, if it is at most this long.
    FIRST_PIECE_MAX = READ_START_BYTES


cdef inline void exchange_move(Exchange *x, uint8_t state) noexcept nogil:
    MUST_HOT(exchange_may(x.state, state))
    x.state = state


cdef inline void end_state(Exchange *x, char who, char when) noexcept nogil:
    """How it ended; the first word counts (what follows is only the consequence)."""
    if x.end_state[0] == 0:
        x.end_state[0] = who
        x.end_state[1] = when


cdef Exchange *exchange_take(Engine *eng, Connection *client,
                             const AskerCodec *asker) noexcept nogil:
    """A fresh exchange, ROUTED to nothing yet; NULL: no memory."""
    cdef Exchange *x = <Exchange *> pool_take(&eng.exchanges)
    if x == NULL:
        return NULL
    exchange_move(x, EXCHANGE_ROUTED)
    x.client = client
    x.asker = asker
    x.plan = eng.plan
    eng.plan.holders += 1
    x.roster = eng.roster
    eng.roster.holders += 1
    x.backend = -1
    x.started_us = eng.now_us
    x.timer.owner = TIMER_EXCHANGE
    if client == NULL:
        x.flags = X_PEER_UNIX
        return x
    client.exchange = x
    x.listener = client.listener
    x.peer_port = client.peer_port
    memcpy(x.peer, client.peer, sizeof(x.peer))
    if client.flags & CONN_TRUSTED:
        x.flags |= X_TRUSTED
    if client.flags & CONN_UNIX:
        x.flags |= X_PEER_UNIX
    if client.flags & CONN_SECURE:
        x.flags |= X_SECURE
        if client.flags & CONN_EARLY:
            x.flags |= X_EARLY
    if client.flags & CONN_STREAM:
        x.flags |= X_HTTP2
    return x


# ---- forwarding -----------------------------------------------------------------------------

cdef size_t exchange_forward(Engine *eng, Exchange *x, Request *request, char *rest,
                             size_t size) noexcept nogil:
    """Write the head the upstream will read, with the first piece of the body behind it, and dial.
    Returns how much of `rest` was taken."""
    cdef Out out = out_over(eng.build, BUILD_BYTES)
    cdef Span piece = span(NULL, 0)
    cdef int64_t used = 0
    cdef int status
    cdef bint last
    x.kept = NULL
    status = head_to_upstream(eng, x, request, &out)
    if status != 0:
        end_state(x, b"P", b"R")
        exchange_fail(eng, x, status, b"the request cannot be forwarded as rewritten")
        return 0
    if not x.request_flow.done and size != 0 and size <= FIRST_PIECE_MAX:
        used = exchange_body_take(eng, x, rest, size, &piece, &last)
        if used < 0:
            return 0
        put_body_piece(&out, &x.request_flow, piece, last)
    if out.full:
        exchange_fail(eng, x, 500, b"the rewritten head is too large")
        return 0
    if not request_keep(eng, x, request, out.len):
        exchange_fail(eng, x, 503, b"out of memory")
        return 0
    x.sent.ptr = x.arena.ptr + x.arena.len
    x.sent.len = out.len
    buffer_add(&eng.blocks, &x.arena, out.ptr, out.len)
    if x.request_flow.done and method_is_idempotent(x.method) and not x.flags & X_UPGRADE:
        x.flags |= X_REPLAYABLE
    choose_prepare(eng, x, request)
    exchange_move(x, EXCHANGE_DIALING)
    exchange_dial(eng, x)
    return <size_t> used


cdef inline bint method_is_idempotent(uint8_t method) noexcept nogil:
    """RFC 9110 9.2.2; an unknown method is not."""
    return (method == METHOD_GET or method == METHOD_HEAD or method == METHOD_PUT
            or method == METHOD_DELETE or method == METHOD_OPTIONS)


cdef void exchange_dial(Engine *eng, Exchange *x) noexcept nogil:
    """Find a backend that takes the request: a kept connection, else a new one; at most once per
    backend. It waits in line if all are full (place.pxi, queue.pxi). May end it."""
    cdef Place place
    while True:
        place = PLACE_FULL if queue_stands(eng, x) else place_find(eng, x)
        if place == PLACE_FULL:
            queue_enter(eng, x)
        elif place == PLACE_NONE:
            exchange_nobody(eng, x)
        elif not exchange_dial_backend(eng, x, True):
            continue
        return


cdef bint exchange_dial_backend(Engine *eng, Exchange *x, bint may_reuse) noexcept nogil:
    """Go to the backend where it has a place. True: under way (or over already). False: this
    backend refused at once, and the place was given back."""
    cdef const RosterBackend *backend = roster_backend(
        x.roster.base, roster_upstream(x.roster, x.upstream_index), <uint32_t> x.backend)
    cdef Connection *conn = NULL
    x.dialed_us = eng.now_us
    if may_reuse:
        conn = parked_take(eng, backend, not x.flags & X_REPLAYABLE)
        if conn == NULL and eng.speaks[backend.row] == SPEAKS_HTTP2:
            conn = carrier_stream(eng, x, backend)
    if conn == NULL and eng.speaks[backend.row] != SPEAKS_HTTP1 and carrier_wait(eng, x, backend):
        return True
    if conn != NULL:
        count_add(&eng.me.upstream_reused, 1)
        x.connected_us = eng.now_us
        upstream_attach(x, conn)
        connection_move(conn, PEER_BUSY)
        exchange_send(eng, x)
        return True
    if upstream_connect(eng, x, backend):
        return True
    if x.flags & X_NO_ROOM:
        # Our trouble, not the backend's; another one could not be reached either.
        in_flight(eng, x, -1)
        end_state(x, b"L", b"C")
        exchange_fail(eng, x, 503, b"too many connections are open")
        return True
    exchange_dial_failed(eng, x)
    return False


cdef inline void exchange_send(Engine *eng, Exchange *x) noexcept nogil:
    """The upstream is there: give it the request, and let the asker go on with the body (it may
    have waited for a backend that refused: no edge will come). May end the exchange."""
    exchange_move(x, EXCHANGE_WAITING)
    x.end_state[0] = x.end_state[1] = 0     # what came before is not how this will end
    x.server.send(eng, x)
    if x.state == EXCHANGE_WAITING and not x.request_flow.done:
        x.asker.resume(eng, x)


cdef void exchange_dial_failed(Engine *eng, Exchange *x) noexcept nogil:
    """Count a backend that could not be reached; nothing was sent to it."""
    cdef BackendCount *row = backend_count(board_of(eng), eng.slot, x.backend_row)
    count_add(&row.connect_errors, 1)
    count_add(&row.retries, 1)
    judge_backend(eng, x, OUTCOME_GATEWAY)
    in_flight(eng, x, -1)
    if x.retries < 255:
        x.retries += 1


cdef void exchange_nobody(Engine *eng, Exchange *x) noexcept nogil:
    """No backend is left to try."""
    if x.retries == 0:
        end_state(x, b"S", b"C")
        exchange_fail(eng, x, 503, b"no backend is available")
    elif x.end_state[0] == c's':
        exchange_fail(eng, x, 504, b"connecting to the upstream took too long")
    else:
        end_state(x, b"S", b"C")
        exchange_fail(eng, x, 502, unreached(x))


cdef void exchange_redial(Engine *eng, Exchange *x) noexcept nogil:
    """A reused connection died before one answer byte: once more, on a fresh one (RFC 9112 9.5). It
    has kept its place."""
    x.flags |= X_REPLAYED
    if x.retries < 255:
        x.retries += 1
    exchange_move(x, EXCHANGE_DIALING)
    if not exchange_dial_backend(eng, x, False):
        exchange_dial(eng, x)


# ---- the answer -----------------------------------------------------------------------------

cdef int64_t exchange_answer(Engine *eng, Exchange *x, Head *head, const Framing *framing,
                             char *rest, size_t size) noexcept nogil:
    """The final answer's head, and what came behind it. How much of `rest` was taken; the exchange
    may be over."""
    cdef Span piece = span(NULL, 0)
    cdef bint last = False
    cdef int64_t used = 0
    cdef Fault fault
    x.status = head.status
    choose_answered(eng, x)
    flow_begin(&x.answer_flow, framing, &x.answer_chunked, SIDE_UPSTREAM)
    if x.flags & X_TE_TRAILERS and x.flags & X_TRAILERS:
        trailers_pass(eng, &x.answer_flow)
    if framing.keep_alive and framing.body != BODY_CLOSE:
        x.flags |= X_UPSTREAM_KEEPS
    if streams(x, head):
        x.flags |= X_STREAM
        if x.client != NULL and x.client.ready & READY_FIN:
            run_later(eng, x.client)
        if x.web != NULL:
            web_answer(eng, x, head)
        elif not x.flags & X_GRPC:
            events_begin(x, head)
    if x.answer_flow.done:
        last = True
    elif size != 0:
        used = flow_take(eng, &x.answer_flow, rest, size, &piece, &last, &fault)
        if used < 0:
            upstream_fault(eng, x, &fault)
            return -1
    if x.answer_flow.filter != NULL and not answer_filter(eng, x, &piece, last):
        return -1
    exchange_move(x, EXCHANGE_RECEIVING)
    x.answer_flow.moved = piece.len
    x.bytes_out += piece.len
    x.asker.head(eng, x, head, piece, last)
    if x.state == EXCHANGE_FINISHED:
        return used
    x.flags |= X_ANSWER_BEGUN
    if last:
        exchange_complete(eng, x, <size_t> used != size)
    return used


cdef int64_t exchange_answer_body(Engine *eng, Exchange *x, char *data, size_t size) noexcept nogil:
    """More of the answer's body. May end the exchange."""
    cdef Span piece
    cdef bint last
    cdef Fault fault
    cdef int64_t used = flow_take(eng, &x.answer_flow, data, size, &piece, &last, &fault)
    if used < 0:
        end_state(x, b"S", b"D")
        exchange_cut(eng, x)
        return -1
    if x.answer_flow.filter != NULL and not answer_filter(eng, x, &piece, last):
        return -1
    x.answer_flow.moved += piece.len
    x.bytes_out += piece.len
    if piece.len != 0 or last:
        x.asker.body(eng, x, piece, last)
    if x.state != EXCHANGE_FINISHED and last:
        exchange_complete(eng, x, <size_t> used != size)
    return used


cdef void exchange_answer_end(Engine *eng, Exchange *x) noexcept nogil:
    """The upstream closed: the end of a BODY_CLOSE answer, or a truncation."""
    cdef Span piece = span(NULL, 0)
    if x.answer_flow.kind != BODY_CLOSE:
        end_state(x, b"S", b"D")
        exchange_cut(eng, x)
        return
    x.answer_flow.done = True
    if x.answer_flow.filter != NULL and not answer_filter(eng, x, &piece, True):
        return
    x.asker.body(eng, x, piece, True)
    if x.state != EXCHANGE_FINISHED:
        exchange_complete(eng, x, True)


cdef void exchange_complete(Engine *eng, Exchange *x, bint extra_bytes) noexcept nogil:
    """The whole answer went to the asker. Bytes behind it poison the connection (B3 17); so does a
    request body that was not sent to its end (B3 3)."""
    if extra_bytes or not x.request_flow.done:
        x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
    exchange_finish(eng, x)


# ---- endings --------------------------------------------------------------------------------

cdef void exchange_fail(Engine *eng, Exchange *x, int status, const char *cause) noexcept nogil:
    """No answer can be had: answer this status instead. Ends the exchange."""
    if x.state == EXCHANGE_FINISHED:
        return
    if x.flags & X_ANSWER_BEGUN:
        exchange_cut(eng, x)
        return
    x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
    exchange_drop_upstream(eng, x)
    x.status = <uint16_t> status
    x.flags |= X_ANSWER_BEGUN
    x.asker.error(eng, x, status, cause)
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)


cdef void exchange_cut(Engine *eng, Exchange *x) noexcept nogil:
    """The answer cannot be completed: the asker must see that it is truncated. Ends it."""
    if x.state == EXCHANGE_FINISHED:
        return
    x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
    exchange_drop_upstream(eng, x)
    x.asker.cut(eng, x)
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)


cdef void exchange_abandon(Engine *eng, Exchange *x) noexcept nogil:
    """The asker is gone: cancel the upstream's work. Ends the exchange."""
    if x.state == EXCHANGE_FINISHED:
        return
    x.flags &= ~<uint32_t> X_UPSTREAM_KEEPS
    if x.status == 0:
        x.status = 499          # what nginx users look for; never sent
    exchange_finish(eng, x)


cdef void exchange_drop_upstream(Engine *eng, Exchange *x) noexcept nogil:
    if x.waits_for != NULL:
        carrier_wait_over(x)
    if x.upstream != NULL:
        x.server.drop(eng, x, x.flags & X_UPSTREAM_KEEPS != 0)
    if x.flags & X_IN_FLIGHT:
        tally_backend(eng, x)
        in_flight(eng, x, -1)


cdef void exchange_finish(Engine *eng, Exchange *x) noexcept nogil:
    """The one end of every exchange: upstream let go, counted, logged, asker told, released."""
    exchange_drop_upstream(eng, x)
    timer_unlink(&x.timer)
    clock_read(eng)
    if x.state == EXCHANGE_PARKED:
        eng.me.parked -= 1
    elif x.state == EXCHANGE_QUEUED:
        queue_leave(eng, x)
    tally(eng, x)
    if x.plan.settings.access_log and not x.flags & X_NO_CLIENT_LOG:
        access_log(eng, x)
    exchange_move(x, EXCHANGE_FINISHED)
    x.asker.finished(eng, x)
    if not x.flags & X_HELD:
        exchange_release(eng, x)


cdef void exchange_release(Engine *eng, Exchange *x) noexcept nogil:
    buffer_drop(&eng.blocks, &x.arena)
    buffer_drop(&eng.blocks, &x.collected)
    body_drop(eng, x)
    trailers_drop(eng, &x.request_flow)
    trailers_drop(eng, &x.answer_flow)
    if x.web != NULL:
        web_drop(eng, x)
    x.kept = NULL
    plan_release(eng, x.plan)
    roster_release(eng, x.roster)
    x.next_dead = eng.dead_exchanges
    eng.dead_exchanges = x


cdef void exchange_timeout(Engine *eng, Exchange *x) noexcept nogil:
    """The route's total timeout; of a tunnel: its age; of an event stream that was told to go: now
    it goes."""
    if x.state == EXCHANGE_FINISHED:
        return
    if x.state == EXCHANGE_TUNNEL:
        tunnel_leave(eng, x, b"L")
        return
    if x.parting:
        end_state(x, b"K", cut_where(x))
        exchange_cut(eng, x)
        return
    if x.flags & X_ANSWER_BEGUN or not x.request_flow.done or (
            x.flags & X_GRPC and grpc_deadline_came(eng, x)):
        x.flags |= X_BLAMELESS      # the client may be slow, or have given it too little time
    end_state(x, b"s", b"H" if cut_where(x) == c'Q' else cut_where(x))
    if x.state >= EXCHANGE_DIALING:
        count_add(&backend_count(board_of(eng), eng.slot, x.backend_row).timeouts, 1)
    exchange_fail(eng, x, 504, b"the request took longer than allowed")
