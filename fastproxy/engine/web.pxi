# SPDX-License-Identifier: MIT
# gRPC-Web: what a browser calls becomes a gRPC call, and its answer gRPC-Web again, by a body
# filter in each direction (grpcweb/translate.pxd) and other fields in both heads. And CORS, since
# the page is mostly of another origin than what it calls.

cdef inline const GrpcWebRow *web_row(const Exchange *x) noexcept nogil:
    return (<const GrpcWebRow *> (x.plan.base + x.plan.header.grpc_web.rows.off)) + x.route.grpc_web


cdef Span field_named(const Head *head, const char *name, size_t length) noexcept nogil:
    """The value of the first field of this name (lower case); empty if there is none."""
    cdef uint16_t i
    for i in range(head.count):
        if head.fields[i].name_len == length and lower_is(
                name_of(head, &head.fields[i]), name, length):
            return value_of(head, &head.fields[i])
    return span(NULL, 0)


# ---- the request ----------------------------------------------------------------------------

cdef bint web_begin(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """A route that translates has been found. False: answered (a browser asked whether it may)."""
    cdef const Head *head = request.head
    cdef Span origin = field_named(head, b"origin", 6)
    cdef Span suffix
    cdef uint32_t cap
    cdef int kind = WEB_NONE
    if head.method == METHOD_OPTIONS and origin.len != 0 and field_named(
            head, b"access-control-request-method", 29).len != 0:
        web_preflight(eng, x, origin)
        return False
    if head.method == METHOD_POST and has_field(head, FIELD_CONTENT_TYPE):
        kind = grpc_web_kind(
            value_of(head, &head.fields[head.last[<int> FIELD_CONTENT_TYPE]]), &suffix)
    if kind == WEB_NONE:
        return True
    x.web = <WebCall *> block_take(&eng.blocks, sizeof(WebCall), &cap)
    if x.web == NULL:
        exchange_fail(eng, x, 503, b"out of memory")
        return False
    memset(x.web, 0, sizeof(WebCall))
    x.web.kind = <uint8_t> kind
    x.web.suffix_len = <uint8_t> suffix.len
    memcpy(x.web.suffix, suffix.ptr, suffix.len)
    if origin.len <= WEB_ORIGIN_MAX and origin_allowed(x.plan.base, web_row(x), origin):
        x.web.origin_len = <uint8_t> origin.len
        memcpy(x.web.origin, origin.ptr, origin.len)
    x.flags |= X_GRPC | X_TRAILERS | X_TE_TRAILERS
    if kind == WEB_TEXT and not x.request_flow.done:
        x.request_flow.filter = filter_web_text
        x.request_flow.out_chunked = True       # its length is known when it has come
        eng.framing.length = -1
    return True


cdef void web_drop(Engine *eng, Exchange *x) noexcept nogil:
    block_give(&eng.blocks, <char *> x.web, sizeof(WebCall))
    x.web = NULL


cdef int filter_web_text(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """BodyFilter: base64 becomes what it stands for, in place."""
    cdef ssize_t made = web_decode(x.web, <char *> piece.ptr, piece.len)
    if made < 0 or (last and not web_decoded(x.web)):
        return 400
    piece.len = <size_t> made
    return filter_max_body(eng, x, piece, last) if x.route.max_body != 0 else 0


cdef void put_web_kind(const WebCall *call, Out *out, bint web) noexcept nogil:
    """Content-Type, of either side."""
    put_text(out, b"Content-Type: application/grpc")
    if web:
        put_text(out, b"-web-text" if call.kind == WEB_TEXT else b"-web")
    put(out, call.suffix, call.suffix_len)
    put(out, b"\r\n", 2)


cdef uint64_t web_request_head(Exchange *x, const EditList *edits, Out *out) noexcept nogil:
    """What the backend reads instead of the fields (bits by id) that are returned."""
    if ours(x, edits, FIELD_CONTENT_TYPE, b"Content-Type"):
        put_web_kind(x.web, out, False)
    return <uint64_t> 1 << FIELD_CONTENT_TYPE


# ---- the answer -----------------------------------------------------------------------------

cdef void web_answer(Engine *eng, Exchange *x, const Head *head) noexcept nogil:
    """The answer's head has come. What is no gRPC is passed on as it is, without trailers: the
    browser has not asked for any."""
    if is_grpc(head):
        x.answer_flow.filter = filter_web_answer
        return
    trailers_drop(eng, &x.answer_flow)
    if x.answer_flow.kind == BODY_CHUNKED:
        x.answer_chunked.trailers = NULL


cdef int filter_web_answer(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """BodyFilter: messages as base64, if it is text; trailers as a frame behind the last one. The
    room is the worker's: bytes are sent, or kept, before the next piece of anybody comes."""
    cdef Out out
    cdef Out *lines = &x.answer_flow.trailers
    if x.web.kind == WEB_BINARY and not last:
        return 0
    buffer_drop(&eng.blocks, &eng.web_room)
    if not buffer_room(&eng.blocks, &eng.web_room, web_bound(piece.len)):
        return 503
    out = out_over(eng.web_room.ptr, eng.web_room.cap)
    if x.web.kind == WEB_TEXT:
        web_encode(x.web, piece[0], &out)
    else:
        put_span(&out, piece[0])
    if last:
        web_trailers(x.web, lines.ptr, lines.len, &out)
        lines.len = 0
    piece[0] = span(out.ptr, out.len)
    return 0


cdef bint answer_filter(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """Pass a piece of an answer through its filter. False: it cannot be; the exchange is over."""
    if (piece.len == 0 and not last) or x.answer_flow.filter(eng, x, piece, last) == 0:
        return True
    end_state(x, b"L", b"D")
    exchange_fail(eng, x, 503, b"out of memory")
    return False


cdef void web_head(Exchange *x, Head *head, const EditList *edits, Out *out) noexcept nogil:
    """What the browser reads beside the answer's own fields. Who may read it we know better than a
    backend, which is asked by us."""
    cdef Span name
    cdef uint16_t i
    if x.answer_flow.filter != NULL and ours(x, edits, FIELD_CONTENT_TYPE, b"Content-Type"):
        put_web_kind(x.web, out, True)
    for i in range(head.count):
        name = name_of(head, &head.fields[i])
        if x.web.origin_len != 0 and name.len > 15 and lower_is(
                span(name.ptr, 15), b"access-control-", 15):
            head.fields[i].flags |= FIELD_NOMINATED
    put_web_origin(x, out)


cdef void put_web_origin(Exchange *x, Out *out) noexcept nogil:
    """The script that has called may read the answer, if it may."""
    if x.web.origin_len != 0:
        put_origin(x, web_row(x), span(x.web.origin, x.web.origin_len), out)
        web_line(out, b"Access-Control-Expose-Headers", text_span(x.plan.base, web_row(x).expose))


# ---- CORS -----------------------------------------------------------------------------------

cdef void web_line(Out *out, const char *name, Span value) noexcept nogil:
    """put_line, once for all of these: its copies here made GCC call it where it is hot."""
    put_line(out, name, value)


cdef void put_origin(const Exchange *x, const GrpcWebRow *row, Span origin,
                     Out *out) noexcept nogil:
    """Yes, to a script of this origin."""
    if row.any_origin:
        web_line(out, b"Access-Control-Allow-Origin", span(b"*", 1))
        return
    web_line(out, b"Access-Control-Allow-Origin", origin)
    web_line(out, b"Vary", span(b"Origin", 6))
    if row.credentials:
        web_line(out, b"Access-Control-Allow-Credentials", span(b"true", 4))


cdef void web_preflight(Engine *eng, Exchange *x, Span origin) noexcept nogil:
    """A browser asks whether a script may call. Ends the exchange."""
    cdef char room[4096]
    cdef Out fields = out_over(room, sizeof(room))
    cdef const GrpcWebRow *row = web_row(x)
    end_state(x, b"L", b"-")
    if origin.len > WEB_ORIGIN_MAX or not origin_allowed(x.plan.base, row, origin):
        exchange_fail(eng, x, 403, b"scripts of this origin may not call this")
        return
    x.status = 204
    x.flags |= X_ANSWER_BEGUN
    put_origin(x, row, origin, &fields)
    web_line(&fields, b"Access-Control-Allow-Methods", span(b"POST", 4))
    web_line(&fields, b"Access-Control-Allow-Headers", text_span(x.plan.base, row.allow))
    put_text(&fields, b"Access-Control-Max-Age: ")
    put_uint(&fields, row.max_age)
    put(&fields, b"\r\n", 2)
    answer_send(eng, x, 204, span(fields.ptr, fields.len), span(NULL, 0))
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)
