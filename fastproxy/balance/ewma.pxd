# SPDX-License-Identifier: MIT
"""Peak EWMA: draw a few by weight, take the one that would answer first.

Time to the first byte (latency.pxd) x (requests under way + 1) / weight: both are of all workers. A
member of which nothing is known is tried by one request; until that is answered, others go before
it.

Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.draw cimport draw_some
from fastproxy.balance.latency cimport latency_now
from fastproxy.balance.load cimport under_way, weight_now
from fastproxy.balance.table cimport DRAWS_MAX, Ask
from fastproxy.scoreboard.read cimport backend_row


cdef enum:
    # Microseconds that an unknown member counts as while its first request is under way: longer
    # than any answer takes.
    UNKNOWN_US = 1000000000


cdef inline double _time_expected(const Ask *ask, uint32_t index) noexcept nogil:
    cdef double us = latency_now(backend_row(ask.board, ask.backends[index].row), ask.now_ms)
    cdef uint64_t load = under_way(ask, index)
    if us == 0 and load != 0:
        us = UNKNOWN_US
    return us * <double> (load + 1) / <double> weight_now(ask, index)


cdef inline int32_t least_time(Ask *ask) noexcept nogil:
    """The soonest of `draws` different members; -1 if nobody is left."""
    cdef uint16_t drawn[DRAWS_MAX]
    cdef uint32_t count = draw_some(ask, drawn)
    cdef uint32_t i
    cdef int32_t best = -1
    cdef double time, best_time = 0
    if count == 1:
        return drawn[0]
    for i in range(count):
        time = _time_expected(ask, drawn[i])
        if best < 0 or time < best_time:
            best, best_time = drawn[i], time
    return best
