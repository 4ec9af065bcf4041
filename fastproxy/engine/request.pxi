# SPDX-License-Identifier: MIT
# The request: from a whole head to a verdict. Framing, target, route, verdict, in this order; each
# step either goes on or has answered. What must outlive the turn is copied into the arena here.

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
    if sent_to_https(x, request):
        answer_https(eng, x, request)
        return 0
    if x.flags & X_SECURE and not exchange_secure(eng, x, request):
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
    if is_grpc(head):
        x.flags |= X_GRPC | X_TRAILERS
    elif x.plan.settings.forward_trailers:
        x.flags |= X_TRAILERS
    if x.flags & X_TRAILERS:
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


cdef bint exchange_secure(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """What TLS has to say about this request. False: answered."""
    if x.client == NULL or x.client.tls == NULL:
        return True
    if eng.tls.misdirected(eng, x.client, request.host):
        end_state(x, b"P", b"R")
        exchange_fail(eng, x, 421, b"this host asks for other certificates of clients")
        return False
    # Early data may be sent again by who has only seen it pass: what changes anything, as what is
    # said in a tunnel may, waits for the handshake, that is, the client is told to ask again
    # (RFC 8470 5.2, B3 44).
    if x.flags & X_EARLY and not (x.request_flow.done and not x.flags & X_UPGRADE and (
            x.method == METHOD_GET or x.method == METHOD_HEAD or x.method == METHOD_OPTIONS)):
        end_state(x, b"P", b"R")
        exchange_fail(eng, x, 425, b"not before the handshake is over")
        return False
    return True


cdef bint exchange_route(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """Which route? False: none, answered."""
    cdef RouteQuery query
    cdef const RouteTables *tables = &x.plan.header.routes
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
    if x.route.max_body != 0 and not x.request_flow.done:
        if (x.request_flow.kind == BODY_LENGTH
                and <uint64_t> x.request_flow.left > x.route.max_body):
            end_state(x, b"P", b"R")
            x.flags |= X_ANSWER_CLOSES
            exchange_fail(eng, x, 413, b"the request body is larger than allowed")
            return False
        x.request_flow.filter = filter_max_body
    if x.route.request_timeout_ms != 0:
        timer_set(&eng.wheel, &x.timer, eng.now_ms + x.route.request_timeout_ms)
    if x.route.grpc_web != 0 and not web_begin(eng, x, request):
        return False
    if x.flags & X_GRPC:
        grpc_deadline(eng, x, request.head)
    return True


cdef int filter_max_body(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """BodyFilter: a chunked body says its size only by ending (413)."""
    return 413 if x.request_flow.moved + piece.len > x.route.max_body else 0


cdef Verdict exchange_judge(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """May it pass? The verdict point: REPLY has answered, AWAIT has parked it for Python."""
    if x.route.action == ACTION_UPSTREAM:
        x.upstream_index = x.route.target
        return VERDICT_PASS
    if x.route.action == ACTION_SPLIT:
        x.upstream_index = split_draw(eng, x, request)
        return VERDICT_PASS
    if x.route.action == ACTION_RESPONDER:
        x.kept = NULL
        if not request_keep(eng, x, request, 0):
            exchange_fail(eng, x, 503, b"out of memory")
            return VERDICT_REPLY
        exchange_move(x, EXCHANGE_PARKED)
        knock(eng, x)
        return VERDICT_AWAIT
    answer_from_route(eng, x, request)
    return VERDICT_REPLY


cdef enum:
    SPLIT_SEED = 0x73706c69         # "spli"


cdef uint32_t split_draw(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """An upstream by weight: by chance, or always the same for what the route splits by. Of a
    hash's value the parts are stretches, so that another weight moves their borders only."""
    cdef const SplitRow *rows = <const SplitRow *> (x.plan.base + x.route.split.off)
    cdef uint64_t share = random_next(eng.random)
    cdef uint32_t draw, i
    cdef Out out
    if x.route.value.parts.count != 0:
        out = out_over(eng.build, BUILD_BYTES)
        scene_of_request(eng, x, request)
        render(&out, x.plan.base, &x.route.value, &eng.scene)
        if out.len != x.route.split_fixed:
            # Another hash than that of `balance = "hash"`: each part has keys of its whole range.
            share = mix_hashes(hash_key(out.ptr, out.len), SPLIT_SEED)
    draw = <uint32_t> ((share >> 32) * x.route.split_total >> 32)
    for i in range(x.route.split.count):
        if draw < rows[i].upper:
            return rows[i].upstream
    return rows[x.route.split.count - 1].upstream


# ---- what outlives the turn -----------------------------------------------------------------

cdef inline void span_follow(Span *text, ptrdiff_t moved) noexcept nogil:
    """The bytes it names were moved; an absent one stays absent."""
    if text.ptr != NULL:
        text.ptr += moved


cdef bint request_keep(Engine *eng, Exchange *x, Request *request, size_t sent_size) noexcept nogil:
    """Make room in the arena for the request as sent, and copy the request itself into it if
    somebody will ask for it later (log, edits of the answer, Python). False: no memory."""
    cdef bint needed = (x.route.action == ACTION_RESPONDER
                        or (x.plan.settings.access_log and x.route.log)
                        or (x.rewrite != NULL and x.rewrite.needs_request)
                        or capped_live(eng, x) != NULL      # it may have to wait in line
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
    memcpy(kept, request, <size_t> &(<Request *> NULL).hit.params
           + request.hit.param_count * sizeof(Span))
    copy = <Head *> (x.arena.ptr + sizeof(Request))
    memcpy(copy, head, head_size)
    at = <char *> copy + head_size
    memcpy(at, head.base, head.length)
    copy.base = at
    kept.head = copy
    moved = at - head.base
    span_follow(&kept.authority, moved)
    span_follow(&kept.query, moved)
    span_follow(&kept.parts.path, moved)
    at += head.length
    memcpy(at, request.path.ptr, request.path.len)
    moved = at - request.path.ptr
    kept.path.ptr = at
    for i in range(request.hit.param_count):
        span_follow(&kept.hit.params[i], moved)
    at += request.path.len
    memcpy(at, request.host.ptr, request.host.len)
    kept.host.ptr = at
    x.arena.len = <uint32_t> (at + request.host.len - x.arena.ptr)
    x.kept = kept
    return True
