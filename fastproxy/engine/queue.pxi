# SPDX-License-Identifier: MIT
# The queue before an upstream: who waits until a place at one of its members comes free
# (place.pxi).
#
# Who finds every member full is QUEUED, in this worker's lines for the upstream: one for each
# class, each in the order of coming. The scoreboard says of each worker who is its first, as one
# word of line and time (QueueCell.first); the least of all workers has the turn.
#
# Who gives a place back looks whose turn it is. Ours: we look at the end of the round
# (`queue_due`), never at once, as others' work is on the stack. Another worker's: its bell is rung,
# an eventfd in its own epoll set, so that no Python is in between. Who was told serves its lines as
# long as it has the turn, then tells the next. No call is lost: who queues up says so first and
# then looks once more, and who frees a place frees it first and then looks who waits. Against the
# rest (a worker that died between two lines, a member that came up) there is the tick.
#
# Who is new takes no place while others wait. But one who may not go to every member (it asks for a
# subset, or some have refused it) must not hold up those who may: it stands in a loose line, behind
# all others of whatever class, and loose lines know no turns between workers.

cdef enum:
    QUEUE_CLASS_DEFAULT = 4
    QUEUE_LOOSE = 8             # QUEUE_CLASSES: the first loose line
    QUEUE_LINE_SHIFT = 56
    # How far one look goes along loose lines, past those who cannot use the place that is free.
    QUEUE_LOOKS = 64
    # Looks of one round; what is left waits for the next wake or tick.
    QUEUE_ROUNDS = 8
    NOBODYS_TURN = -1


cdef inline Exchange *queue_first(Queue *queue, int line) noexcept nogil:
    """Who is first in this line and those behind it; NULL: nobody."""
    while line < QUEUE_LINES:
        if queue.first[line] != NULL:
            return queue.first[line]
        line += 1
    return NULL


cdef inline Exchange *queue_behind(Queue *queue, const Exchange *x) noexcept nogil:
    """Whom to ask when there is no place for x: all who may go anywhere fare alike."""
    if x.queue_line < QUEUE_LOOSE:
        return queue_first(queue, QUEUE_LOOSE)
    return x.queue_next if x.queue_next != NULL else queue_first(queue, x.queue_line + 1)


cdef void queue_publish(Engine *eng, uint32_t row) noexcept nogil:
    """Say on the scoreboard who is first in our line now."""
    cdef Queue *queue = &eng.queues[row]
    cdef QueueCell *cell = queue_cell(board_of(eng), eng.slot, row)
    cdef const Exchange *x = queue_first(queue, 0)
    store32(&cell.length, queue.length)
    store64(&cell.first, 0 if x == NULL else
            <uint64_t> x.queue_line << QUEUE_LINE_SHIFT | x.queued_us)


cdef int32_t queue_turn(Engine *eng, uint32_t row, bint *loose) noexcept nogil:
    """Whose turn is it? The slot of the worker with the first of all, or NOBODYS_TURN. One that is
    dead or stuck is passed over. `loose`: there are only loose lines."""
    cdef BoardHeader *board = board_of(eng)
    cdef uint64_t first, least = 0
    cdef int32_t found = NOBODYS_TURN
    cdef uint32_t worker
    for worker in range(board.workers):
        first = load64(&queue_cell(board, worker, row).first)
        if first == 0 or (found >= 0 and first >= least):
            continue
        if worker != eng.slot and slot_is_lost(eng, worker_row(board, worker)):
            continue
        found = <int32_t> worker
        least = first
    loose[0] = least >> QUEUE_LINE_SHIFT >= QUEUE_LOOSE
    return found


cdef inline bint queue_stands(Engine *eng, const Exchange *x) noexcept nogil:
    """Do others wait for this upstream already, so that this request stands behind them?"""
    cdef bint loose
    cdef uint32_t row
    if capped_live(eng, x) == NULL or x.queued_us != 0:
        return False
    row = roster_upstream(x.roster, x.upstream_index).queue_row
    return queue_turn(eng, row, &loose) != NOBODYS_TURN and not loose


cdef void queue_enter(Engine *eng, Exchange *x) noexcept nogil:
    """Queue up; first in its line who waited before. May end the exchange."""
    cdef const RosterUpstream *upstream = roster_upstream(x.roster, x.upstream_index)
    cdef uint32_t row = upstream.queue_row
    cdef Queue *queue = &eng.queues[row]
    cdef bint before = x.queued_us != 0
    cdef bint loose
    x.backend = -1
    if not queue_count_in(board_of(eng), eng.slot, row, upstream.queue_length):
        count_add(&eng.me.queue_refused, 1)
        queue_fail(eng, x, b"P", b"every backend is busy, and too many requests wait already")
        return
    exchange_move(x, EXCHANGE_QUEUED)
    x.queue_row = row
    if not before:
        x.queued_us = eng.now_us
    x.queue_line = queue_class_of(eng, x)
    if not no_members(&x.tried):
        x.queue_line += QUEUE_LOOSE
    queue_link(queue, x, NULL if before else queue.last[x.queue_line])
    queue.length += 1
    eng.me.queued += 1
    if row >= eng.queue_rows:
        eng.queue_rows = row + 1
    queue_publish(eng, row)
    fence_all()
    if queue_first(queue, 0) == x and queue_turn(eng, row, &loose) == <int32_t> eng.slot:
        eng.queue_due = True    # a place may have come free before it was said that we wait


cdef inline void queue_link(Queue *queue, Exchange *x, Exchange *behind) noexcept nogil:
    """Into its line, behind that one; NULL: first."""
    x.queue_prev = behind
    x.queue_next = queue.first[x.queue_line] if behind == NULL else behind.queue_next
    if behind == NULL:
        queue.first[x.queue_line] = x
    else:
        behind.queue_next = x
    if x.queue_next == NULL:
        queue.last[x.queue_line] = x
    else:
        x.queue_next.queue_prev = x


cdef void queue_leave(Engine *eng, Exchange *x) noexcept nogil:
    """Out of the line, wherever it stood. Its caller moves the state."""
    cdef Queue *queue = &eng.queues[x.queue_row]
    if x.queue_prev == NULL:
        queue.first[x.queue_line] = x.queue_next
    else:
        x.queue_prev.queue_next = x.queue_next
    if x.queue_next == NULL:
        queue.last[x.queue_line] = x.queue_prev
    else:
        x.queue_next.queue_prev = x.queue_prev
    x.queue_next = x.queue_prev = NULL
    queue.length -= 1
    eng.me.queued -= 1
    queue_publish(eng, x.queue_row)


cdef uint8_t queue_class_of(Engine *eng, Exchange *x) noexcept nogil:
    """What `queue.priority` says: one digit, 0 to 7; everything else is the default."""
    cdef const Template *priority = &upstream_row(x).queue_priority
    cdef char room[8]
    cdef Out out = out_over(room, sizeof(room))
    if priority.parts.count == 0 or x.kept == NULL:
        return QUEUE_CLASS_DEFAULT
    scene_of_request(eng, x, x.kept)
    render(&out, x.plan.base, priority, &eng.scene)
    if out.full or out.len != 1 or not c'0' <= room[0] < c'0' + QUEUE_CLASSES:
        return QUEUE_CLASS_DEFAULT
    return <uint8_t> (room[0] - c'0')


cdef void queue_fail(Engine *eng, Exchange *x, char who, const char *cause) noexcept nogil:
    """No place, no wait: 503. Ends the exchange."""
    x.end_state[0] = who        # whatever happened before: this is what it ended by
    x.end_state[1] = c'W'
    exchange_fail(eng, x, 503, cause)


# ---- places that come free ------------------------------------------------------------------

cdef void queue_freed(Engine *eng, Exchange *x) noexcept nogil:
    """A place at a member that has a most was given back just now: who is next?"""
    cdef uint32_t row = roster_upstream(x.roster, x.upstream_index).queue_row
    x.flags &= ~<uint32_t> X_CAPPED
    fence_all()
    queue_call(eng, row)


cdef void queue_call(Engine *eng, uint32_t row) noexcept nogil:
    """Tell the worker whose turn it is."""
    cdef bint loose
    cdef int32_t slot = queue_turn(eng, row, &loose)
    cdef uint32_t *doorbell
    cdef uint64_t one = 1
    if slot == <int32_t> eng.slot:
        eng.queue_due = True
    elif slot != NOBODYS_TURN:
        doorbell = &worker_row(board_of(eng), <uint32_t> slot).doorbell
        # The bit says that the bell was rung and nobody has looked since.
        if not fetch_or32(doorbell, RING_SLOT_FREED) & RING_SLOT_FREED:
            write(eng.queue_bells[slot], &one, sizeof(one))


cdef void queue_rung(Engine *eng) noexcept nogil:
    """Our bell: a place is free, and it is our turn somewhere."""
    cdef uint64_t rings
    read(eng.queue_bells[eng.slot], &rings, sizeof(rings))
    fetch_and32(&eng.me.doorbell, ~<uint32_t> RING_SLOT_FREED)
    eng.queue_due = True


cdef void queues_look(Engine *eng) noexcept nogil:
    """The end of a round in which `queue_due` was said."""
    cdef int _round
    cdef uint32_t row
    clock_read(eng)
    for _round in range(QUEUE_ROUNDS):
        if not eng.queue_due:
            return
        eng.queue_due = False
        for row in range(eng.queue_rows):
            if eng.queues[row].length != 0:
                queue_look(eng, row)


cdef void queue_look(Engine *eng, uint32_t row) noexcept nogil:
    """Places for those who wait here, as long as it is our turn; then the next worker is told."""
    cdef bint placed = False
    cdef bint loose
    while eng.queues[row].length != 0:
        if queue_turn(eng, row, &loose) != <int32_t> eng.slot and not loose:
            break
        if not queue_serve(eng, &eng.queues[row]):
            return
        placed = True
    if placed:
        queue_call(eng, row)


cdef bint queue_serve(Engine *eng, Queue *queue) noexcept nogil:
    """The first who can have a place goes to it, or ends if nobody can serve it any more. False:
    there is no place."""
    cdef Exchange *x = queue_first(queue, 0)
    cdef Exchange *behind
    cdef Place place
    cdef int _looks
    for _looks in range(QUEUE_LOOKS):
        if x == NULL:
            return False
        behind = queue_behind(queue, x)
        queue_renew(eng, x)
        place = place_find(eng, x)
        if place != PLACE_FULL:
            queue_leave(eng, x)
            exchange_move(x, EXCHANGE_DIALING)
            if place == PLACE_NONE:
                exchange_nobody(eng, x)
            elif not exchange_dial_backend(eng, x, True):
                exchange_dial(eng, x)
            return True
        x = behind
    return False


cdef void queue_renew(Engine *eng, Exchange *x) noexcept nogil:
    """A newer roster has come while it waited: it is chosen from that one."""
    if x.roster == eng.roster or x.kept == NULL:
        return
    roster_release(eng, x.roster)
    x.roster = eng.roster
    eng.roster.holders += 1
    x.backend = -1
    clear_members(&x.tried)
    memset(&x.bond, 0, sizeof(x.bond))
    choose_prepare(eng, x, x.kept)


cdef void queues_tick(Engine *eng) noexcept nogil:
    """Who has waited too long is told so; and whatever was missed is looked for."""
    cdef uint32_t row
    if eng.me.queued == 0:
        return
    for row in range(eng.queue_rows):
        if eng.queues[row].length != 0:
            queue_expire(eng, &eng.queues[row])
    eng.queue_due = True


cdef void queue_expire(Engine *eng, Queue *queue) noexcept nogil:
    """In each line the first has waited longest."""
    cdef const RosterUpstream *upstream
    cdef Exchange *x
    cdef int line
    for line in range(QUEUE_LINES):
        x = queue.first[line]
        while x != NULL:
            upstream = roster_upstream(x.roster, x.upstream_index)
            if (upstream == NULL or upstream.queue_ms == 0
                    or eng.now_us - x.queued_us < <uint64_t> upstream.queue_ms * 1000):
                break
            count_add(&eng.me.queue_timeouts, 1)
            queue_fail(eng, x, b"s", b"every backend is busy, and none was free in time")
            x = queue.first[line]


cdef bint queue_watch(Engine *eng, const int *bells, uint32_t count) noexcept nogil:
    """Eventfds by slot: our own is watched, the others' are rung. Not closed by us."""
    cdef epoll_event event
    cdef uint32_t slot
    if count <= eng.slot:
        errno = EINVAL
        return False
    for slot in range(count):
        eng.queue_bells[slot] = bells[slot]
    event.events = EPOLLIN
    event.data.u64 = EVENT_BELL
    return epoll_ctl(eng.epfd, EPOLL_CTL_ADD, bells[eng.slot], &event) == 0
