# SPDX-License-Identifier: MIT
# Answers of our own: errors, redirects, fixed replies, what a Python responder said.
#
# All of them go through `answer_send`: it decides what happens to a request body that nobody wants
# (a short rest is thrown away, else the connection is closed after lingering; B3 13, 14).

cdef enum:
    # A rendered Location or reply body.
    ANSWER_VALUE_MAX = 65536


cdef const char *status_text(int status) noexcept nogil:
    """RFC 9110 section 15, for the statuses we make ourselves or a configuration may name."""
    if status == 200: return b"OK"
    if status == 201: return b"Created"
    if status == 202: return b"Accepted"
    if status == 204: return b"No Content"
    if status == 301: return b"Moved Permanently"
    if status == 302: return b"Found"
    if status == 303: return b"See Other"
    if status == 304: return b"Not Modified"
    if status == 307: return b"Temporary Redirect"
    if status == 308: return b"Permanent Redirect"
    if status == 400: return b"Bad Request"
    if status == 401: return b"Unauthorized"
    if status == 403: return b"Forbidden"
    if status == 404: return b"Not Found"
    if status == 405: return b"Method Not Allowed"
    if status == 406: return b"Not Acceptable"
    if status == 408: return b"Request Timeout"
    if status == 409: return b"Conflict"
    if status == 410: return b"Gone"
    if status == 411: return b"Length Required"
    if status == 413: return b"Content Too Large"
    if status == 414: return b"URI Too Long"
    if status == 415: return b"Unsupported Media Type"
    if status == 417: return b"Expectation Failed"
    if status == 418: return b"I'm a teapot"
    if status == 421: return b"Misdirected Request"
    if status == 422: return b"Unprocessable Content"
    if status == 425: return b"Too Early"
    if status == 429: return b"Too Many Requests"
    if status == 431: return b"Request Header Fields Too Large"
    if status == 451: return b"Unavailable For Legal Reasons"
    if status == 500: return b"Internal Server Error"
    if status == 501: return b"Not Implemented"
    if status == 502: return b"Bad Gateway"
    if status == 503: return b"Service Unavailable"
    if status == 504: return b"Gateway Timeout"
    if status == 505: return b"HTTP Version Not Supported"
    return b"Unknown"


cdef void note_accept(Exchange *x, const Head *head) noexcept nogil:
    """Would an error rather be read as JSON? Remember it now, the head may be gone later. JSON must
    be named and not be wanted less than HTML (RFC 9110 12.5.1); who wants both alike gets the one
    named first."""
    cdef int json = 0, html = 0
    cdef Span rest, item
    cdef uint16_t i
    if not has_field(head, FIELD_ACCEPT):
        return
    for i in range(head.count):
        if head.fields[i].id != FIELD_ACCEPT:
            continue
        rest = value_of(head, &head.fields[i])
        while next_item(&rest, &item):
            accept_item(item, &json, &html)
    if json > html:
        x.flags |= X_JSON


cdef inline void accept_item(Span item, int *json, int *html) noexcept nogil:
    """One media range: raises what is known of the wish for JSON or HTML. Twice the weight in
    thousandths; the one that is met first has one more, for ties."""
    cdef const char *semicolon = <const char *> memchr(item.ptr, c';', item.len)
    cdef Span name = item
    cdef int wish
    if semicolon != NULL:
        name.len = semicolon - item.ptr
    name = trimmed(name)
    wish = 2 * accept_weight(span(name.ptr + name.len, item.ptr + item.len - name.ptr - name.len))
    if name.len > 5 and lower_is(span(name.ptr + name.len - 5, 5), b"/json", 5) or (
            name.len > 5 and lower_is(span(name.ptr + name.len - 5, 5), b"+json", 5)):
        if wish != 0 and html[0] == 0:
            wish += 1
        if wish > json[0]:
            json[0] = wish
    elif lower_is(name, b"text/html", 9):
        if wish != 0 and json[0] == 0:
            wish += 1
        if wish > html[0]:
            html[0] = wish


cdef inline int accept_weight(Span parameters) noexcept nogil:
    """The q of a media range in thousandths; 1000 if it is absent or not readable."""
    cdef size_t i = 0
    cdef int value, digits
    while i + 3 < parameters.len:
        if ((parameters.ptr[i] == c';' or parameters.ptr[i] == c' ')
                and (parameters.ptr[i + 1] | 0x20) == c'q' and parameters.ptr[i + 2] == c'='):
            if parameters.ptr[i + 3] != c'0':
                return 1000
            value = 0
            digits = 0
            i += 5
            while digits < 3:
                value *= 10
                if i < parameters.len and c'0' <= parameters.ptr[i] <= c'9':
                    value += parameters.ptr[i] - c'0'
                    i += 1
                digits += 1
            return value
        i += 1
    return 1000


# ---- errors ---------------------------------------------------------------------------------

cdef void answer_error(Engine *eng, Exchange *x, int status, const char *cause) noexcept nogil:
    """AskerCodec.error: a small page, RFC 9457 JSON, or a gRPC status. Says what is wrong, not who
    we are."""
    cdef char room[1024]
    cdef Out body = out_over(room, sizeof(room))
    cdef Out fields
    cdef char field_room[4096]
    fields = out_over(field_room, sizeof(field_room))
    if x.flags & X_GRPC:
        put_grpc_error(x, &fields, grpc_status_of(x, status), literal(cause))
        status = 200
    elif x.flags & X_JSON:
        put_text(&fields, b"Content-Type: application/problem+json\r\n")
        put_text(&body, b"{\"type\":\"about:blank\",\"title\":\"")
        put_text(&body, status_text(status))
        put_text(&body, b"\",\"status\":")
        put_uint(&body, status)
        put_text(&body, b",\"detail\":\"")
        put_text(&body, cause)
        put_text(&body, b"\"}\n")
    else:
        put_text(&fields, b"Content-Type: text/html; charset=utf-8\r\n")
        put_text(&body, b"<!DOCTYPE html>\n<title>")
        put_uint(&body, status)
        put_char(&body, c' ')
        put_text(&body, status_text(status))
        put_text(&body, b"</title>\n<h1>")
        put_text(&body, status_text(status))
        put_text(&body, b"</h1>\n<p>")
        put_text(&body, cause)
        put_text(&body, b"</p>\n")
    if status == 405:
        put_allow(&fields, x.allow)
    elif status == 503:
        put_retry_after(eng, &fields)
    answer_send(eng, x, status, span(fields.ptr, fields.len), span(body.ptr, body.len))


cdef inline void put_retry_after(Engine *eng, Out *out) noexcept nogil:
    """When to come back, another time for each, so that they do not come back together."""
    put_text(out, b"Retry-After: ")
    put_uint(out, RETRY_AFTER_SECONDS + random_next(eng.random) % RETRY_AFTER_SECONDS)
    put(out, b"\r\n", 2)


cdef void put_allow(Out *out, uint32_t allow) noexcept nogil:
    """Allow: the methods of a route's mask (RFC 9110 10.2.1); what we serve at all if it is 0."""
    cdef int method
    cdef bint first = True
    if allow == 0:
        allow = (1 << METHOD_GET | 1 << METHOD_HEAD | 1 << METHOD_POST | 1 << METHOD_PUT
                 | 1 << METHOD_DELETE | 1 << METHOD_PATCH | 1 << METHOD_OPTIONS)
    put_text(out, b"Allow: ")
    for method in range(METHOD_GET, METHOD_CONNECT + 1):
        if (allow >> method) & 1:
            if not first:
                put(out, b", ", 2)
            first = False
            put_text(out, method_text(method))
    put(out, b"\r\n", 2)


cdef void answer_options(Engine *eng, Exchange *x) noexcept nogil:
    """OPTIONS * asks the server in general, not a resource of a route (RFC 9110 9.3.7): we are
    that server, so it is not forwarded. Ends the exchange."""
    cdef char room[256]
    cdef Out fields = out_over(room, sizeof(room))
    x.end_state[0] = c'L'
    x.end_state[1] = c'-'
    x.status = 204
    x.flags |= X_ANSWER_BEGUN
    put_allow(&fields, 0)
    answer_send(eng, x, 204, span(fields.ptr, fields.len), span(NULL, 0))
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)


# ---- routes that answer themselves ----------------------------------------------------------

cdef void answer_from_route(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """A redirect or a fixed reply. Ends the exchange."""
    cdef Out fields = out_over(eng.build, ANSWER_VALUE_MAX)
    cdef Out body = out_over(eng.build + ANSWER_VALUE_MAX, ANSWER_VALUE_MAX)
    cdef EditList added
    request_id_choose(eng, x, request.head)
    scene_of_request(eng, x, request)
    x.status = x.route.status
    eng.scene.status = x.status
    if x.route.action == ACTION_REDIRECT:
        put_text(&fields, b"Location: ")
        render(&fields, x.plan.base, &x.route.value, &eng.scene)
        put(&fields, b"\r\n", 2)
    else:
        added.edits = x.route.reply_headers
        edits_emit(&fields, x.plan.base, &added, &eng.scene, NULL)
        render(&body, x.plan.base, &x.route.value, &eng.scene)
    if x.rewrite != NULL and x.rewrite.response.edits.count != 0:
        edits_emit(&fields, x.plan.base, &x.rewrite.response, &eng.scene, NULL)
    if fields.full or body.full:
        exchange_fail(eng, x, 500, b"the configured answer is too large")
        return
    x.flags |= X_ANSWER_BEGUN
    end_state(x, b"L", b"-")
    answer_send(eng, x, x.status, span(fields.ptr, fields.len), span(body.ptr, body.len))
    if x.state != EXCHANGE_FINISHED:
        exchange_finish(eng, x)


# ---- sending --------------------------------------------------------------------------------

cdef void answer_send(Engine *eng, Exchange *x, int status, Span fields, Span body) noexcept nogil:
    """Write an answer of our own to the client. `fields` are whole lines; framing, Date and
    Connection are added here. A dead client ends the exchange."""
    cdef Out out = out_over(eng.build + 2 * ANSWER_VALUE_MAX, BUILD_BYTES - 2 * ANSWER_VALUE_MAX)
    cdef iovec spans[3]
    cdef bint bodiless = status == 204 or status == 304 or status < 200
    if x.client == NULL:
        return
    client_keeps_or_closes(eng, x, x.client)
    put(&out, b"HTTP/1.1 ", 9)
    put_uint(&out, status)
    put_char(&out, c' ')
    put_text(&out, status_text(status))
    put(&out, b"\r\n", 2)
    put_line(&out, b"Date", literal(eng.date))
    if not bodiless:
        put_text(&out, b"Content-Length: ")
        put_uint(&out, body.len)
        put(&out, b"\r\n", 2)
    put_connection(x, &out)
    if says_hsts(x):
        put_hsts(x, &out)
    spans[0].iov_base = out.ptr
    spans[0].iov_len = out.len
    # The empty line goes with the body's span so that one writev says it all.
    spans[1].iov_base = <void *> fields.ptr
    spans[1].iov_len = fields.len
    put(&out, b"\r\n", 2)
    spans[2].iov_base = out.ptr + out.len - 2
    spans[2].iov_len = 2
    if x.flags & X_HEAD or bodiless:
        body.len = 0
    answer_send_spans(eng, x, spans, body)


cdef void answer_send_spans(Engine *eng, Exchange *x, iovec *head, Span body) noexcept nogil:
    cdef iovec spans[4]
    cdef int i
    for i in range(3):
        spans[i] = head[i]
    spans[3].iov_base = <void *> body.ptr
    spans[3].iov_len = body.len
    x.bytes_out += body.len
    client_send(eng, x, spans, 4, True)
