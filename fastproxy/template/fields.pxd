# SPDX-License-Identifier: MIT
"""Finding things by name in a head: header lines, cookies, query parameters.

Shared by templates, routing and rewriting. Each is a step function: give it a cursor, it gives the
next occurrence. Names of fields compare without case, names of cookies and parameters exactly.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp

from fastproxy.http1.head cimport FIELD_COOKIE, FIELD_OTHER, Field, Head
from fastproxy.memory.span cimport Span, ascii_lower, span


cdef inline Span field_value(const Head *head, int index) noexcept nogil:
    return span(head.base + head.fields[index].value_off, head.fields[index].value_len)


cdef inline bint same_name(const char *a, const char *b, size_t length) noexcept nogil:
    cdef size_t i
    for i in range(length):
        if ascii_lower(a[i]) != ascii_lower(b[i]):
            return False
    return True


cdef inline int field_next(const Head *head, int index, uint8_t id, Span name) noexcept nogil:
    """Index of the first field at or after `index` of that id (or, for FIELD_OTHER, of that name);
    -1 if there is none. `head` may be NULL."""
    if head == NULL:
        return -1
    if id != FIELD_OTHER:
        if not (head.ids >> id) & 1:
            return -1
        if not (head.twice >> id) & 1:
            return head.last[id] if <int> head.last[id] >= index else -1
    while index < <int> head.count:
        if head.fields[index].id == id:
            if id != FIELD_OTHER:
                return index
            if (head.fields[index].name_len == name.len
                    and same_name(head.base + head.fields[index].name_off, name.ptr, name.len)):
                return index
        index += 1
    return -1


cdef inline bint cookie_next(Span line, size_t *at, Span name, Span *value) noexcept nogil:
    """The next cookie of that name in one Cookie line from byte `at` on (RFC 6265 4.2.1; missing
    spaces are tolerated). False at the end of the line."""
    cdef size_t start, end, equals
    cdef const char *found
    while at[0] < line.len:
        start = at[0]
        found = <const char *> memchr(line.ptr + start, 0x3b, line.len - start)
        end = <size_t> (found - line.ptr) if found != NULL else line.len
        at[0] = end + 1
        while start < end and (line.ptr[start] == 0x20 or line.ptr[start] == 0x09):
            start += 1
        while end > start and (line.ptr[end - 1] == 0x20 or line.ptr[end - 1] == 0x09):
            end -= 1
        equals = start + name.len
        if (equals < end and line.ptr[equals] == 0x3d
                and memcmp(line.ptr + start, name.ptr, name.len) == 0):
            value[0] = span(line.ptr + equals + 1, end - equals - 1)
            return True
    return False


cdef inline bint cookie_find(const Head *head, Span name, Span *value) noexcept nogil:
    """The first cookie of that name in any Cookie line."""
    cdef int index = field_next(head, 0, FIELD_COOKIE, name)
    cdef size_t at
    while index >= 0:
        at = 0
        if cookie_next(field_value(head, index), &at, name, value):
            return True
        index = field_next(head, index + 1, FIELD_COOKIE, name)
    return False


cdef inline bint query_next(Span query, size_t *at, Span *name, Span *value) noexcept nogil:
    """The next `name=value` of a query, both as sent; a lone `name` has an empty value."""
    cdef size_t start, end
    cdef const char *found
    while at[0] < query.len:
        start = at[0]
        found = <const char *> memchr(query.ptr + start, 0x26, query.len - start)
        end = <size_t> (found - query.ptr) if found != NULL else query.len
        at[0] = end + 1
        if end == start:
            continue
        found = <const char *> memchr(query.ptr + start, 0x3d, end - start)
        if found == NULL:
            name[0] = span(query.ptr + start, end - start)
            value[0] = span(query.ptr + end, 0)
        else:
            name[0] = span(query.ptr + start, <size_t> (found - query.ptr) - start)
            value[0] = span(found + 1, end - <size_t> (found - query.ptr) - 1)
        return True
    return False


cdef inline int hex_digit(char c) noexcept nogil:
    if 0x30 <= c <= 0x39:
        return c - 0x30
    if 0x41 <= (c & ~0x20) <= 0x46:
        return (c & ~0x20) - 0x37
    return -1


cdef inline int form_byte(Span s, size_t *at) noexcept nogil:
    """The next byte of a query name or value, decoded: "+" is a space, %XX a byte, a bad "%"
    itself. `at` must be below s.len."""
    cdef char c = s.ptr[at[0]]
    cdef int high, low
    at[0] += 1
    if c == 0x2b:
        return 0x20
    if c == 0x25 and s.len - at[0] >= 2:
        high = hex_digit(s.ptr[at[0]])
        low = hex_digit(s.ptr[at[0] + 1])
        if high >= 0 and low >= 0:
            at[0] += 2
            return high * 16 + low
    return <uint8_t> c


cdef inline bint form_equal(Span sent, Span plain) noexcept nogil:
    """Whether `sent` decodes to `plain`."""
    cdef size_t at = 0, i
    for i in range(plain.len):
        if at >= sent.len or form_byte(sent, &at) != <int> <uint8_t> plain.ptr[i]:
            return False
    return at == sent.len


cdef inline bint query_find(Span query, Span name, Span *value) noexcept nogil:
    """The first parameter of that (decoded) name; its value as sent."""
    cdef size_t at = 0
    cdef Span found
    while query_next(query, &at, &found, value):
        if form_equal(found, name):
            return True
    return False
