# SPDX-License-Identifier: MIT
# What PCRE2 says about a pattern, for the builder. Included by _core.pyx.

from fastproxy.clib cimport pcre2 as _pcre2
from fastproxy.regex.run cimport regex_options as _regex_options


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
