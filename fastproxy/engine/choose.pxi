# SPDX-License-Identifier: MIT
# What a request itself says about who should serve it, worked out once, before the first dial,
# while all of the request is at hand: `choose_prepare`. What the pick may look at then:
# `choose_ask`. Whom to dial next: `choose_member`. Sessions are in session.pxi.

cdef enum:
    # A label's value has at most so many characters (balance/settings.py), of 4 bytes at most.
    SUBSET_VALUE_MAX = 512


cdef void choose_prepare(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """Called by exchange_forward, with the upstream known. Never ends the exchange."""
    cdef const UpstreamRow *row = upstream_row(x)
    if row.key_kind != KEY_NONE:
        choose_key(eng, x, request, row)
    if row.subset.parts.count != 0:
        choose_subset(eng, x, request, &row.subset)
    if row.session.kind != SESSION_NONE:
        session_prepare(eng, x, request, &row.session)


cdef void choose_key(Engine *eng, Exchange *x, Request *request,
                     const UpstreamRow *row) noexcept nogil:
    """The hash of what decides, for `balance = "hash"`. None if nothing of it is there."""
    cdef uint8_t address[16]
    cdef Out out
    if row.key_kind == KEY_CLIENT_IP:
        if x.flags & X_PEER_UNIX:
            return
        client_bytes(eng, x, request.head, address)
        if not is_v4_mapped(address):
            address_mask(address, row.key_ipv6_prefix)
        x.key = hash_key(<const char *> address, sizeof(address))
    else:
        out = out_over(eng.build, BUILD_BYTES)      # free: the head has been copied from it
        scene_of_request(eng, x, request)
        render(&out, x.plan.base, &row.key, &eng.scene)
        if out.len == row.key_fixed:
            return
        x.key = hash_key(out.ptr, out.len)
    x.flags |= X_HAS_KEY


cdef void choose_subset(Engine *eng, Exchange *x, Request *request,
                        const Template *value) noexcept nogil:
    """Keep the exchange to the members whose label has the value that the request asks for: the
    others count as tried."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef const SubsetRow *row
    cdef char room[SUBSET_VALUE_MAX]
    cdef Out out = out_over(room, sizeof(room))
    cdef uint32_t i
    if upstream == NULL:
        return
    scene_of_request(eng, x, request)
    render(&out, x.plan.base, value, &eng.scene)
    row = NULL
    if not out.full:
        row = subset_find(x.roster.base, upstream, span(out.ptr, out.len))
    if row == NULL and not upstream.subset_strict:
        return
    for i in range(sizeof(x.tried.bits) // sizeof(uint64_t)):
        x.tried.bits[i] = ~(row.members.bits[i] if row != NULL else 0)
    if row != NULL and not upstream.subset_strict:
        x.bond.subset = 1 + <uint32_t> (
            row - <const SubsetRow *> (x.roster.base + upstream.subsets.off))


cdef void choose_anybody(Exchange *x, const RosterUpstream *upstream) noexcept nogil:
    """Nobody of the subset is left: the others will do."""
    cdef const SubsetRow *row = (
        <const SubsetRow *> (x.roster.base + upstream.subsets.off) + (x.bond.subset - 1))
    cdef uint32_t i
    x.bond.subset = 0
    for i in range(sizeof(x.tried.bits) // sizeof(uint64_t)):
        x.tried.bits[i] &= row.members.bits[i]


cdef inline void choose_ask(Engine *eng, Exchange *x, const RosterUpstream *upstream,
                            Ask *ask) noexcept nogil:
    """What a pick for this exchange may look at."""
    ask.roster = x.roster.base
    ask.upstream = upstream
    ask.live = &x.roster.lives[x.upstream_index]
    ask.board = board_of(eng)
    ask.cursor = &eng.cursors[x.upstream_index]
    ask.random = eng.random
    ask.tried = &x.tried
    ask.now_ms = eng.now_ms
    ask.key = x.key
    ask.has_key = x.flags & X_HAS_KEY != 0


# ---- what is learned from answers -------------------------------------------------------------

cdef inline BackendRow *row_to_teach(Engine *eng, Exchange *x) noexcept nogil:
    """The backend's row if its upstream chooses by latency, else NULL."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    if upstream.algorithm != BALANCE_EWMA:
        return NULL
    return backend_row(board_of(eng), x.backend_row)


cdef inline uint64_t asked_us(const Exchange *x) noexcept nogil:
    """Since when the backend is to answer: it was dialed, and had all of the body."""
    return x.body_sent_us if x.body_sent_us > x.dialed_us else x.dialed_us


cdef inline void choose_answered(Engine *eng, Exchange *x) noexcept nogil:
    """An answer's head has come, `x.status` says which. An error that was quick is no reason to
    send more there."""
    cdef BackendRow *row = row_to_teach(eng, x)
    cdef uint64_t took_us
    if row == NULL:
        return
    took_us = x.first_byte_us - asked_us(x) if x.first_byte_us > asked_us(x) else 0
    if x.status >= 500:
        latency_failed(row, took_us, eng.now_ms)
    else:
        latency_seen(row, took_us, False, eng.now_ms)


cdef inline void choose_unanswered(Engine *eng, Exchange *x, bint failed) noexcept nogil:
    """It is over at this backend without one byte of an answer: its failure, or the client would
    not wait any longer."""
    cdef BackendRow *row = row_to_teach(eng, x)
    cdef uint64_t took_us
    if row == NULL or (not failed and not x.request_flow.done):
        return
    took_us = eng.now_us - asked_us(x) if eng.now_us > asked_us(x) else 0
    if failed:
        latency_failed(row, took_us, eng.now_ms)
    else:
        latency_seen(row, took_us, True, eng.now_ms)


cdef int32_t choose_member(Engine *eng, Exchange *x, Ask *ask) noexcept nogil:
    """Whom to dial (next): index of a member, now marked as tried; -1: nobody is left."""
    cdef int32_t index = -1
    if x.bond.member != 0:
        index = session_member(eng, x, ask)
    if index < 0:
        index = pick(ask)
        if index < 0 and x.bond.subset != 0:
            choose_anybody(x, ask.upstream)
            index = pick(ask)
    return index
