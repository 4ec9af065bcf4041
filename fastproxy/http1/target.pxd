# SPDX-License-Identifier: MIT
"""The request target: its parts, and the one form of its path that everybody sees.

`target_split` cuts the raw target (RFC 9112 3.2); `path_normalise` makes the path that is matched,
authorised, rewritten *and* forwarded (B3 27), so that no two parties can read it differently:

- %XX of an unreserved character is decoded, every other escape stays as it is (%2F is data);
- "." and ".." segments are removed after that (RFC 3986 5.2.4);
- "//" becomes "/" with PATH_MERGE_SLASHES, before dot segments are looked at.

Refused with 400: a percent sign without two hex digits, escaped controls (%00-%1f, %7f), backslash
raw or escaped, overlong UTF-8 (%c0, %c1, %e0%80-%9f, %f0%80-%8f), ".." above the root, a dot
segment with a parameter ("..;x": some servers cut at the semicolon first), %2F with
PATH_REFUSE_SLASH.
Escapes are decoded once: %252e stays %252e.
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr

from fastproxy.clib.scan cimport CHAR_PATH_ODD, CHAR_UNRESERVED, char_class
from fastproxy.http1.authority cimport authority_parse, host_split
from fastproxy.http1.chars cimport (
    BACKSLASH, COLON, DOT, PERCENT, QUESTION, SEMICOLON, SLASH, STAR, hex_digit,
)
from fastproxy.http1.faults cimport (
    FAULT_AUTHORITY_BAD, FAULT_PATH_ABOVE_ROOT, FAULT_PATH_BACKSLASH, FAULT_PATH_BAD,
    FAULT_PATH_CONTROL, FAULT_PATH_DOT_PARAMETER, FAULT_PATH_ESCAPE, FAULT_PATH_LONG,
    FAULT_PATH_OVERLONG, FAULT_PATH_SLASH, FAULT_TARGET_FORM, fault,
)
from fastproxy.http1.head cimport METHOD_CONNECT, METHOD_OPTIONS, SIDE_CLIENT, Fault, Head
from fastproxy.memory.span cimport Span, span


cdef enum TargetForm:
    TARGET_ORIGIN = 0           # "/path?query"
    TARGET_ABSOLUTE = 1         # "http://host/path?query": authority is set
    TARGET_ASTERISK = 2         # "*": path is "*"
    TARGET_AUTHORITY = 3        # CONNECT "host:port": authority is set, path is empty


cdef struct TargetParts:
    Span authority              # absolute- and authority-form; else empty
    Span path                   # raw; into the head, or a constant "/" or "*"
    Span query                  # without "?"
    uint8_t has_query           # "/x?" has one, empty
    uint8_t form                # TargetForm
    uint8_t https               # absolute-form: the scheme is https


cdef enum PathOptions:
    PATH_MERGE_SLASHES = 1
    PATH_REFUSE_SLASH = 2


cdef inline int _authority(const Head *head, TargetParts *parts, bint need_port,
                           Fault *out) noexcept nogil:
    cdef Span host
    cdef uint16_t port
    if authority_parse(parts.authority, &host, &port) < 0 or (need_port and port == 0):
        return fault(out, FAULT_AUTHORITY_BAD, head.target.off, SIDE_CLIENT)
    return 0


cdef inline void _path_and_query(Span rest, TargetParts *parts) noexcept nogil:
    cdef const char *mark = <const char *> memchr(rest.ptr, QUESTION, rest.len)
    parts.path = rest
    if mark != NULL:
        parts.has_query = 1
        parts.path.len = mark - rest.ptr
        parts.query = span(mark + 1, rest.len - parts.path.len - 1)


cdef inline int target_split(const Head *head, TargetParts *parts, Fault *out) noexcept nogil:
    """Cut the target of a parsed request head into parts. 0, or -1: `out` is filled.

    An absolute form's authority is validated like a Host and replaces it (RFC 9112 3.2.2). Its
    empty path is "/", or "*" for OPTIONS without a query (RFC 9112 3.2.4).
    """
    cdef Span rest = span(head.base + head.target.off, head.target.len)
    cdef size_t scheme, i
    parts.authority = span(NULL, 0)
    parts.query = span(NULL, 0)
    parts.has_query = 0
    parts.https = 0
    parts.form = TARGET_ORIGIN
    if head.method == METHOD_CONNECT:
        parts.form = TARGET_AUTHORITY
        parts.authority = rest
        parts.path = span(rest.ptr, 0)
        return _authority(head, parts, True, out)
    if rest.len and rest.ptr[0] == SLASH:
        _path_and_query(rest, parts)
        return 0
    if rest.len == 1 and rest.ptr[0] == STAR:
        parts.form = TARGET_ASTERISK
        parts.path = rest
        return 0
    if rest.len < 8:
        return fault(out, FAULT_TARGET_FORM, head.target.off, SIDE_CLIENT)
    # The parser let nothing else through than http:// and https://.
    parts.form = TARGET_ABSOLUTE
    parts.https = rest.ptr[4] != COLON
    scheme = 8 if parts.https else 7
    i = scheme
    while i < rest.len and rest.ptr[i] != SLASH and rest.ptr[i] != QUESTION:
        i += 1
    parts.authority = span(rest.ptr + scheme, i - scheme)
    _path_and_query(span(rest.ptr + i, rest.len - i), parts)
    if parts.path.len == 0:
        parts.path = span(b"/", 1)
        if head.method == METHOD_OPTIONS and not parts.has_query:
            parts.path = span(b"*", 1)
    return _authority(head, parts, False, out)


cdef inline bint _is_plain(Span raw, uint8_t options) noexcept nogil:
    """Nothing to do: no escapes, nothing odd, no "/." and, if they are merged, no "//"."""
    cdef size_t i
    cdef uint8_t c, before = 0
    for i in range(raw.len):
        c = <uint8_t> raw.ptr[i]
        if char_class[c] & CHAR_PATH_ODD:
            return False
        if before == SLASH and (c == DOT or (c == SLASH and options & PATH_MERGE_SLASHES)):
            return False
        before = c
    return True


cdef inline int _escape_at(Span raw, size_t at) noexcept nogil:
    """The byte that the escape at `at` stands for, or -1."""
    cdef int high, low
    if at + 2 >= raw.len or raw.ptr[at] != PERCENT:
        return -1
    high = hex_digit(<uint8_t> raw.ptr[at + 1])
    low = hex_digit(<uint8_t> raw.ptr[at + 2])
    return -1 if high < 0 or low < 0 else high << 4 | low


cdef inline int _escape_reason(Span raw, size_t at, int value, uint8_t options) noexcept nogil:
    """Why the escape at `at`, which means `value`, is refused; 0: it is not."""
    cdef int after
    if value < 0:
        return FAULT_PATH_ESCAPE
    if value < 32 or value == 127:
        return FAULT_PATH_CONTROL
    if value == BACKSLASH:
        return FAULT_PATH_BACKSLASH
    if value == SLASH and options & PATH_REFUSE_SLASH:
        return FAULT_PATH_SLASH
    if value == 0xc0 or value == 0xc1:
        return FAULT_PATH_OVERLONG
    if value == 0xe0 or value == 0xf0:
        after = _escape_at(raw, at + 3)
        if 0x80 <= after < (0xa0 if value == 0xe0 else 0x90):
            return FAULT_PATH_OVERLONG
    return 0


cdef inline int _unescape(Span raw, uint8_t options, char *out, size_t *length,
                          size_t *bad) noexcept nogil:
    """First step: copy `raw`, decode unreserved characters, merge slashes. A reason, or 0."""
    cdef size_t at = 0, n = 0
    cdef int value, reason
    cdef uint8_t c
    while at < raw.len:
        c = <uint8_t> raw.ptr[at]
        bad[0] = at
        if c == PERCENT:
            value = _escape_at(raw, at)
            reason = _escape_reason(raw, at, value, options)
            if reason:
                return reason
            if char_class[value] & CHAR_UNRESERVED:
                out[n] = <char> value
                n += 1
            else:
                out[n] = PERCENT
                out[n + 1] = raw.ptr[at + 1]
                out[n + 2] = raw.ptr[at + 2]
                n += 3
            at += 3
            continue
        if char_class[c] & CHAR_PATH_ODD:
            return FAULT_PATH_BACKSLASH if c == BACKSLASH else FAULT_PATH_BAD
        at += 1
        if c == SLASH and n and out[n - 1] == SLASH and options & PATH_MERGE_SLASHES:
            continue
        out[n] = <char> c
        n += 1
    length[0] = n
    return 0


cdef inline int _remove_dots(char *path, size_t *length) noexcept nogil:
    """Second step, in place (RFC 3986 5.2.4): `path` begins with "/". A reason, or 0."""
    cdef size_t at = 0, end, n = 0, size, dots
    while at < length[0]:
        # path[at] is "/", the segment is path[at + 1 : end]
        end = at + 1
        while end < length[0] and path[end] != SLASH:
            end += 1
        size = end - at - 1
        dots = 0
        while dots < size and dots < 3 and path[at + 1 + dots] == DOT:
            dots += 1
        if 0 < dots < 3 and dots < size and path[at + 1 + dots] == SEMICOLON:
            return FAULT_PATH_DOT_PARAMETER
        if size == dots and 0 < dots < 3:
            if dots == 2:
                if n == 0:
                    return FAULT_PATH_ABOVE_ROOT
                n -= 1
                while path[n] != SLASH:
                    n -= 1
            if end == length[0]:
                path[n] = SLASH
                n += 1
        else:
            for at in range(at, end):
                path[n] = path[at]
                n += 1
        at = end
    length[0] = n
    return 0


cdef inline int path_normalise(Span raw, char *room, size_t cap, uint8_t options, Span *normal,
                               Fault *out) noexcept nogil:
    """The path's normal form; `normal` is `raw` itself when there is nothing to do (as is usual),
    else it points into `room`. 0, or -1: `out` is filled. "*" is left alone.

    `room` must hold raw.len bytes (the form is never longer), else 414. The fault's offset counts
    from the path's first byte.
    """
    cdef size_t length = 0, bad = 0
    cdef int reason
    normal[0] = raw
    if raw.len == 1 and raw.ptr[0] == STAR:
        return 0
    if raw.len == 0 or raw.ptr[0] != SLASH:
        return fault(out, FAULT_PATH_BAD, 0, SIDE_CLIENT)
    if _is_plain(raw, options):
        return 0
    if cap < raw.len:
        return fault(out, FAULT_PATH_LONG, cap, SIDE_CLIENT)
    reason = _unescape(raw, options, room, &length, &bad)
    if reason == 0:
        bad = 0
        reason = _remove_dots(room, &length)
    if reason:
        return fault(out, reason, bad, SIDE_CLIENT)
    normal[0] = span(room, length)
    return 0
