# SPDX-License-Identifier: MIT
# What a request itself says about who should serve it, worked out once, before the first dial,
# while all of the request is at hand: `choose_prepare`. What the pick may look at then:
# `choose_ask`.

cdef void choose_prepare(Engine *eng, Exchange *x, Request *request) noexcept nogil:
    """Called by exchange_forward, with the upstream known. Never ends the exchange."""
    pass


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
    ask.has_key = False
