# SPDX-License-Identifier: MIT
"""A compiled template and a scene -> bytes. The one place that knows what a variable is.

Rules. What is absent renders as nothing, in a log line as "-", as a JSON number as null. Only a
variable's bytes are escaped; literals were checked when the template was compiled. No variable can
bring CR, LF or NUL into a header, a target or a log line: every one passes through `put_escaped`,
numbers included only because they are digits. A full Out stays full: check `out.full` at the end.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastproxy.http1.head cimport Head
from fastproxy.memory.span cimport (
    Out, Slice, Span, Text, put, put_char, put_millionths, put_uint, span, text_span)
from fastproxy.template.escape cimport put_header, put_html, put_json, put_log, put_target
from fastproxy.template.fields cimport cookie_find, field_next, field_value, query_find
from fastproxy.template.table cimport (
    ESCAPE_HEADER, ESCAPE_HTML, ESCAPE_JSON, ESCAPE_JSON_NUMBER, ESCAPE_LOG, ESCAPE_TARGET, ESCAPES,
    Scene, Template, TemplatePart,
    VAR_ARGS, VAR_AUTHORITY, VAR_BACKEND, VAR_BYTES_IN, VAR_BYTES_OUT, VAR_CAPTURE, VAR_CLIENT_IP,
    VAR_CLIENT_PORT, VAR_COOKIE, VAR_END_STATE, VAR_HEADER, VAR_HOST, VAR_LISTENER, VAR_LITERAL,
    VAR_METHOD, VAR_PARAM, VAR_PATH, VAR_PEER_IP, VAR_PROTOCOL, VAR_QUERY, VAR_QUERY_PARAM,
    VAR_REQUEST_ID, VAR_REQUEST_LINE, VAR_RESPONSE_HEADER, VAR_RETRIES, VAR_ROUTE, VAR_SCHEME,
    VAR_SERVER_PORT, VAR_STATUS, VAR_TARGET, VAR_TIME_CONNECT, VAR_TIME_FIRST_BYTE, VAR_TIME_ISO,
    VAR_TIME_LOCAL, VAR_TIME_TOTAL, VAR_UPSTREAM, VAR_WORKER, VARIABLES)


cdef inline void put_escaped(Out *out, Span value, uint8_t escape, bint query) noexcept nogil:
    """`query`: the value is a query, in which "?" is data (ESCAPE_TARGET only)."""
    if value.len == 0:
        return
    if escape == ESCAPE_LOG:
        put_log(out, value.ptr, value.len)
    elif escape == ESCAPE_JSON or escape == ESCAPE_JSON_NUMBER:
        put_json(out, value.ptr, value.len)
    elif escape == ESCAPE_TARGET:
        put_target(out, value.ptr, value.len, query)
    elif escape == ESCAPE_HTML:
        put_html(out, value.ptr, value.len)
    else:
        put_header(out, value.ptr, value.len)


cdef inline void put_absent(Out *out, uint8_t escape) noexcept nogil:
    if escape == ESCAPE_LOG:
        put_char(out, b"-")
    elif escape == ESCAPE_JSON_NUMBER:
        put(out, b"null", 4)


cdef inline void put_value(Out *out, Span value, uint8_t escape) noexcept nogil:
    if value.len == 0:
        put_absent(out, escape)
    else:
        put_escaped(out, value, escape, False)


cdef inline void put_seconds(Out *out, uint64_t microseconds) noexcept nogil:
    """0.001234"""
    put_uint(out, microseconds // 1000000)
    put_millionths(out, <uint32_t> (microseconds % 1000000))


cdef inline void put_status(Out *out, uint32_t status, uint8_t escape) noexcept nogil:
    """Three digits in a log line, where parsers count on them: 000 if there is none yet."""
    if escape != ESCAPE_LOG:
        if status:
            put_uint(out, status)
        else:
            put_absent(out, escape)
        return
    put_char(out, <char> (48 + status // 100 % 10))
    put_char(out, <char> (48 + status // 10 % 10))
    put_char(out, <char> (48 + status % 10))


cdef inline void put_field(Out *out, const Head *head, uint8_t id, Span name,
                           uint8_t escape) noexcept nogil:
    """All lines of that name, joined by ", " (RFC 9110 5.3)."""
    cdef int index = field_next(head, 0, id, name)
    cdef bint some = False
    while index >= 0:
        if some:
            put(out, b", ", 2)
        some = True
        put_escaped(out, field_value(head, index), escape, False)
        index = field_next(head, index + 1, id, name)
    if not some:
        put_absent(out, escape)


cdef inline void put_request_line(Out *out, const Scene *scene, uint8_t escape) noexcept nogil:
    if scene.method.len == 0:
        put_absent(out, escape)
        return
    put_escaped(out, scene.method, escape, False)
    put_char(out, b" ")
    put_escaped(out, scene.target, escape, True)
    put(out, b" HTTP/1.", 8)
    put_char(out, <char> (48 + scene.minor % 10))


cdef inline Span scene_span(uint8_t variable, const Scene *scene) noexcept nogil:
    """The variables that are a span of the scene."""
    if variable == VAR_CLIENT_IP:
        return scene.client_ip
    elif variable == VAR_SCHEME:
        return scene.scheme
    elif variable == VAR_HOST:
        return scene.host
    elif variable == VAR_AUTHORITY:
        return scene.authority
    elif variable == VAR_METHOD:
        return scene.method
    elif variable == VAR_PATH:
        return scene.path
    elif variable == VAR_REQUEST_ID:
        return scene.request_id
    elif variable == VAR_ROUTE:
        return scene.route
    elif variable == VAR_UPSTREAM:
        return scene.upstream
    elif variable == VAR_BACKEND:
        return scene.backend
    elif variable == VAR_LISTENER:
        return scene.listener
    elif variable == VAR_TIME_LOCAL:
        return scene.time_local
    elif variable == VAR_TIME_ISO:
        return scene.time_iso
    elif variable == VAR_PEER_IP:
        return scene.peer_ip
    elif variable == VAR_END_STATE:
        return span(scene.end_state, 2 if scene.end_state[0] else 0)
    return span(NULL, 0)


cdef inline void render_named(Out *out, const char *base, const TemplatePart *part,
                              const Scene *scene) noexcept nogil:
    """The variables with a name or an index."""
    cdef Span name = text_span(base, part.text)
    cdef Span value = span(NULL, 0)
    cdef uint8_t variable = part.variable
    if variable == VAR_HEADER:
        put_field(out, scene.request, <uint8_t> part.arg, name, part.escape)
        return
    elif variable == VAR_RESPONSE_HEADER:
        put_field(out, scene.response, <uint8_t> part.arg, name, part.escape)
        return
    elif variable == VAR_COOKIE:
        if not cookie_find(scene.request, name, &value):
            value.len = 0
    elif variable == VAR_QUERY_PARAM:
        if not query_find(scene.query, name, &value):
            value.len = 0
    elif variable == VAR_PARAM:
        if part.arg < scene.param_count:
            value = scene.params[part.arg]
    put_value(out, value, part.escape)


cdef inline void render_query(Out *out, uint8_t variable, const Scene *scene,
                              uint8_t escape) noexcept nogil:
    """The variables in which "?" is data."""
    cdef Span value = scene.target if variable == VAR_TARGET else scene.query
    if value.len == 0:
        put_absent(out, escape)
        return
    if variable == VAR_ARGS:
        put_char(out, b"?")
    put_escaped(out, value, escape, True)


cdef inline void render_part(Out *out, const char *base, const TemplatePart *part,
                             const Scene *scene) noexcept nogil:
    cdef uint8_t variable = part.variable
    cdef uint8_t escape = part.escape
    if variable == VAR_LITERAL:
        put(out, base + part.text.off, part.text.len)
    elif variable == VAR_STATUS:
        put_status(out, scene.status, escape)
    elif variable == VAR_BYTES_IN:
        put_uint(out, scene.bytes_in)
    elif variable == VAR_BYTES_OUT:
        put_uint(out, scene.bytes_out)
    elif variable == VAR_TIME_TOTAL:
        put_seconds(out, scene.time_total_us)
    elif variable == VAR_TIME_CONNECT:
        if scene.time_connect_us:
            put_seconds(out, scene.time_connect_us)
        else:
            put_absent(out, escape)
    elif variable == VAR_TIME_FIRST_BYTE:
        if scene.time_first_byte_us:
            put_seconds(out, scene.time_first_byte_us)
        else:
            put_absent(out, escape)
    elif variable == VAR_RETRIES:
        put_uint(out, scene.retries)
    elif variable == VAR_WORKER:
        put_uint(out, scene.worker)
    elif variable == VAR_CLIENT_PORT:
        put_uint(out, scene.client_port)
    elif variable == VAR_SERVER_PORT:
        put_uint(out, scene.server_port)
    elif variable == VAR_PROTOCOL:
        put(out, b"HTTP/1.", 7)
        put_char(out, <char> (48 + scene.minor % 10))
    elif variable == VAR_REQUEST_LINE:
        put_request_line(out, scene, escape)
    elif variable == VAR_TARGET or variable == VAR_QUERY or variable == VAR_ARGS:
        render_query(out, variable, scene, escape)
    elif (variable == VAR_HEADER or variable == VAR_RESPONSE_HEADER or variable == VAR_COOKIE
            or variable == VAR_PARAM or variable == VAR_QUERY_PARAM):
        render_named(out, base, part, scene)
    else:
        put_value(out, scene_span(variable, scene), escape)


cdef inline void render(Out *out, const char *base, const Template *template,
                        const Scene *scene) noexcept nogil:
    """Append the rendered template; `out.full` tells whether it fitted. `base`: the plan's."""
    cdef const TemplatePart *parts = <const TemplatePart *> (base + template.parts.off)
    cdef uint32_t i
    for i in range(template.parts.count):
        if parts[i].variable == VAR_LITERAL:    # every other part, nearly
            put(out, base + parts[i].text.off, parts[i].text.len)
        else:
            render_part(out, base, &parts[i], scene)


# --- checks of a plan's bytes, once, when it is mapped -----------------------------------------

cdef inline bint text_inside(Text text, uint64_t length) noexcept nogil:
    return <uint64_t> text.off + text.len <= length


cdef inline bint rows_inside(Slice rows, size_t size, uint64_t length) noexcept nogil:
    """Aligned and inside; an empty slice is inside wherever it points."""
    if rows.count == 0:
        return True
    return rows.off % 8 == 0 and rows.off + <uint64_t> rows.count * size <= length


cdef inline int template_check(const char *base, uint64_t length,
                               const Template *template) noexcept nogil:
    """0, or -1: a part lies outside of the plan or names what does not exist."""
    cdef const TemplatePart *parts
    cdef uint32_t i
    if not rows_inside(template.parts, sizeof(TemplatePart), length):
        return -1
    parts = <const TemplatePart *> (base + template.parts.off)
    for i in range(template.parts.count):
        if (parts[i].variable >= VARIABLES or parts[i].escape >= ESCAPES
                or not text_inside(parts[i].text, length)):
            return -1
    return 0
