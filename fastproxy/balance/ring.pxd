# SPDX-License-Identifier: MIT
"""Consistent hashing on a ring (ketama; Karger 1997): each member stands at 160 points for each
unit of its weight; a key goes to the first point at or behind its own place.

The points come from names, not from positions in the configuration, so a member that comes or goes
moves only its own share of the keys, in every proxy alike. A member that cannot serve is walked
over: its keys go to many others, not all to one.

The table is `hash_ring` of door.pxi. Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint32_t

from fastproxy.balance.bound cimport below_bound, may_land
from fastproxy.balance.rendezvous cimport rendezvous
from fastproxy.balance.table cimport Ask, Bound, RingPoint


cdef enum:
    # Points walked over before everybody is looked at: with one in a thousand able the walk is over
    # by then 98 times of 100.
    RING_WALK_MAX = 4096


cdef inline uint32_t ring_find(const RingPoint *points, uint32_t count, uint32_t at) noexcept nogil:
    """The first point at or behind `at`; behind the last comes the first."""
    cdef uint32_t low = 0
    cdef uint32_t high = count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) >> 1
        if points[middle].hash < at:
            low = middle + 1
        else:
            high = middle
    return low if low < count else 0


cdef inline int32_t ring(Ask *ask, Bound *bound) noexcept nogil:
    """Whose point is next and who may take it; -1: nobody is left."""
    cdef const RingPoint *points = <const RingPoint *> (ask.roster + ask.upstream.ring.off)
    cdef uint32_t count = ask.upstream.ring.count
    cdef uint32_t steps = count if count < RING_WALK_MAX else RING_WALK_MAX
    cdef uint32_t at, _step, index
    if ask.live.tier[ask.tier].count == 0:
        return -1
    at = ring_find(points, count, <uint32_t> (ask.key >> 32))
    for _step in range(steps):
        index = points[at].index
        if may_land(ask, index) and below_bound(ask, bound, index):
            return <int32_t> index
        at = at + 1 if at + 1 < count else 0
    return rendezvous(ask, bound)
