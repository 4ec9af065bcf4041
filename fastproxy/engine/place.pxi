# SPDX-License-Identifier: MIT
# Places at backends: which member gets this request, and is there room for one more?
#
# A place is one more in this worker's own in-flight cell. Where a member has a most (its
# max_connections, or its agent's) `inflight_enter` takes the place, so that all workers together
# never hold one too many, and who gives it back tells who waits (queue.pxi). All others cost one
# branch.

cdef enum:
    # Full members met one by one, before all are looked at in one walk.
    FULL_LOOKS = 4
    # Times that another worker may take the last place within a hash's bound at the same moment as
    # we do (then neither has it, and both choose again) before that member counts as full.
    BOUND_LOOKS = 16


cdef enum Place:
    PLACE_FOUND = 0             # x.backend is set and counted
    PLACE_FULL = 1              # all that could serve have as many requests as they may
    PLACE_NONE = 2              # nobody can serve


cdef inline void in_flight(Engine *eng, Exchange *x, int change) noexcept nogil:
    """This worker's own column, so a plain store."""
    inflight_add(inflight_cell(board_of(eng), eng.slot, x.backend_row), change)
    if change > 0:
        x.flags |= X_IN_FLIGHT
    else:
        x.flags &= ~<uint32_t> X_IN_FLIGHT
        if x.flags & X_CAPPED:
            queue_freed(eng, x)


cdef inline const Live *capped_live(Engine *eng, const Exchange *x) noexcept nogil:
    """Who may be chosen, if some member of the upstream has a most; else NULL."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef Live *live
    if upstream == NULL:
        return NULL
    live = &x.roster.lives[x.upstream_index]
    if not live.made:
        live_refresh(live, upstream, roster_backend(x.roster.base, upstream, 0), board_of(eng),
                     eng.now_ms)
    return live if live.capped else NULL


cdef inline bint place_take(Engine *eng, Exchange *x, const RosterBackend *backend) noexcept nogil:
    """Count the request at x.backend. False: it has as many as it may."""
    cdef const Live *live = capped_live(eng, x)
    x.backend_row = backend.row
    if live != NULL and live.most[x.backend] != 0:
        if not inflight_enter(board_of(eng), eng.slot, backend.row, live.most[x.backend]):
            return False
        x.flags |= X_IN_FLIGHT | X_CAPPED
        return True
    in_flight(eng, x, 1)
    return True


cdef inline bint place_kept(const Exchange *x, const Ask *ask) noexcept nogil:
    """Is the place within the bound of a hash? Sessions go before bounds."""
    return x.bond.member != 0 or x.bond.key != 0 or bound_kept(ask, <uint32_t> x.backend)


cdef Place place_find(Engine *eng, Exchange *x) noexcept nogil:
    """Choose a backend for this request and take a place there. Members that are only full may be
    chosen another time."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef PickCursor elsewhere
    cdef Members full
    cdef uint32_t met = 0
    cdef uint32_t looks = 0
    cdef Ask ask
    x.backend = -1
    if upstream == NULL:
        return PLACE_NONE
    choose_ask(eng, x, upstream, &ask)
    if x.retries != 0:
        # A second try must not take the turn of the next request: with two backends, one of
        # them dead, every request would begin at the dead one.
        cursor_set(&elsewhere, <uint32_t> random_next(eng.random))
        ask.cursor = &elsewhere
    while True:
        x.backend = choose_member(eng, x, &ask)
        if x.backend < 0:
            break
        if place_take(eng, x, &ask.backends[x.backend]):
            if place_kept(x, &ask):
                break
            in_flight(eng, x, -1)
            if looks < BOUND_LOOKS:
                looks += 1
                drop_member(&x.tried, <uint32_t> x.backend)
                continue
        if met == 0:
            clear_members(&full)
        add_member(&full, <uint32_t> x.backend)
        met += 1
        if met == FULL_LOOKS:
            full_mark(&ask, &full)
    if met != 0:
        take_members(&x.tried, &full)
    if x.backend >= 0:
        if x.bond.key != 0:
            session_placed(eng, x)
        return PLACE_FOUND
    return PLACE_FULL if met != 0 else PLACE_NONE


cdef void full_mark(const Ask *ask, Members *full) noexcept nogil:
    """Everybody that is full is left out from now on: one walk, instead of a pick for each."""
    cdef uint32_t i
    for i in range(ask.upstream.backends.count):
        if (ask.live.most[i] != 0 and not has_member(ask.tried, i)
                and inflight_total(ask.board, ask.backends[i].row) >= ask.live.most[i]):
            add_member(full, i)
            add_member(ask.tried, i)
