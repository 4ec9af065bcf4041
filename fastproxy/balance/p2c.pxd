# SPDX-License-Identifier: MIT
"""The power of two choices: draw a few by weight, take the least busy (Mitzenmacher 2001).

Nearly as even as looking at all, for two looks, and without the herd that runs to whoever looked
idle a moment ago: each pick compares other members. In flight over all workers is compared, so that
workers agree. With as many members as draws, or fewer, all are compared.

Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.draw cimport draw_other
from fastproxy.balance.load cimport lighter, under_way, weight_now
from fastproxy.balance.table cimport DRAWS_MAX, Ask


cdef inline int32_t power_of_choices(Ask *ask) noexcept nogil:
    """The least busy of `draws` different members; -1 if nobody is left."""
    cdef uint16_t drawn[DRAWS_MAX]
    cdef uint32_t count = 0
    cdef int32_t index, best = -1
    cdef uint64_t load, weight
    cdef uint64_t best_load = 0, best_weight = 1
    while count < ask.upstream.draws:
        index = draw_other(ask, drawn, count)
        if index < 0:
            break
        drawn[count] = <uint16_t> index
        count += 1
        load = under_way(ask, <uint32_t> index) + 1
        weight = weight_now(ask, <uint32_t> index)
        if best < 0 or lighter(load, weight, best_load, best_weight):
            best, best_load, best_weight = index, load, weight
    return best
