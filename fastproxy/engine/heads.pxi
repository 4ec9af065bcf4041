# SPDX-License-Identifier: MIT
# Heads as they leave us: the request the upstream reads, the answer the client reads.
#
# Kept field lines are copied in runs; everything hop-by-hop is dropped by id or because a
# Connection option names it (RFC 9110 7.6.1), and framing is always made anew. What the
# configuration edits wins over what we add ourselves.

cdef enum:
    # Room for normalised and rewritten paths.
    PATH_ROOM = 65536

cdef extern from * nogil:
    """
    #include <stdint.h>
    #define BIT(id) (1ull << (id))
    /* FieldId bits; ids are those of http1/head.pxd. */
    #define MADE_ANEW (BIT(2) | BIT(3) | BIT(4) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(10) \
                       | BIT(11) | BIT(13))
    /* Request: also Host (written first), Expect, Proxy-Authorization, the forwarding family, and
     * what is said of a client's certificate. */
    static const uint64_t DROP_FROM_REQUEST = MADE_ANEW | BIT(1) | BIT(5) | BIT(12) | BIT(14)
        | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(22) | BIT(34) | BIT(35)
        | BIT(36);
    static const uint64_t CLIENT_CERTS = BIT(34) | BIT(35) | BIT(36);
    static const uint64_t DROP_FROM_ANSWER = MADE_ANEW;
    #undef BIT
    """
    const uint64_t DROP_FROM_REQUEST
    const uint64_t CLIENT_CERTS
    const uint64_t DROP_FROM_ANSWER


cdef inline Span literal(const char *text) noexcept nogil:
    return span(text, strlen(text))


cdef inline void put_line(Out *out, const char *name, Span value) noexcept nogil:
    put_text(out, name)
    put(out, b": ", 2)
    put_span(out, value)
    put(out, b"\r\n", 2)


cdef inline bint field_dropped(const char *plan, const EditList *edits, const Head *head,
                               const Field *field, uint64_t mask, uint8_t flags) noexcept nogil:
    if (mask >> field.id) & 1 or field.flags & flags:
        return True
    return edits != NULL and edit_drops(plan, edits, name_of(head, field), field.id)


cdef void put_fields(Out *out, const char *plan, const EditList *edits, const Head *head,
                     uint64_t mask, uint8_t flags) noexcept nogil:
    """Copy all field lines but the dropped ones, neighbours in one piece."""
    cdef uint32_t start = head.fields_off
    cdef uint32_t at = start
    cdef const Field *field = &head.fields[0]
    cdef uint16_t i
    for i in range(head.count):
        if field_dropped(plan, edits, head, field, mask, flags):
            put(out, head.base + start, field.name_off - start)
            start = field.name_off + field.line_len
        at = field.name_off + field.line_len
        field += 1
    put(out, head.base + start, at - start)


# ---- the request ----------------------------------------------------------------------------

cdef int head_to_upstream(Engine *eng, Exchange *x, Request *request, Out *out) noexcept nogil:
    """Write the request head for the upstream. 0, or the status to answer instead."""
    cdef Head *head = request.head
    cdef const EditList *edits = NULL
    cdef const char *plan = x.plan.base
    cdef uint64_t mask = DROP_FROM_REQUEST
    cdef uint8_t flags = FIELD_NOMINATED
    cdef const Settings *settings = x.plan.settings
    cdef Span cert = client_cert(eng, x, out)
    cdef int status
    if x.rewrite != NULL and x.rewrite.request.edits.count != 0:
        edits = &x.rewrite.request
    if settings.keep_underscores:
        drop_impostors(plan, edits, head)
    else:
        flags |= FIELD_UNDERSCORE
    request_id_choose(eng, x, head)
    put_span(out, text_span(head.base, head.method_text))
    put_char(out, c' ')
    status = put_target(eng, x, request, out)
    if status != 0:
        return status
    put(out, b" HTTP/1.1\r\nHost: ", 17)
    put_host(x, request, out)
    put(out, b"\r\n", 2)
    if x.request_flow.trailers.ptr != NULL:
        mask &= ~(<uint64_t> 1 << FIELD_TRAILER)
    if x.flags & X_TRUSTED:
        # A trusted proxy's words about its own client are passed on; X-Forwarded-For grows.
        mask &= ~((<uint64_t> 1 << FIELD_X_FORWARDED_PROTO)
                  | (<uint64_t> 1 << FIELD_X_FORWARDED_HOST)
                  | (<uint64_t> 1 << FIELD_X_FORWARDED_PORT)
                  | (<uint64_t> 1 << FIELD_X_FORWARDED_PREFIX))
        if cert.len == 0:
            mask &= ~CLIENT_CERTS
    if upstream_row(x).session.hide and ours(x, edits, FIELD_COOKIE, b"Cookie"):
        put_other_cookies(out, head, text_span(plan, upstream_row(x).session.name))
    if x.web != NULL:
        mask |= web_request_head(x, edits, out)
    put_fields(out, plan, edits, head, mask, flags)
    put_forwarding(eng, x, request, out, edits)
    if cert.len != 0:
        put_client_cert(eng, x, head, cert, edits, out)
    put_request_framing(eng, x, out)
    if edits != NULL:
        scene_of_request(eng, x, request)
        edits_emit(out, plan, edits, &eng.scene, head)
    put(out, b"\r\n", 2)
    return 500 if out.full else 0


cdef void drop_impostors(const char *plan, const EditList *edits, Head *head) noexcept nogil:
    """Names with an underscore are kept by option, but none that a server may read as a field that
    we write, check or drop: X_Forwarded_For is X-Forwarded-For to CGI and its heirs (B3 25)."""
    cdef char room[64]
    cdef Span name
    cdef uint8_t id
    cdef uint16_t i
    cdef size_t at
    for i in range(head.count):
        name = name_of(head, &head.fields[i])
        if not head.fields[i].flags & FIELD_UNDERSCORE or name.len > sizeof(room):
            continue
        for at in range(name.len):
            room[at] = name.ptr[at] if name.ptr[at] != c'_' else c'-'
        name.ptr = room
        id = name_id(name.ptr, name.len)
        if ((DROP_FROM_REQUEST >> id) & 1
                or edits != NULL and edit_drops(plan, edits, name, id)):
            head.fields[i].flags |= FIELD_NOMINATED


cdef int put_target(Engine *eng, Exchange *x, Request *request, Out *out) noexcept nogil:
    """The target in origin form: the path that was matched, rewritten; the query as it came."""
    cdef Span result
    cdef int fault
    if x.rewrite == NULL or x.rewrite.paths.count == 0 or request.parts.form == TARGET_ASTERISK:
        put_span(out, request.path)
        if request.parts.has_query:
            put_char(out, c'?')
            put_span(out, request.query)
        return 0
    scene_of_request(eng, x, request)
    fault = path_apply(x.plan.base, x.rewrite, &(<const RouteRuntime *> x.plan.runtime).regexes,
                       request.path, request.query, &eng.scene, out, &result)
    if fault == PATH_OK:
        return 0
    return 400 if fault == PATH_ILLEGAL else 414 if fault == PATH_TOO_LONG else 500


cdef void put_host(Exchange *x, Request *request, Out *out) noexcept nogil:
    """The upstream's `host` policy: what the client said, the backend's own, or a fixed one."""
    cdef const UpstreamRow *row = upstream_row(x)
    if row.host_policy == HOST_FIXED:
        put_span(out, text_span(x.plan.base, row.host))
    elif row.host_policy == HOST_UPSTREAM or request.authority.len == 0:
        x.host_at = <uint32_t> out.len      # known only when a backend is picked: http1_send
    else:
        put_span(out, request.authority)


cdef void put_forwarding(Engine *eng, Exchange *x, Request *request, Out *out,
                         const EditList *edits) noexcept nogil:
    """X-Forwarded-*, X-Real-IP, Forwarded, Via, X-Request-ID: replaced, unless the peer is
    trusted; then what it said stands, and our peer is appended to the lists."""
    cdef const Settings *settings = x.plan.settings
    cdef const Head *head = request.head
    cdef bint trusted = x.flags & X_TRUSTED != 0
    cdef Span peer = span(eng.peer_room, 0)
    if x.client != NULL:
        if not x.flags & X_PEER_UNIX:
            peer.len = address_text(x.peer, eng.peer_room)
        else:
            peer = span(b"unix", 4)
        if ours(x, edits, FIELD_X_FORWARDED_FOR, b"X-Forwarded-For"):
            put(out, b"X-Forwarded-For: ", 17)
            if trusted:
                put_joined(out, head, FIELD_X_FORWARDED_FOR)
            put_span(out, peer)
            put(out, b"\r\n", 2)
        if ours(x, edits, FIELD_X_REAL_IP, b"X-Real-IP"):
            put_line(out, b"X-Real-IP", client_address(eng, x, head, peer))
        if settings.forwarded and ours(x, edits, FIELD_FORWARDED, b"Forwarded"):
            put(out, b"Forwarded: ", 11)
            if trusted:
                put_joined(out, head, FIELD_FORWARDED)
            put_forwarded(x, request, peer, out)
            put(out, b"\r\n", 2)
        if not (trusted and has_field(head, FIELD_X_FORWARDED_PROTO)) and ours(
                x, edits, FIELD_X_FORWARDED_PROTO, b"X-Forwarded-Proto"):
            if x.flags & X_SECURE:
                put(out, b"X-Forwarded-Proto: https\r\n", 26)
            else:
                put(out, b"X-Forwarded-Proto: http\r\n", 25)
        if request.authority.len != 0 and not (
                trusted and has_field(head, FIELD_X_FORWARDED_HOST)) and ours(
                x, edits, FIELD_X_FORWARDED_HOST, b"X-Forwarded-Host"):
            put_line(out, b"X-Forwarded-Host", request.authority)
        if not (trusted and has_field(head, FIELD_X_FORWARDED_PORT)) and ours(
                x, edits, FIELD_X_FORWARDED_PORT, b"X-Forwarded-Port"):
            put(out, b"X-Forwarded-Port: ", 18)
            put_uint(out, listener_port(x))
            put(out, b"\r\n", 2)
    put_via(x, head, edits, x.flags & X_HTTP2 != 0, out)
    if x.flags & X_EARLY:
        put(out, b"Early-Data: 1\r\n", 15)
    if ours(x, edits, FIELD_X_REQUEST_ID, b"X-Request-ID"):
        put_line(out, b"X-Request-ID", span(x.request_id, x.request_id_len))


cdef inline void put_via(Exchange *x, const Head *head, const EditList *edits, bint second,
                         Out *out) noexcept nogil:
    """Via, behind those that are there (RFC 9110 7.6.3): the version is the message's own, HTTP/2
    if `second`."""
    if not x.plan.settings.via or not ours(x, edits, FIELD_VIA, b"Via"):
        return
    put(out, b"Via: 2.0 " if second else b"Via: 1.1 " if head.minor else b"Via: 1.0 ", 9)
    put_span(out, text_span(x.plan.base, x.plan.settings.via_name))
    put(out, b"\r\n", 2)


cdef inline bint ours(Exchange *x, const EditList *edits, uint8_t id,
                      const char *name) noexcept nogil:
    """Do we write this field, or does the configuration replace it?"""
    return edits == NULL or not edit_drops(x.plan.base, edits, literal(name), id)


cdef inline bint has_field(const Head *head, uint8_t id) noexcept nogil:
    return (head.ids >> id) & 1


cdef void put_joined(Out *out, const Head *head, uint8_t id) noexcept nogil:
    """All values of a list field, each with ", " behind it."""
    cdef uint16_t i
    if not has_field(head, id):
        return
    for i in range(head.count):
        if head.fields[i].id == id and head.fields[i].value_len != 0:
            put_span(out, value_of(head, &head.fields[i]))
            put(out, b", ", 2)


cdef void put_forwarded(Exchange *x, Request *request, Span peer, Out *out) noexcept nogil:
    """One element of RFC 7239: IPv6 and anything with a port is quoted."""
    put(out, b"for=", 4)
    if x.flags & X_PEER_UNIX:
        put(out, b"unknown", 7)
    elif is_v4_mapped(x.peer):
        put_span(out, peer)
    else:
        put(out, b"\"[", 2)
        put_span(out, peer)
        put(out, b"]\"", 2)
    if request.authority.len != 0:
        put(out, b";host=\"", 7)
        put_span(out, request.authority)
        put_char(out, c'"')
    put(out, b";proto=https", 12 if x.flags & X_SECURE else 11)


cdef inline void put_length(Out *out, uint64_t length) noexcept nogil:
    put(out, b"Content-Length: ", 16)
    put_uint(out, length)
    put(out, b"\r\n", 2)


cdef void put_request_framing(Engine *eng, Exchange *x, Out *out) noexcept nogil:
    """What delimits the body for the upstream: never a copy, so never read differently there."""
    if eng.framing.length >= 0:
        put_length(out, <uint64_t> eng.framing.length)
    elif x.flags & X_HTTP2 and x.request_flow.done and (
            x.method == METHOD_POST or x.method == METHOD_PUT or x.method == METHOD_PATCH):
        # HTTP/2 says by its frames that there is no body; a server of HTTP/1.1 may insist on
        # hearing it (RFC 9110 8.6).
        put_length(out, 0)
    if x.flags & X_EXPECTS:
        put(out, b"Expect: 100-continue\r\n", 22)
    if x.request_flow.out_chunked:
        put(out, b"Transfer-Encoding: chunked\r\n", 28)
    if x.flags & X_UPGRADE:
        put(out, b"Connection: upgrade\r\nUpgrade: websocket\r\n", 41)
    elif x.flags & X_TE_TRAILERS and x.flags & X_TRAILERS:
        put(out, b"Connection: te\r\nTE: trailers\r\n", 30)


# ---- the answer -----------------------------------------------------------------------------

cdef void head_to_client(Engine *eng, Exchange *x, Head *head, Out *out) noexcept nogil:
    """The final answer's head as the client reads it. Sets X_ANSWER_CLOSES if the connection must
    end with it, and the flow's outgoing framing."""
    cdef const EditList *edits = NULL
    cdef const Connection *conn = x.client
    cdef uint64_t mask = DROP_FROM_ANSWER
    # Not only looked at, as event streams are: its type is another, and it has no length.
    cdef bint translated = x.web != NULL and x.answer_flow.filter != NULL
    if x.rewrite != NULL and x.rewrite.response.edits.count != 0:
        edits = &x.rewrite.response
    x.answer_flow.out_chunked = False
    if x.answer_flow.kind == BODY_CHUNKED or x.answer_flow.kind == BODY_CLOSE or translated:
        if x.flags & X_CLIENT_10:
            x.flags |= X_ANSWER_CLOSES
        else:
            x.answer_flow.out_chunked = True
        if translated:
            mask |= <uint64_t> 1 << FIELD_CONTENT_TYPE
        elif x.answer_flow.trailers.ptr != NULL:
            mask &= ~(<uint64_t> 1 << FIELD_TRAILER)
    if says_hsts(x):
        mask |= <uint64_t> 1 << FIELD_STRICT_TRANSPORT_SECURITY
    client_keeps_or_closes(eng, x, conn)
    put(out, b"HTTP/1.1 ", 9)
    put_uint(out, head.status)
    put_char(out, c' ')
    put_span(out, text_span(head.base, head.reason))
    put(out, b"\r\n", 2)
    if x.web != NULL:
        web_head(x, head, edits, out)
    put_fields(out, x.plan.base, edits, head, mask, FIELD_NOMINATED)
    if not has_field(head, FIELD_DATE) and (
            edits == NULL or ours(x, edits, FIELD_DATE, b"Date")):
        put_line(out, b"Date", literal(eng.date))
    put_via(x, head, edits, x.upstream != NULL and x.upstream.flags & CONN_STREAM != 0, out)
    if says_hsts(x):
        put_hsts(x, out)
    if x.bond.kind != SESSION_NONE:
        session_answer(eng, x, head, out)
    if x.answer_flow.out_chunked:
        put(out, b"Transfer-Encoding: chunked\r\n", 28)
    elif eng.framing.length >= 0 and head.status != 204:
        put_length(out, <uint64_t> eng.framing.length)
    put_connection(x, out)
    if edits != NULL:
        scene_of_answer(eng, x, head)
        edits_emit(out, x.plan.base, edits, &eng.scene, head)
    put(out, b"\r\n", 2)


cdef inline void client_keeps_or_closes(Engine *eng, Exchange *x,
                                        const Connection *conn) noexcept nogil:
    """Does this connection serve another request after this answer?"""
    if conn == NULL:
        return
    if (not x.flags & X_CLIENT_KEEPS or eng.draining
            or conn.flags & (CONN_EOF | CONN_CLOSE_AFTER | CONN_STREAM)
            or conn.requests >= x.plan.settings.requests_per_connection):
        x.flags |= X_ANSWER_CLOSES
    elif not x.request_flow.done:
        # An early answer: worth keeping only if little of the body is left (RFC 9112 9.3).
        if (x.request_flow.kind != BODY_LENGTH or x.request_flow.left > DRAIN_BYTES_MAX
                or x.flags & X_EXPECTS):
            x.flags |= X_ANSWER_CLOSES


cdef inline void put_connection(Exchange *x, Out *out) noexcept nogil:
    if x.flags & X_ANSWER_CLOSES:
        put(out, b"Connection: close\r\n", 19)
    elif x.flags & X_CLIENT_10:
        put(out, b"Connection: keep-alive\r\n", 24)
