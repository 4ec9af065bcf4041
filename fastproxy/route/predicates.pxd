# SPDX-License-Identifier: MIT
"""What a route asks of headers, query and cookies beside the path.

A field or parameter that occurs several times matches if one occurrence does, or (headers) if all
of them joined by ", " do: so neither splitting a value over lines nor doubling it hides it.
"absent" wants no occurrence at all. Query names and values are compared decoded, cookies as sent.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from fastproxy.http1.head cimport FIELD_COOKIE, Head
from fastproxy.memory.span cimport Span, span, span_equal, text_span
from fastproxy.regex.run cimport REGEX_JOIN_BYTES, REGEX_YES, RegexSet, regex_match
from fastproxy.route.table cimport (
    PREDICATE_COOKIE, PREDICATE_HEADER, PREDICATE_QUERY, PredicateRow, RouteQuery,
    TEST_ABSENT, TEST_EQUAL, TEST_PRESENT, TEST_REGEX)
from fastproxy.template.fields cimport (
    cookie_next, field_next, field_value, form_byte, form_equal, query_next)


cdef inline bint joined_equal(const Head *head, int first, uint8_t id, Span name,
                              Span wanted) noexcept nogil:
    """Whether all lines of the name, joined by ", ", are `wanted`; nothing is copied."""
    cdef size_t at = 0
    cdef int index = first
    cdef Span value
    while index >= 0:
        value = field_value(head, index)
        if at:
            if wanted.len - at < 2 or memcmp(wanted.ptr + at, b", ", 2) != 0:
                return False
            at += 2
        if wanted.len - at < value.len or memcmp(wanted.ptr + at, value.ptr, value.len) != 0:
            return False
        at += value.len
        index = field_next(head, index + 1, id, name)
    return at == wanted.len


cdef inline bint joined_matches(const Head *head, int first, uint8_t id, Span name,
                                const RegexSet *regexes, uint32_t regex) noexcept nogil:
    """The regex on the joined lines; False if they do not fit the room for joining."""
    cdef size_t at = 0
    cdef int index = first
    cdef Span value
    if regexes == NULL or regexes.join == NULL:
        return False
    while index >= 0:
        value = field_value(head, index)
        if at + 2 + value.len > REGEX_JOIN_BYTES:
            return False
        if index != first:
            memcpy(regexes.join + at, b", ", 2)
            at += 2
        memcpy(regexes.join + at, value.ptr, value.len)
        at += value.len
        index = field_next(head, index + 1, id, name)
    return regex_match(regexes, regex, span(regexes.join, at)) == REGEX_YES


cdef inline bint header_holds(const char *base, const PredicateRow *row, const Head *head,
                              const RegexSet *regexes) noexcept nogil:
    cdef Span name = text_span(base, row.name)
    cdef Span wanted = text_span(base, row.value)
    cdef int first = field_next(head, 0, row.id, name)
    cdef int index = first
    cdef bint several
    if row.test == TEST_ABSENT or first < 0:
        return row.test == TEST_ABSENT and first < 0
    if row.test == TEST_PRESENT:
        return True
    while index >= 0:
        if row.test == TEST_EQUAL:
            if span_equal(field_value(head, index), wanted):
                return True
        elif regex_match(regexes, row.regex, field_value(head, index)) == REGEX_YES:
            return True
        index = field_next(head, index + 1, row.id, name)
    several = field_next(head, first + 1, row.id, name) >= 0
    if not several:
        return False
    if row.test == TEST_EQUAL:
        return joined_equal(head, first, row.id, name, wanted)
    return joined_matches(head, first, row.id, name, regexes, row.regex)


cdef inline bint form_matches(Span sent, const RegexSet *regexes, uint32_t regex) noexcept nogil:
    """The regex on the decoded value; False if it does not fit the room for decoding."""
    cdef size_t at = 0, length = 0
    if regexes == NULL or regexes.join == NULL:
        return False
    while at < sent.len:
        if length == REGEX_JOIN_BYTES:
            return False
        regexes.join[length] = <char> form_byte(sent, &at)
        length += 1
    return regex_match(regexes, regex, span(regexes.join, length)) == REGEX_YES


cdef inline bint query_holds(const char *base, const PredicateRow *row, Span query,
                             const RegexSet *regexes) noexcept nogil:
    cdef Span name = text_span(base, row.name)
    cdef Span wanted = text_span(base, row.value)
    cdef Span found, value
    cdef size_t at = 0
    while query_next(query, &at, &found, &value):
        if not form_equal(found, name):
            continue
        if row.test == TEST_PRESENT or row.test == TEST_ABSENT:
            return row.test == TEST_PRESENT
        if row.test == TEST_EQUAL:
            if form_equal(value, wanted):
                return True
        elif form_matches(value, regexes, row.regex):
            return True
    return row.test == TEST_ABSENT


cdef inline bint cookie_holds(const char *base, const PredicateRow *row, const Head *head,
                              const RegexSet *regexes) noexcept nogil:
    cdef Span name = text_span(base, row.name)
    cdef Span wanted = text_span(base, row.value)
    cdef Span value
    cdef size_t at
    cdef int index = field_next(head, 0, FIELD_COOKIE, name)
    while index >= 0:
        at = 0
        while cookie_next(field_value(head, index), &at, name, &value):
            if row.test == TEST_PRESENT or row.test == TEST_ABSENT:
                return row.test == TEST_PRESENT
            if row.test == TEST_EQUAL:
                if span_equal(value, wanted):
                    return True
            elif regex_match(regexes, row.regex, value) == REGEX_YES:
                return True
        index = field_next(head, index + 1, FIELD_COOKIE, name)
    return row.test == TEST_ABSENT


cdef inline bint predicate_holds(const char *base, const PredicateRow *row,
                                 const RouteQuery *query, const RegexSet *regexes) noexcept nogil:
    if row.kind == PREDICATE_HEADER:
        return header_holds(base, row, query.head, regexes)
    if row.kind == PREDICATE_QUERY:
        return query_holds(base, row, query.query, regexes)
    return cookie_holds(base, row, query.head, regexes)
