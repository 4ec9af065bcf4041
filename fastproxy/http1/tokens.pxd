# SPDX-License-Identifier: MIT
"""Comma lists and tokens inside field values (RFC 9110 5.6.1, 5.6.2)."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr

from fastproxy.clib.scan cimport CHAR_TOKEN, char_class
from fastproxy.http1.chars cimport COMMA, is_blank, is_digit
from fastproxy.http1.head cimport Field, Head
from fastproxy.memory.limits cimport LENGTH_DIGITS_MAX
from fastproxy.memory.span cimport Span, span


cdef inline void field_taken(Head *head, uint8_t id) noexcept nogil:
    """The field behind the last one is filled in: from now on it counts, and is found by its id."""
    cdef uint64_t bit = (<uint64_t> 1) << id
    head.twice |= head.ids & bit
    head.ids |= bit
    head.last[id] = <uint8_t> head.count
    head.count += 1


cdef inline Span name_of(const Head *head, const Field *field) noexcept nogil:
    return span(head.base + field.name_off, field.name_len)


cdef inline Span value_of(const Head *head, const Field *field) noexcept nogil:
    """The value without the OWS around it."""
    return span(head.base + field.value_off, field.value_len)


cdef inline bint next_item(Span *rest, Span *item) noexcept nogil:
    """Take the next element off a comma list, OWS trimmed; it may be empty. False: none left.

    Quoted strings are not understood: no list that we read has any.
    """
    cdef const char *comma
    if rest.ptr == NULL:
        return False
    comma = <const char *> memchr(rest.ptr, COMMA, rest.len)
    item.ptr = rest.ptr
    if comma == NULL:
        item.len = rest.len
        rest.ptr = NULL
        rest.len = 0
    else:
        item.len = comma - rest.ptr
        rest.ptr = comma + 1
        rest.len -= item.len + 1
    while item.len and is_blank(item.ptr[0]):
        item.ptr += 1
        item.len -= 1
    while item.len and is_blank(item.ptr[item.len - 1]):
        item.len -= 1
    return True


cdef inline bint is_token(Span s) noexcept nogil:
    """1*tchar."""
    cdef size_t i
    for i in range(s.len):
        if not char_class[<uint8_t> s.ptr[i]] & CHAR_TOKEN:
            return False
    return s.len > 0


cdef inline bint lower_is(Span s, const char *text, size_t length) noexcept nogil:
    """Equal to `text`, which is given in lower case and has `length` bytes."""
    cdef size_t i
    cdef char c
    if s.len != length:
        return False
    for i in range(length):
        c = s.ptr[i]
        if 65 <= c <= 90:
            c |= 0x20
        if c != text[i]:
            return False
    return True


cdef inline long long decimal(Span s) noexcept nogil:
    """The number that 1*DIGIT says, -1 if it is anything else or longer than LENGTH_DIGITS_MAX."""
    cdef long long value = 0
    cdef size_t i
    if s.len == 0 or s.len > LENGTH_DIGITS_MAX:
        return -1
    for i in range(s.len):
        if not is_digit(<uint8_t> s.ptr[i]):
            return -1
        value = value * 10 + (s.ptr[i] - 48)
    return value
