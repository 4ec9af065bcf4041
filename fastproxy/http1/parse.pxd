# SPDX-License-Identifier: MIT
"""Request and response heads: bytes to Head (RFC 9112 sections 2 to 5).

    parser_init_request(parser, scan, limits)          once per message
    r = parse_request(parser, base, length, fault)     as often as bytes come
        r > 0   bytes of the whole head; parser.head is filled, what follows is body or next request
        r == 0  need more: call again with the same bytes and more behind them
        r < 0   `fault` is filled; the connection is good for one error answer and a close

`base` may have moved between two calls: all progress is kept as offsets, no byte is looked at
twice, so a head that comes byte by byte costs linear work. Nothing is allocated or written but the
parser itself, and of `head.fields` only the first `head.count` rows mean anything.

Strict, and never an option: one SP between the parts of the request line, CRLF line ends, exactly
HTTP/1.0 or HTTP/1.1, token names right before their colon, no folding, OWS is SP and HTAB only, no
control characters. Not accepted: bare CR or LF, HTTP/0.9, more than one empty line before a
request, any before a response. The one leniency: a response may end its status line after the code
without the SP that the grammar asks for, as many servers do; nothing can be hidden there.

Limits count line ends too and are applied at the byte that exceeds them, on unfinished input as
well, so the verdict never depends on how the bytes were cut. Who calls: the worker.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.clib.must cimport MUST_HOT
from fastproxy.clib.scan cimport CHAR_TOKEN, CHAR_UNDERSCORE, char_class
from fastproxy.http1.chars cimport COLON, CR, LF, is_blank
from fastproxy.http1.faults cimport (
    FAULT_BARE_CR, FAULT_BARE_LF, FAULT_COLON_MISSING, FAULT_FIELD_LONG, FAULT_FIELDS_LONG,
    FAULT_FIELDS_MANY, FAULT_NAME_BAD, FAULT_NAME_EMPTY, FAULT_NAME_SPACE, FAULT_OBS_FOLD,
    FAULT_VALUE_BAD, fault,
)
from fastproxy.http1.head cimport FIELD_IDS, FIELD_UNDERSCORE, Fault, Field, Head
from fastproxy.http1.names cimport field_id, word2
from fastproxy.http1.parser cimport (
    AT_FIELD, AT_LAST_LF, AT_NAME, AT_OWS, AT_VALUE, AT_VALUE_LF, HeadLimits, HeadParser,
    parser_init_request, parser_init_response, parser_started,
)
from fastproxy.http1.start_line cimport request_line, status_line
from fastproxy.http1.tokens cimport field_taken
from fastproxy.memory.limits cimport HEAD_FIELDS_MAX


cdef inline int _name_fault(HeadParser *p, uint8_t c, uint32_t at, uint32_t line,
                            Fault *out) noexcept nogil:
    """A byte that ends a field name and is no colon after at least one token character."""
    if c == COLON:
        return fault(out, FAULT_NAME_EMPTY, at, p.side)
    if is_blank(c):
        return fault(out, FAULT_NAME_SPACE, at, p.side)
    if at == line and c == LF:
        return fault(out, FAULT_BARE_LF, at, p.side)
    if c == CR or c == LF:
        return fault(out, FAULT_COLON_MISSING, at, p.side)
    return fault(out, FAULT_NAME_BAD, at, p.side)


cdef inline void _keep_field(Head *head, const uint8_t *base, uint32_t line, uint32_t name_end,
                             uint32_t value, uint32_t after, bint underscore) noexcept nogil:
    """One whole field line is read: [line, after). Trims the value's trailing OWS."""
    cdef Field *field = &head.fields[head.count]
    cdef uint32_t value_end = after - 2
    MUST_HOT(head.count < HEAD_FIELDS_MAX)
    while value_end > value and is_blank(base[value_end - 1]):
        value_end -= 1
    field.name_off = line
    field.name_len = name_end - line
    field.value_off = value
    field.value_len = value_end - value
    field.id = field_id(<const char *> base + line, name_end - line)
    field.flags = FIELD_UNDERSCORE if underscore else 0
    field.line_len = after - line
    MUST_HOT(value <= value_end and field.id < FIELD_IDS)
    field_taken(head, field.id)


cdef inline uint32_t _whole_fields(HeadParser *p, const uint8_t *base, uint32_t at,
                                   uint32_t length) noexcept nogil:
    """The fast way over field lines that are whole and plain; where it got to.

    It only ever skips what _fields would have accepted, and stops in front of everything else: the
    end of the head, the end of the bytes, limits, faults.
    """
    cdef const char *text = <const char *> base
    cdef const char *found
    cdef uint32_t stop, name_length = 0, underscore = 0, value, end
    while p.head.count < p.limits.fields_max:
        stop = min(length, at + p.limits.field_bytes)
        found = p.scan.line_ends(text + at, text + stop, &name_length, &underscore)
        if found == NULL or found + 2 > text + stop or word2(found) != word2(b"\r\n"):
            break
        value = at + name_length
        if name_length == 0 or base[value] != COLON:
            break
        value += 1
        end = <uint32_t> (found - text)
        while value < end and is_blank(base[value]):
            value += 1
        _keep_field(&p.head, base, at, at + name_length, value, end + 2, underscore != 0)
        at = end + 2
    return at


cdef inline int64_t _fields(HeadParser *p, const uint8_t *base, uint32_t length,
                            Fault *out) noexcept nogil:
    """States AT_FIELD to AT_LAST_LF: field lines and the empty one, in one pass."""
    cdef uint32_t at = p.at, line = p.line, mark = p.mark, name_end = p.name_end, stop
    cdef uint32_t last = p.head.fields_off + p.limits.fields_bytes
    cdef uint8_t state = p.state, name_class = p.name_class, c
    cdef const char *text = <const char *> base
    if length < last:
        last = length
    if state == AT_FIELD and p.scan.line_ends != NULL:
        at = line = _whole_fields(p, base, at, last)
    while True:
        stop = min(last, line + p.limits.field_bytes)
        if state == AT_FIELD:
            if at == stop:
                break
            c = base[at]
            if c == CR:
                at += 1
                state = AT_LAST_LF
            else:
                if is_blank(c):
                    return fault(out, FAULT_OBS_FOLD, at, p.side)
                if p.head.count == p.limits.fields_max:
                    return fault(out, FAULT_FIELDS_MANY, at, p.side)
                name_class = 0
                state = AT_NAME
        if state == AT_LAST_LF:
            if at == stop:
                break
            if base[at] != LF:
                return fault(out, FAULT_BARE_CR, at - 1, p.side)
            p.head.length = at + 1
            return p.head.length
        if state == AT_NAME:
            while at < stop:
                c = char_class[base[at]]
                if not c & CHAR_TOKEN:
                    break
                name_class |= c
                at += 1
            if at == stop:
                break
            if base[at] != COLON or at == line:
                return _name_fault(p, base[at], at, line, out)
            name_end = at
            at += 1
            state = AT_OWS
        if state == AT_OWS:
            while at < stop and is_blank(base[at]):
                at += 1
            if at == stop:
                break
            mark = at
            state = AT_VALUE
        if state == AT_VALUE:
            at = <uint32_t> (p.scan.value_end(text + at, text + stop) - text)
            if at == stop:
                break
            if base[at] != CR:
                return fault(out, FAULT_BARE_LF if base[at] == LF else FAULT_VALUE_BAD, at, p.side)
            at += 1
            state = AT_VALUE_LF
        if at == stop:
            break
        if base[at] != LF:
            return fault(out, FAULT_BARE_CR, at - 1, p.side)
        at += 1
        _keep_field(&p.head, base, line, name_end, mark, at, name_class & CHAR_UNDERSCORE)
        line = at
        state = AT_FIELD
    p.at = at
    p.line = line
    p.mark = mark
    p.name_end = name_end
    p.name_class = name_class
    p.state = state
    if at == p.head.fields_off + p.limits.fields_bytes:
        return fault(out, FAULT_FIELDS_LONG, at, p.side)
    if at == line + p.limits.field_bytes:
        return fault(out, FAULT_FIELD_LONG, at, p.side)
    return 0


cdef inline int64_t parse_request(HeadParser *p, const char *base, size_t length,
                                  Fault *out) noexcept nogil:
    """Read on in a request head; the contract is at the top of this file."""
    cdef uint32_t have = <uint32_t> min(length, <size_t> 0x7fffffff)
    cdef int64_t r
    p.head.base = base
    if p.state < AT_FIELD:
        r = request_line(p, <const uint8_t *> base, have, out)
        if r <= 0:
            return r
    return _fields(p, <const uint8_t *> base, have, out)


cdef inline int64_t parse_response(HeadParser *p, const char *base, size_t length,
                                   Fault *out) noexcept nogil:
    """Read on in a response head; all faults are 502."""
    cdef uint32_t have = <uint32_t> min(length, <size_t> 0x7fffffff)
    cdef int64_t r
    p.head.base = base
    if p.state < AT_FIELD:
        r = status_line(p, <const uint8_t *> base, have, out)
        if r <= 0:
            return r
    return _fields(p, <const uint8_t *> base, have, out)
