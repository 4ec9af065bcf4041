# SPDX-License-Identifier: MIT
"""Which members a hash may land on: those that are able, and not above their bound.

Bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): a member takes at most
ceil(bound x (requests under way + 1) x its share of the weight), and what is more goes on to
whoever the method names next. All that counts, requests and shares, is of the members that could be
chosen now (able, of the tier, not tried), over all workers. With a bound of 1 or more somebody is
always below it, since the limits add up to more than what is under way.

A pick only reads. What another worker gives out between this look and our own cell is noticed by
`bound_kept`, which the engine asks once the request is counted (its own cell first, then the sums):
of two that meet, both see both, so that none goes above. Requests that end in the same moment make
the limit smaller than it was when a request was given out; they take nothing back.

Called by the methods of `hash`. Workers only.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastproxy.balance.keyhash cimport mix_hashes
from fastproxy.balance.live cimport PART_WHOLE, has_member
from fastproxy.balance.load cimport under_way, weight_now
from fastproxy.balance.table cimport Ask, Bound, LiveTier
from fastproxy.clib.atomics cimport fence_all


cdef inline bint may_land(const Ask *ask, uint32_t index) noexcept nogil:
    """Able, of this pick's tier, not tried; and of one that takes a part of its share only (by its
    agent's word) always the same part of the keys."""
    cdef uint32_t part = ask.live.part[index]
    if (not has_member(&ask.live.able, index) or has_member(ask.tried, index)
            or ask.backends[index].tier != ask.tier):
        return False
    return part >= PART_WHOLE or (mix_hashes(ask.key, ask.backends[index].hash) & 255) < part


cdef inline void bound_begin(Bound *bound) noexcept nogil:
    """Nothing is summed yet: most picks find an idle member first, or have no bound."""
    bound.summed = False


cdef inline void _bound_sum(const Ask *ask, uint32_t also, Bound *bound) noexcept nogil:
    """What is under way at all that could be chosen, and their weight; `also` counts anyway."""
    cdef const LiveTier *tier = &ask.live.tier[ask.tier]
    cdef uint32_t i
    cdef uint16_t index
    bound.summed = True
    bound.requests = 0
    bound.weight = 0
    for i in range(tier.count):
        index = ask.live.members[tier.first + i]
        if index == also or not has_member(ask.tried, index):
            bound.requests += under_way(ask, index)
            bound.weight += weight_now(ask, index)


cdef inline uint64_t _bound_limit(
    const Ask *ask, uint32_t index, uint64_t requests, uint64_t weight
) noexcept nogil:
    """The most that a member may have, of so many requests (the new one among them)."""
    cdef uint64_t whole = 100 * weight
    return (ask.upstream.bound_percent * requests * weight_now(ask, index) + whole - 1) // whole


cdef inline bint below_bound(const Ask *ask, Bound *bound, uint32_t index) noexcept nogil:
    """May this member, not tried, take one more?"""
    cdef uint64_t load
    if ask.upstream.bound_percent == 0:
        return True
    load = under_way(ask, index)
    if load == 0:
        return True             # a limit is at least 1
    if not bound.summed:
        _bound_sum(ask, index, bound)
    return load < _bound_limit(ask, index, bound.requests + 1, bound.weight)


cdef inline bint bound_kept(const Ask *ask, uint32_t index) noexcept nogil:
    """Is the member that was picked, and has the request counted now, still within its bound?"""
    cdef Bound bound
    if ask.upstream.bound_percent == 0 or not ask.has_key:
        return True
    fence_all()                 # our own cell first, then everybody's
    _bound_sum(ask, index, &bound)
    return under_way(ask, index) <= _bound_limit(ask, index, bound.requests, bound.weight)
