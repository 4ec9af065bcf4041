# SPDX-License-Identifier: MIT
"""Compile a plan's patterns once per worker, match them without the GIL.

A pattern comes from the operator, what it is matched against from strangers. So every match is
bounded: a match limit (JIT honours it too), a depth and a heap limit for the interpreter, a fixed
JIT stack. A match that runs into a limit answers REGEX_LIMIT, which routing counts as "no match"
and rewriting as a fault; it never takes longer than a few milliseconds.

`regex_set_make` and `regex_set_free` allocate and are called when a plan is mapped and unmapped,
never per request. A set belongs to one thread: match data is overwritten by each match.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastproxy.clib.pcre2 cimport (
    PCRE2_DOLLAR_ENDONLY, PCRE2_ERROR_NOMATCH, PCRE2_JIT_COMPLETE, PCRE2_NEVER_BACKSLASH_C,
    PCRE2_NEVER_UCP, PCRE2_NEVER_UTF, PCRE2_UNSET,
    pcre2_code, pcre2_code_free, pcre2_compile, pcre2_get_ovector_pointer, pcre2_jit_compile,
    pcre2_jit_stack, pcre2_jit_stack_assign, pcre2_jit_stack_create, pcre2_jit_stack_free,
    pcre2_match, pcre2_match_context, pcre2_match_context_create, pcre2_match_context_free,
    pcre2_match_data, pcre2_match_data_create, pcre2_match_data_free, pcre2_set_depth_limit,
    pcre2_set_heap_limit, pcre2_set_match_limit)
from fastproxy.memory.span cimport Slice, Span, span
from fastproxy.regex.table cimport RegexRow


cdef enum:
    # About a millisecond of backtracking; sane patterns on a path of 8 KiB stay far below.
    REGEX_MATCH_LIMIT = 100000
    REGEX_DEPTH_LIMIT = 2000
    REGEX_HEAP_KIB = 1024
    REGEX_JIT_STACK_START = 32768
    REGEX_JIT_STACK_MAX = 262144
    # The whole match and as many groups as a path may have params.
    REGEX_GROUPS_MAX = 17
    REGEX_JOIN_BYTES = 8192


cdef enum RegexAnswer:
    REGEX_LIMIT = -1
    REGEX_NO = 0
    REGEX_YES = 1


cdef struct RegexSet:
    pcre2_code **codes
    uint32_t count
    pcre2_match_data *data
    pcre2_match_context *context
    pcre2_jit_stack *stack
    size_t *groups              # start and end of each group of the latest match
    uint64_t *limited           # matches that ran into a limit: for the worker's counters
    char *join                  # REGEX_JOIN_BYTES: a value put together before it is matched


cdef inline uint32_t regex_options(uint32_t wanted) noexcept nogil:
    """Bytes, not UTF: a path may hold any byte, and an invalid sequence must not be an error."""
    return (wanted | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP
            | PCRE2_NEVER_BACKSLASH_C)


cdef inline void regex_set_free(RegexSet *regexes) noexcept nogil:
    cdef uint32_t i
    if regexes.codes != NULL:
        for i in range(regexes.count):
            if regexes.codes[i] != NULL:
                pcre2_code_free(regexes.codes[i])
    free(regexes.codes)
    free(regexes.limited)
    free(regexes.join)
    if regexes.data != NULL:
        pcre2_match_data_free(regexes.data)
    if regexes.context != NULL:
        pcre2_match_context_free(regexes.context)
    if regexes.stack != NULL:
        pcre2_jit_stack_free(regexes.stack)
    regexes.codes = NULL
    regexes.count = 0
    regexes.data = NULL
    regexes.context = NULL
    regexes.stack = NULL
    regexes.groups = NULL
    regexes.limited = NULL
    regexes.join = NULL


cdef inline int regex_set_make(RegexSet *regexes, const char *base, Slice rows) noexcept nogil:
    """Compile a plan's rows; see regex_set_compile."""
    return regex_set_compile(regexes, base, <const RegexRow *> (base + rows.off), rows.count)


cdef inline int regex_set_compile(RegexSet *regexes, const char *base, const RegexRow *row,
                                  uint32_t count) noexcept nogil:
    """0; -1 without memory; -2 - i if row i does not compile. Nothing is kept on failure.

    A kernel or policy that forbids executable memory makes the JIT fail: then the interpreter
    does the work, under the same limits.
    """
    cdef int error
    cdef size_t offset
    cdef uint32_t i
    regexes.count = count
    regexes.codes = <pcre2_code **> calloc(count + 1, sizeof(pcre2_code *))
    regexes.limited = <uint64_t *> calloc(1, sizeof(uint64_t))
    regexes.join = <char *> calloc(1, REGEX_JOIN_BYTES)
    regexes.data = pcre2_match_data_create(REGEX_GROUPS_MAX, NULL)
    regexes.context = pcre2_match_context_create(NULL)
    regexes.stack = pcre2_jit_stack_create(REGEX_JIT_STACK_START, REGEX_JIT_STACK_MAX, NULL)
    if (regexes.codes == NULL or regexes.limited == NULL or regexes.join == NULL
            or regexes.data == NULL or regexes.context == NULL):
        regex_set_free(regexes)
        return -1
    regexes.groups = pcre2_get_ovector_pointer(regexes.data)
    pcre2_set_match_limit(regexes.context, REGEX_MATCH_LIMIT)
    pcre2_set_depth_limit(regexes.context, REGEX_DEPTH_LIMIT)
    pcre2_set_heap_limit(regexes.context, REGEX_HEAP_KIB)
    if regexes.stack != NULL:
        pcre2_jit_stack_assign(regexes.context, NULL, regexes.stack)
    for i in range(count):
        regexes.codes[i] = pcre2_compile(
            <const unsigned char *> (base + row[i].pattern.off), row[i].pattern.len,
            regex_options(row[i].options), &error, &offset, NULL)
        if regexes.codes[i] == NULL:
            regex_set_free(regexes)
            return -2 - <int> i
        pcre2_jit_compile(regexes.codes[i], PCRE2_JIT_COMPLETE)
    return 0


cdef inline int regex_match(const RegexSet *regexes, uint32_t index, Span subject) noexcept nogil:
    """RegexAnswer. After REGEX_YES `regex_group` tells what the groups hold."""
    cdef int count, i
    if regexes == NULL or index >= regexes.count:
        return REGEX_NO
    if subject.ptr == NULL:
        subject = span(regexes.join, 0)
    count = pcre2_match(regexes.codes[index], <const unsigned char *> subject.ptr, subject.len, 0,
                        0, regexes.data, regexes.context)
    if count == PCRE2_ERROR_NOMATCH:
        return REGEX_NO
    if count < 0:
        regexes.limited[0] += 1
        return REGEX_LIMIT
    # 0: more groups than fit; those beyond read as empty. Else the rest of the pairs is stale.
    if 0 < count < REGEX_GROUPS_MAX:
        for i in range(count, REGEX_GROUPS_MAX):
            regexes.groups[2 * i] = PCRE2_UNSET
    return REGEX_YES


cdef inline Span regex_group(const RegexSet *regexes, uint32_t group, Span subject) noexcept nogil:
    """What a group of the latest match holds; empty if it took no part."""
    cdef size_t start, end
    if group >= REGEX_GROUPS_MAX:
        return span(subject.ptr, 0)
    start = regexes.groups[2 * group]
    end = regexes.groups[2 * group + 1]
    # \K and lookbehind can put the start behind the end; that is an empty group for us.
    if start == PCRE2_UNSET or start > end or end > subject.len:
        return span(subject.ptr, 0)
    return span(subject.ptr + start, end - start)
