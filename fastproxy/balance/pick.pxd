# SPDX-License-Identifier: MIT
"""Which member of an upstream serves this request?

`pick` asks `live.pxd` who is able, chooses a tier by its share, and calls the leaf of the
upstream's algorithm (round_robin.pxd, p2c.pxd, ...). A member is chosen at most once per exchange:
what is in `tried` is left out, so a caller that could not use one simply asks again. When a tier
has nobody left the others are asked, in order. Workers only; no lock: what is written belongs to
one worker.

`roster_check` proves a mapped roster sound, once, so that a pick looks at no bound.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.bound cimport bound_begin
from fastproxy.balance.draw cimport random_draw
from fastproxy.balance.ewma cimport least_time
from fastproxy.balance.keyhash cimport mix_hashes
from fastproxy.balance.least_conn cimport least_conn
from fastproxy.balance.live cimport SHARE_WHOLE, add_member, live_refresh
from fastproxy.balance.maglev cimport maglev
from fastproxy.balance.p2c cimport power_of_choices
from fastproxy.balance.rendezvous cimport rendezvous
from fastproxy.balance.ring cimport ring
from fastproxy.balance.round_robin cimport round_robin
from fastproxy.balance.table cimport *
from fastproxy.memory.limits cimport BACKENDS_MAX, UPSTREAMS_MAX
from fastproxy.memory.random cimport random_below
from fastproxy.memory.span cimport Slice, Text


cdef inline void pick_begin(
    PickCursor *cursor, const RosterUpstream *upstream, uint32_t slot, uint32_t workers
) noexcept nogil:
    """Start worker `slot` of `workers` at its own part of the wheel: if all began at 0, each
    would send its first requests to the same backend."""
    cdef uint32_t at = 0
    if workers != 0:
        at = <uint32_t> (<uint64_t> upstream.wheel.count * (slot % workers) // workers)
    cursor_set(cursor, at)


cdef inline void cursor_set(PickCursor *cursor, uint32_t at) noexcept nogil:
    cdef uint32_t tier
    for tier in range(<uint32_t> TIERS_MAX):
        cursor.at[tier] = at


cdef inline const RosterBackend *roster_backend(
    const char *roster, const RosterUpstream *upstream, uint32_t index
) noexcept nogil:
    """Member `index` as `pick` returned it."""
    return <const RosterBackend *> (roster + upstream.backends.off) + index


cdef inline bint is_hashed(const Ask *ask) noexcept nogil:
    """Does the request's key decide? Not of a request without one."""
    return ask.has_key and ask.upstream.algorithm == BALANCE_HASH


cdef inline uint32_t tier_draw(Ask *ask) noexcept nogil:
    """The tier this request is for, by the shares of new requests; a key always has the same."""
    cdef uint32_t draw, at
    if ask.live.tiers <= 1 or ask.live.tier[0].share_upto == SHARE_WHOLE:
        return 0
    if is_hashed(ask):
        draw = <uint32_t> (mix_hashes(ask.key, TIERS_MAX) >> 48)
    else:
        draw = random_below(ask.random, SHARE_WHOLE)
    for at in range(ask.live.tiers):
        if draw < ask.live.tier[at].share_upto:
            return at
    return 0


cdef inline int32_t pick_hashed(Ask *ask) noexcept nogil:
    """One method each; -1: nobody of this tier is left."""
    cdef Bound bound
    bound_begin(&bound)
    if ask.upstream.hash_method == HASH_RING:
        return ring(ask, &bound)
    if ask.upstream.hash_method == HASH_MAGLEV:
        return maglev(ask, &bound)
    return rendezvous(ask, &bound)


cdef inline int32_t pick_in_tier(Ask *ask) noexcept nogil:
    """One algorithm each; -1: nobody of this tier is left."""
    cdef uint8_t algorithm = ask.upstream.algorithm
    if algorithm == BALANCE_HASH:
        if ask.has_key:
            return pick_hashed(ask)
        algorithm = ask.upstream.fallback
    if algorithm == BALANCE_P2C:
        return power_of_choices(ask)
    if algorithm == BALANCE_ROUND_ROBIN:
        return round_robin(ask)
    if algorithm == BALANCE_LEAST_CONN:
        return least_conn(ask)
    if algorithm == BALANCE_EWMA:
        return least_time(ask)
    return random_draw(ask)


cdef inline int32_t pick(Ask *ask) noexcept nogil:
    """Index into upstream.backends, now marked as tried; -1: nobody is left."""
    cdef int32_t index
    cdef uint32_t chosen, at
    ask.backends = roster_backend(ask.roster, ask.upstream, 0)
    live_refresh(ask.live, ask.upstream, ask.backends, ask.board, ask.now_ms)
    chosen = tier_draw(ask)
    ask.tier = chosen
    index = pick_in_tier(ask)
    at = 0
    while index < 0 and at < ask.live.tiers:
        if at != chosen:
            ask.tier = at
            index = pick_in_tier(ask)
        at += 1
    if index >= 0:
        add_member(ask.tried, <uint32_t> index)
    return index


# ---- a roster as mapped -----------------------------------------------------------------------

cdef inline bint _slice_inside(
    Slice rows, size_t row, size_t align, size_t length
) noexcept nogil:
    return rows.count == 0 or (
        rows.off % align == 0 and rows.off <= length and rows.count <= (length - rows.off) // row)


cdef inline bint _text_inside(Text text, size_t length) noexcept nogil:
    return text.off <= length and text.len <= length - text.off


cdef inline bint _indices_inside(
    const char *base, Slice rows, uint32_t below
) noexcept nogil:
    """A wheel or a table: every entry is a member."""
    cdef const uint16_t *index = <const uint16_t *> (base + rows.off)
    cdef uint32_t i
    for i in range(rows.count):
        if index[i] >= below:
            return False
    return True


cdef inline bint _points_sound(const char *base, Slice rows, uint32_t below) noexcept nogil:
    cdef const RingPoint *points = <const RingPoint *> (base + rows.off)
    cdef uint32_t i
    for i in range(rows.count):
        if points[i].index >= below or (i != 0 and points[i].hash < points[i - 1].hash):
            return False
    return True


cdef inline bint _upstream_sound(
    const char *base, size_t length, const RosterUpstream *upstream
) noexcept nogil:
    cdef const SubsetRow *subsets = <const SubsetRow *> (base + upstream.subsets.off)
    cdef uint32_t members = upstream.backends.count
    cdef uint32_t i
    if (upstream.algorithm >= ALGORITHMS or upstream.fallback >= ALGORITHMS
            or upstream.hash_method >= HASH_METHODS
            or upstream.draws == 0 or upstream.draws > DRAWS_MAX
            or upstream.tiers > TIERS_MAX or upstream.backups > upstream.tiers
            or upstream.queue_row >= UPSTREAMS_MAX or upstream.slow_start_aggression == 0
            or members > BACKENDS_PER_UPSTREAM_MAX
            or upstream.wheel.count > WHEEL_MAX or upstream.ring.count > RING_MAX
            or (upstream.maglev.count != 0 and upstream.maglev.count != MAGLEV_SIZE)
            or not _slice_inside(upstream.backends, sizeof(RosterBackend), 8, length)
            or not _slice_inside(upstream.wheel, sizeof(uint16_t), 2, length)
            or not _slice_inside(upstream.ring, sizeof(RingPoint), 4, length)
            or not _slice_inside(upstream.maglev, sizeof(uint16_t), 2, length)
            or not _slice_inside(upstream.subsets, sizeof(SubsetRow), 8, length)
            or (upstream.sessions.count != 0 and upstream.sessions.count != members)
            or not _slice_inside(upstream.sessions, sizeof(uint16_t), 2, length)):
        return False
    for i in range(upstream.subsets.count):
        if not _text_inside(subsets[i].value, length):
            return False
    return (_indices_inside(base, upstream.wheel, members)
            and _indices_inside(base, upstream.maglev, members)
            and _indices_inside(base, upstream.sessions, members)
            and _points_sound(base, upstream.ring, members))


cdef inline bint _backend_sound(
    const RosterBackend *backend, uint32_t tiers, size_t length
) noexcept nogil:
    return (backend.row < BACKENDS_MAX
            and backend.tier < tiers
            and backend.address_len >= 2
            and backend.address_len <= sizeof(backend.address)
            and _text_inside(backend.name, length)
            and _text_inside(backend.authority, length))


cdef inline int roster_check(const char *base, size_t length, uint64_t layout_hash) noexcept nogil:
    """0: sound, every offset inside `length` bytes at `base` (8-byte aligned). Else which part is
    not: 1 header, 2 an upstream row, 3 a backend row."""
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const RosterUpstream *upstreams
    cdef const RosterBackend *backends
    cdef uint32_t i
    cdef uint32_t j
    if (length < sizeof(RosterHeader) or head.magic != ROSTER_MAGIC
            or head.version != ROSTER_VERSION or head.layout_hash != layout_hash
            or head.length > length or head.length < sizeof(RosterHeader)
            or head.upstreams.count > UPSTREAMS_MAX or head.backends.count > BACKENDS_MAX
            or not _slice_inside(head.upstreams, sizeof(RosterUpstream), 8, head.length)
            or not _slice_inside(head.backends, sizeof(RosterBackend), 8, head.length)
            or not _text_inside(head.changes, head.length)):
        return 1
    length = head.length
    upstreams = <const RosterUpstream *> (base + head.upstreams.off)
    for i in range(head.upstreams.count):
        if not _upstream_sound(base, length, &upstreams[i]):
            return 2
        backends = <const RosterBackend *> (base + upstreams[i].backends.off)
        for j in range(upstreams[i].backends.count):
            if not _backend_sound(&backends[j], upstreams[i].tiers, length):
                return 3
    backends = <const RosterBackend *> (base + head.backends.off)
    for i in range(head.backends.count):
        if not _backend_sound(&backends[i], TIERS_MAX, length):
            return 3
    return 0
