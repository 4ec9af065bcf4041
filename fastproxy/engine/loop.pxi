# SPDX-License-Identifier: MIT
# The loop: events in, connections pumped, timers fired. Included by _core.pyx.
#
# A turn is rounds: a batch from the engine's own epoll set is noted, the run queue worked off, then
# the batch. It lasts until Python is due, so that traffic alone never leaves this file (guest.pxi).
# Edge triggering forgets: a connection with work left (its quantum used up, back-pressure lifted,
# resumed by Python) stands in the run queue. Closed connections and finished exchanges are only put
# on a list; their memory is reused when the round is over, so no function on the stack ever sees
# its object become another.

cdef enum:
    # Events that are no connection carry generation 0 (a connection in use has an odd one).
    EVENT_TIMER = 0
    EVENT_GUEST = 1
    EVENT_BELL = 2              # a place came free for who waits in our line
    EVENT_LISTENER = 3          # + index of the Listener


cdef enum TimerOwner:
    TIMER_CONNECTION = 0
    TIMER_EXCHANGE = 1


cdef inline uint64_t clock_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t> now.tv_sec * 1000000 + <uint64_t> now.tv_nsec // 1000


cdef inline void clock_read(Engine *eng) noexcept nogil:
    eng.now_us = clock_us()
    eng.now_ms = eng.now_us // 1000


cdef bint engine_turn(Engine *eng) noexcept nogil:
    """Work on what is ready, and wait for more until Python is due. True: work is left."""
    cdef epoll_event events[EVENTS_PER_ROUND]
    cdef int count, i
    cdef int rounds = 0
    cdef uint64_t until_ms = guest_deadline(eng)
    while True:
        count = epoll_wait(eng.epfd, events, EVENTS_PER_ROUND, wait_ms(eng, until_ms))
        if count > 0 or eng.run_head != NULL or eng.due_carriers != NULL:
            round_work(eng, events, count)
        elif eng.now_ms >= until_ms:
            break
        rounds += 1
        if python_is_due(eng) or (eng.now_ms >= until_ms and rounds >= ROUNDS_PER_TURN):
            break
    return eng.run_head != NULL


cdef inline int wait_ms(Engine *eng, uint64_t until_ms) noexcept nogil:
    """How long the engine may sleep now, as epoll_wait wants it."""
    if eng.run_head != NULL or eng.due_carriers != NULL or until_ms == 0:
        return 0
    if until_ms == NEVER_MS:
        return -1
    clock_read(eng)
    return <int> (until_ms - eng.now_ms) if until_ms > eng.now_ms else 0


cdef inline void round_work(Engine *eng, const epoll_event *events, int count) noexcept nogil:
    cdef int i
    eng.round += 1
    count_add(&eng.me.turns, 1)
    for i in range(count):
        event_note(eng, events[i].data.u64, events[i].events)
    # Before the events: requests of HTTP/2 that came in the last round stand there, and find the
    # upstream connections that were parked in it, of which epoll has told by now (parked_take).
    run_queue_work(eng)
    for i in range(count):
        event_dispatch(eng, events[i].data.u64)
    if eng.queue_due:
        queues_look(eng)
    if eng.due_carriers != NULL:
        carriers_flush(eng)
    bury_the_dead(eng)
    publish_gauges(eng)


cdef void event_note(Engine *eng, uint64_t token, uint32_t mask) noexcept nogil:
    """Remember what is ready on a connection. All of a batch is noted before any of it is worked
    on: a request must not go out on an idle upstream connection whose FIN, or whose unasked bytes,
    stand behind it in the same batch (they would be taken for its answer, B3 17)."""
    cdef Connection *conn
    cdef uint32_t generation = <uint32_t> (token >> 32)
    if generation == 0:
        return
    conn = <Connection *> pool_find(&eng.connections, <uint32_t> token, generation)
    if conn == NULL:
        return
    if mask & EPOLLIN:
        conn.ready |= READY_READ
    if mask & EPOLLOUT:
        conn.ready |= READY_WRITE
    if mask & EPOLLRDHUP:
        conn.ready |= READY_READ | READY_FIN
    if mask & (EPOLLERR | EPOLLHUP):
        conn.ready |= READY_READ | READY_WRITE | READY_FIN | READY_DEAD


cdef void event_dispatch(Engine *eng, uint64_t token) noexcept nogil:
    cdef Connection *conn
    cdef uint32_t generation = <uint32_t> (token >> 32)
    cdef uint32_t index = <uint32_t> token
    if generation == 0:
        if index == EVENT_TIMER:
            timer_tick(eng)
        elif index == EVENT_GUEST:
            eng.guest.due = True
        elif index == EVENT_BELL:
            queue_rung(eng)
        else:
            clock_read(eng)
            listener_ready(eng, index - EVENT_LISTENER)
        return
    conn = <Connection *> pool_find(&eng.connections, index, generation)
    if conn == NULL or conn.state == PEER_FREE:
        return                  # a stale event of a connection closed earlier in this round
    if conn.flags & CONN_QUEUED:
        return
    clock_read(eng)
    connection_pump(eng, conn)


cdef inline bint quantum_used(const Connection *conn, int steps) noexcept nogil:
    """Has this connection moved enough for now (about QUANTUM_BYTES, or 16 small steps)?"""
    return steps >= 16 or (<uint64_t> steps << conn.reading) >= QUANTUM_BYTES


cdef void connection_pump(Engine *eng, Connection *conn) noexcept nogil:
    if conn.state == PEER_CARRIER:
        eng.http2.pump(eng, conn)
    elif conn.role == ROLE_CLIENT:
        client_pump(eng, conn)
    else:
        upstream_pump(eng, conn)


# ---- run queue ------------------------------------------------------------------------------

cdef void run_later(Engine *eng, Connection *conn) noexcept nogil:
    """Pump this connection again before the turn ends (or in the next one)."""
    if conn.flags & CONN_QUEUED or conn.state == PEER_FREE:
        return
    conn.flags |= CONN_QUEUED
    conn.run_next = NULL
    if eng.run_tail == NULL:
        eng.run_head = conn
    else:
        eng.run_tail.run_next = conn
    eng.run_tail = conn


cdef void run_queue_work(Engine *eng) noexcept nogil:
    """One pass over those who stand there now; who queues up meanwhile waits for the next pass."""
    cdef Connection *last = eng.run_tail
    cdef Connection *conn
    while eng.run_head != NULL:
        conn = eng.run_head
        eng.run_head = conn.run_next
        if eng.run_head == NULL:
            eng.run_tail = NULL
        conn.run_next = NULL
        conn.flags &= <uint32_t> ~CONN_QUEUED
        if conn.state == PEER_FREE:
            conn.run_next = eng.dead_connections
            eng.dead_connections = conn
        else:
            clock_read(eng)
            connection_pump(eng, conn)
        if conn == last:
            break


cdef void bury_the_dead(Engine *eng) noexcept nogil:
    """Give closed connections and finished exchanges back to their pools."""
    cdef Connection *conn
    cdef Exchange *x
    while eng.dead_connections != NULL:
        conn = eng.dead_connections
        eng.dead_connections = conn.run_next
        pool_give(&eng.connections, &conn.item)
    while eng.dead_exchanges != NULL:
        x = eng.dead_exchanges
        eng.dead_exchanges = x.next_dead
        pool_give(&eng.exchanges, &x.item)


# ---- timers ---------------------------------------------------------------------------------

cdef void timer_tick(Engine *eng) noexcept nogil:
    """Every TICK_MS: the beat, the wheel, the clock strings, what waits for a retry."""
    cdef uint64_t expirations
    cdef Timer due
    cdef Timer *timer
    cdef char *at
    read(eng.timerfd, &expirations, sizeof(expirations))
    clock_read(eng)
    board_beat(board_of(eng), eng.slot, eng.now_ms)
    clock_strings(eng)
    list_init(&due)
    wheel_advance(&eng.wheel, eng.now_ms, &due)
    while due.next != &due:
        timer = due.next
        timer_unlink(timer)
        at = <char *> timer
        if timer.owner == TIMER_EXCHANGE:
            exchange_timeout(eng, <Exchange *> (at - <size_t> &(<Exchange *> NULL).timer))
        else:
            connection_timeout(eng, <Connection *> (at - <size_t> &(<Connection *> NULL).timer))
    listeners_tick(eng)
    parting_tick(eng)
    queues_tick(eng)
    log_tick(eng.log)
    count_add(&eng.me.log_dropped, log_lost(eng.log))


cdef void clock_strings(Engine *eng) noexcept nogil:
    """Date and log times are formatted once a second."""
    cdef timespec now
    cdef tm parts
    clock_gettime(CLOCK_REALTIME, &now)
    eng.wall_offset_us = (<int64_t> now.tv_sec * 1000000 + now.tv_nsec // 1000
                          - <int64_t> eng.now_us)
    if <uint64_t> now.tv_sec == eng.wall_sec:
        return
    eng.wall_sec = <uint64_t> now.tv_sec
    gmtime_r(&now.tv_sec, &parts)
    strftime(eng.date, sizeof(eng.date), "%a, %d %b %Y %H:%M:%S GMT", &parts)
    eng.time_iso_len = <uint8_t> strftime(eng.time_iso, sizeof(eng.time_iso) - 8,
                                          "%Y-%m-%dT%H:%M:%S", &parts)
    localtime_r(&now.tv_sec, &parts)
    eng.time_local_len = <uint8_t> strftime(eng.time_local, sizeof(eng.time_local),
                                            "%d/%b/%Y:%H:%M:%S %z", &parts)


cdef inline uint64_t wall_us(Engine *eng) noexcept nogil:
    """Wall clock now, from the monotonic one and the offset seen at the last tick."""
    return <uint64_t> (<int64_t> eng.now_us + eng.wall_offset_us)


cdef void connection_timeout(Engine *eng, Connection *conn) noexcept nogil:
    if conn.role == ROLE_CLIENT:
        client_timeout(eng, conn)
    else:
        upstream_timeout(eng, conn)


cdef inline void connection_timer(Engine *eng, Connection *conn, uint64_t after_ms) noexcept nogil:
    """(Re)start the one timer of a connection; 0 stops it."""
    if after_ms == 0:
        timer_clear(&conn.timer)
    else:
        timer_set(&eng.wheel, &conn.timer, eng.now_ms + after_ms)


# ---- gauges ---------------------------------------------------------------------------------

cdef void publish_gauges(Engine *eng) noexcept nogil:
    """What others read of us: once a turn, not once a change."""
    eng.me.connections = eng.client_count
    eng.me.upstream_open = eng.upstream_count
    eng.me.upstream_idle = eng.upstream_idle_count
