# SPDX-License-Identifier: MIT
# What PCRE2 says about a pattern, for the builder. Included by _core.pyx.

from fastproxy.clib cimport pcre2 as _pcre2
from fastproxy.memory.span cimport span as _span
from fastproxy.regex.run cimport (
    REGEX_YES as _REGEX_YES, RegexSet as _RegexSet, regex_match as _regex_match,
    regex_options as _regex_options, regex_set_compile as _regex_set_compile,
    regex_set_free as _regex_set_free)
from fastproxy.regex.table cimport RegexRow as _RegexRow


def regex_inspect(bytes pattern not None, unsigned int options=0):
    """(number of groups, {name: group}) of a pattern; ValueError(text, offset) if it is none."""
    cdef int error = 0
    cdef size_t offset = 0
    cdef unsigned char text[256]
    cdef _pcre2.pcre2_code *code
    cdef unsigned int groups = 0, names = 0, size = 0, i
    cdef const unsigned char *table = NULL
    cdef const char *source = pattern
    cdef size_t length = len(pattern)
    code = _pcre2.pcre2_compile(<const unsigned char *> source, length,
                                _regex_options(options), &error, &offset, NULL)
    if code == NULL:
        _pcre2.pcre2_get_error_message(error, text, sizeof(text))
        raise ValueError((<char *> text).decode("ascii", "replace"), offset)
    try:
        _pcre2.pcre2_pattern_info(code, _pcre2.PCRE2_INFO_CAPTURECOUNT, &groups)
        _pcre2.pcre2_pattern_info(code, _pcre2.PCRE2_INFO_NAMECOUNT, &names)
        _pcre2.pcre2_pattern_info(code, _pcre2.PCRE2_INFO_NAMEENTRYSIZE, &size)
        _pcre2.pcre2_pattern_info(code, _pcre2.PCRE2_INFO_NAMETABLE, &table)
        found = {}
        for i in range(names):
            entry = table + i * size
            found[(<const char *> (entry + 2)).decode()] = (entry[0] << 8) | entry[1]
        return groups, found
    finally:
        _pcre2.pcre2_code_free(code)


def regex_search(bytes pattern not None, bytes subject not None):
    """Whether the pattern matches, by the rules and limits of the hot path; for explanations."""
    cdef _RegexSet regexes
    cdef _RegexRow row
    cdef const char *base = pattern
    cdef int made
    # One row, at an address relative to the pattern, which is then the plan's base.
    row.pattern.off = 0
    row.pattern.len = <unsigned int> len(pattern)
    row.options = 0
    made = _regex_set_compile(&regexes, base, &row, 1)
    if made != 0:
        raise ValueError("the pattern does not compile")
    try:
        return _regex_match(&regexes, 0, _span(subject, len(subject))) == _REGEX_YES
    finally:
        _regex_set_free(&regexes)
