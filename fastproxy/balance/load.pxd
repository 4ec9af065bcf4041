# SPDX-License-Identifier: MIT
"""How busy a member is: requests under way from all workers, against its weight.

The sum is made when it is asked for, from one cell per worker that only its worker writes: nothing
is shared, nothing can drift, and a dead worker's part is gone when the master zeroes its column.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastproxy.balance.table cimport Ask
from fastproxy.scoreboard.read cimport inflight_total


cdef inline uint32_t under_way(const Ask *ask, uint32_t index) noexcept nogil:
    return inflight_total(ask.board, ask.backends[index].row)


cdef inline uint64_t weight_now(const Ask *ask, uint32_t index) noexcept nogil:
    """Its weight, less what slow start or its agent hold back; never 0 for an able one."""
    return <uint64_t> ask.backends[index].weight * ask.live.part[index]


cdef inline bint lighter(
    uint64_t load, uint64_t weight, uint64_t other_load, uint64_t other_weight
) noexcept nogil:
    """Is load / weight below other_load / other_weight? Without dividing; ties are not lighter."""
    return load * other_weight < other_load * weight
