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
    x.state = EXCHANGE_ROUTED
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
    return x


# ---- beginning ------------------------------------------------------------------------------

cdef void client_refuse(Engine *eng, Connection *conn, Head *head,
                        const Fault *fault) noexcept nogil:
    """The bytes are no request: answer, close. Nothing of them is forwarded."""
    cdef Exchange *x = exchange_take(eng, conn, &HTTP1_ASKER)
    if x == NULL:
        client_close(eng, conn)
        return
    list_unlink(conn)
    connection_move(conn, PEER_RUNNING)
    x.request_flow.done = True
    conn.flags |= CONN_CLOSE_AFTER
    exchange_reject(eng, x, fault)


cdef void exchange_reject(Engine *eng, Exchange *x, const Fault *fault) noexcept nogil:
    """The request is at fault: answer with its status and close (B3 13). Ends the exchange."""
    count_add(&eng.me.faults, 1)
    x.flags |= X_REJECTED | X_ANSWER_CLOSES
    if x.client != NULL:
        x.client.flags |= CONN_CLOSE_AFTER
    end_state(x, b"P" if fault.status != 408 else b"c", b"R")
    exchange_fail(eng, x, fault.status, fault_text(fault.reason))


cdef size_t exchange_begin(Engine *eng, Exchange *x, Head *head, char *rest,
                           size_t size) noexcept nogil:
    """A whole request head has come: route it and set it going. `rest` is what follows in the
    buffer (writable); returns how much of it was taken as body. May end the exchange."""
    cdef Request *request = &eng.request
    cdef Verdict verdict
    # Whoever ends the exchange before it is forwarded logs it from here; later from the arena.
    memset(request, 0, <size_t> &(<Request *> NULL).hit)
    request.head = head
    request.hit.param_count = 0
    x.kept = request
    note_accept(x, head)
    if not exchange_frame(eng, x, head) or not exchange_target(eng, x, head, request):
        return 0
    if not exchange_route(eng, x, request):
        return 0
    verdict = exchange_judge(eng, x, request)
    if verdict != VERDICT_PASS:
        return 0
    exchange_move(x, EXCHANGE_JUDGED)
    return exchange_forward(eng, x, request, rest, size)


cdef bint exchange_frame(Engine *eng, Exchange *x, Head *head) noexcept nogil:
    """How is the body delimited, what does the client want afterwards? False: answered."""
    cdef Framing *framing = &eng.framing
    cdef Fault fault
    x.method = head.method
    if head.minor == 0:
        x.flags |= X_CLIENT_10
    if head.method == METHOD_HEAD:
        x.flags |= X_HEAD
    x.request_flow.done = True
    if frame_request(head, framing, &fault) != 0:
        exchange_reject(eng, x, &fault)
        return False
    if framing.keep_alive:
        x.flags |= X_CLIENT_KEEPS
    if framing.te_trailers:
        x.flags |= X_TE_TRAILERS
    if framing.upgrade == UPGRADE_WEBSOCKET:
        x.flags |= X_UPGRADE
    flow_begin(&x.request_flow, framing, &x.request_chunked, SIDE_CLIENT)
    if x.plan.settings.forward_trailers:
        trailers_pass(eng, &x.request_flow)
    if framing.expect_continue and not x.request_flow.done:
        x.flags |= X_EXPECTS
    if head.method == METHOD_TRACE or head.method == METHOD_CONNECT:
        end_state(x, b"P", b"R")
        x.flags |= X_ANSWER_CLOSES
        exchange_fail(eng, x, 405, b"the method is not served here")
        return False
    return True


cdef bint exchange_target(Engine *eng, Exchange *x, Head *head, Request *request) noexcept nogil:
    """What is asked for: authority, host, normalised path, query. False: answered."""
    cdef const Settings *settings = x.plan.settings
    cdef Fault fault
    cdef Span host_field = span(NULL, 0)
    cdef uint8_t options = 0
    if eng.framing.host >= 0:
        host_field = value_of(head, &head.fields[eng.framing.host])
    if target_split(head, &request.parts, &fault) != 0:
        exchange_reject(eng, x, &fault)
        return False
    request.authority = host_field
    if request.parts.form == TARGET_ABSOLUTE:
        # RFC 9112 3.2.2: the target's authority is the host; a Host field is ignored, replaced.
        if settings.reject_host_mismatch and not span_equal_nocase(request.parts.authority,
                                                                   host_field):
            refuse(&fault, FAULT_HOST_BAD, 0, SIDE_CLIENT)
            exchange_reject(eng, x, &fault)
            return False
        request.authority = request.parts.authority
    request.host = span(eng.host_room, 0)
    request.port = 0
    if request.authority.len != 0 and host_split(
            request.authority, eng.host_room, &request.host, &request.port) != 0:
        refuse(&fault, FAULT_HOST_BAD, 0, SIDE_CLIENT)
        exchange_reject(eng, x, &fault)
        return False
    if settings.merge_slashes:
        options |= PATH_MERGE_SLASHES
    if settings.reject_encoded_slash:
        options |= PATH_REFUSE_SLASH
    if path_normalise(request.parts.path, eng.path_room, PATH_ROOM, options, &request.path,
                      &fault) != 0:
        exchange_reject(eng, x, &fault)
        return False
    request.query = request.parts.query
    return True


cdef bint exchange_route(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """Which route? False: none, answered."""
    cdef RouteQuery query
    cdef const RouteTables *tables = &x.plan.header.routes
    cdef uint64_t limit
    query.head = request.head
    query.host = request.host
    query.path = request.path
    query.query = request.query
    query.method = text_span(request.head.base, request.head.method_text)
    query.method_id = request.head.method
    query.listener = x.listener
    route_match(x.plan.base, tables, <const RouteRuntime *> x.plan.runtime, &query, &request.hit)
    if request.hit.why != ROUTE_HIT:
        end_state(x, b"P", b"R")
        if request.hit.why == ROUTE_NO_METHOD:
            x.allow = request.hit.allow
            exchange_fail(eng, x, 405, b"the method is not allowed for this resource")
        elif request.hit.why == ROUTE_NO_HOST:
            exchange_fail(eng, x, 421, b"no such host is served here")
        elif request.path.ptr[0] == c'*':
            answer_options(eng, x)
        else:
            exchange_fail(eng, x, 404, b"no route leads there")
        return False
    x.route = <const RouteRow *> (x.plan.base + tables.rows.off) + request.hit.route
    if x.route.rewrite != 0:
        x.rewrite = (<const RewriteRow *> (x.plan.base + x.plan.header.rewrites.rows.off)
                     + x.route.rewrite)
    limit = x.route.max_body if x.route.max_body != 0 else x.plan.settings.max_body
    if limit != 0 and not x.request_flow.done:
        if x.request_flow.kind == BODY_LENGTH and <uint64_t> x.request_flow.left > limit:
            end_state(x, b"P", b"R")
            x.flags |= X_ANSWER_CLOSES
            exchange_fail(eng, x, 413, b"the request body is larger than allowed")
            return False
        x.request_flow.filter = filter_max_body
    if x.route.request_timeout_ms != 0:
        timer_set(&eng.wheel, &x.timer, eng.now_ms + x.route.request_timeout_ms)
    return True


cdef int filter_max_body(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """BodyFilter: a chunked body says its size only by ending (413)."""
    cdef uint64_t limit = x.route.max_body if x.route.max_body != 0 else x.plan.settings.max_body
    return 413 if x.request_flow.moved + piece.len > limit else 0


cdef Verdict exchange_judge(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """May it pass? The verdict point: REPLY has answered, AWAIT has parked it for Python."""
    if x.route.action == ACTION_UPSTREAM:
        x.upstream_index = x.route.target
        return VERDICT_PASS
    if x.route.action == ACTION_SPLIT:
        x.upstream_index = split_draw(eng, x)
        return VERDICT_PASS
    if x.route.action == ACTION_RESPONDER:
        x.kept = NULL
        if not request_keep(eng, x, request, 0):
            exchange_fail(eng, x, 503, b"out of memory")
            return VERDICT_REPLY
        exchange_move(x, EXCHANGE_PARKED)
        knock(eng, x, KNOCK_RESPONDER)
        return VERDICT_AWAIT
    answer_from_route(eng, x, request)
    return VERDICT_REPLY


cdef uint32_t split_draw(Engine *eng, Exchange *x) noexcept nogil:
    """An upstream by weight."""
    cdef const SplitRow *rows = <const SplitRow *> (x.plan.base + x.route.split.off)
    cdef uint32_t draw = <uint32_t> (random_next(eng) % x.route.split_total)
    cdef uint32_t i
    for i in range(x.route.split.count):
        if draw < rows[i].upper:
            return rows[i].upstream
    return rows[x.route.split.count - 1].upstream


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
    exchange_move(x, EXCHANGE_DIALING)
    exchange_dial(eng, x)
    return <size_t> used


cdef inline bint method_is_idempotent(uint8_t method) noexcept nogil:
    """RFC 9110 9.2.2; an unknown method is not."""
    return (method == METHOD_GET or method == METHOD_HEAD or method == METHOD_PUT
            or method == METHOD_DELETE or method == METHOD_OPTIONS)


cdef void exchange_dial(Engine *eng, Exchange *x) noexcept nogil:
    """Find a backend that takes the request: a kept connection, else a new one; at most once per
    backend. May end the exchange."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef const RosterBackend *backend
    if upstream == NULL:
        exchange_nobody(eng, x)
        return
    while True:
        x.backend = pick(x.roster.base, upstream, &eng.cursors[x.upstream_index],
                         backend_row(board_of(eng), 0), eng.now_ms, &x.tried)
        if x.backend < 0:
            exchange_nobody(eng, x)
            return
        backend = roster_backend(x.roster.base, upstream, <uint32_t> x.backend)
        if exchange_dial_backend(eng, x, backend, True):
            return


cdef bint exchange_dial_backend(Engine *eng, Exchange *x, const RosterBackend *backend,
                                bint may_reuse) noexcept nogil:
    """True: under way (or over already). False: this backend refused at once."""
    cdef Connection *conn = NULL
    x.backend_row = backend.row
    x.dialed_us = eng.now_us
    in_flight(eng, x, 1)
    if may_reuse:
        conn = parked_take(eng, backend, not x.flags & X_REPLAYABLE)
    if conn != NULL:
        count_add(&eng.me.upstream_reused, 1)
        x.connected_us = eng.now_us
        upstream_attach(x, conn)
        connection_move(conn, PEER_BUSY)
        exchange_send(eng, x)
        return True
    if upstream_connect(eng, x, backend):
        return True
    exchange_dial_failed(eng, x)
    return False


cdef inline void exchange_send(Engine *eng, Exchange *x) noexcept nogil:
    """The upstream is there: give it the request. May end the exchange."""
    exchange_move(x, EXCHANGE_WAITING)
    x.server.send(eng, x)


cdef void exchange_dial_failed(Engine *eng, Exchange *x) noexcept nogil:
    """Count a backend that could not be reached; nothing was sent to it."""
    cdef BackendCount *row = backend_count(board_of(eng), eng.slot, x.backend_row)
    count_add(&row.connect_errors, 1)
    count_add(&row.retries, 1)
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
        exchange_fail(eng, x, 502, b"the upstream could not be reached")


cdef void exchange_redial(Engine *eng, Exchange *x) noexcept nogil:
    """A reused connection died before one answer byte: once more, on a fresh one (RFC 9112 9.5)."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    x.flags |= X_REPLAYED
    if x.retries < 255:
        x.retries += 1
    exchange_move(x, EXCHANGE_DIALING)
    if not exchange_dial_backend(
            eng, x, roster_backend(x.roster.base, upstream, <uint32_t> x.backend), False):
        exchange_dial(eng, x)


cdef inline void in_flight(Engine *eng, Exchange *x, int change) noexcept nogil:
    """This worker's own column, so a plain store."""
    inflight_add(inflight_cell(board_of(eng), eng.slot, x.backend_row), change)
    if change > 0:
        x.flags |= X_IN_FLIGHT
    else:
        x.flags &= ~<uint32_t> X_IN_FLIGHT


# ---- the request's body ---------------------------------------------------------------------

cdef int64_t exchange_body_take(Engine *eng, Exchange *x, char *data, size_t size, Span *piece,
                                bint *last) noexcept nogil:
    """Decode body bytes and pass them through the filter. Returns how many bytes of `data` belong
    to this request; -1: refused (the exchange is over)."""
    cdef Fault fault
    cdef int status
    cdef int64_t used = flow_take(&x.request_flow, data, size, piece, last, &fault)
    if used < 0:
        x.flags |= X_BODY_ERROR | X_ANSWER_CLOSES
        if x.flags & X_ANSWER_BEGUN:
            exchange_cut(eng, x)
        else:
            exchange_reject(eng, x, &fault)
        return -1
    if x.request_flow.filter != NULL:
        status = x.request_flow.filter(eng, x, piece, last[0])
        if status != 0:
            end_state(x, b"P", b"Q")
            x.flags |= X_BODY_ERROR | X_ANSWER_CLOSES
            x.request_flow.done = False
            exchange_fail(eng, x, status, b"the request body is larger than allowed")
            return -1
    x.request_flow.moved += piece.len
    x.bytes_in += piece.len
    return used


cdef size_t exchange_body(Engine *eng, Exchange *x, char *data, size_t size) noexcept nogil:
    """More of the request's body came from the asker. Returns how much of it was taken."""
    cdef Span piece
    cdef bint last
    cdef int64_t used = exchange_body_take(eng, x, data, size, &piece, &last)
    if used < 0:
        return size
    x.flags &= ~<uint32_t> X_REPLAYABLE
    if piece.len != 0 or last:
        x.server.body(eng, x, piece, last)
    return <size_t> used


# ---- flows ----------------------------------------------------------------------------------

cdef inline void flow_begin(Flow *flow, const Framing *framing, Chunked *chunked,
                            uint8_t side) noexcept nogil:
    flow.kind = framing.body
    flow.left = framing.length if framing.body == BODY_LENGTH else 0
    flow.done = (framing.body == BODY_NONE
                 or (framing.body == BODY_LENGTH and framing.length == 0))
    flow.out_chunked = framing.body == BODY_CHUNKED
    if framing.body == BODY_CHUNKED:
        chunked_init(chunked, side, NULL)
        flow.chunked = chunked


cdef void trailers_pass(Engine *eng, Flow *flow) noexcept nogil:
    """Collect trailer lines instead of dropping them (RFC 9110 6.5). Without memory: dropped."""
    cdef uint32_t cap
    if flow.kind != BODY_CHUNKED:
        return
    flow.trailers.ptr = block_take(&eng.blocks, TRAILER_ROOM, &cap)
    if flow.trailers.ptr != NULL:
        flow.trailers.cap = TRAILER_ROOM
        flow.chunked.trailers = &flow.trailers


cdef inline void trailers_drop(Engine *eng, Flow *flow) noexcept nogil:
    if flow.trailers.ptr != NULL:
        block_give(&eng.blocks, flow.trailers.ptr, BLOCK_SMALLEST)
        flow.trailers.ptr = NULL


cdef inline int64_t flow_take(Flow *flow, char *data, size_t size, Span *piece, bint *last,
                              Fault *fault) noexcept nogil:
    """Take body bytes: how many belong to this body, the payload among them, and whether it is
    complete. -1: `fault`. A chunked payload is compacted in place."""
    cdef size_t start = 0
    cdef size_t produced = 0
    cdef int64_t used
    last[0] = False
    if flow.kind == BODY_LENGTH:
        used = <int64_t> size if <int64_t> size < flow.left else flow.left
        piece[0] = span(data, <size_t> used)
        flow.left -= used
        if flow.left == 0:
            flow.done = True
            last[0] = True
        return used
    if flow.kind == BODY_CHUNKED:
        used = chunked_decode(flow.chunked, data, size, &start, &produced, fault)
        if used < 0:
            return -1
        piece[0] = span(data + start, produced)
        if flow.chunked.done:
            flow.done = True
            last[0] = True
        return used
    piece[0] = span(data, size)
    return <int64_t> size


cdef enum:
    CHUNK_SPANS = 5


cdef inline int span_put(iovec *spans, int count, const char *ptr, size_t length) noexcept nogil:
    spans[count].iov_base = <void *> ptr
    spans[count].iov_len = length
    return count + 1


cdef inline int put_chunk(const Flow *flow, Span piece, bint last, char *room,
                          iovec *spans) noexcept nogil:
    """A piece as one chunk, and the end of the body if it is the last: up to CHUNK_SPANS spans.
    `room` holds 24 bytes for the size line. Returns the number of spans."""
    cdef Out out = out_over(room, 24)
    cdef int count = 0
    if piece.len != 0:
        put_hex(&out, piece.len)
        put(&out, b"\r\n", 2)
        count = span_put(spans, count, room, out.len)
        count = span_put(spans, count, piece.ptr, piece.len)
        if not last:
            return span_put(spans, count, b"\r\n", 2)
    if not last:
        return count
    if flow.trailers.len == 0:
        if piece.len != 0:
            return span_put(spans, count, b"\r\n0\r\n\r\n", 7)
        return span_put(spans, count, b"0\r\n\r\n", 5)
    if piece.len != 0:
        count = span_put(spans, count, b"\r\n0\r\n", 5)
    else:
        count = span_put(spans, count, b"0\r\n", 3)
    count = span_put(spans, count, flow.trailers.ptr, flow.trailers.len)
    return span_put(spans, count, b"\r\n", 2)


cdef inline void put_body_piece(Out *out, const Flow *flow, Span piece, bint last) noexcept nogil:
    """A piece of a body as it goes out, behind a head."""
    cdef char room[24]
    cdef iovec spans[CHUNK_SPANS]
    cdef int i
    if not flow.out_chunked:
        put_span(out, piece)
        return
    for i in range(put_chunk(flow, piece, last, room, spans)):
        put(out, <const char *> spans[i].iov_base, spans[i].iov_len)


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
    flow_begin(&x.answer_flow, framing, &x.answer_chunked, SIDE_UPSTREAM)
    if x.flags & X_TE_TRAILERS and x.plan.settings.forward_trailers:
        trailers_pass(eng, &x.answer_flow)
    if framing.keep_alive and framing.body != BODY_CLOSE:
        x.flags |= X_UPSTREAM_KEEPS
    if x.answer_flow.done:
        last = True
    elif size != 0:
        used = flow_take(&x.answer_flow, rest, size, &piece, &last, &fault)
        if used < 0:
            upstream_fault(eng, x, &fault)
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
    cdef int64_t used = flow_take(&x.answer_flow, data, size, &piece, &last, &fault)
    if used < 0:
        end_state(x, b"S", b"D")
        exchange_cut(eng, x)
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
    if x.answer_flow.kind != BODY_CLOSE:
        end_state(x, b"S", b"D")
        exchange_cut(eng, x)
        return
    x.answer_flow.done = True
    x.asker.body(eng, x, span(NULL, 0), True)
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
    trailers_drop(eng, &x.request_flow)
    trailers_drop(eng, &x.answer_flow)
    x.kept = NULL
    plan_release(eng, x.plan)
    roster_release(eng, x.roster)
    x.next_dead = eng.dead_exchanges
    eng.dead_exchanges = x


cdef void exchange_timeout(Engine *eng, Exchange *x) noexcept nogil:
    """The route's total timeout."""
    if x.state == EXCHANGE_TUNNEL or x.state == EXCHANGE_FINISHED:
        return
    end_state(x, b"s", b"D" if x.flags & X_ANSWER_BEGUN else b"H")
    if x.state >= EXCHANGE_DIALING:
        count_add(&backend_count(board_of(eng), eng.slot, x.backend_row).timeouts, 1)
    exchange_fail(eng, x, 504, b"the request took longer than allowed")


# ---- what outlives the turn -----------------------------------------------------------------

cdef bint request_keep(Engine *eng, Exchange *x, Request *request, size_t sent_size) noexcept nogil:
    """Make room in the arena for the request as sent, and copy the request itself into it if
    somebody will ask for it later (log, edits of the answer, Python). False: no memory."""
    cdef bint needed = (x.route.action == ACTION_RESPONDER
                        or (x.plan.settings.access_log and x.route.log)
                        or (x.rewrite != NULL and x.rewrite.needs_request)
                        or x.flags & X_UPGRADE)
    cdef Head *head = request.head
    cdef Head *copy
    cdef Request *kept
    cdef char *at
    cdef ptrdiff_t moved
    cdef uint16_t i
    cdef size_t head_size = ((<size_t> &(<Head *> NULL).fields)
                             + head.count * sizeof(Field) + 7) & ~<size_t> 7
    if not needed:
        return buffer_room(&eng.blocks, &x.arena, sent_size)
    if not buffer_room(&eng.blocks, &x.arena, sizeof(Request) + head_size + head.length
                       + request.path.len + request.host.len + sent_size + 8):
        return False
    kept = <Request *> x.arena.ptr
    kept[0] = request[0]
    copy = <Head *> (x.arena.ptr + sizeof(Request))
    memcpy(copy, head, head_size)
    at = <char *> copy + head_size
    memcpy(at, head.base, head.length)
    copy.base = at
    kept.head = copy
    moved = at - head.base
    kept.authority.ptr += moved
    kept.query.ptr += moved
    kept.parts.path.ptr += moved
    at += head.length
    memcpy(at, request.path.ptr, request.path.len)
    moved = at - request.path.ptr
    kept.path.ptr = at
    for i in range(request.hit.param_count):
        kept.hit.params[i].ptr += moved
    at += request.path.len
    memcpy(at, request.host.ptr, request.host.len)
    kept.host.ptr = at
    x.arena.len = <uint32_t> (at + request.host.len - x.arena.ptr)
    x.kept = kept
    return True
