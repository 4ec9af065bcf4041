# SPDX-License-Identifier: MIT
"""Bytes of strangers -> bytes that are safe where they go. One function per place.

Each copies runs, not bytes: a word or a vector is tested at once, up to the next byte that needs an
escape. Input may be anything, NUL included.

    put_header   CTL (0x00-0x1f, 0x7f) are left out; all else as is
    put_log      \\xHH for CTL, quote, backslash and bytes above 0x7e (as nginx and Apache do)
    put_json     always valid inside a JSON string: quote, backslash and CTL escaped, U+FFFD for
                 each byte that is not valid UTF-8
    put_target   %XX for all but RFC 3986 unreserved, reserved and "%"; always for "#", for "?"
                 unless `query`; a backslash too, since browsers read it as a slash
    put_html     &amp; &lt; &gt; &quot; &#39;, CTL but TAB, CR, LF left out
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastproxy.memory.span cimport Out, Span, put, put_char


cdef extern from "fastproxy/clib/clean.h" nogil:
    # Copy all `length` bytes; how many of them, from the front, are from 0x20 to 0x7e and neither
    # quote nor backslash. What lies behind those in `to` is of no meaning.
    size_t copy_clean(char *to, const char *p, size_t length) noexcept
    int swar_first(uint64_t marks) noexcept
    uint64_t swar_load_few(const char *p, size_t length) noexcept

cdef extern from "fastproxy/clib/words.h" nogil:
    uint64_t word_control(uint64_t w) noexcept


cdef extern from * nogil:
    """
    #include <stdint.h>
    /* RFC 3986 without "#" and "?": unreserved, ":/[]@", sub-delims, "%". */
    static const uint8_t TARGET_CLEAN[256] = {
        ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
        ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
        ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
        ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
        ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
        ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1,
        ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1, ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1,
        ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['-'] = 1, ['.'] = 1,
        ['_'] = 1, ['~'] = 1, [':'] = 1, ['/'] = 1, ['['] = 1, [']'] = 1, ['@'] = 1, ['!'] = 1,
        ['$'] = 1, ['&'] = 1, ['\\''] = 1, ['('] = 1, [')'] = 1, ['*'] = 1, ['+'] = 1, [','] = 1,
        [';'] = 1, ['='] = 1, ['%'] = 1,
    };
    static const char HEX_UPPER[16] = "0123456789ABCDEF";
    static const char HEX_LOWER[16] = "0123456789abcdef";
    """
    const uint8_t TARGET_CLEAN[256]
    const char HEX_UPPER[16]
    const char HEX_LOWER[16]


cdef inline size_t run_header(const char *p, size_t length) noexcept nogil:
    """Leading bytes that are no control characters."""
    cdef size_t at = 0
    cdef uint64_t word, marks
    while at < length:
        if length - at >= 8:
            memcpy(&word, p + at, 8)
        else:
            word = swar_load_few(p + at, length - at)
        marks = word_control(word)
        if marks:
            return at + swar_first(marks)
        at += 8
    return length


cdef inline size_t put_clean(Out *out, const char *p, size_t length) noexcept nogil:
    """Copy the leading bytes that a log line holds as they are; how many. For JSON too: what this
    stops at and JSON allows (0x7f, UTF-8) is sorted out by the caller. Out must have room for all,
    else nothing is copied: with escapes it would only be more."""
    cdef size_t clean
    if out.cap - out.len < length:
        out.full = True
        return length
    clean = copy_clean(out.ptr + out.len, p, length)
    out.len += clean
    return clean


cdef inline void put_header(Out *out, const char *p, size_t length) noexcept nogil:
    cdef size_t at = 0, run
    while at < length:
        run = run_header(p + at, length - at)
        if run:
            put(out, p + at, run)
        at += run + 1


cdef inline void put_log(Out *out, const char *p, size_t length) noexcept nogil:
    cdef size_t at = 0
    cdef char code[4]
    while at < length:
        at += put_clean(out, p + at, length - at)
        if at < length:
            code[0] = b"\\"
            code[1] = b"x"
            code[2] = HEX_UPPER[<uint8_t> p[at] >> 4]
            code[3] = HEX_UPPER[<uint8_t> p[at] & 15]
            put(out, code, 4)
            at += 1


cdef inline size_t utf8_sequence(const char *p, size_t length) noexcept nogil:
    """Bytes of the valid multi-byte sequence at p (RFC 3629), 0 if there is none."""
    cdef uint8_t lead = <uint8_t> p[0]
    cdef uint8_t low = 0x80, high = 0xbf
    cdef size_t size, i
    if 0xc2 <= lead <= 0xdf:
        size = 2
    elif 0xe0 <= lead <= 0xef:
        size = 3
        if lead == 0xe0:
            low = 0xa0
        elif lead == 0xed:
            high = 0x9f
    elif 0xf0 <= lead <= 0xf4:
        size = 4
        if lead == 0xf0:
            low = 0x90
        elif lead == 0xf4:
            high = 0x8f
    else:
        return 0
    if length < size or not (low <= <uint8_t> p[1] <= high):
        return 0
    for i in range(2, size):
        if not (0x80 <= <uint8_t> p[i] <= 0xbf):
            return 0
    return size


cdef inline void put_json(Out *out, const char *p, size_t length) noexcept nogil:
    cdef size_t at = 0
    while at < length:
        at += put_clean(out, p + at, length - at)
        if at < length:
            at += put_json_one(out, p + at, length - at)


cdef inline size_t put_json_one(Out *out, const char *p, size_t length) noexcept nogil:
    """One character that run_log stopped at; how many bytes of input it took."""
    cdef uint8_t byte = <uint8_t> p[0]
    cdef char code[6]
    cdef size_t size
    if byte >= 0x80:
        size = utf8_sequence(p, length)
        if size:
            put(out, p, size)
            return size
        put(out, b"\\ufffd", 6)
    elif byte == 0x22:
        put(out, b"\\\"", 2)
    elif byte == 0x5c:
        put(out, b"\\\\", 2)
    elif byte == 0x0a:
        put(out, b"\\n", 2)
    elif byte == 0x0d:
        put(out, b"\\r", 2)
    elif byte == 0x09:
        put(out, b"\\t", 2)
    else:
        memcpy(code, b"\\u00", 4)
        code[4] = HEX_LOWER[byte >> 4]
        code[5] = HEX_LOWER[byte & 15]
        put(out, code, 6)
    return 1


cdef inline void put_target(Out *out, const char *p, size_t length, bint query) noexcept nogil:
    cdef size_t at = 0, start = 0
    cdef uint8_t byte
    cdef char code[3]
    while at < length:
        byte = <uint8_t> p[at]
        if not TARGET_CLEAN[byte] and not (query and byte == 0x3f):
            if at > start:
                put(out, p + start, at - start)
            code[0] = b"%"
            code[1] = HEX_UPPER[byte >> 4]
            code[2] = HEX_UPPER[byte & 15]
            put(out, code, 3)
            start = at + 1
        at += 1
    if at > start:
        put(out, p + start, at - start)


cdef inline void put_html(Out *out, const char *p, size_t length) noexcept nogil:
    cdef size_t at
    cdef uint8_t byte
    for at in range(length):
        byte = <uint8_t> p[at]
        if byte == 0x26:
            put(out, b"&amp;", 5)
        elif byte == 0x3c:
            put(out, b"&lt;", 4)
        elif byte == 0x3e:
            put(out, b"&gt;", 4)
        elif byte == 0x22:
            put(out, b"&quot;", 6)
        elif byte == 0x27:
            put(out, b"&#39;", 5)
        elif (byte >= 0x20 and byte != 0x7f) or byte == 0x09 or byte == 0x0a or byte == 0x0d:
            put_char(out, <char> byte)
