# SPDX-License-Identifier: MIT
"""A body's piece as one chunk (RFC 9112 section 7.1), as spans for one write: nothing is copied.

    count = put_chunk(trailers, piece, last, room, spans)
"""

from fastproxy.clib.posix cimport iovec
from fastproxy.memory.span cimport Out, Span, out_over, put, put_hex

cdef enum:
    CHUNK_SPANS = 5


cdef inline int span_put(iovec *spans, int count, const char *ptr, size_t length) noexcept nogil:
    spans[count].iov_base = <void *> ptr
    spans[count].iov_len = length
    return count + 1


cdef inline int put_chunk(const Out *trailers, Span piece, bint last, char *room,
                          iovec *spans) noexcept nogil:
    """A piece as one chunk, and the end of the body if it is the last: up to CHUNK_SPANS spans.
    `trailers`: whole lines, or empty. `room` holds 24 bytes for the size line. Returns the number
    of spans."""
    cdef Out out = out_over(room, 24)
    cdef int count = 0
    if piece.len != 0:
        put_hex(&out, piece.len)
        put(&out, b"\r\n", 2)
        count = span_put(spans, count, room, out.len)
        count = span_put(spans, count, piece.ptr, piece.len)
        if not last:
            return span_put(spans, count, b"\r\n", 2)
    if not last:
        return count
    if trailers.len == 0:
        if piece.len != 0:
            return span_put(spans, count, b"\r\n0\r\n\r\n", 7)
        return span_put(spans, count, b"0\r\n\r\n", 5)
    if piece.len != 0:
        count = span_put(spans, count, b"\r\n0\r\n", 5)
    else:
        count = span_put(spans, count, b"0\r\n", 3)
    count = span_put(spans, count, trailers.ptr, trailers.len)
    return span_put(spans, count, b"\r\n", 2)
