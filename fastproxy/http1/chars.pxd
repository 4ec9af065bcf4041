# SPDX-License-Identifier: MIT
"""Names for the few bytes the grammar speaks of, and hex digits."""

from libc.stdint cimport uint8_t


cdef enum:
    HTAB = 9
    LF = 10
    CR = 13
    SP = 32
    DQUOTE = 34
    PERCENT = 37
    STAR = 42
    COMMA = 44
    DOT = 46
    SLASH = 47
    COLON = 58
    SEMICOLON = 59
    EQUALS = 61
    QUESTION = 63
    BRACKET_OPEN = 91
    BACKSLASH = 92
    BRACKET_CLOSE = 93


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    """0..15, or -1."""
    if 48 <= c <= 57:
        return c - 48
    c |= 0x20
    if 97 <= c <= 102:
        return c - 87
    return -1


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return 48 <= c <= 57


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    """OWS is SP and HTAB, nothing else (B3 9: 0x80-0xff, VT and FF are never trimmed)."""
    return c == SP or c == HTAB
