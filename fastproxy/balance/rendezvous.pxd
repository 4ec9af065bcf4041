# SPDX-License-Identifier: MIT
"""Rendezvous hashing: every member bids for the key, the highest bid takes it (Thaler, Ravishankar
1998). Nobody else's keys move when a member comes or goes, and shares are as even as chance.

A bid is weight / -ln(u), with u in (0, 1) from key and member (Schindelhauer, Schomaker 2005), so
that shares follow weights and a new weight moves only what it must. Every member is looked at; with
equal weights the highest u wins, and no logarithm is taken.

It also has the last word for ring.pxd and maglev.pxd when their tables name nobody who may serve.
Called by pick.pxd and those. Workers only.
"""

from libc.math cimport log
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.bound cimport below_bound
from fastproxy.balance.keyhash cimport mix_hashes
from fastproxy.balance.live cimport has_member
from fastproxy.balance.load cimport weight_now
from fastproxy.balance.table cimport Ask, Bound, LiveTier


cdef inline double _unit(uint64_t hash) noexcept nogil:
    """The upper 53 bits as a number between 0 and 1, never one of them."""
    return (<double> (hash >> 11) + 0.5) * (1.0 / 9007199254740992.0)


cdef inline int32_t rendezvous(Ask *ask, Bound *bound) noexcept nogil:
    """The member with the highest bid among those left and below their bound; -1: nobody is."""
    cdef const LiveTier *tier = &ask.live.tier[ask.tier]
    cdef int32_t best = -1
    cdef uint64_t hash, best_hash = 0
    cdef double unit, cost, weight
    cdef double best_cost = 0       # -ln(u) / weight: the lowest wins
    cdef uint32_t i
    cdef uint16_t index
    for i in range(tier.count):
        index = ask.live.members[tier.first + i]
        if has_member(ask.tried, index):
            continue
        hash = mix_hashes(ask.key, ask.backends[index].hash)
        if tier.uniform:
            if (best < 0 or hash > best_hash) and below_bound(ask, bound, index):
                best, best_hash = index, hash
            continue
        unit, weight = _unit(hash), <double> weight_now(ask, index)
        # -ln(u) >= 1 - u: most bids are seen to lose without a logarithm.
        if best >= 0 and 1.0 - unit >= best_cost * weight:
            continue
        cost = -log(unit) / weight
        if (best < 0 or cost < best_cost) and below_bound(ask, bound, index):
            best, best_cost = index, cost
    return best
