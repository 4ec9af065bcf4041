# SPDX-License-Identifier: MIT
"""Chunked bodies (RFC 9112 section 7.1): decoded in place, resumable at every byte.

    chunked_init(decoder, side, trailers)
    r = chunked_decode(decoder, buf, length, start, produced, fault)
        r >= 0  bytes consumed: all of `length`, or fewer when `decoder.done` was set by this call
                (what is left belongs to the next message)
        r < 0   `fault` is filled; nothing of this buffer may be passed on
    buf[start : start + produced] is the payload of this call. A read that holds the data of one
    chunk moves nothing; the runs of further chunks are moved down behind the first.

Strict: 1 to 15 hex digits, CRLF exactly, extensions in the grammar of RFC 9112 7.1.1 without the
"bad" whitespace it tolerates, bounded per line and per body (B3 5 to 7). They are dropped: who
forwards the body encodes it anew.

Trailers are checked like header fields, bounded, and dropped. If `trailers` is an Out, the lines
that may come late (`name_guards`: no framing, routing, authentication or content fields, and no
name with an underscore) are written there as "Name: value" CRLF; a line that does not fit is left
out and sets `trailers.full`. They are never to be merged into the header (RFC 9110 6.5.1).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove

from fastproxy.clib.scan cimport (
    CHAR_QUOTED, CHAR_TOKEN, CHAR_UNDERSCORE, CHAR_VALUE, char_class,
)
from fastproxy.http1.chars cimport (
    BACKSLASH, COLON, CR, DQUOTE, EQUALS, LF, SEMICOLON, SP, hex_digit, is_blank,
)
from fastproxy.http1.faults cimport (
    FAULT_CHUNK_END_BAD, FAULT_CHUNK_EXTENSION_BAD, FAULT_CHUNK_EXTENSION_LONG,
    FAULT_CHUNK_SIZE_BAD, FAULT_CHUNK_SIZE_LONG, FAULT_TRAILER_BAD, FAULT_TRAILER_LONG, fault,
)
from fastproxy.http1.head cimport Fault
from fastproxy.http1.names cimport GUARD_TRAILER, name_guards
from fastproxy.memory.limits cimport (
    CHUNK_DIGITS_MAX, CHUNK_EXT_MAX, CHUNK_EXT_TOTAL_MAX, TRAILER_BYTES_MAX,
)
from fastproxy.memory.span cimport Out, put, put_char, span


cdef enum ChunkState:
    # What the next byte belongs to. The order matters: sizes, extensions, data, trailer.
    CHUNK_SIZE = 0              # first digit
    CHUNK_DIGITS = 1            # more digits, ";" or CR
    CHUNK_EXT_NAME = 2          # first byte of an extension's name
    CHUNK_EXT_NAME_MORE = 3
    CHUNK_EXT_VALUE = 4         # first byte after "="
    CHUNK_EXT_TOKEN = 5
    CHUNK_EXT_QUOTED = 6
    CHUNK_EXT_ESCAPED = 7       # after a backslash in quotes
    CHUNK_EXT_END = 8           # after the closing quote
    CHUNK_SIZE_LF = 9
    CHUNK_DATA = 10             # remaining > 0
    CHUNK_DATA_CR = 11
    CHUNK_DATA_LF = 12
    TRAILER_LINE = 13           # first byte of a trailer line or of the empty line
    TRAILER_NAME = 14
    TRAILER_OWS = 15
    TRAILER_VALUE = 16
    TRAILER_LF = 17
    TRAILER_LAST_LF = 18
    CHUNK_DONE = 19


cdef struct Chunked:
    uint64_t remaining          # bytes of the current chunk's data still to come
    uint64_t total              # payload bytes decoded so far
    uint64_t at                 # coded bytes read so far
    Out *trailers               # NULL: dropped
    size_t line                 # trailers.len where the current line began
    size_t value                # and where its value began
    uint32_t ext_total          # bytes of extensions so far
    uint32_t trailer_bytes
    uint16_t ext                # bytes of extensions on this chunk line
    uint8_t state               # ChunkState
    uint8_t digits
    uint8_t side
    uint8_t lost                # the current trailer line will not be kept
    uint8_t done                # the last CRLF was read


cdef inline void chunked_init(Chunked *c, uint8_t side, Out *trailers) noexcept nogil:
    """Begin a body. `side`: whose bytes, hence 400 or 502. `trailers` may be NULL."""
    c.remaining = 0
    c.total = 0
    c.at = 0
    c.trailers = trailers
    c.line = 0
    c.value = 0
    c.ext_total = 0
    c.trailer_bytes = 0
    c.ext = 0
    c.state = CHUNK_SIZE
    c.digits = 0
    c.side = side
    c.lost = 0
    c.done = 0


cdef inline int _size_byte(Chunked *c, uint8_t byte) noexcept nogil:
    """States CHUNK_SIZE and CHUNK_DIGITS. A reason, or 0."""
    cdef int digit = hex_digit(byte)
    if digit >= 0:
        if c.digits == CHUNK_DIGITS_MAX:
            return FAULT_CHUNK_SIZE_LONG
        c.digits += 1
        c.remaining = c.remaining << 4 | <uint64_t> digit
        c.state = CHUNK_DIGITS
    elif c.state == CHUNK_DIGITS and byte == CR:
        c.state = CHUNK_SIZE_LF
    elif c.state == CHUNK_DIGITS and byte == SEMICOLON:
        c.state = CHUNK_EXT_NAME
        return _count_ext(c)
    else:
        return FAULT_CHUNK_SIZE_BAD
    return 0


cdef inline int _count_ext(Chunked *c) noexcept nogil:
    c.ext += 1
    c.ext_total += 1
    if c.ext > CHUNK_EXT_MAX or c.ext_total > CHUNK_EXT_TOTAL_MAX:
        return FAULT_CHUNK_EXTENSION_LONG
    return 0


cdef inline int _ext_byte(Chunked *c, uint8_t byte) noexcept nogil:
    """States CHUNK_EXT_NAME to CHUNK_EXT_END. A reason, or 0."""
    cdef uint8_t state = c.state
    cdef bint token = char_class[byte] & CHAR_TOKEN
    cdef bint may_end = state in (CHUNK_EXT_NAME_MORE, CHUNK_EXT_TOKEN, CHUNK_EXT_END)
    if may_end and byte == CR:
        c.state = CHUNK_SIZE_LF
        return 0
    if may_end and byte == SEMICOLON:
        c.state = CHUNK_EXT_NAME
    elif state == CHUNK_EXT_NAME and token:
        c.state = CHUNK_EXT_NAME_MORE
    elif state == CHUNK_EXT_NAME_MORE and byte == EQUALS:
        c.state = CHUNK_EXT_VALUE
    elif state == CHUNK_EXT_VALUE and byte == DQUOTE:
        c.state = CHUNK_EXT_QUOTED
    elif state == CHUNK_EXT_VALUE and token:
        c.state = CHUNK_EXT_TOKEN
    elif state == CHUNK_EXT_QUOTED and byte == DQUOTE:
        c.state = CHUNK_EXT_END
    elif state == CHUNK_EXT_QUOTED and byte == BACKSLASH:
        c.state = CHUNK_EXT_ESCAPED
    elif state == CHUNK_EXT_ESCAPED and char_class[byte] & CHAR_VALUE:
        c.state = CHUNK_EXT_QUOTED
    elif not (state in (CHUNK_EXT_NAME_MORE, CHUNK_EXT_TOKEN) and token or
              state == CHUNK_EXT_QUOTED and char_class[byte] & CHAR_QUOTED):
        return FAULT_CHUNK_EXTENSION_BAD
    return _count_ext(c)


cdef inline int _size_lf(Chunked *c, uint8_t byte) noexcept nogil:
    """State CHUNK_SIZE_LF: the chunk line ends; data or the trailer section follows."""
    if byte != LF:
        return FAULT_CHUNK_SIZE_BAD
    c.digits = 0
    c.ext = 0
    c.state = CHUNK_DATA if c.remaining else TRAILER_LINE
    return 0


cdef inline void _collect(Chunked *c, uint8_t byte) noexcept nogil:
    """Keep a byte of a trailer line, unless the line is lost already."""
    if c.trailers != NULL and not c.lost:
        put_char(c.trailers, <char> byte)
        if c.trailers.full:
            c.lost = 1


cdef inline void _end_name(Chunked *c) noexcept nogil:
    """A trailer's name is whole: may it come this late?"""
    if c.trailers == NULL or c.lost:
        return
    if name_guards(span(c.trailers.ptr + c.line, c.trailers.len - c.line)) & GUARD_TRAILER:
        c.lost = 1
    _collect(c, COLON)
    _collect(c, SP)
    c.value = c.trailers.len


cdef inline void _end_line(Chunked *c) noexcept nogil:
    """A trailer line is whole: keep it without its trailing OWS, or take it back."""
    cdef Out *out = c.trailers
    if out == NULL:
        return
    if not c.lost:
        while out.len > c.value and is_blank(<uint8_t> out.ptr[out.len - 1]):
            out.len -= 1
        put(out, b"\r\n", 2)
        if not out.full:
            return
    out.len = c.line


cdef inline int _trailer_byte(Chunked *c, uint8_t byte) noexcept nogil:
    """States TRAILER_LINE to TRAILER_LAST_LF. A reason, or 0."""
    cdef uint8_t kind = char_class[byte]
    c.trailer_bytes += 1
    if c.trailer_bytes > TRAILER_BYTES_MAX:
        return FAULT_TRAILER_LONG
    if c.state == TRAILER_LAST_LF:
        if byte != LF:
            return FAULT_TRAILER_BAD
        c.state = CHUNK_DONE
        c.done = 1
        return 0
    if c.state == TRAILER_LINE:
        if byte == CR:
            c.state = TRAILER_LAST_LF
            return 0
        if not kind & CHAR_TOKEN:
            return FAULT_TRAILER_BAD
        c.lost = 0
        c.line = c.trailers.len if c.trailers != NULL else 0
        c.state = TRAILER_NAME
    if c.state == TRAILER_NAME:
        if byte == COLON:
            _end_name(c)
            c.state = TRAILER_OWS
            return 0
        if not kind & CHAR_TOKEN:
            return FAULT_TRAILER_BAD
        _collect(c, byte)
        if kind & CHAR_UNDERSCORE:
            c.lost = 1
        return 0
    if c.state == TRAILER_OWS:
        if is_blank(byte):
            return 0
        c.state = TRAILER_VALUE
    if c.state == TRAILER_VALUE:
        if byte == CR:
            c.state = TRAILER_LF
        elif kind & CHAR_VALUE:
            _collect(c, byte)
        else:
            return FAULT_TRAILER_BAD
        return 0
    if byte != LF:
        return FAULT_TRAILER_BAD
    _end_line(c)
    c.state = TRAILER_LINE
    return 0


cdef inline int _line_byte(Chunked *c, uint8_t byte) noexcept nogil:
    """One byte of anything but chunk data. A reason, or 0."""
    if c.state <= CHUNK_DIGITS:
        return _size_byte(c, byte)
    if c.state == CHUNK_SIZE_LF:
        return _size_lf(c, byte)
    if c.state == CHUNK_DATA_CR:
        c.state = CHUNK_DATA_LF
        return 0 if byte == CR else FAULT_CHUNK_END_BAD
    if c.state == CHUNK_DATA_LF:
        c.state = CHUNK_SIZE
        return 0 if byte == LF else FAULT_CHUNK_END_BAD
    if c.state <= CHUNK_EXT_END:
        return _ext_byte(c, byte)
    return _trailer_byte(c, byte)


cdef inline int64_t chunked_decode(Chunked *c, char *buf, size_t length, size_t *start,
                                   size_t *produced, Fault *out) noexcept nogil:
    """Decode what is in `buf`; the contract is at the top of this file."""
    cdef size_t at = 0, run
    cdef int reason
    start[0] = 0
    produced[0] = 0
    while at < length and not c.done:
        if c.state == CHUNK_DATA:
            run = length - at
            if run >= c.remaining:
                run = <size_t> c.remaining
                c.state = CHUNK_DATA_CR
            if produced[0] == 0:
                start[0] = at
            else:
                memmove(buf + start[0] + produced[0], buf + at, run)
            produced[0] += run
            c.remaining -= run
            c.total += run
            at += run
            continue
        reason = _line_byte(c, <uint8_t> buf[at])
        if reason:
            produced[0] = 0
            return fault(out, reason, c.at + at, c.side)
        at += 1
    c.at += at
    return <int64_t> at
