# SPDX-License-Identifier: MIT
"""Who may be chosen now: the roster's members and the scoreboard's words, put together.

A pick must not look at a thousand backends. So each worker keeps, per upstream, the list of those
that can serve (`Live`), and makes it anew only when the upstream's `live` word on the scoreboard
has moved, or when a time that it knows of has come (an ejection ends, a slow start has risen).
Whoever changes a word of a BackendRow that counts here moves `live` after it
(scoreboard/write.pxd), so a change is seen by the next pick of every worker.

Members stand in tiers: by priority, those of the own zone before the others, backups last. A tier
keeps all new requests while its able share x overprovision (1.4) is 100% or more; what it cannot
take spills to the next (Envoy's rule). When all tiers together fall short, what they have is scaled
up. A tier whose able share is below the panic threshold counts all its members as able, unless the
other tiers, backups among them, can take what it cannot (Envoy's rule, too): too many "dead" ones
mean that the checks are wrong, or that spreading is better than felling the rest. Operators' words
(drain, maintenance) hold even then.

Workers only: the lists belong to one worker. Cost: one walk over the members when something
changed.
"""

from libc.math cimport powf
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastproxy.balance.table cimport (
    BACKEND_UNPROVEN, BALANCE_HASH, Live, LiveTier, Members, RosterBackend, RosterHeader,
    RosterUpstream)
from fastproxy.clib.atomics cimport load32, load64
from fastproxy.scoreboard.read cimport back_since, backend_row, upstream_board
from fastproxy.scoreboard.table cimport HEALTH_UP, BackendRow, BoardHeader


cdef enum:
    # A slow start's shares are worked out anew so often, and never less than this many steps.
    SLOW_START_STEP_MS = 100
    PART_WHOLE = 256
    SHARE_WHOLE = 65536


cdef inline bint has_member(const Members *members, uint32_t index) noexcept nogil:
    return (members.bits[index >> 6] >> (index & 63)) & 1


cdef inline void add_member(Members *members, uint32_t index) noexcept nogil:
    members.bits[index >> 6] |= (<uint64_t> 1) << (index & 63)


cdef inline void clear_members(Members *members) noexcept nogil:
    memset(members, 0, sizeof(Members))


cdef inline void drop_member(Members *members, uint32_t index) noexcept nogil:
    members.bits[index >> 6] &= ~((<uint64_t> 1) << (index & 63))


cdef inline void take_members(Members *members, const Members *less) noexcept nogil:
    """Without those."""
    cdef int i
    for i in range(16):
        members.bits[i] &= ~less.bits[i]


cdef inline bint no_members(const Members *members) noexcept nogil:
    cdef int i
    for i in range(16):
        if members.bits[i] != 0:
            return False
    return True


cdef enum Able:
    ABLE_NOT = 0                # an operator says no, or its weight is 0
    ABLE_IN_PANIC = 1           # down or ejected
    ABLE = 2


cdef inline Able able_now(
    const RosterBackend *backend, BackendRow *row, uint64_t now_ms
) noexcept nogil:
    """A row with a lower generation than the roster's is not written yet: its words say nothing
    about ours, which then counts as able unless it must be proven first. One with a higher
    belongs to another backend by now."""
    if backend.weight == 0 or load64(&row.generation) > backend.generation:
        return ABLE_NOT
    if load64(&row.generation) != backend.generation:
        return ABLE_NOT if backend.flags & BACKEND_UNPROVEN else ABLE
    if load32(&row.admin) != HEALTH_UP or load32(&row.percent) == 0:
        return ABLE_NOT
    if load32(&row.health) != HEALTH_UP or (load64(&row.ejection) >> 16) > now_ms:
        return ABLE_IN_PANIC
    return ABLE


cdef inline uint32_t part_now(
    const RosterUpstream *upstream, const RosterBackend *backend, BackendRow *row, uint64_t now_ms,
    uint64_t *until_ms
) noexcept nogil:
    """How much of its weight a member gets now, of PART_WHOLE: what its agent asks for, and the
    slow start since it came (back). `until_ms` is lowered to when that is to be asked again."""
    cdef uint64_t since
    cdef uint64_t step
    cdef float risen, least
    cdef uint32_t part = PART_WHOLE
    if load64(&row.generation) != backend.generation:
        return part
    if load32(&row.percent) < 100:
        part = load32(&row.percent) * PART_WHOLE // 100
    if upstream.slow_start_ms == 0 or upstream.algorithm == BALANCE_HASH:
        return part if part != 0 else 1
    since = back_since(row, now_ms)
    if since != 0 and now_ms < since + upstream.slow_start_ms:
        step = upstream.slow_start_ms // 50
        step = now_ms + (step if step > SLOW_START_STEP_MS else SLOW_START_STEP_MS)
        if step < until_ms[0]:
            until_ms[0] = step
        risen = <float> (now_ms - since if now_ms > since else 0) / <float> upstream.slow_start_ms
        risen = powf(risen, 100.0 / <float> upstream.slow_start_aggression)
        least = <float> upstream.slow_start_percent / 100.0
        part = <uint32_t> (<float> part * (risen if risen > least else least))
    return part if part != 0 else 1


cdef inline uint32_t most_now(const RosterBackend *backend, BackendRow *row) noexcept nogil:
    """max_connections: as configured, or what its agent says if that is less. 0: no limit."""
    cdef uint32_t most = backend.max_connections
    cdef uint32_t agent = load32(&row.max_connections)
    if load64(&row.generation) == backend.generation and agent != 0 and (most == 0 or agent < most):
        return agent
    return most


cdef inline void live_make(
    Live *live, const RosterUpstream *upstream, const RosterBackend *backends, BoardHeader *board,
    uint64_t now_ms
) noexcept nogil:
    """Look at all members, sort the able ones into their tiers, share new requests out."""
    cdef uint32_t i, at, part
    cdef uint64_t ejected_until
    cdef uint64_t takes, total = 0
    cdef BackendRow *row
    live.epoch = load64(&upstream_board(board, upstream.queue_row).live)
    live.made = True
    live.until_ms = <uint64_t> -1
    live.tiers = upstream.tiers
    live.capped = False
    clear_members(&live.able)
    for i in range(upstream.backends.count):
        row = backend_row(board, backends[i].row)
        ejected_until = load64(&row.ejection) >> 16
        if now_ms < ejected_until < live.until_ms:
            live.until_ms = ejected_until
        part = part_now(upstream, &backends[i], row, now_ms, &live.until_ms)
        live.part[i] = <uint16_t> part
        live.most[i] = most_now(&backends[i], row)
        live.capped |= live.most[i] != 0
    for at in range(live.tiers):
        tier_ask(&live.tier[at], upstream, backends, board, at, now_ms)
        total += tier_takes(&live.tier[at], upstream)
    live.count = 0
    for at in range(live.tiers):
        takes = tier_takes(&live.tier[at], upstream)
        if total >= SHARE_WHOLE and total != takes:
            live.tier[at].panic = False
        tier_make(live, &live.tier[at], upstream, backends, board, at, now_ms)
    tiers_share(live, upstream)


cdef inline void tier_ask(
    LiveTier *tier, const RosterUpstream *upstream, const RosterBackend *backends,
    BoardHeader *board, uint32_t number, uint64_t now_ms
) noexcept nogil:
    """How able one tier is: `share_upto`, of SHARE_WHOLE, until `tiers_share` reads it; and whether
    that is below the panic threshold."""
    cdef uint32_t i
    cdef uint32_t all_weight = 0
    cdef uint32_t able_weight = 0
    cdef Able able
    for i in range(upstream.backends.count):
        if backends[i].tier != number:
            continue
        able = able_now(&backends[i], backend_row(board, backends[i].row), now_ms)
        if able != ABLE_NOT:
            all_weight += backends[i].weight
        if able == ABLE:
            able_weight += backends[i].weight
    tier.panic = (all_weight != 0
                  and able_weight * 100 < <uint32_t> upstream.panic_percent * all_weight)
    tier.share_upto = 0
    if all_weight != 0:         # rounded up: what is just enough is enough
        tier.share_upto = <uint32_t> (
            (<uint64_t> able_weight * SHARE_WHOLE + all_weight - 1) // all_weight)


cdef inline uint64_t tier_takes(
    const LiveTier *tier, const RosterUpstream *upstream
) noexcept nogil:
    """How much of the new requests it could take, of SHARE_WHOLE; more than all is possible."""
    return <uint64_t> tier.share_upto * upstream.overprovision_percent // 100


cdef inline void tier_make(
    Live *live, LiveTier *tier, const RosterUpstream *upstream, const RosterBackend *backends,
    BoardHeader *board, uint32_t number, uint64_t now_ms
) noexcept nogil:
    """The able members of one tier, in a panic all of them, behind those of the tiers before."""
    cdef uint32_t i, weight, first_weight = 0
    cdef Able able
    tier.first = live.count
    tier.count = 0
    tier.total = 0
    tier.uniform = True
    for i in range(upstream.backends.count):
        if backends[i].tier != number:
            continue
        able = able_now(&backends[i], backend_row(board, backends[i].row), now_ms)
        if able == ABLE_NOT or (able == ABLE_IN_PANIC and not tier.panic):
            continue
        weight = backends[i].weight * live.part[i]
        if tier.count == 0:
            first_weight = weight
        elif weight != first_weight:
            tier.uniform = False
        tier.total += weight
        live.members[live.count] = <uint16_t> i
        live.upto[live.count] = tier.total
        live.count += 1
        tier.count += 1
        add_member(&live.able, i)


cdef inline void tiers_share(Live *live, const RosterUpstream *upstream) noexcept nogil:
    """Who gets how much of the new requests, by what each tier could take.

    A tier in panic takes what its able members could, so that one with nobody able is used only
    when no other tier can take the rest.
    """
    cdef uint64_t left = SHARE_WHOLE
    cdef uint64_t sum = 0
    cdef uint64_t takes
    cdef uint32_t at, upto = 0
    cdef uint32_t spill = live.tiers - upstream.backups
    for at in range(live.tiers):
        takes = tier_takes(&live.tier[at], upstream)
        if takes > left or (at >= spill and takes != 0):
            takes = left
        if at >= spill and sum != 0:
            takes = 0               # backups wait until nobody else is able
        live.tier[at].share_upto = <uint32_t> takes
        left -= takes
        sum += takes
    for at in range(live.tiers):
        if sum != 0:
            upto += <uint32_t> (<uint64_t> live.tier[at].share_upto * SHARE_WHOLE // sum)
        elif upto == 0 and live.tier[at].count != 0:
            upto = SHARE_WHOLE      # nobody is able: the first tier that panics
        live.tier[at].share_upto = upto
    if sum != 0:                    # what rounding left over goes to the last that has a share
        at = live.tiers
        while at > 0 and live.tier[at - 1].share_upto == upto:
            live.tier[at - 1].share_upto = SHARE_WHOLE
            at -= 1


cdef inline void live_refresh(
    Live *live, const RosterUpstream *upstream, const RosterBackend *backends, BoardHeader *board,
    uint64_t now_ms
) noexcept nogil:
    """Make it anew if it is not what roster and scoreboard say now."""
    if (not live.made or now_ms >= live.until_ms
            or load64(&upstream_board(board, upstream.queue_row).live) != live.epoch):
        live_make(live, upstream, backends, board, now_ms)


cdef inline Live *lives_make(const char *roster) noexcept nogil:
    """Room for every upstream of a checked roster, nothing made yet; NULL: no memory. One block:
    `lives_free` gives it back."""
    cdef const RosterHeader *head = <const RosterHeader *> roster
    cdef const RosterUpstream *upstreams = <const RosterUpstream *> (roster + head.upstreams.off)
    cdef size_t rows = head.upstreams.count
    cdef size_t members = 0
    cdef size_t i
    cdef Live *lives
    cdef char *room
    for i in range(rows):
        members += (upstreams[i].backends.count + 3) & ~<size_t> 3      # 8-byte steps
    lives = <Live *> calloc(1, rows * sizeof(Live) + members * 12 + 8)
    if lives == NULL:
        return NULL
    room = <char *> (lives + rows)
    for i in range(rows):
        members = (upstreams[i].backends.count + 3) & ~<size_t> 3
        lives[i].upto = <uint32_t *> room
        lives[i].most = <uint32_t *> (room + members * 4)
        lives[i].members = <uint16_t *> (room + members * 8)
        lives[i].part = <uint16_t *> (room + members * 10)
        room += members * 12
    return lives


cdef inline void lives_free(Live *lives) noexcept nogil:
    free(lives)
