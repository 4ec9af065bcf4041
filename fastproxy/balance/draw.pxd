# SPDX-License-Identifier: MIT
"""Draws by weight: `random`, and the candidates of the algorithms that compare a few.

Called by pick.pxd and the leaves beside it. Workers only. A draw is one step for equal weights, a
binary search for others.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t

from fastproxy.balance.live cimport has_member
from fastproxy.balance.table cimport Ask, LiveTier
from fastproxy.memory.random cimport random_below


cdef enum:
    # Draws that may meet somebody tried before we look through all, from a place drawn by chance.
    DRAW_ATTEMPTS = 8


cdef inline uint32_t draw_place(const Ask *ask, const LiveTier *tier) noexcept nogil:
    """The place in its list of one member of a tier that has some, by weight."""
    cdef const uint32_t *upto = ask.live.upto + tier.first
    cdef uint32_t low = 0
    cdef uint32_t high = tier.count - 1
    cdef uint32_t middle, draw
    if tier.uniform:
        return random_below(ask.random, tier.count)
    draw = random_below(ask.random, tier.total)
    while low < high:
        middle = (low + high) >> 1
        if upto[middle] > draw:
            high = middle
        else:
            low = middle + 1
    return low


cdef inline uint16_t draw_member(const Ask *ask, const LiveTier *tier) noexcept nogil:
    """One member of a tier that has some, by weight."""
    return ask.live.members[tier.first + draw_place(ask, tier)]


cdef inline bint is_drawn(const uint16_t *drawn, uint32_t count, uint16_t index) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if drawn[i] == index:
            return True
    return False


cdef inline int32_t draw_other(
    const Ask *ask, const LiveTier *tier, const uint16_t *drawn, uint32_t count
) noexcept nogil:
    """A member of the tier that is neither tried nor among the `count` drawn so far; -1: none."""
    cdef uint32_t _attempt, _step, at
    cdef uint16_t index
    if tier.count == 0:
        return -1
    for _attempt in range(<uint32_t> DRAW_ATTEMPTS):
        index = draw_member(ask, tier)
        if not has_member(ask.tried, index) and not is_drawn(drawn, count, index):
            return index
    at = random_below(ask.random, tier.count)
    for _step in range(tier.count):
        index = ask.live.members[tier.first + at]
        if not has_member(ask.tried, index) and not is_drawn(drawn, count, index):
            return index
        at = at + 1 if at + 1 < tier.count else 0
    return -1


cdef inline uint32_t draw_some(const Ask *ask, uint16_t *drawn) noexcept nogil:
    """Candidates to compare: up to `draws` different untried members of the tier, in an order of
    chance, the first by weight, into `drawn` (room for DRAWS_MAX). All of them if they are no more
    than that."""
    cdef const LiveTier *tier = &ask.live.tier[ask.tier]
    cdef uint32_t count = 0
    cdef uint32_t _step, at
    cdef int32_t index
    if tier.count > ask.upstream.draws:
        while count < ask.upstream.draws:
            index = draw_other(ask, tier, drawn, count)
            if index < 0:
                break
            drawn[count] = <uint16_t> index
            count += 1
        return count
    at = draw_place(ask, tier) if tier.count > 1 else 0
    for _step in range(tier.count):
        drawn[count] = ask.live.members[tier.first + at]
        if not has_member(ask.tried, drawn[count]):
            count += 1
        at = at + 1 if at + 1 < tier.count else 0
    return count


cdef inline int32_t random_draw(Ask *ask) noexcept nogil:
    """The algorithm `random`: one draw by weight; -1 if nobody is left."""
    return draw_other(ask, &ask.live.tier[ask.tier], NULL, 0)
