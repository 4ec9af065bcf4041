# SPDX-License-Identifier: MIT
"""Words for "some bytes": the smallest vocabulary that all rooms share.

Span    bytes by address; valid as long as whoever made it says.
Text    bytes by (offset, length) relative to a base that its owner names: position independent.
Slice   rows by (offset of the first row, count), relative to the base of a plan.
Out     a bounded writer. Writing past `cap` sets `full` and writes nothing more: check it once, at
        the end, never at each put.

A worker and the control process may use all of it. Nothing here allocates.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef struct Span:
    const char *ptr
    size_t len


cdef struct Text:
    uint32_t off
    uint32_t len


cdef struct Slice:
    uint32_t off
    uint32_t count


cdef struct Out:
    char *ptr
    size_t len
    size_t cap
    bint full


cdef inline Span span(const char *ptr, size_t length) noexcept nogil:
    cdef Span s
    s.ptr = ptr
    s.len = length
    return s


cdef inline Span text_span(const char *base, Text text) noexcept nogil:
    return span(base + text.off, text.len)


cdef inline bint span_equal(Span a, Span b) noexcept nogil:
    return a.len == b.len and (a.len == 0 or memcmp(a.ptr, b.ptr, a.len) == 0)


cdef inline char ascii_lower(char c) noexcept nogil:
    return c | 0x20 if 65 <= c <= 90 else c


cdef inline bint span_equal_nocase(Span a, Span b) noexcept nogil:
    """ASCII case-insensitive equality (field names, codings, hosts)."""
    cdef size_t i
    if a.len != b.len:
        return False
    for i in range(a.len):
        if ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]):
            return False
    return True


cdef inline Out out_over(char *ptr, size_t cap) noexcept nogil:
    cdef Out out
    out.ptr = ptr
    out.len = 0
    out.cap = cap
    out.full = False
    return out


cdef inline void put(Out *out, const char *ptr, size_t length) noexcept nogil:
    if out.cap - out.len < length:
        out.full = True
        return
    memcpy(out.ptr + out.len, ptr, length)
    out.len += length


cdef inline void put_span(Out *out, Span s) noexcept nogil:
    if s.len != 0:              # an absent one is NULL, which memcpy may not see
        put(out, s.ptr, s.len)


cdef inline void put_char(Out *out, char c) noexcept nogil:
    if out.len == out.cap:
        out.full = True
        return
    out.ptr[out.len] = c
    out.len += 1


cdef inline void put_uint(Out *out, uint64_t value) noexcept nogil:
    """Decimal, no leading zero."""
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <char> (48 + value % 10)
        value //= 10
        if value == 0:
            break
    put(out, &digits[at], 20 - at)


cdef inline void put_hex(Out *out, uint64_t value) noexcept nogil:
    """Lower-case hexadecimal, no leading zero: a chunk size."""
    cdef char digits[16]
    cdef int at = 16
    cdef uint8_t nibble
    while True:
        at -= 1
        nibble = <uint8_t> (value & 15)
        digits[at] = <char> (48 + nibble if nibble < 10 else 87 + nibble)
        value >>= 4
        if value == 0:
            break
    put(out, &digits[at], 16 - at)
