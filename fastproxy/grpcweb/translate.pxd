# SPDX-License-Identifier: MIT
"""Bodies of gRPC-Web calls (PROTOCOL-WEB.md of grpc/grpc), piece by piece.

    grpc_web_kind(content_type, suffix)     WEB_NONE, WEB_BINARY or WEB_TEXT
    web_decode(call, data, size)            text request: base64 in place; -1: it is not
    web_encode(call, piece, out)            text answer: messages as base64
    web_trailers(call, lines, length, out)  the end of an answer: trailers as a last frame
    web_bound(size)                         room for a piece and the frame behind it

Binary bodies are gRPC's own: frames of a flag byte, four of length, and a message. Only the
trailers have to be put behind them, as a frame with flag 0x80. Text is base64 of the same. A text
request is decoded quantum by quantum; padding may stand wherever its sender began anew (RFC 4648 4,
several of them joined), unused bits must be 0.

A text answer is padded at the end of each message, and nowhere else: a message can be read when its
last byte has come, and what is written does not depend on the pieces that it came in. One or two
bytes wait for their third one.

Who calls: the worker. A zeroed WebCall is a call that begins.
"""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.http1.tokens cimport lower_is
from fastproxy.memory.limits cimport TRAILER_ROOM
from fastproxy.memory.span cimport Out, Span, ascii_lower, put, span


cdef enum WebKind:
    WEB_NONE = 0
    WEB_BINARY = 1
    WEB_TEXT = 2

cdef enum:
    MESSAGE_HEAD = 5            # flag and length before a message
    TRAILER_FLAG = 0x80
    WEB_ORIGIN_MAX = 255


cdef struct WebCall:
    uint8_t kind                # WebKind
    uint8_t quantum             # request: how many of four characters have come
    uint8_t padded              # request: "=" was one of them
    uint8_t held                # answer: bytes that wait for their third one
    uint32_t bits               # request: what they say; answer: the bytes that wait
    uint32_t left               # answer: of the message, once its head is whole
    uint8_t head                # answer: bytes of a message's head so far
    uint8_t origin_len
    char origin[WEB_ORIGIN_MAX]     # whose script it is, if it may know the answer
    uint8_t suffix_len
    char suffix[64]             # of the content type: "+proto"


cdef extern from * nogil:
    """
    static const char WEB_BASE64[65] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    """
    const char WEB_BASE64[65]


cdef inline int grpc_web_kind(Span kind, Span *suffix) noexcept nogil:
    """Of a content type. `suffix`: "+proto", or empty."""
    cdef size_t end = 0
    cdef size_t begin
    cdef int found
    suffix[0] = span(kind.ptr, 0)
    while end < kind.len and kind.ptr[end] not in (c';', c' ', c'\t'):
        end += 1
    begin = 0
    while begin < end and kind.ptr[begin] != c'+':
        begin += 1
    if lower_is(span(kind.ptr, begin), b"application/grpc-web", 20):
        found = WEB_BINARY
    elif lower_is(span(kind.ptr, begin), b"application/grpc-web-text", 25):
        found = WEB_TEXT
    else:
        return WEB_NONE
    suffix[0] = span(kind.ptr + begin, end - begin)
    return found if suffix.len <= 64 else WEB_NONE


# ---- base64 in ------------------------------------------------------------------------------

cdef inline int web_value(uint8_t c) noexcept nogil:
    """Six bits of a character, or -1."""
    if c'A' <= c <= c'Z':
        return c - c'A'
    if c'a' <= c <= c'z':
        return c - c'a' + 26
    if c'0' <= c <= c'9':
        return c - c'0' + 52
    return 62 if c == c'+' else 63 if c == c'/' else -1


cdef inline int _pad(WebCall *call) noexcept nogil:
    """A "=": the third or the fourth of its quantum. -1: it has no business here."""
    if call.quantum < 2 or (call.quantum == 2 and call.bits & 0xf) or (
            call.quantum == 3 and not call.padded and call.bits & 0x3):
        return -1
    call.padded = 1
    call.quantum = (call.quantum + 1) & 3
    if call.quantum == 0:
        call.padded = 0
        call.bits = 0
    return 0


cdef inline ssize_t web_decode(WebCall *call, char *data, size_t size) noexcept nogil:
    """How many bytes they are, written over their beginning; -1: this is not base64."""
    cdef size_t at, made = 0
    cdef int value
    for at in range(size):
        if data[at] == c'=':
            if _pad(call) < 0:
                return -1
            continue
        value = web_value(<uint8_t> data[at])
        if value < 0 or call.padded:
            return -1
        call.bits = call.bits << 6 | <uint32_t> value
        if call.quantum != 0:
            data[made] = <char> (call.bits >> (6 - 2 * call.quantum))
            made += 1
        call.quantum = (call.quantum + 1) & 3
    return <ssize_t> made


cdef inline bint web_decoded(const WebCall *call) noexcept nogil:
    """Is it whole? Only then may a body end."""
    return call.quantum == 0


# ---- base64 out -----------------------------------------------------------------------------

cdef inline void _triple(Out *out, uint32_t bits) noexcept nogil:
    cdef char *to = out.ptr + out.len
    if out.cap - out.len < 4:
        out.full = True
        return
    to[0] = WEB_BASE64[bits >> 18 & 63]
    to[1] = WEB_BASE64[bits >> 12 & 63]
    to[2] = WEB_BASE64[bits >> 6 & 63]
    to[3] = WEB_BASE64[bits & 63]
    out.len += 4


cdef inline void _feed(WebCall *call, const char *data, size_t size, Out *out) noexcept nogil:
    cdef size_t at = 0
    while at < size and call.held != 0:
        call.bits = call.bits << 8 | <uint8_t> data[at]
        call.held = (call.held + 1) % 3
        at += 1
        if call.held == 0:
            _triple(out, call.bits)
    while at + 3 <= size:
        _triple(out, <uint32_t> <uint8_t> data[at] << 16 | <uint32_t> <uint8_t> data[at + 1] << 8
                | <uint8_t> data[at + 2])
        at += 3
    while at < size:
        call.bits = call.bits << 8 | <uint8_t> data[at]
        call.held += 1
        at += 1


cdef inline void _flush(WebCall *call, Out *out) noexcept nogil:
    """What waits goes, padded."""
    if call.held != 0:
        _triple(out, call.bits << (16 if call.held == 1 else 8))
        if not out.full:
            out.ptr[out.len - 1] = c'='
            if call.held == 1:
                out.ptr[out.len - 2] = c'='
    call.held = 0
    call.bits = 0


cdef inline void web_encode(WebCall *call, Span piece, Out *out) noexcept nogil:
    """A piece of an answer's body; `out` has web_bound(piece.len)."""
    cdef const char *at = piece.ptr
    cdef size_t left = piece.len
    cdef size_t run
    while left != 0:
        if call.head < MESSAGE_HEAD:
            if call.head != 0:
                call.left = call.left << 8 | <uint8_t> at[0]
            call.head += 1
            run = 1
        else:
            run = left if left < call.left else call.left
            call.left -= <uint32_t> run
        _feed(call, at, run, out)
        at += run
        left -= run
        if call.head == MESSAGE_HEAD and call.left == 0:
            call.head = 0
            _flush(call, out)


# ---- the end --------------------------------------------------------------------------------

cdef inline size_t web_bound(size_t size) noexcept nogil:
    """Nothing grows like a message of 7 bytes, which are 12 characters; what waited may come with
    it, and trailers behind."""
    return size * 7 // 4 + 16 + (TRAILER_ROOM + MESSAGE_HEAD) // 3 * 4 + 8


cdef inline void web_trailers(WebCall *call, char *lines, size_t length, Out *out) noexcept nogil:
    """Trailer lines ("Name: value" CRLF), their names in lower case from now on, as a frame. None:
    no frame. A message that was not whole only gets its padding."""
    cdef char head[MESSAGE_HEAD]
    cdef bint name = True
    cdef size_t i
    if call.kind == WEB_TEXT:
        _flush(call, out)
    if length == 0:
        return
    for i in range(length):
        if name:
            lines[i] = ascii_lower(lines[i])
        if lines[i] == c':':
            name = False
        elif lines[i] == c'\n':
            name = True
    head[0] = <char> TRAILER_FLAG
    for i in range(4):
        head[1 + i] = <char> (length >> (24 - 8 * i) & 0xff)
    if call.kind == WEB_TEXT:
        _feed(call, head, MESSAGE_HEAD, out)
        _feed(call, lines, length, out)
        _flush(call, out)
    else:
        put(out, head, MESSAGE_HEAD)
        put(out, lines, length)
