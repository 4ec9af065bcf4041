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
from libc.string cimport memcmp, memcpy, strlen


cdef extern from "fastproxy/clib/words.h" nogil:
    size_t BLOCK_BYTES
    void copy_blocks(char *to, const char *p, size_t length) noexcept


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


cdef inline void put_blocks(Out *out, const char *ptr, size_t length) noexcept nogil:
    """As put, for a text behind which as much as a block may be read."""
    if out.cap - out.len >= length + BLOCK_BYTES:
        copy_blocks(out.ptr + out.len, ptr, length)
        out.len += length
    else:
        put(out, ptr, length)


cdef inline void put_span(Out *out, Span s) noexcept nogil:
    if s.len != 0:              # an absent one is NULL, which memcpy may not see
        put(out, s.ptr, s.len)


cdef inline void put_text(Out *out, const char *text) noexcept nogil:
    put(out, text, strlen(text))


cdef inline void put_char(Out *out, char c) noexcept nogil:
    if out.len == out.cap:
        out.full = True
        return
    out.ptr[out.len] = c
    out.len += 1


cdef extern from * nogil:
    """
    static const char DIGIT_PAIRS[201] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    """
    const char DIGIT_PAIRS[201]


cdef inline size_t uint_digits(uint64_t value) noexcept nogil:
    cdef size_t length = 1
    cdef uint64_t bound = 10
    while value >= bound and length < 20:
        bound *= 10             # 10^20 is never reached: 64 bits hold 20 digits
        length += 1
    return length


cdef inline void put_uint(Out *out, uint64_t value) noexcept nogil:
    """Decimal, no leading zero; two digits a step, in place."""
    cdef size_t length
    if value < 10:
        put_char(out, <char> (48 + value))
        return
    length = uint_digits(value)
    if out.cap - out.len < length:
        out.full = True
        return
    out.len += length
    write_uint_before(out.ptr + out.len, value)


cdef inline void write_uint_before(char *end, uint64_t value) noexcept nogil:
    """Decimal, its last digit in front of `end`."""
    while value >= 100:
        end -= 2
        memcpy(end, &DIGIT_PAIRS[value % 100 * 2], 2)
        value //= 100
    if value >= 10:
        memcpy(end - 2, &DIGIT_PAIRS[value * 2], 2)
    else:
        end -= 1
        end[0] = <char> (48 + value)


cdef inline void write_millionths(char *to, uint32_t value) noexcept nogil:
    """"." and six digits: what follows the seconds. `value` is below a million."""
    # Ten-thousandths with 32 bits behind the point, rounded up: below a million that is exact, and
    # each multiplication moves two digits in front of the point.
    cdef uint64_t fixed = <uint64_t> value * 429497
    to[0] = c'.'
    memcpy(to + 1, &DIGIT_PAIRS[(fixed >> 32) * 2], 2)
    fixed = <uint64_t> <uint32_t> fixed * 100
    memcpy(to + 3, &DIGIT_PAIRS[(fixed >> 32) * 2], 2)
    fixed = <uint64_t> <uint32_t> fixed * 100
    memcpy(to + 5, &DIGIT_PAIRS[(fixed >> 32) * 2], 2)


cdef inline void put_millionths(Out *out, uint32_t value) noexcept nogil:
    """As write_millionths."""
    if out.cap - out.len < 7:
        out.full = True
        return
    write_millionths(out.ptr + out.len, value)
    out.len += 7


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
