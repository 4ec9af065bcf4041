# SPDX-License-Identifier: MIT
"""What the other side reads: header edits and the rewritten path.

Contract for the writer of a head: leave out each field for which `edit_drops` says so, then call
`edits_emit` once. A field that the proxy makes itself (X-Forwarded-For, Date...) is asked about in
the same way: what the configuration sets wins.

Not possible here: framing and hop-by-hop fields (build.py refuses their names), control characters
in any value (render.pxd), a path that the normaliser would not have let through (`path_legal`).
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from fastproxy.http1.head cimport FIELD_COOKIE, FIELD_NOMINATED, FIELD_OTHER, Head
from fastproxy.memory.span cimport (
    Out, Span, ascii_lower, put, put_char, put_span, span, span_equal_nocase, text_span)
from fastproxy.regex.run cimport REGEX_LIMIT, REGEX_YES, RegexSet, regex_group, regex_match
from fastproxy.rewrite.table cimport (
    EDIT_ADD, EDIT_APPEND, EDIT_REMOVE, Edit, EditList, PATH_ADD, PATH_REGEX, PATH_STRIP,
    PATH_TEMPLATE, PathEdit, RewriteRow)
from fastproxy.template.escape cimport put_target
from fastproxy.template.fields cimport field_next, field_value
from fastproxy.template.render cimport render, render_parts
from fastproxy.template.table cimport Scene, TemplatePart, VAR_CAPTURE


cdef enum PathFault:
    PATH_OK = 0
    PATH_ILLEGAL = -1           # the result is no path that we would have accepted: answer 400
    PATH_TOO_LONG = -2          # it does not fit `out`: answer 414
    PATH_LIMIT = -3             # the regex ran into its limit: answer 500


cdef inline bint edit_drops(const char *base, const EditList *edits, Span name,
                            uint8_t id) noexcept nogil:
    """Whether the original field must not be copied: it is replaced, joined or removed."""
    cdef const Edit *rows
    cdef uint32_t i
    if id != FIELD_OTHER:
        if not edits.ids >> (id & 31) & 1:
            return False
    elif not edits.touches_other:
        return False
    rows = <const Edit *> (base + edits.edits.off)
    for i in range(edits.edits.count):
        if rows[i].verb == EDIT_ADD or rows[i].id != id:
            continue
        if id != FIELD_OTHER or span_equal_nocase(text_span(base, rows[i].name), name):
            return True
    return False


cdef inline void append_original(Out *out, const Head *original, uint8_t id,
                                 Span name) noexcept nogil:
    """The values that APPEND joins onto. Fields nominated by Connection are not ours to pass."""
    cdef int index = field_next(original, 0, id, name)
    while index >= 0:
        if (not original.fields[index].flags & FIELD_NOMINATED
                and original.fields[index].value_len):
            put_span(out, field_value(original, index))
            put_char(out, 0x3b if id == FIELD_COOKIE else 0x2c)
            put_char(out, 0x20)
        index = field_next(original, index + 1, id, name)


cdef inline void edits_emit(Out *out, const char *base, const EditList *edits, const Scene *scene,
                            const Head *original) noexcept nogil:
    """Write the lines that edits bring in, `Name: value CRLF` each, in order of the list.
    `original`: the head being edited, for APPEND; NULL if there is none."""
    cdef const Edit *rows = <const Edit *> (base + edits.edits.off)
    cdef Span name
    cdef uint32_t i
    for i in range(edits.edits.count):
        if rows[i].verb == EDIT_REMOVE:
            continue
        name = text_span(base, rows[i].name)
        put_span(out, name)
        put(out, b": ", 2)
        if rows[i].verb == EDIT_APPEND:
            append_original(out, original, rows[i].id, name)
        render(out, base, &rows[i].value, scene)
        put(out, b"\r\n", 2)


cdef inline bint is_dot(const char *p, size_t length, size_t *at) noexcept nogil:
    """Step over "." or "%2e"."""
    if at[0] < length and p[at[0]] == 0x2e:
        at[0] += 1
        return True
    if (length - at[0] >= 3 and p[at[0]] == 0x25 and p[at[0] + 1] == 0x32
            and ascii_lower(p[at[0] + 2]) == 0x65):
        at[0] += 3
        return True
    return False


cdef inline bint dot_segment(const char *p, size_t length) noexcept nogil:
    """"." or "..", each dot plain or %2e."""
    cdef size_t at = 0
    if not is_dot(p, length, &at):
        return False
    is_dot(p, length, &at)
    return at == length


cdef inline bint path_legal(Span path) noexcept nogil:
    """What may leave us as a path: begins with "/", visible ASCII without "\\" "#" "?", no dot
    segment however spelt, no %00."""
    cdef size_t at, start = 1
    cdef uint8_t byte
    if path.len == 0 or path.ptr[0] != 0x2f:
        return False
    for at in range(path.len):
        byte = <uint8_t> path.ptr[at]
        if byte <= 0x20 or byte >= 0x7f or byte == 0x5c or byte == 0x23 or byte == 0x3f:
            return False
        if byte == 0x25 and path.len - at >= 3 and memcmp(path.ptr + at, b"%00", 3) == 0:
            return False
        if byte == 0x2f and at > 0:
            if dot_segment(path.ptr + start, at - start):
                return False
            start = at + 1
    return not dot_segment(path.ptr + start, path.len - start)


cdef inline bint query_legal(Span query) noexcept nogil:
    cdef size_t at
    for at in range(query.len):
        if <uint8_t> query.ptr[at] <= 0x20 or <uint8_t> query.ptr[at] >= 0x7f or (
                query.ptr[at] == 0x23):
            return False
    return True


cdef inline bint under_prefix(Span path, Span prefix) noexcept nogil:
    """Whether `prefix` (no trailing slash) is the path or ends where a segment of it ends."""
    return (path.len >= prefix.len and memcmp(path.ptr, prefix.ptr, prefix.len) == 0
            and (path.len == prefix.len or path.ptr[prefix.len] == 0x2f))


cdef inline void put_replacement(Out *out, const char *base, const PathEdit *edit,
                                 const RegexSet *regexes, Span path,
                                 const Scene *scene) noexcept nogil:
    cdef const TemplatePart *parts = <const TemplatePart *> (base + edit.value.parts.off)
    cdef Span group
    cdef uint32_t i
    for i in range(edit.value.parts.count):
        if parts[i].variable == VAR_CAPTURE:
            put_span(out, text_span(base, parts[i].lead))
            group = regex_group(regexes, parts[i].arg, path)
            put_target(out, group.ptr, group.len, False)
        else:
            render_parts(out, base, &parts[i], 1, scene)


cdef inline int path_step(const char *base, const PathEdit *edit, const RegexSet *regexes,
                          Span path, const Scene *scene, Out *out) noexcept nogil:
    """One edit: write the new path (perhaps with a query) at the end of `out`."""
    cdef Span prefix = text_span(base, edit.prefix)
    cdef Span whole
    cdef int answer
    if edit.verb == PATH_STRIP:
        if not under_prefix(path, prefix):
            put_span(out, path)
        elif path.len == prefix.len:
            put_char(out, b"/")
        else:
            put(out, path.ptr + prefix.len, path.len - prefix.len)
    elif edit.verb == PATH_ADD:
        put_span(out, prefix)
        put_span(out, path)
    elif edit.verb == PATH_REGEX:
        answer = regex_match(regexes, edit.regex, path)
        if answer == REGEX_LIMIT:
            return PATH_LIMIT
        if answer != REGEX_YES:
            put_span(out, path)
            return PATH_OK
        whole = regex_group(regexes, 0, path)
        put(out, path.ptr, whole.ptr - path.ptr)
        put_replacement(out, base, edit, regexes, path, scene)
        put(out, whole.ptr + whole.len, path.len - (whole.ptr - path.ptr) - whole.len)
    elif edit.verb == PATH_TEMPLATE:
        render(out, base, &edit.value, scene)
    else:
        put_span(out, path)
    return PATH_OK


cdef inline int path_finish(Out *out, size_t start, Span path, Span query, bint has_query,
                            Span *result) noexcept nogil:
    """Move the target to `start`, where the caller wanted it, and judge it. `path` and a new query
    lie in `out` behind each other; the original query lies elsewhere."""
    # "//x" at the front of a rewritten path would be read as a host by some: one slash is kept.
    while path.len > 1 and path.ptr[0] == 0x2f and path.ptr[1] == 0x2f:
        path = span(path.ptr + 1, path.len - 1)
    if not path_legal(path) or not query_legal(query):
        return PATH_ILLEGAL
    if has_query:
        # "path?query" is in one piece.
        memmove(out.ptr + start, path.ptr, path.len + 1 + query.len)
        out.len = start + path.len + 1 + query.len
    else:
        memmove(out.ptr + start, path.ptr, path.len)
        out.len = start + path.len
        if query.len:
            put_char(out, b"?")
            put_span(out, query)
            if out.full:
                return PATH_TOO_LONG
    result[0] = span(out.ptr + start, out.len - start)
    return PATH_OK


cdef inline int path_apply(const char *base, const RewriteRow *row, const RegexSet *regexes,
                           Span path, Span query, const Scene *scene, Out *out,
                           Span *result) noexcept nogil:
    """Write the target the upstream shall see, path and query, at the end of `out`: that is also
    `result`. PathFault; if it is not PATH_OK, `out` ends where it ended before (but may be full).

    `path` is the normalised one, `query` is without "?"; neither may lie in `out`. A step that puts
    a "?" into the path gives a new query; else the original one stays. Steps need room in `out` for
    all intermediate paths. Without any step the target is `path` and `query` as they are.
    """
    cdef const PathEdit *edits = <const PathEdit *> (base + row.paths.off)
    cdef size_t start = out.len, before
    cdef const char *mark
    cdef bint has_query = False
    cdef uint32_t i
    cdef int answer
    if row.paths.count == 0:
        put_span(out, path)
        if query.len:
            put_char(out, b"?")
            put_span(out, query)
        result[0] = span(out.ptr + start, out.len - start)
        return PATH_TOO_LONG if out.full else PATH_OK
    for i in range(row.paths.count):
        before = out.len
        answer = path_step(base, &edits[i], regexes, path, scene, out)
        if has_query:
            # Keep a query made by an earlier step behind the new path.
            put_char(out, b"?")
            put_span(out, query)
        if answer != PATH_OK or out.full:
            out.len = start
            return answer if answer != PATH_OK else PATH_TOO_LONG
        path = span(out.ptr + before, out.len - before)
        mark = <const char *> memchr(path.ptr, 0x3f, path.len)
        if mark != NULL:
            has_query = True
            query = span(mark + 1, path.len - (mark - path.ptr) - 1)
            path.len = mark - path.ptr
    answer = path_finish(out, start, path, query, has_query, result)
    if answer != PATH_OK:
        out.len = start
    return answer
