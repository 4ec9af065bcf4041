# SPDX-License-Identifier: MIT
"""Smooth weighted round robin: one walk along a wheel that build.py has laid out.

The wheel is the whole cycle of nginx's algorithm, written down once; a pick is a step along it, so
that its cost does not grow with the number of backends. A member that is tried, dead or without
weight is stepped over; its turn goes to whoever follows, and the spread of the others stays smooth.

Who is able to serve is read from the scoreboard here, at each pick: a health word that control
writes or an ejection that a worker writes counts at once, without a new roster.

Called by pick.pxd only. Workers only. At most `wheel.count` steps.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.table cimport PickCursor, RosterBackend, RosterUpstream, Tried
from fastproxy.clib.atomics cimport load32, load64
from fastproxy.scoreboard.table cimport HEALTH_UP, BackendRow


cdef inline bint is_tried(const Tried *tried, uint32_t index) noexcept nogil:
    return (tried.bits[index >> 6] >> (index & 63)) & 1


cdef inline bint can_serve(
    const RosterBackend *backend, const BackendRow *rows, uint64_t now_ms
) noexcept nogil:
    """Up, not drained or in maintenance, not ejected at this moment.

    A row whose generation is not the roster's belongs to another backend by now (or control has
    not written it yet): its words say nothing about ours, which then counts as up.
    """
    cdef const BackendRow *row = &rows[backend.row]
    if backend.weight == 0:
        return False
    if load64(&row.generation) != backend.generation:
        return True
    if load32(&row.health) != HEALTH_UP or load32(&row.admin) != HEALTH_UP:
        return False
    return (load64(&row.ejection) >> 16) <= now_ms


cdef inline int32_t round_robin(
    const RosterBackend *backends, const uint16_t *wheel, uint32_t size, PickCursor *cursor,
    const BackendRow *rows, uint64_t now_ms, const Tried *tried
) noexcept nogil:
    """The next index into `backends`, the cursor behind it; -1 (cursor unmoved) if none is left."""
    cdef uint32_t _step
    cdef uint32_t at
    cdef uint16_t index
    if size == 0:
        return -1
    at = cursor.at % size
    for _step in range(size):
        index = wheel[at]
        at = at + 1 if at + 1 < size else 0
        if not is_tried(tried, index) and can_serve(&backends[index], rows, now_ms):
            cursor.at = at
            return index
    return -1
