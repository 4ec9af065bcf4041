# SPDX-License-Identifier: MIT
"""The first line of a head: request line (RFC 9112 3) and status line (RFC 9112 4).

`request_line` and `status_line` are the first half of parse_request and parse_response: they read
on from parser.at and answer 1 when the line is whole (parser.state is AT_FIELD then), 0 for "need
more" and -1 for a fault. Only parse.pxd calls them.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastproxy.clib.scan cimport CHAR_TOKEN, char_class
from fastproxy.http1.chars cimport COLON, CR, LF, SLASH, SP, STAR, is_digit
from fastproxy.http1.faults cimport (
    FAULT_BARE_CR, FAULT_BARE_LF, FAULT_METHOD_BAD, FAULT_REASON_BAD, FAULT_REQUEST_LINE_LONG,
    FAULT_STATUS_BAD, FAULT_TARGET_BAD, FAULT_TARGET_FORM, FAULT_VERSION_BAD,
    FAULT_VERSION_UNKNOWN, fault,
)
from fastproxy.http1.head cimport METHOD_CONNECT, METHOD_GET, METHOD_OPTIONS, Fault
from fastproxy.http1.names cimport lower4, method_id, word4, word8
from fastproxy.http1.parser cimport (
    AT_BLANK_LF, AT_FIELD, AT_LINE_LF, AT_METHOD, AT_REASON, AT_START, AT_STATUS, AT_STATUS_END,
    AT_TARGET, AT_VERSION, HeadParser,
)


cdef enum:
    # "HTTP/1.1"
    VERSION_BYTES = 8
    STATUS_BYTES = 3


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


cdef inline int64_t request_line(HeadParser *p, const uint8_t *base, uint32_t length,
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


cdef inline int64_t status_line(HeadParser *p, const uint8_t *base, uint32_t length,
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
