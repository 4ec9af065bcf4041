# SPDX-License-Identifier: MIT
"""Smooth weighted round robin: one walk along a wheel that build.py has laid out.

The wheel is the whole cycle of nginx's algorithm, written down once; a pick is a step along it, so
that its cost does not grow with the number of backends. A member that is tried, not able or of
another tier is stepped over; its turn goes to whoever follows, and the spread of the others stays
smooth. One that gets a part of its weight only (slow start, agent) has each turn with that chance.

Called by pick.pxd, and by least_conn.pxd for those that are equally busy. Workers only. At most
twice `wheel.count` steps.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t

from fastproxy.balance.live cimport PART_WHOLE, has_member
from fastproxy.balance.table cimport Ask, Members
from fastproxy.memory.random cimport random_below


cdef inline int32_t round_robin(Ask *ask) noexcept nogil:
    """The next index into `backends`, the cursor behind it; -1 (cursor unmoved) if none is left."""
    return next_turn(ask, &ask.live.able)


cdef inline int32_t next_turn(Ask *ask, const Members *among) noexcept nogil:
    """The same, of some members only."""
    cdef const uint16_t *wheel = <const uint16_t *> (ask.roster + ask.upstream.wheel.off)
    cdef uint32_t size = ask.upstream.wheel.count
    cdef uint32_t at, _step, part
    cdef uint32_t steps = 2 * size      # second round: everybody gets his turn whatever his part
    cdef bint tiers = ask.live.tiers > 1
    cdef uint16_t index
    if size == 0:
        return -1
    at = ask.cursor.at[ask.tier] % size
    for _step in range(steps):
        index = wheel[at]
        at = at + 1 if at + 1 < size else 0
        if (not has_member(among, index) or has_member(ask.tried, index)
                or (tiers and ask.backends[index].tier != ask.tier)):
            continue
        part = ask.live.part[index]
        if part < PART_WHOLE and _step < size and random_below(ask.random, PART_WHOLE) >= part:
            continue
        ask.cursor.at[ask.tier] = at
        return index
    return -1
