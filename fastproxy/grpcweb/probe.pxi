# SPDX-License-Identifier: MIT
# The translation of gRPC-Web bodies, for tests and benches.

from fastproxy.grpcweb.translate cimport (
    WebCall, grpc_web_kind, web_bound, web_decode, web_decoded, web_encode, web_trailers)
from fastproxy.memory.span cimport Out, Span, out_over, put_span, span


def web_kind(bytes kind):
    """(WebKind, suffix) of a content type."""
    cdef Span suffix
    cdef int found = grpc_web_kind(span(kind, len(kind)), &suffix)
    return found, suffix.ptr[:suffix.len] if found else b""


def web_text_in(bytes data, cuts=None):
    """A text request's body, decoded in pieces that end at `cuts`; None: it is refused."""
    cdef WebCall call
    cdef size_t before = 0, cut
    cdef ssize_t made
    cdef bytearray piece
    cdef char *at
    memset(&call, 0, sizeof(call))
    got = b""
    for cut in [*(cuts or ()), len(data)]:
        piece = bytearray(data[before:cut])
        at = piece
        made = web_decode(&call, at, cut - before)
        if made < 0:
            return None
        got += bytes(piece[:made])
        before = cut
    return got if web_decoded(&call) else None


def web_out(int kind, bytes data, bytes trailers, cuts=None):
    """An answer's body as the browser reads it: what each piece becomes."""
    cdef WebCall call
    cdef size_t before = 0, cut
    cdef size_t number, count
    cdef Out out
    cdef bytearray room, lines = bytearray(trailers)
    cdef bytes piece
    cdef char *to
    memset(&call, 0, sizeof(call))
    call.kind = <uint8_t> kind
    pieces = []
    ends = [*(cuts or ()), len(data), len(data)]
    count = len(ends)
    for number in range(count):
        cut = ends[number]
        piece = data[before:cut]
        room = bytearray(web_bound(len(piece)))
        to = room
        out = out_over(to, len(room))
        if number == count - 1:
            to = lines
            web_trailers(&call, to, len(lines), &out)
        elif kind == 2:
            web_encode(&call, span(piece, len(piece)), &out)
        else:
            put_span(&out, span(piece, len(piece)))
        if out.full:
            raise AssertionError("web_bound is too small")
        pieces.append(bytes(room[:out.len]))
        before = cut
    return pieces


def time_web(bytes data, bint decode, int rounds):
    """Nanoseconds to translate `data` once; the copy that decoding needs is not counted."""
    cdef WebCall call
    cdef size_t length = len(data)
    cdef bytearray room = bytearray(web_bound(length))
    cdef char *to = room
    cdef Out out
    cdef int i
    cdef double spent = 0, began
    for i in range(rounds):
        memset(&call, 0, sizeof(call))
        out = out_over(to, len(room))
        if decode:
            memcpy(to, <const char *> data, length)
        began = _seconds()
        if decode:
            if web_decode(&call, to, length) < 0:
                raise ValueError("not base64")
        else:
            web_encode(&call, span(data, length), &out)
        spent += _seconds() - began
    return spent / rounds * 1e9
