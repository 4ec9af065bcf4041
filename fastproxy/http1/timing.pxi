# SPDX-License-Identifier: MIT
# What bench/micro asks of the grammar: nanoseconds of one operation, repeated in C. Comes behind
# probe.pxi in _probe.pyx.

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastproxy.clib.posix cimport iovec
from fastproxy.http1.emit cimport CHUNK_SPANS, put_chunk


cdef double _seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


def time_head(bint request, bytes data, int rounds, simd=None, bint frame=True, size_t cut=0):
    """Nanoseconds to parse (and frame) the head `data` once, mean over `rounds`. `cut`: its first
    bytes come alone, and then the whole."""
    cdef HeadParser p
    cdef HeadLimits given = _limits(DEF_LIMITS)
    cdef Fault fault
    cdef Framing framing
    cdef const Scan *scan = _scan(simd)
    cdef const char *at = data
    cdef size_t length = len(data)
    cdef int64_t r = 1
    cdef int i, bad
    cdef double began
    with nogil:
        began = _seconds()
        for i in range(rounds):
            _begin(&p, request, scan, &given)
            if cut:
                _parse(&p, request, at, cut, &fault)
            r = _parse(&p, request, at, length, &fault)
            if r > 0 and frame:
                bad = (frame_request(&p.head, &framing, &fault) if request
                       else frame_response(&p.head, 1, &framing, &fault))
                r = r if bad == 0 else -1
            if r <= 0:
                break
        began = _seconds() - began
    if r <= 0:
        raise ValueError("not a whole good head")
    return began / rounds * 1e9


def time_chunked(bytes data, int rounds):
    """Nanoseconds to decode the whole body `data` once; the copy it needs is not counted."""
    cdef Chunked c
    cdef Fault fault
    cdef size_t start, produced, length = len(data)
    cdef char *at = _room()
    cdef int64_t r = 0
    cdef int i
    cdef double spent = 0, began
    if length > GUARD_BYTES:
        raise ValueError("body too long for the probe")
    for i in range(rounds):
        memcpy(at, <const char *> data, length)
        began = _seconds()
        chunked_init(&c, 0, NULL)
        r = chunked_decode(&c, at, length, &start, &produced, &fault)
        spent += _seconds() - began
        if r < 0 or not c.done:
            raise ValueError("not a whole good body")
    return spent / rounds * 1e9


def time_chunk(bytes piece, int rounds):
    """Nanoseconds to write the framing of one chunk around `piece`; the piece is not copied."""
    cdef Out trailers = out_over(NULL, 0)
    cdef iovec spans[CHUNK_SPANS]
    cdef char room[24]
    cdef Span given = span(piece, len(piece))
    cdef int i, count = 0
    cdef double began
    with nogil:
        began = _seconds()
        for i in range(rounds):
            count += put_chunk(&trailers, given, i & 15 == 15, room, spans)
        began = _seconds() - began
    if count != 3 * rounds:
        raise AssertionError(f"{count} spans for {rounds} chunks")
    return began / rounds * 1e9


def time_path(bytes raw, int rounds, int options=0):
    """Nanoseconds to normalise one path."""
    cdef Fault fault
    cdef Span normal
    cdef char room[4096]
    cdef const char *at = raw
    cdef size_t length = len(raw)
    cdef int i, bad = 0
    cdef double began
    with nogil:
        began = _seconds()
        for i in range(rounds):
            bad |= path_normalise(span(at, length), room, sizeof(room), options, &normal, &fault)
        began = _seconds() - began
    if bad:
        raise ValueError("not a good path")
    return began / rounds * 1e9


def time_byte_by_byte(bint request, bytes data, simd=None):
    """Nanoseconds of a whole parse that gets one byte more at each call, in one place."""
    cdef HeadParser p
    cdef HeadLimits given = _limits((65536, 65535, 65536, 128))
    cdef Fault fault
    cdef const Scan *scan = _scan(simd)
    cdef const char *at = data
    cdef size_t length = len(data), n
    cdef int64_t r = 0
    cdef double began = _seconds()
    _begin(&p, request, scan, &given)
    for n in range(1, length + 1):
        r = _parse(&p, request, at, n, &fault)
        if r != 0:
            break
    began = _seconds() - began
    if r != <int64_t> length:
        raise ValueError("not a whole good head")
    return began * 1e9
