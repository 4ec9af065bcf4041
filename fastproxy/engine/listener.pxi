# SPDX-License-Identifier: MIT
# Listeners: accepting, adopting the queue of a dead or stuck slot, helping one that has many
# connections, pausing when fds run out.
#
# Every worker holds the listening sockets of every slot. Its own are armed; another slot's are
# armed while that slot is dead or its beat is older than BEAT_STALE_MS, or while its worker has
# many more connections than we have (the kernel's hash is uneven at low counts, and after an
# adoption one worker has them all). They are disarmed by an explicit EPOLL_CTL_DEL when that is
# over (closing would leave the entry while others hold it).
# Level-triggered: edge triggering loses queued accepts after a budget or EMFILE. A door that all
# share (unix) is EPOLLEXCLUSIVE, so that a connection wakes one worker; a slot's is not, or its
# owner would be the only one who is ever woken.

cdef int listener_add(Engine *eng, int fd, int slot, uint16_t index) noexcept nogil:
    """0, or -1 if there are too many."""
    cdef Listener *listener
    if eng.listener_count == LISTENERS_MAX:
        return -1
    listener = &eng.listeners[eng.listener_count]
    listener.fd = fd
    listener.slot = slot
    listener.index = index
    listener.armed = False
    listener.wanted = slot < 0 or <uint32_t> slot == eng.slot
    eng.listener_count += 1
    listener_apply(eng, eng.listener_count - 1)
    return 0


cdef void listener_apply(Engine *eng, uint32_t which) noexcept nogil:
    """Make the epoll set agree with what is wanted."""
    cdef Listener *listener = &eng.listeners[which]
    cdef epoll_event event
    cdef int what
    cdef bint wanted = listener.wanted and not eng.accept_paused and not eng.accept_done
    if wanted == listener.armed:
        return
    listener.round = eng.round
    event.events = EPOLLIN
    if listener.slot < 0:
        event.events |= EPOLLEXCLUSIVE
    event.data.u64 = EVENT_LISTENER + which
    count_add(&eng.me.epoll_ctl, 1)
    what = EPOLL_CTL_ADD if wanted else EPOLL_CTL_DEL
    if epoll_ctl(eng.epfd, what, listener.fd, &event) == 0:
        listener.armed = wanted


cdef void listeners_apply(Engine *eng) noexcept nogil:
    cdef uint32_t which
    for which in range(eng.listener_count):
        listener_apply(eng, which)


cdef bint slot_is_lost(Engine *eng, const WorkerRow *row) noexcept nogil:
    """Is its worker dead, not yet back, or stuck?"""
    cdef uint32_t state = load32(&row.state)
    cdef uint64_t beat = load64(&row.beat_ms)
    if state == WORKER_GONE:
        return True
    if state == WORKER_SERVING or (state == WORKER_STARTING and beat != 0):
        return beat + BEAT_STALE_MS < eng.now_ms
    return False


cdef bint slot_has_many(Engine *eng, const WorkerRow *row, bint helping) noexcept nogil:
    """Is it for us to help? Begun at a clear difference, ended when there is none: no flapping."""
    cdef uint64_t theirs = row.connections
    cdef uint64_t ours = eng.client_count
    if load32(&row.state) != WORKER_SERVING or eng.accept_paused:
        return False
    return theirs > (ours if helping else ours + ours // 4 + HELP_LEAST)


cdef void adopt_or_hand_back(Engine *eng) noexcept nogil:
    """Look at all slots; ours to accept for are the dead, the stuck, and one with many."""
    cdef uint32_t which
    cdef Listener *listener
    cdef WorkerRow *row
    if eng.draining:
        return
    for which in range(eng.listener_count):
        listener = &eng.listeners[which]
        if listener.slot < 0 or <uint32_t> listener.slot == eng.slot:
            continue
        row = worker_row(board_of(eng), <uint32_t> listener.slot)
        listener_look(eng, listener, row)
        listener_apply(eng, which)


cdef void listener_look(Engine *eng, Listener *listener, WorkerRow *row) noexcept nogil:
    """Another slot's door: do we want it now?"""
    cdef bint lost = slot_is_lost(eng, row)
    cdef bint many = not lost and slot_has_many(eng, row, listener.helping)
    if many:
        many = claim_take(&row.helped_by, eng.slot)
    elif listener.helping:
        claim_give(&row.helped_by, eng.slot)
    if lost:
        claim_take(&row.adopted_by, eng.slot)
    elif listener.wanted and not listener.helping:
        claim_give(&row.adopted_by, eng.slot)
    listener.helping = many
    listener.wanted = lost or many


cdef void listeners_tick(Engine *eng) noexcept nogil:
    cdef Listener *listener
    cdef uint32_t which
    cdef int left = 65536
    adopt_or_hand_back(eng)
    if eng.accept_paused and eng.now_ms >= eng.accept_retry_ms:
        accept_resume(eng)
    shared_tick(eng)
    if not eng.draining or eng.accept_done:
        return
    # EPOLLEXCLUSIVE tells only one of us that a shared door was shut, and accept on a unix socket
    # does not tell at all: ask.
    for which in range(eng.listener_count):
        listener = &eng.listeners[which]
        if listener.wanted and listener_is_shut(listener.fd):
            while left > 0 and accept_one(eng, listener):
                left -= 1
            listener_over(eng, listener)


cdef void shared_tick(Engine *eng) noexcept nogil:
    """The one who was woken for a shared door may have died or been stopped before it accepted:
    nobody else would be told. Ask, now and then."""
    cdef uint32_t which
    for which in range(eng.listener_count):
        if eng.listeners[which].slot < 0 and listener_has(eng.listeners[which].fd, POLLIN):
            listener_ready(eng, which)


cdef inline bint listener_has(int fd, int what) noexcept nogil:
    cdef pollfd one
    one.fd = fd
    one.events = <short> what
    one.revents = 0
    return poll(&one, 1, 0) > 0 and one.revents & what != 0


cdef inline bint listener_is_shut(int fd) noexcept nogil:
    return listener_has(fd, POLLRDHUP | POLLHUP | POLLERR)


# ---- accepting ------------------------------------------------------------------------------

cdef void accept_pause(Engine *eng) noexcept nogil:
    """No fds, no memory, or the limit: queues wait in the kernel. Tried again every 100 ms, and as
    soon as a connection closes."""
    if not eng.accept_paused:
        count_add(&eng.me.accept_paused, 1)
    eng.accept_paused = True
    eng.accept_retry_ms = eng.now_ms + 100
    listeners_apply(eng)


cdef inline bint accept_has_room(Engine *eng) noexcept nogil:
    """Below the limit, or somebody idle could make room. Nobody is closed before a new connection
    is really there."""
    return eng.client_count < eng.client_limit or idle_find(eng) != NULL


cdef void accept_resume(Engine *eng) noexcept nogil:
    if not accept_has_room(eng):
        eng.accept_retry_ms = eng.now_ms + 100
        return
    eng.accept_paused = False
    listeners_apply(eng)


cdef void listener_ready(Engine *eng, uint32_t which) noexcept nogil:
    """One is there. More are taken only when there was one in many rounds running: else nearly
    each connection would cost a second accept, to hear that there is none."""
    cdef Listener *listener = &eng.listeners[which]
    cdef int left
    if which >= eng.listener_count or not listener.armed:
        return
    if eng.round - listener.round > 1:
        listener.streak = 0
        listener.seen_us = eng.now_us
    elif listener.streak < ACCEPTS_PER_WAKE:
        listener.streak += 1
    listener.round = eng.round
    if left_to_helper(eng, listener):
        return
    left = ACCEPTS_PER_WAKE if listener.streak == ACCEPTS_PER_WAKE else 1
    while left > 0 and accept_one(eng, listener):
        left -= 1
    if left > 0:
        listener.streak = 0


cdef inline bint left_to_helper(Engine *eng, const Listener *listener) noexcept nogil:
    """Somebody with fewer connections accepts beside us: they get the first chance, for a moment.
    (Both are woken, and the owner would be first nearly always.)"""
    return (<uint32_t> listener.slot == eng.slot and load32(&eng.me.helped_by) != 0
            and eng.now_us - listener.seen_us < HELP_FIRST_US)


cdef bint accept_one(Engine *eng, Listener *listener) noexcept nogil:
    """True: one was accepted (or is gone already), go on."""
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(address)
    cdef int fd
    if not accept_has_room(eng):
        accept_pause(eng)
        return False
    fd = accept4(listener.fd, <sockaddr *> &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
            if idle_close_oldest(eng):
                return True
            accept_pause(eng)
            return False
        if errno == EINVAL:
            listener_over(eng, listener)
            return False
        # Everything else is the new connection's own trouble (accept(2)), or an empty queue.
        return errno != EAGAIN and errno != EINTR and errno != EPERM
    if eng.client_count >= eng.client_limit:
        idle_close_oldest(eng)
    count_add(&eng.me.accepted, 1)
    if listener.slot >= 0 and <uint32_t> listener.slot != eng.slot:
        count_add(&eng.me.helped if listener.helping else &eng.me.adopted, 1)
    client_open(eng, fd, listener, &address)
    return True


# ---- drain ----------------------------------------------------------------------------------

cdef void engine_drain(Engine *eng, uint64_t within_ms) noexcept nogil:
    """Take what is queued now; idle clients go soon, the others after their answer. The doors stay
    open until the master shuts them (accept then says EINVAL): who comes in between is served. In
    `within_ms` we are closed, whoever is left (parting.pxi)."""
    cdef uint32_t which
    cdef uint32_t accepted
    cdef Listener *listener
    if eng.draining:
        return
    clock_read(eng)
    eng.draining = True
    for which in range(eng.listener_count):
        listener = &eng.listeners[which]
        accepted = 0
        while listener.wanted and accepted < 65536 and accept_one(eng, listener):
            accepted += 1
    drain_look(eng)
    idle_hurry(eng)
    carriers_drain(eng)
    parting_drain(eng, within_ms)
    carriers_flush(eng)
    bury_the_dead(eng)


cdef void listener_over(Engine *eng, Listener *listener) noexcept nogil:
    """The master has shut this one, for all who hold it."""
    listener.wanted = False
    listener_apply(eng, <uint32_t> (listener - &eng.listeners[0]))
    drain_look(eng)


cdef void drain_look(Engine *eng) noexcept nogil:
    """Is there a door left by which somebody may come in?"""
    cdef uint32_t which
    if not eng.draining:
        return
    for which in range(eng.listener_count):
        if eng.listeners[which].wanted:
            return
    eng.accept_done = True


cdef enum:
    # What an idle client gets once we drain: a request that is on its way now is still answered
    # (and its connection closed with that), instead of being met by a reset.
    DRAIN_IDLE_MS = 250
    # One that has connected and not yet asked anything: it is about to.
    DRAIN_NEWCOMER_MS = 1000
    # How many are looked at to find one that may be closed.
    IDLE_LOOKS_MAX = 64


cdef void idle_hurry(Engine *eng) noexcept nogil:
    """Nobody idle is waited for longer than that (who has an answer to read has a timer; carriers
    have their turn in parting.pxi)."""
    cdef Connection *conn = eng.idle.list_next
    while conn != &eng.idle:
        if buffer_size(&conn.output) == 0 and conn.state != PEER_CARRIER:
            connection_timer(eng, conn, DRAIN_IDLE_MS if conn.requests != 0
                             else DRAIN_NEWCOMER_MS)
        conn = conn.list_next


cdef Connection *idle_find(Engine *eng) noexcept nogil:
    """The idle client that has waited longest, to make room; NULL: none is idle. Not idle is who
    still has an answer to read, who has just come and asked nothing yet, and whose request is
    already there."""
    cdef Connection *conn = eng.idle.list_next
    cdef int looks = 0
    while conn != &eng.idle and looks < IDLE_LOOKS_MAX:
        if (buffer_size(&conn.output) == 0 and not conn.ready & READY_READ
                and (conn.requests != 0 or eng.now_ms - conn.opened_ms > DRAIN_NEWCOMER_MS)
                and not conn.transport.unasked(eng, conn)):
            return conn
        conn = conn.list_next
        looks += 1
    return NULL


cdef bint idle_close_oldest(Engine *eng) noexcept nogil:
    """Make room. False: none is idle."""
    cdef Connection *conn = idle_find(eng)
    if conn == NULL:
        return False
    client_close(eng, conn)
    return True
