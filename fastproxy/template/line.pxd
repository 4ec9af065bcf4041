# SPDX-License-Identifier: MIT
"""A log line, the quick way. What is usual is done here without a call, in a loop that is small,
since it runs when the kernel has just used the caches: a text without a byte to be escaped, a
number, a field that is there once or not at all. It keeps its place in a register and writes beyond
it, where LINE_SLACK bytes are. All else, and all when the room gets short, is render.pxd's, part by
part.

Only for templates that `line_check` has passed: escapes of a log.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastproxy.http1.head cimport Field, Head
from fastproxy.memory.span cimport (
    BLOCK_BYTES, DIGIT_PAIRS, Out, Span, copy_blocks, uint_digits, write_millionths,
    write_uint_before)
from fastproxy.template.render cimport render_parts, template_check
from fastproxy.template.table cimport (
    ESCAPE_JSON_NUMBER, ESCAPE_LOG, PART_FIELD, PART_LAPSE, PART_LITERAL, PART_NUMBER, PART_OTHER,
    PART_STATUS, PART_TEXT, Scene, Template, TemplatePart)


cdef extern from "fastproxy/clib/clean.h" nogil:
    # 0: all `length` (not 0) bytes were clean; 16 bytes may be written in any case.
    unsigned copy_marks(char *to, const char *p, size_t length) noexcept

cdef extern from * nogil:
    """
    #define LINE_SLACK 64   /* a block, a text of LINE_SHORT or any number */
    #define LINE_SHORT 16
    """
    size_t LINE_SLACK
    size_t LINE_SHORT


cdef inline char *line_absent(char *to, uint8_t escape) noexcept nogil:
    """As put_absent."""
    if escape == ESCAPE_LOG:
        to[0] = c'-'
        return to + 1
    if escape == ESCAPE_JSON_NUMBER:
        memcpy(to, b"null", 4)
        return to + 4
    return to


cdef inline char *line_number(char *to, uint64_t value) noexcept nogil:
    cdef size_t length
    if value < 10:
        to[0] = <char> (48 + value)
        return to + 1
    length = uint_digits(value)
    write_uint_before(to + length, value)
    return to + length


cdef inline char *line_seconds(char *to, uint64_t microseconds) noexcept nogil:
    cdef uint64_t seconds = 0
    if microseconds >= 1000000:
        seconds = microseconds // 1000000
        microseconds -= seconds * 1000000
    to = line_number(to, seconds)
    write_millionths(to, <uint32_t> microseconds)
    return to + 7


cdef inline char *line_value(char *to, const TemplatePart *part, const Scene *scene) noexcept nogil:
    """A number, or nothing at all; NULL: not a quick one."""
    cdef uint8_t kind = part.kind
    cdef uint64_t value = (<const uint64_t *> (<const char *> scene + part.at))[0]
    if kind == PART_NUMBER:
        return line_number(to, value)
    if kind == PART_OTHER:
        return NULL
    if kind == PART_LITERAL:
        return to
    if kind == PART_STATUS:
        if value - 100 >= 900:
            return NULL
        to[0] = <char> (48 + <uint32_t> value // 100)
        memcpy(to + 1, &DIGIT_PAIRS[<uint32_t> value % 100 * 2], 2)
        return to + 3
    if value == 0 and kind == PART_LAPSE:
        return line_absent(to, part.escape)
    return line_seconds(to, value)


cdef inline char *line_part(char *to, const char *brink, const char *base, const TemplatePart *part,
                            const Scene *scene) noexcept nogil:
    """One part; where it ends, NULL: not a quick one. `brink`: LINE_SLACK before the room ends."""
    cdef Span text
    cdef const Head *head
    cdef const Field *field
    cdef size_t lead = part.lead.len
    cdef uint8_t kind = part.kind
    if to + lead > brink:
        return NULL
    copy_blocks(to, base + part.lead.off, lead)
    to += lead
    if kind == PART_TEXT:
        text = (<const Span *> (<const char *> scene + part.at))[0]
        if text.len == 0:
            return line_absent(to, part.escape)
    elif kind == PART_FIELD:
        head = scene.request
        if head == NULL or not (head.ids >> part.arg) & 1:
            return line_absent(to, part.escape)
        field = &head.fields[head.last[part.arg]]
        text.ptr = head.base + field.value_off
        text.len = field.value_len
        if text.len == 0 or (head.twice >> part.arg) & 1:
            return NULL
    else:
        return line_value(to, part, scene)
    if text.len > LINE_SHORT and text.len > <size_t> (brink - to):
        return NULL
    return to + text.len if copy_marks(to, text.ptr, text.len) == 0 else NULL


cdef inline void render_line(Out *out, const char *base, const Template *template,
                             const Scene *scene) noexcept nogil:
    """As `render`."""
    cdef const TemplatePart *part = <const TemplatePart *> (base + template.parts.off)
    cdef const TemplatePart *end = part + template.parts.count
    cdef char *to = out.ptr + out.len
    cdef char *next
    cdef const char *brink
    if out.cap - out.len < LINE_SLACK:
        render_parts(out, base, part, template.parts.count, scene)
        return
    brink = out.ptr + out.cap - LINE_SLACK
    while part != end:
        next = line_part(to, brink, base, part, scene)
        if next == NULL:
            out.len = <size_t> (to - out.ptr)
            render_parts(out, base, part, 1, scene)
            if out.full:
                return
            next = out.ptr + out.len
        to = next
        part += 1
    out.len = <size_t> (to - out.ptr)


cdef inline int line_check(const char *base, uint64_t length,
                           const Template *template) noexcept nogil:
    """As template_check, and all escapes are a log's."""
    cdef const TemplatePart *parts
    cdef uint32_t i
    if template_check(base, length, template) != 0:
        return -1
    parts = <const TemplatePart *> (base + template.parts.off)
    for i in range(template.parts.count):
        if not ESCAPE_LOG <= parts[i].escape <= ESCAPE_JSON_NUMBER:
            return -1
    return 0
