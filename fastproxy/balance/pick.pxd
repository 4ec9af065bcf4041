# SPDX-License-Identifier: MIT
"""Which backend? The only place that knows the algorithms by name.

    pick_begin    once per worker and upstream: where the walk begins
    pick          the next member for this exchange, or -1; marks it as tried
    roster_check  once when a roster is mapped: every offset in it is inside, or it is refused

`pick` marks what it returns in `tried`, so that calling it again in the same exchange moves on to
another member, at most once per member. Workers only; no lock: cursors belong to one worker.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fastproxy.balance.round_robin cimport round_robin
from fastproxy.balance.table cimport (
    BACKENDS_PER_UPSTREAM_MAX, BALANCE_ROUND_ROBIN, ROSTER_MAGIC, ROSTER_VERSION, WHEEL_MAX,
    PickCursor, RosterBackend, RosterHeader, RosterUpstream, Tried)
from fastproxy.memory.limits cimport BACKENDS_MAX, UPSTREAMS_MAX
from fastproxy.memory.span cimport Slice, Text
from fastproxy.scoreboard.table cimport BackendRow


cdef inline void pick_begin(
    PickCursor *cursor, const RosterUpstream *upstream, uint32_t slot, uint32_t workers
) noexcept nogil:
    """Start worker `slot` of `workers` at its own part of the wheel: if all began at 0, each
    would send its first requests to the same backend."""
    if workers == 0:
        cursor.at = 0
        return
    cursor.at = <uint32_t> (
        <uint64_t> upstream.wheel.count * (slot % workers) // workers)


cdef inline void tried_clear(Tried *tried) noexcept nogil:
    memset(tried, 0, sizeof(Tried))


cdef inline const RosterBackend *roster_backend(
    const char *roster, const RosterUpstream *upstream, uint32_t index
) noexcept nogil:
    """Member `index` as `pick` returned it."""
    return <const RosterBackend *> (roster + upstream.backends.off) + index


cdef inline int32_t pick(
    const char *roster, const RosterUpstream *upstream, PickCursor *cursor, const BackendRow *rows,
    uint64_t now_ms, Tried *tried
) noexcept nogil:
    """Index into upstream.backends, now marked as tried; -1: nobody is left."""
    cdef int32_t index = -1
    if upstream.algorithm == BALANCE_ROUND_ROBIN:
        index = round_robin(
            roster_backend(roster, upstream, 0), <const uint16_t *> (roster + upstream.wheel.off),
            upstream.wheel.count, cursor, rows, now_ms, tried)
    if index >= 0:
        tried.bits[index >> 6] |= (<uint64_t> 1) << (index & 63)
    return index


cdef inline bint _slice_inside(Slice rows, size_t row, size_t align, size_t length) noexcept nogil:
    return rows.count == 0 or (
        rows.off % align == 0 and rows.off <= length and rows.count <= (length - rows.off) // row)


cdef inline bint _text_inside(Text text, size_t length) noexcept nogil:
    return text.off <= length and text.len <= length - text.off


cdef inline bint _upstream_sound(
    const char *base, size_t length, const RosterUpstream *upstream
) noexcept nogil:
    cdef const uint16_t *wheel = <const uint16_t *> (base + upstream.wheel.off)
    cdef uint32_t i
    if (upstream.algorithm != BALANCE_ROUND_ROBIN
            or upstream.backends.count > BACKENDS_PER_UPSTREAM_MAX
            or upstream.wheel.count > WHEEL_MAX
            or not _slice_inside(upstream.backends, sizeof(RosterBackend), 4, length)
            or not _slice_inside(upstream.wheel, sizeof(uint16_t), 2, length)):
        return False
    for i in range(upstream.wheel.count):
        if wheel[i] >= upstream.backends.count:
            return False
    return True


cdef inline bint _backend_sound(const RosterBackend *backend, size_t length) noexcept nogil:
    return (backend.row < BACKENDS_MAX
            and backend.address_len >= 2
            and backend.address_len <= sizeof(backend.address)
            and _text_inside(backend.name, length)
            and _text_inside(backend.authority, length))


cdef inline int roster_check(const char *base, size_t length, uint64_t layout_hash) noexcept nogil:
    """0: sound, every offset inside `length` bytes at `base` (8-byte aligned). Else which part is
    not: 1 header, 2 an upstream row, 3 a backend row."""
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const RosterUpstream *upstreams
    cdef const RosterBackend *backends
    cdef uint32_t i
    cdef uint32_t j
    if (length < sizeof(RosterHeader) or head.magic != ROSTER_MAGIC
            or head.version != ROSTER_VERSION or head.layout_hash != layout_hash
            or head.length > length or head.length < sizeof(RosterHeader)
            or head.upstreams.count > UPSTREAMS_MAX or head.backends.count > BACKENDS_MAX
            or not _slice_inside(head.upstreams, sizeof(RosterUpstream), 8, head.length)
            or not _slice_inside(head.backends, sizeof(RosterBackend), 8, head.length)):
        return 1
    length = head.length
    upstreams = <const RosterUpstream *> (base + head.upstreams.off)
    for i in range(head.upstreams.count):
        if not _upstream_sound(base, length, &upstreams[i]):
            return 2
        backends = <const RosterBackend *> (base + upstreams[i].backends.off)
        for j in range(upstreams[i].backends.count):
            if not _backend_sound(&backends[j], length):
                return 3
    backends = <const RosterBackend *> (base + head.backends.off)
    for i in range(head.backends.count):
        if not _backend_sound(&backends[i], length):
            return 3
    return 0
