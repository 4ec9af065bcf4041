# SPDX-License-Identifier: MIT
"""Least connections: of all that are able, whoever has the fewest requests for his weight.

Requests of all workers are counted, so workers agree. Those that are equally busy, idle ones among
them, take turns along the wheel of smooth weighted round robin, so that weights count for something
when there is little to do.

Called by pick.pxd only. Workers only. Every able member is looked at.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.live cimport add_member, clear_members, has_member
from fastproxy.balance.load cimport lighter, under_way, weight_now
from fastproxy.balance.round_robin cimport next_turn
from fastproxy.balance.table cimport Ask, LiveTier, Members


cdef inline int32_t least_conn(Ask *ask) noexcept nogil:
    """The least busy member left, the cursor behind his turn; -1: nobody is left."""
    cdef const LiveTier *tier = &ask.live.tier[ask.tier]
    cdef Members equal
    cdef int32_t best = -1
    cdef uint32_t i, equals = 0
    cdef uint64_t load, weight
    cdef uint64_t best_load = 0, best_weight = 1
    cdef uint16_t index
    for i in range(tier.count):
        index = ask.live.members[tier.first + i]
        if has_member(ask.tried, index):
            continue
        load = under_way(ask, index)
        weight = weight_now(ask, index)
        if best < 0 or lighter(load, weight, best_load, best_weight):
            best, best_load, best_weight = index, load, weight
            clear_members(&equal)
            equals = 0
        elif lighter(best_load, best_weight, load, weight):
            continue
        add_member(&equal, index)
        equals += 1
    return best if equals <= 1 else next_turn(ask, &equal)
