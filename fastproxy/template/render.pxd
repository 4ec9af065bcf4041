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
    BLOCK_BYTES, Out, Slice, Span, Text, put, put_blocks, put_char, put_millionths, put_span,
    put_uint, span, text_span)
from fastproxy.template.escape cimport (
    put_clean, put_header, put_html, put_json, put_log, put_target)
from fastproxy.template.fields cimport cookie_find, field_next, field_value, query_find
from fastproxy.template.places cimport PartPlace, part_place
from fastproxy.template.table cimport (
    ESCAPE_HEADER, ESCAPE_HTML, ESCAPE_JSON, ESCAPE_JSON_NUMBER, ESCAPE_LOG, ESCAPE_TARGET, ESCAPES,
    PART_FIELD, PART_LAPSE, PART_NUMBER, PART_OTHER, PART_SECONDS, PART_STATUS, PART_TEXT, PartKind,
    Scene, Template, TemplatePart,
    VAR_ARGS, VAR_COOKIE, VAR_HEADER, VAR_LITERAL, VAR_PARAM, VAR_QUERY, VAR_QUERY_PARAM,
    VAR_REQUEST_LINE, VAR_RESPONSE_HEADER, VAR_TARGET, VARIABLES)


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


cdef inline void put_value(Out *out, Span value, uint8_t escape, bint query) noexcept nogil:
    """A log's values, which nearly never hold a byte to be escaped, are copied while they are
    looked at; the rest is for put_escaped."""
    cdef size_t clean = 0
    if value.len == 0:
        put_absent(out, escape)
        return
    if ESCAPE_LOG <= escape <= ESCAPE_JSON_NUMBER:
        clean = put_clean(out, value.ptr, value.len)
        if clean == value.len:
            return
    put_escaped(out, span(value.ptr + clean, value.len - clean), escape, query)


cdef inline void put_seconds(Out *out, uint64_t microseconds) noexcept nogil:
    """0.001234"""
    put_uint(out, microseconds // 1000000)
    put_millionths(out, <uint32_t> (microseconds % 1000000))


cdef inline void put_three(Out *out, uint32_t status) noexcept nogil:
    """A status in a log line, where parsers count on three digits: 000 if there is none yet."""
    put_char(out, <char> (48 + status // 100 % 10))
    put_char(out, <char> (48 + status // 10 % 10))
    put_char(out, <char> (48 + status % 10))


cdef inline void put_lines(Out *out, const Head *head, uint8_t id, Span name,
                           uint8_t escape) noexcept nogil:
    """All field lines of that name, joined by ", " (RFC 9110 5.3)."""
    cdef int index = field_next(head, 0, id, name)
    put_escaped(out, field_value(head, index), escape, False)
    index = field_next(head, index + 1, id, name)
    while index >= 0:
        put(out, b", ", 2)
        put_escaped(out, field_value(head, index), escape, False)
        index = field_next(head, index + 1, id, name)


cdef inline void put_request_line(Out *out, const Scene *scene, uint8_t escape) noexcept nogil:
    if scene.method.len == 0:
        put_absent(out, escape)
        return
    put_escaped(out, scene.method, escape, False)
    put_char(out, b" ")
    put_escaped(out, scene.target, escape, True)
    put_char(out, b" ")
    put_span(out, scene.protocol)


cdef inline PartKind field_of(const Head *head, const TemplatePart *part, Span name,
                              Span *text) noexcept nogil:
    """The only field line of a name; PART_OTHER if there are several."""
    cdef uint8_t id = <uint8_t> part.arg
    cdef int index = field_next(head, 0, id, name)
    if index < 0:
        return PART_TEXT
    text[0] = field_value(head, index)
    if text.len != 0 and field_next(head, index + 1, id, name) < 0:
        return PART_TEXT
    return PART_OTHER


cdef inline PartKind named(const char *base, const TemplatePart *part, const Scene *scene,
                           Span *text) noexcept nogil:
    """The variables with a name or an index."""
    cdef Span name = text_span(base, part.text)
    cdef uint8_t variable = part.variable
    if variable == VAR_HEADER:
        return field_of(scene.request, part, name, text)
    elif variable == VAR_RESPONSE_HEADER:
        return field_of(scene.response, part, name, text)
    elif variable == VAR_COOKIE:
        if not cookie_find(scene.request, name, text):
            text.len = 0
    elif variable == VAR_QUERY_PARAM:
        if not query_find(scene.query, name, text):
            text.len = 0
    elif part.arg < scene.param_count:
        text[0] = scene.params[part.arg]
    return PART_TEXT


cdef inline PartKind part_value(const char *base, const TemplatePart *part, const Scene *scene,
                                Span *text, uint64_t *number) noexcept nogil:
    """What a variable stands for: `text` (empty before) or `number`."""
    cdef uint8_t kind = part.kind
    cdef uint8_t variable = part.variable
    cdef const char *place = <const char *> scene + part.at
    if kind == PART_TEXT:
        text[0] = (<const Span *> place)[0]
        return PART_TEXT
    if kind == PART_FIELD:
        return named(base, part, scene, text)
    if kind == PART_OTHER:
        if (variable == VAR_HEADER or variable == VAR_RESPONSE_HEADER or variable == VAR_COOKIE
                or variable == VAR_PARAM or variable == VAR_QUERY_PARAM):
            return named(base, part, scene, text)
        return PART_OTHER
    number[0] = (<const uint64_t *> place)[0]
    if kind == PART_STATUS:
        if part.escape == ESCAPE_LOG:
            return PART_OTHER
        return PART_NUMBER if number[0] else PART_TEXT
    if kind == PART_LAPSE:
        return PART_SECONDS if number[0] else PART_TEXT
    return PART_SECONDS if kind == PART_SECONDS else PART_NUMBER


cdef inline void render_other(Out *out, const char *base, const TemplatePart *part,
                              const Scene *scene) noexcept nogil:
    """What is more than one value; a group of a regex (rewrite/apply.pxd) is nothing here."""
    cdef uint8_t variable = part.variable
    cdef uint8_t escape = part.escape
    if part.kind == PART_STATUS:
        put_three(out, <uint32_t> scene.status)
    elif variable == VAR_REQUEST_LINE:
        put_request_line(out, scene, escape)
    elif variable == VAR_ARGS:
        if scene.query.len == 0:
            put_absent(out, escape)
        else:
            put_char(out, b"?")
            put_escaped(out, scene.query, escape, True)
    elif variable == VAR_HEADER:
        put_lines(out, scene.request, <uint8_t> part.arg, text_span(base, part.text), escape)
    elif variable == VAR_RESPONSE_HEADER:
        put_lines(out, scene.response, <uint8_t> part.arg, text_span(base, part.text), escape)
    else:
        put_absent(out, escape)


cdef inline void render_parts(Out *out, const char *base, const TemplatePart *part, uint32_t count,
                              const Scene *scene) noexcept nogil:
    """Append these; `out.full` tells whether they fitted. `base`: the plan's."""
    cdef const TemplatePart *end = part + count
    cdef PartKind kind
    cdef Span text
    cdef uint64_t number
    cdef bint query
    while part != end:
        put_blocks(out, base + part.lead.off, part.lead.len)
        if part.variable != VAR_LITERAL:
            text = span(NULL, 0)
            number = 0
            kind = part_value(base, part, scene, &text, &number)
            if kind == PART_TEXT:
                query = part.variable == VAR_TARGET or part.variable == VAR_QUERY
                put_value(out, text, part.escape, query)
            elif kind == PART_NUMBER:
                put_uint(out, number)
            elif kind == PART_SECONDS:
                put_seconds(out, number)
            else:
                render_other(out, base, part, scene)
        part += 1


cdef inline void render(Out *out, const char *base, const Template *template,
                        const Scene *scene) noexcept nogil:
    """Append the rendered template. Most fields that are set have no variable in them."""
    cdef const TemplatePart *parts = <const TemplatePart *> (base + template.parts.off)
    if template.parts.count == 1 and parts.variable == VAR_LITERAL:
        put_blocks(out, base + parts.lead.off, parts.lead.len)
    else:
        render_parts(out, base, parts, template.parts.count, scene)


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
    cdef PartPlace place
    cdef uint32_t i
    if not rows_inside(template.parts, sizeof(TemplatePart), length):
        return -1
    parts = <const TemplatePart *> (base + template.parts.off)
    for i in range(template.parts.count):
        if (parts[i].variable >= VARIABLES or parts[i].escape >= ESCAPES
                or parts[i].lead.off + <uint64_t> parts[i].lead.len + BLOCK_BYTES > length
                or not text_inside(parts[i].text, length)):
            return -1
        place = part_place(parts[i].variable, parts[i].arg)
        if parts[i].kind != place.kind or parts[i].at != place.at:
            return -1
    return 0
