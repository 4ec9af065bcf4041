# SPDX-License-Identifier: MIT
"""Prequal's choice (Wydrowski et al., NSDI 2024), experimental: of a few drawn by weight, those with
many requests under way are hot; the fastest of the cold ones is taken, and if all are hot the one
with the fewest requests.

Hot is above the 84th percentile of what was drawn lately. It is followed in the upstream's cursor by
a step up or down at each look (Frugal-1U), so it needs no history.

Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.draw cimport draw_some
from fastproxy.balance.latency cimport latency_now
from fastproxy.balance.load cimport lighter, under_way, weight_now
from fastproxy.balance.table cimport DRAWS_MAX, Ask
from fastproxy.memory.random cimport random_below
from fastproxy.scoreboard.read cimport backend_row


cdef enum:
    PREQUAL_HOT_PERCENT = 84


cdef inline void _prequal_follow(Ask *ask, uint64_t load) noexcept nogil:
    """Move the threshold towards the percentile."""
    cdef uint32_t chance = random_below(ask.random, 100)
    if load > ask.cursor.at:
        if chance < PREQUAL_HOT_PERCENT:
            ask.cursor.at += 1
    elif load < ask.cursor.at and chance >= PREQUAL_HOT_PERCENT:
        ask.cursor.at -= 1


cdef inline int32_t prequal(Ask *ask) noexcept nogil:
    """-1 if nobody is left."""
    cdef uint16_t drawn[DRAWS_MAX]
    cdef uint32_t count = draw_some(ask, drawn)
    cdef uint32_t hot_above = ask.cursor.at
    cdef uint32_t i
    cdef int32_t best = -1
    cdef uint64_t load, weight
    cdef uint64_t best_load = 0, best_weight = 1
    cdef bint cold, best_cold = False
    cdef double us, best_us = 0
    for i in range(count):
        load = under_way(ask, drawn[i])
        weight = weight_now(ask, drawn[i])
        us = latency_now(backend_row(ask.board, ask.backends[drawn[i]].row), ask.now_ms)
        _prequal_follow(ask, load)
        cold = load <= hot_above
        if (best < 0 or (cold and not best_cold) or (cold and us < best_us)
                or (not cold and not best_cold
                    and lighter(load + 1, weight, best_load, best_weight))):
            best, best_cold, best_us = drawn[i], cold, us
            best_load, best_weight = load + 1, weight
    return best
