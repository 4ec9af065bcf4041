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
control characters. Not accepted: bare CR or LF, HTTP/0.9, more than one empty line before a request,
any before a response. The one leniency: a response may end its status line after the code without
the SP that the grammar asks for, as many servers do; nothing can be hidden there.

Limits count line ends too and are applied at the byte that exceeds them, on unfinished input as well,
so the verdict never depends on how the bytes were cut. Who calls: the worker.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.clib.scan cimport CHAR_TOKEN, CHAR_UNDERSCORE, Scan, char_class
from fastproxy.http1.chars cimport COLON, CR, LF, SLASH, SP, STAR, is_blank, is_digit
from fastproxy.http1.faults cimport (
    FAULT_BARE_CR, FAULT_BARE_LF, FAULT_COLON_MISSING, FAULT_FIELD_LONG, FAULT_FIELDS_LONG,
    FAULT_FIELDS_MANY, FAULT_METHOD_BAD, FAULT_NAME_BAD, FAULT_NAME_EMPTY, FAULT_NAME_SPACE,
    FAULT_OBS_FOLD, FAULT_REASON_BAD, FAULT_REQUEST_LINE_LONG, FAULT_STATUS_BAD,
    FAULT_TARGET_BAD, FAULT_TARGET_FORM, FAULT_VALUE_BAD, FAULT_VERSION_BAD,
    FAULT_VERSION_UNKNOWN, fault,
)
from fastproxy.http1.head cimport (
    FIELD_UNDERSCORE, METHOD_CONNECT, METHOD_GET, METHOD_OPTIONS, SIDE_CLIENT, SIDE_UPSTREAM,
    Fault, Field, Head,
)
from fastproxy.http1.names cimport field_id, lower4, method_id, word2, word4, word8
from fastproxy.memory.limits cimport HEAD_BYTES_CEILING, HEAD_FIELDS_MAX


cdef enum:
    # Lengths in a Field are 16 bits wide: no field line may be longer, whatever the settings say.
    FIELD_BYTES_CEILING = 65535
    # "HTTP/1.1"
    VERSION_BYTES = 8
    STATUS_BYTES = 3


cdef struct HeadLimits:
    uint32_t line_bytes         # request or status line; else 414
    uint32_t field_bytes        # one field line; else 431
    uint32_t fields_bytes       # all field lines and the empty one; else 431
    uint32_t fields_max         # number of fields; else 431


cdef enum ParserState:
    # What the byte at `at` belongs to; `line` is the first byte of its line.
    AT_START = 0                # request: nothing read, one empty line may come
    AT_BLANK_LF = 1             # the LF of that empty line
    AT_METHOD = 2
    AT_TARGET = 3               # mark: the target's first byte
    AT_VERSION = 4              # mark: the version's first byte
    AT_STATUS = 5               # response; mark: the code's first byte
    AT_STATUS_END = 6           # SP, or CR
    AT_REASON = 7               # mark: the reason's first byte
    AT_LINE_LF = 8
    AT_FIELD = 9                # first byte of a field line or of the empty line
    AT_NAME = 10                # name_class: classes of the bytes read
    AT_OWS = 11                 # name_end is set
    AT_VALUE = 12               # mark: the value's first byte
    AT_VALUE_LF = 13            # value_end is set, at - 1 is the CR
    AT_LAST_LF = 14             # the LF of the empty line


cdef struct HeadParser:
    uint32_t at                 # first byte not looked at
    uint32_t line
    uint32_t mark
    uint32_t name_end
    uint8_t state               # ParserState
    uint8_t side
    uint8_t name_class
    const Scan *scan
    HeadLimits limits
    Head head


cdef inline void _init(HeadParser *p, const Scan *scan, const HeadLimits *limits, uint8_t side,
                       uint8_t state) noexcept nogil:
    p.at = 0
    p.line = 0
    p.mark = 0
    p.name_end = 0
    p.state = state
    p.side = side
    p.name_class = 0
    p.scan = scan
    p.limits.line_bytes = min(limits.line_bytes, <uint32_t> HEAD_BYTES_CEILING)
    p.limits.field_bytes = min(limits.field_bytes, <uint32_t> FIELD_BYTES_CEILING)
    p.limits.fields_bytes = min(limits.fields_bytes, <uint32_t> HEAD_BYTES_CEILING)
    p.limits.fields_max = min(limits.fields_max, <uint32_t> HEAD_FIELDS_MAX)
    p.head.base = NULL
    p.head.length = 0
    p.head.fields_off = 0
    p.head.count = 0
    p.head.status = 0
    p.head.minor = 0
    p.head.method = 0
    p.head.ids = 0
    p.head.twice = 0
    p.head.method_text.off = 0
    p.head.method_text.len = 0
    p.head.target.off = 0
    p.head.target.len = 0
    p.head.reason.off = 0
    p.head.reason.len = 0


cdef inline void parser_init_request(HeadParser *p, const Scan *scan,
                                     const HeadLimits *limits) noexcept nogil:
    """Begin a request. Limits are copied, and lowered to what Head can hold."""
    _init(p, scan, limits, SIDE_CLIENT, AT_START)


cdef inline void parser_init_response(HeadParser *p, const Scan *scan,
                                      const HeadLimits *limits) noexcept nogil:
    """Begin a response (an interim one too: each head needs its own)."""
    _init(p, scan, limits, SIDE_UPSTREAM, AT_VERSION)


cdef inline bint parser_started(const HeadParser *p) noexcept nogil:
    """Some byte of a head was seen: a timeout now is 408, before it is an idle connection."""
    return p.at > 0


cdef inline int64_t _pause(HeadParser *p, uint32_t at, uint8_t state, Fault *out) noexcept nogil:
    """Out of bytes within the start line: keep the place, or refuse a line that is too long."""
    p.at = at
    p.state = state
    if at - p.line >= p.limits.line_bytes:
        return fault(out, FAULT_REQUEST_LINE_LONG, at, p.side)
    return 0


cdef inline int _version(HeadParser *p, const uint8_t *base, uint32_t *at, uint32_t stop,
                         Fault *out) noexcept nogil:
    """Read HTTP/1.x at p.mark. 1: read; 0: need more; -1: fault."""
    cdef const char *wanted = b"HTTP/1.1"
    cdef uint32_t mark = p.mark, i
    if at[0] == mark and stop - mark >= VERSION_BYTES and \
            word8(<const char *> base + mark) == word8(b"HTTP/1.1"):
        p.head.minor = 1
        at[0] = mark + VERSION_BYTES
        return 1
    while at[0] < mark + VERSION_BYTES:
        if at[0] == stop:
            return 0
        i = at[0] - mark
        if i == 5 or i == 7:
            if not is_digit(base[at[0]]):
                return fault(out, FAULT_VERSION_BAD, at[0], p.side)
        elif base[at[0]] != <uint8_t> wanted[i]:
            return fault(out, FAULT_VERSION_BAD, at[0], p.side)
        at[0] += 1
    if base[mark + 5] != 49 or base[mark + 7] > 49:
        return fault(out, FAULT_VERSION_UNKNOWN, mark, p.side)
    p.head.minor = base[mark + 7] - 48
    return 1


cdef inline int _target_form(HeadParser *p, const uint8_t *base, Fault *out) noexcept nogil:
    """A target that does not begin with "/": is it another form that this method allows?

    CONNECT takes authority-form only, checked by target_split; "*" is for OPTIONS only.
    """
    cdef const uint8_t *t = base + p.mark
    cdef uint32_t n = p.head.target.len
    if p.head.method == METHOD_CONNECT:
        if t[0] != SLASH and t[0] != STAR:
            return 0
    elif t[0] == STAR:
        if n == 1 and p.head.method == METHOD_OPTIONS:
            return 0
    elif n > 7 and lower4(<const char *> t) == word4(b"http"):
        if t[4] == COLON and t[5] == SLASH and t[6] == SLASH:
            return 0
        if n > 8 and (t[4] | 0x20) == 115 and t[5] == COLON and t[6] == SLASH and t[7] == SLASH:
            return 0
    return fault(out, FAULT_TARGET_FORM, p.mark, p.side)


cdef inline int64_t _request_line(HeadParser *p, const uint8_t *base, uint32_t length,
                                  Fault *out) noexcept nogil:
    """States AT_START to AT_LINE_LF of a request. 1: the line is read; else as parse_request."""
    cdef uint32_t at = p.at, stop
    cdef uint8_t state = p.state
    cdef int r
    if state == AT_START:
        if length == 0:
            return 0
        state = AT_METHOD
        if base[0] == CR:
            at = 1
            state = AT_BLANK_LF
    if state == AT_BLANK_LF:
        if at == length:
            return _pause(p, at, state, out)
        if base[at] != LF:
            return fault(out, FAULT_BARE_CR, at - 1, p.side)
        at += 1
        p.line = at
        state = AT_METHOD
    stop = min(length, p.line + p.limits.line_bytes)
    if state == AT_METHOD:
        if at == p.line and stop - at >= 4 and word4(<const char *> base + at) == word4(b"GET "):
            at += 3
            p.head.method = METHOD_GET
        else:
            while at < stop and char_class[base[at]] & CHAR_TOKEN:
                at += 1
            if at == stop:
                return _pause(p, at, state, out)
            if base[at] != SP or at == p.line:
                return fault(out, FAULT_METHOD_BAD, at, p.side)
            p.head.method = method_id(<const char *> base + p.line, at - p.line)
        p.head.method_text.off = p.line
        p.head.method_text.len = at - p.line
        at += 1
        p.mark = at
        state = AT_TARGET
    if state == AT_TARGET:
        at = <uint32_t> (p.scan.target_end(<const char *> base + at, <const char *> base + stop)
                         - <const char *> base)
        if at == stop:
            return _pause(p, at, state, out)
        if base[at] == CR or base[at] == LF:
            return fault(out, FAULT_VERSION_BAD, at, p.side)
        if base[at] != SP or at == p.mark:
            return fault(out, FAULT_TARGET_BAD, at, p.side)
        p.head.target.off = p.mark
        p.head.target.len = at - p.mark
        if base[p.mark] != SLASH or p.head.method == METHOD_CONNECT:
            if _target_form(p, base, out) < 0:
                return -1
        at += 1
        p.mark = at
        state = AT_VERSION
    if state == AT_VERSION:
        r = _version(p, base, &at, stop, out)
        if r < 0:
            return -1
        if r == 0 or at == stop:
            return _pause(p, at, state, out)
        if base[at] != CR:
            return fault(out, FAULT_BARE_LF if base[at] == LF else FAULT_VERSION_BAD, at, p.side)
        at += 1
    return _line_lf(p, base, at, stop, out)


cdef inline int64_t _line_lf(HeadParser *p, const uint8_t *base, uint32_t at, uint32_t stop,
                             Fault *out) noexcept nogil:
    """State AT_LINE_LF: the last byte of the start line."""
    if at == stop:
        return _pause(p, at, AT_LINE_LF, out)
    if base[at] != LF:
        return fault(out, FAULT_BARE_CR, at - 1, p.side)
    at += 1
    p.head.fields_off = at
    p.at = at
    p.line = at
    p.state = AT_FIELD
    return 1


cdef inline int64_t _status_line(HeadParser *p, const uint8_t *base, uint32_t length,
                                 Fault *out) noexcept nogil:
    """States AT_VERSION to AT_LINE_LF of a response. 1: the line is read."""
    cdef uint32_t at = p.at, stop = min(length, p.limits.line_bytes)
    cdef uint8_t state = p.state
    cdef int r
    if state == AT_VERSION:
        r = _version(p, base, &at, stop, out)
        if r < 0:
            return -1
        if r == 0 or at == stop:
            return _pause(p, at, state, out)
        if base[at] != SP:
            return fault(out, FAULT_VERSION_BAD, at, p.side)
        at += 1
        p.mark = at
        state = AT_STATUS
    if state == AT_STATUS:
        while at < p.mark + STATUS_BYTES:
            if at == stop:
                return _pause(p, at, state, out)
            if not is_digit(base[at]) or (at == p.mark and not 49 <= base[at] <= 53):
                return fault(out, FAULT_STATUS_BAD, at, p.side)
            p.head.status = p.head.status * 10 + (base[at] - 48)
            at += 1
        state = AT_STATUS_END
    if state == AT_STATUS_END:
        if at == stop:
            return _pause(p, at, state, out)
        state = AT_REASON
        p.mark = at
        if base[at] == SP:
            at += 1
            p.mark = at
        elif base[at] != CR:
            return fault(out, FAULT_BARE_LF if base[at] == LF else FAULT_STATUS_BAD, at, p.side)
    if state == AT_REASON:
        at = <uint32_t> (p.scan.value_end(<const char *> base + at, <const char *> base + stop)
                         - <const char *> base)
        if at == stop:
            return _pause(p, at, state, out)
        if base[at] != CR:
            return fault(out, FAULT_BARE_LF if base[at] == LF else FAULT_REASON_BAD, at, p.side)
        p.head.reason.off = p.mark
        p.head.reason.len = at - p.mark
        at += 1
    return _line_lf(p, base, at, stop, out)


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
    cdef uint64_t bit
    while value_end > value and is_blank(base[value_end - 1]):
        value_end -= 1
    field.name_off = line
    field.name_len = name_end - line
    field.value_off = value
    field.value_len = value_end - value
    field.id = field_id(<const char *> base + line, name_end - line)
    field.flags = FIELD_UNDERSCORE if underscore else 0
    field.line_len = after - line
    bit = (<uint64_t> 1) << field.id
    head.twice |= head.ids & bit
    head.ids |= bit
    head.last[field.id] = <uint8_t> head.count
    head.count += 1


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
        r = _request_line(p, <const uint8_t *> base, have, out)
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
        r = _status_line(p, <const uint8_t *> base, have, out)
        if r <= 0:
            return r
    return _fields(p, <const uint8_t *> base, have, out)
