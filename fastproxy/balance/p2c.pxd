# SPDX-License-Identifier: MIT
"""The power of two choices: draw a few by weight, take the least busy (Mitzenmacher 2001).

Nearly as even as looking at all, for two looks, and without the herd that runs to whoever looked
idle a moment ago: each pick compares other members. In flight over all workers is compared, so that
workers agree. With as many members as draws, or fewer, all are compared.

Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.draw cimport draw_some
from fastproxy.balance.load cimport lighter, under_way, weight_now
from fastproxy.balance.table cimport DRAWS_MAX, Ask


cdef inline int32_t power_of_choices(Ask *ask) noexcept nogil:
    """The least busy of `draws` different members; -1 if nobody is left. Of equals it is the one
    drawn first, so that weights hold where nobody is busy."""
    cdef uint16_t drawn[DRAWS_MAX]
    cdef uint32_t count = draw_some(ask, drawn)
    cdef uint32_t i
    cdef int32_t best = -1
    cdef uint64_t load, weight
    cdef uint64_t best_load = 0, best_weight = 1
    if count == 1:
        return drawn[0]
    for i in range(count):
        load = under_way(ask, drawn[i])
        weight = weight_now(ask, drawn[i])
        if best < 0 or lighter(load, weight, best_load, best_weight):
            best, best_load, best_weight = drawn[i], load, weight
    return best
