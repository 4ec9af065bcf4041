# SPDX-License-Identifier: MIT
# Leaving politely: whom a stop tells to go, and when.
#
# Who is told comes back at once, to another instance or to our successor, and all of them at the
# same moment would be a herd: so they are told one after the other, at an even pace. Clients that
# speak HTTP/2 when the drain begins (GOAWAY: what they have asked is still served); WebSockets and
# event streams, which are what a drain waits for, when its time is nearly over.
#
# A WebSocket gets a close frame. An event stream is told when to come back (`retry:`, HTML 9.2.6),
# if it is between two events, and is cut a moment later: an end would say that this was all.

cdef enum:
    # The pace, unless there are too many for it: the fewer there are, the sooner is it done.
    PARTING_EACH_MS = 10
    # What a hint gets to arrive before its stream is cut: in HTTP/2 a reset overtakes data.
    EVENT_HINT_MS = 100
    EVENT_HINT_BYTES = 40


cdef void parting_drain(Engine *eng, uint64_t within_ms) noexcept nogil:
    """A drain begins; when `within_ms` are over all connections are closed."""
    cdef uint64_t spread_ms = eng.plan.settings.drain_spread_ms
    if spread_ms > within_ms // 2:
        spread_ms = within_ms // 2
    eng.parting.streams_ms = NEVER_MS
    if spread_ms != 0:
        eng.parting.streams_ms = eng.now_ms + within_ms - spread_ms
    # The last ones have a while to answer.
    eng.parting.spread_ms = spread_ms - spread_ms // 10
    parting_begin(eng, PARTING_CARRIERS)


cdef void parting_tick(Engine *eng) noexcept nogil:
    if not eng.draining:
        return
    if eng.parting.what != PARTING_NOBODY:
        parting_go_on(eng)
    if eng.parting.streams_ms <= eng.now_ms:
        eng.parting.streams_ms = NEVER_MS
        eng.parting.window_ms = 0
        parting_go_on(eng)      # whoever is left of the carriers
        parting_begin(eng, PARTING_STREAMS)


cdef void parting_begin(Engine *eng, uint8_t what) noexcept nogil:
    cdef Parting *parting = &eng.parting
    cdef uint32_t index
    parting.what = what
    parting.since_ms = eng.now_ms
    parting.count = parting.told = parting.index = 0
    for index in range(eng.connections.slab_count * SLAB_ITEMS):
        if parting_is_for(what, <Connection *> pool_at(&eng.connections, index)):
            parting.count += 1
    parting.window_ms = <uint64_t> parting.count * PARTING_EACH_MS
    if parting.window_ms > parting.spread_ms:
        parting.window_ms = parting.spread_ms
    parting_go_on(eng)


cdef void parting_go_on(Engine *eng) noexcept nogil:
    """Tell those whose turn it is by now."""
    cdef Parting *parting = &eng.parting
    cdef Connection *conn
    cdef uint64_t spent = eng.now_ms - parting.since_ms
    cdef bint over = spent >= parting.window_ms
    cdef uint64_t due = 0 if over else parting.count * spent // parting.window_ms + 1
    cdef uint32_t size = eng.connections.slab_count * SLAB_ITEMS
    while parting.index < size and (over or parting.told < due):
        conn = <Connection *> pool_at(&eng.connections, parting.index)
        parting.index += 1
        if parting_is_for(parting.what, conn):
            parting.told += 1
            parting_tell(eng, conn)
    if over:
        parting.what = PARTING_NOBODY


cdef inline bint parting_is_for(uint8_t what, const Connection *conn) noexcept nogil:
    if conn.item.generation & 1 == 0 or conn.role != ROLE_CLIENT:
        return False
    if what == PARTING_CARRIERS:
        return conn.state == PEER_CARRIER
    return what == PARTING_STREAMS and (conn.state == PEER_TUNNEL or has_events(conn))


cdef void parting_tell(Engine *eng, Connection *conn) noexcept nogil:
    """May end its exchange."""
    if conn.state == PEER_CARRIER:
        eng.http2.drain(eng, conn)
    elif conn.state == PEER_TUNNEL:
        tunnel_leave(eng, conn.exchange, b"K")
    else:
        events_leave(eng, conn.exchange)


cdef void streams_goodbye(Engine *eng) noexcept nogil:
    """All connections are closed next: let those know who still can."""
    cdef uint32_t index
    cdef Connection *conn
    for index in range(eng.connections.slab_count * SLAB_ITEMS):
        conn = <Connection *> pool_at(&eng.connections, index)
        if not parting_is_for(PARTING_STREAMS, conn):
            continue
        if conn.state == PEER_TUNNEL:
            tunnel_goodbye(eng, conn.exchange)
            conn.transport.finish(eng, conn)
        else:
            events_hint(eng, conn.exchange)
    carriers_flush(eng)


# ---- event streams --------------------------------------------------------------------------

cdef inline bint has_events(const Connection *conn) noexcept nogil:
    """Is its answer an event stream into which we may put something, and has its head been sent?"""
    return (conn.state == PEER_RUNNING and conn.exchange.state == EXCHANGE_RECEIVING
            and conn.exchange.answer_flow.filter == filter_events)


cdef void events_begin(Exchange *x, const Head *head) noexcept nogil:
    """An event stream; what is coded (gzip) is none that we could add to."""
    if field_named(head, b"content-encoding", 16).len == 0:
        x.answer_flow.filter = filter_events
        x.event_end[0] = x.event_end[1] = c'\n'


cdef int filter_events(Engine *eng, Exchange *x, Span *piece, bint last) noexcept nogil:
    """BodyFilter: changes nothing, and remembers how it ends."""
    cdef size_t i
    cdef size_t size = piece.len if piece.len < 3 else 3
    if size < 3:
        memmove(x.event_end + size, x.event_end, 3 - size)
    for i in range(size):
        x.event_end[i] = piece.ptr[piece.len - 1 - i]
    return 0


cdef inline bint events_between(const Exchange *x) noexcept nogil:
    """Is the last line that was passed on an empty one? Lines end by CR, LF or both."""
    cdef char before = x.event_end[1]
    if x.event_end[0] == c'\n' and before == c'\r':
        before = x.event_end[2]
    elif x.event_end[0] != c'\n' and x.event_end[0] != c'\r':
        return False
    return before == c'\n' or before == c'\r'


cdef void events_leave(Engine *eng, Exchange *x) noexcept nogil:
    """The end of this stream is near. May end the exchange (a client that is gone)."""
    cdef uint64_t until_ms = eng.now_ms + EVENT_HINT_MS
    events_hint(eng, x)
    if x.state == EXCHANGE_FINISHED:
        return
    x.parting = True
    if x.timer.deadline_ms == 0 or x.timer.deadline_ms > until_ms:
        timer_set(&eng.wheel, &x.timer, until_ms)


cdef void events_hint(Engine *eng, Exchange *x) noexcept nogil:
    """When to come back, another time for each. Once; may end the exchange."""
    cdef char room[EVENT_HINT_BYTES]
    cdef Out out = out_over(room, EVENT_HINT_BYTES)
    cdef uint64_t retry_ms = x.plan.settings.drain_retry_ms
    if retry_ms == 0 or x.parting or not events_between(x):
        return
    put_text(&out, b"retry: ")
    put_uint(&out, retry_ms // 2 + random_next(eng.random) % (retry_ms + 1))
    put_text(&out, b"\n\n")
    x.bytes_out += out.len
    x.asker.body(eng, x, span(out.ptr, out.len), False)
