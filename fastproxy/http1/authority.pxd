# SPDX-License-Identifier: MIT
"""uri-host [":" port]: the value of Host and the authority of an absolute-form target.

One validator for both, so that routing, the log and the upstream can never disagree on what was
asked for (B3 10). A host is 1 to 255 unreserved characters without empty labels (one trailing dot
may stand), or an IPv6 address in brackets; a port is 1 to 65535 in one to five digits.

Not accepted, though RFC 3986 would: userinfo, percent escapes and sub-delims (a comma or a
semicolon in a host only ever confuses somebody), an empty port after the colon, IPvFuture, zones.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcpy

from fastproxy.clib.scan cimport CHAR_UNRESERVED, char_class
from fastproxy.http1.chars cimport (
    BRACKET_CLOSE, BRACKET_OPEN, COLON, DOT, hex_digit, is_digit,
)
from fastproxy.memory.span cimport Span, ascii_lower, span

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET6
    int inet_pton(int family, const char *text, void *address) noexcept


cdef enum:
    HOST_BYTES_MAX = 255
    IPV6_TEXT_MAX = 45


cdef inline bint _ipv6(const char *p, size_t n) noexcept nogil:
    """An IPv6 address in text, as inet_pton reads it."""
    cdef char text[48]
    cdef uint8_t address[16]
    cdef size_t i
    if n < 2 or n > IPV6_TEXT_MAX:
        return False
    for i in range(n):
        if hex_digit(<uint8_t> p[i]) < 0 and p[i] != COLON and p[i] != DOT:
            return False
    memcpy(text, p, n)
    text[n] = 0
    return inet_pton(AF_INET6, text, address) == 1


cdef inline size_t _host_end(Span a) noexcept nogil:
    """Bytes of the host at the front of an authority; 0 if there is no valid one."""
    cdef size_t i = 0
    cdef uint8_t c, before = DOT
    cdef const char *close
    if a.len and a.ptr[0] == BRACKET_OPEN:
        close = <const char *> memchr(a.ptr, BRACKET_CLOSE, a.len)
        if close == NULL or not _ipv6(a.ptr + 1, close - a.ptr - 1):
            return 0
        return close - a.ptr + 1
    while i < a.len:
        c = <uint8_t> a.ptr[i]
        if not char_class[c] & CHAR_UNRESERVED:
            break
        if c == DOT and before == DOT:
            return 0
        before = c
        i += 1
    return i if i <= HOST_BYTES_MAX else 0


cdef inline int authority_parse(Span authority, Span *host, uint16_t *port) noexcept nogil:
    """Validate and split; `host` is as written (brackets kept), `port` 0 if none. 0, or -1: bad."""
    cdef size_t at = _host_end(authority)
    cdef uint32_t value = 0
    if at == 0:
        return -1
    host[0] = span(authority.ptr, at)
    port[0] = 0
    if at == authority.len:
        return 0
    if authority.ptr[at] != COLON or authority.len - at < 2 or authority.len - at > 6:
        return -1
    for at in range(at + 1, authority.len):
        if not is_digit(<uint8_t> authority.ptr[at]):
            return -1
        value = value * 10 + (authority.ptr[at] - 48)
    if value == 0 or value > 65535:
        return -1
    port[0] = <uint16_t> value
    return 0


cdef inline int host_split(Span authority, char *lowered, Span *host,
                           uint16_t *port) noexcept nogil:
    """The host that routes are matched by: lower case, no port, no trailing dot. 0, or -1: bad.

    `lowered` is room for HOST_BYTES_MAX bytes; `host` points into it. An IPv6 address keeps its
    brackets. `port` is 0 if none was named.
    """
    cdef Span raw
    cdef size_t i
    if authority_parse(authority, &raw, port) < 0:
        return -1
    for i in range(raw.len):
        lowered[i] = ascii_lower(raw.ptr[i])
    if raw.ptr[raw.len - 1] == DOT:
        raw.len -= 1
    host[0] = span(lowered, raw.len)
    return 0
