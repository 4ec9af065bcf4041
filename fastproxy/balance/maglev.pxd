# SPDX-License-Identifier: MIT
"""Maglev hashing (Eisenbud et al. 2016): a table of 65537 entries, filled so that every member has
its share of them to within one; a key is one look.

More even than a ring, at the price that a member that comes or goes moves a few keys of others too.
One that cannot serve for a while moves none but its own: its keys are hashed again and look up
another entry.

The table is `maglev_table` of door.pxi. Called by pick.pxd only. Workers only.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.bound cimport below_bound, may_land
from fastproxy.balance.keyhash cimport mix_hashes
from fastproxy.balance.rendezvous cimport rendezvous
from fastproxy.balance.table cimport MAGLEV_SIZE, Ask, Bound


cdef enum:
    # Entries looked up before everybody is looked at: half of the members may be out, and this is
    # still not reached once in 65,536 times.
    MAGLEV_ATTEMPTS = 16


cdef inline int32_t maglev(Ask *ask, Bound *bound) noexcept nogil:
    """Whose entry it is and who may take it; -1: nobody is left."""
    cdef const uint16_t *table = <const uint16_t *> (ask.roster + ask.upstream.maglev.off)
    cdef uint64_t key = ask.key
    cdef uint32_t attempt, index
    if ask.live.tier[ask.tier].count == 0:
        return -1
    if ask.upstream.maglev.count == MAGLEV_SIZE:
        for attempt in range(<uint32_t> MAGLEV_ATTEMPTS):
            index = table[((key >> 32) * MAGLEV_SIZE) >> 32]
            if may_land(ask, index) and below_bound(ask, bound, index):
                return <int32_t> index
            key = mix_hashes(ask.key, attempt)
    return rendezvous(ask, bound)
