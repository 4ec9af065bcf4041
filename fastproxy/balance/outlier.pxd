# SPDX-License-Identifier: MIT
"""Passive ejection: a member that answers badly is taken out for a while. One decision for all.

What is seen of real requests is counted over all workers on the member's own BackendRow: failures
in a row (no answer in time, a broken one, a 5xx or what else `outlier.status` says), those of them
without an answer of its own (the same, and 502, 503, 504: the gateway before the application
failed), and failures within a window of time (as nginx's max_fails: it begins with the first one
that is in no other). Every addition is atomic, so each number is seen by one worker only, and the
one that sees a threshold decides. A success takes those in a row back to 0, which costs one look
while nothing is wrong.

Ejected is who has an `ejection` that ends later than now: until (mono ms) << 16 | times. The n-th
ejection lasts n times as long as the first, up to a limit; control lowers `times` by one for each
interval without one (`outlier_forgive`). At most so many percent of the members are ejected at
once, one always may be, and never the last one able: decisions of one upstream stand in a row (see
`outlier_eject`). `live` is moved behind every change, so the next pick of every worker sees it.

Called by workers as an exchange ends at its backend, and by control (balance/door.pxi) for what
only statistics show. No lock: a process may die between any two lines.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastproxy.balance.live cimport ABLE, ABLE_NOT, able_now
from fastproxy.balance.table cimport Outlier, RosterBackend, RosterUpstream
from fastproxy.clib.atomics cimport (
    cas64, fetch_add32, fetch_add64, load32, load64, store32, store64)
from fastproxy.scoreboard.read cimport backend_row, is_ejected, upstream_board
from fastproxy.scoreboard.table cimport BackendRow, BoardHeader, UpstreamBoard
from fastproxy.scoreboard.write cimport live_moved


cdef enum Outcome:
    # What an exchange says about the member it was given to.
    OUTCOME_NONE = 0            # nothing: the client left, or we stopped it
    OUTCOME_SUCCESS = 1
    OUTCOME_FAILURE = 2         # its own 5xx, or what counts like one
    OUTCOME_GATEWAY = 3         # no answer in time, a broken one, 502, 503 or 504


cdef enum:
    # Decisions that others made between our count and our own: so often we count again.
    EJECT_TRIES = 16
    EJECT_TIMES_MAX = 65535
    WINDOW_COUNT_MAX = 65535
    STATUS_FAILING_FIRST = 400      # of Outlier.failing
    STATUS_FAILING_END = 600


cdef inline bint is_failing(const Outlier *rules, uint16_t status) noexcept nogil:
    """Does an answer with this status count as a failure? One that is none of HTTP's does."""
    if status < STATUS_FAILING_FIRST:
        return False
    if status >= STATUS_FAILING_END:
        return True
    status -= STATUS_FAILING_FIRST
    return (rules.failing[status >> 5] >> (status & 31)) & 1


cdef inline void outlier_success(BackendRow *row) noexcept nogil:
    """It answered as it should."""
    if load32(&row.failures) | load32(&row.gateway_failures):
        store32(&row.failures, 0)
        store32(&row.gateway_failures, 0)


cdef inline bint outlier_failure(
    BoardHeader *board, const RosterUpstream *upstream, const RosterBackend *backends,
    uint32_t index, bint gateway, uint64_t now_ms
) noexcept nogil:
    """It did not. True: this was the one too many, and it is ejected by this call. What an ejected
    one does with the requests it still has counts for nothing."""
    cdef BackendRow *row = backend_row(board, backends[index].row)
    cdef uint32_t failures, gateways = 0, recent = 0
    if load64(&row.generation) != backends[index].generation or is_ejected(row, now_ms):
        return False
    failures = fetch_add32(&row.failures, 1) + 1
    if gateway:
        gateways = fetch_add32(&row.gateway_failures, 1) + 1
    elif load32(&row.gateway_failures):
        store32(&row.gateway_failures, 0)
    if upstream.outlier.failures != 0:
        recent = window_failure(row, upstream.outlier.window_ms, now_ms)
    # A multiple: a decision that the limits refused is asked for again after as many failures.
    if (at_threshold(failures, upstream.outlier.consecutive)
            or at_threshold(gateways, upstream.outlier.consecutive_gateway)
            or at_threshold(recent, upstream.outlier.failures)):
        return outlier_eject(board, upstream, backends, index, now_ms)
    return False


cdef inline uint32_t window_failure(
    BackendRow *row, uint64_t window_ms, uint64_t now_ms
) noexcept nogil:
    """One more. How many there are in its window: each number is seen once."""
    cdef uint64_t word = load64(&row.window)
    cdef uint64_t since, count
    while True:
        since, count = word >> 16, (word & WINDOW_COUNT_MAX) + 1
        if count == 1 or now_ms >= since + window_ms or count > WINDOW_COUNT_MAX:
            since, count = now_ms, 1
        if cas64(&row.window, &word, since << 16 | count):
            return <uint32_t> count


cdef inline bint at_threshold(uint32_t count, uint32_t threshold) noexcept nogil:
    return threshold != 0 and count != 0 and count % threshold == 0


cdef inline bint eject_allowed(
    BoardHeader *board, const RosterUpstream *upstream, const RosterBackend *backends,
    uint32_t index, uint64_t now_ms
) noexcept nogil:
    """Would this ejection leave the limits kept? Looks at all members."""
    cdef uint32_t i
    cdef uint32_t members = 0, ejected = 0, able = 0
    cdef BackendRow *row
    for i in range(upstream.backends.count):
        row = backend_row(board, backends[i].row)
        if able_now(&backends[i], row, now_ms) == ABLE_NOT:
            continue
        members += 1
        if i == index:
            continue
        ejected += load64(&row.generation) == backends[i].generation and is_ejected(row, now_ms)
        able += able_now(&backends[i], row, now_ms) == ABLE
    return able != 0 and (
        ejected == 0 or (ejected + 1) * 100 <= upstream.outlier.most_percent * members)


cdef inline uint64_t ejection_word(
    const RosterUpstream *upstream, uint64_t before, uint64_t now_ms
) noexcept nogil:
    """The next ejection of one that had `before`."""
    cdef uint64_t times = (before & EJECT_TIMES_MAX) + 1
    cdef uint64_t lasts_ms
    if times > EJECT_TIMES_MAX:
        times = EJECT_TIMES_MAX
    lasts_ms = times * upstream.outlier.base_ms
    if lasts_ms > upstream.outlier.longest_ms:
        lasts_ms = upstream.outlier.longest_ms
    return (now_ms + lasts_ms) << 16 | times


cdef inline bint outlier_eject(
    BoardHeader *board, const RosterUpstream *upstream, const RosterBackend *backends,
    uint32_t index, uint64_t now_ms
) noexcept nogil:
    """Eject this member, if it is able and the limits allow it. True: ejected, by this very call.

    Decisions stand in a row by UpstreamBoard.ejections: count who is ejected, eject ours, then move
    the counter from what it was before the count. Somebody else moved it: his decision was not in
    our count, so ours is undone and all is looked at again.
    """
    cdef BackendRow *row = backend_row(board, backends[index].row)
    cdef UpstreamBoard *decisions = upstream_board(board, upstream.queue_row)
    cdef uint64_t decided, before, ours
    cdef int _try
    for _try in range(EJECT_TRIES):
        decided = load64(&decisions.ejections)
        before = load64(&row.ejection)
        if (load64(&row.generation) != backends[index].generation
                or able_now(&backends[index], row, now_ms) != ABLE
                or not eject_allowed(board, upstream, backends, index, now_ms)):
            return False
        ours = ejection_word(upstream, before, now_ms)
        if not cas64(&row.ejection, &before, ours):
            continue
        if cas64(&decisions.ejections, &decided, decided + 1):
            store32(&row.failures, 0)
            store32(&row.gateway_failures, 0)
            store64(&row.window, 0)
            fetch_add64(&row.ejections, 1)
            live_moved(board, upstream.queue_row)
            return True
        cas64(&row.ejection, &ours, before)
        live_moved(board, upstream.queue_row)
    return False


cdef inline bint outlier_uneject(
    BoardHeader *board, BackendRow *row, uint32_t upstream, uint64_t now_ms
) noexcept nogil:
    """It may serve again at once (a good check); its slow start begins now. True: it was
    ejected."""
    cdef uint64_t word = load64(&row.ejection)
    while (word >> 16) > now_ms:
        if cas64(&row.ejection, &word, now_ms << 16 | (word & EJECT_TIMES_MAX)):
            live_moved(board, upstream)
            return True
    return False


cdef inline uint32_t outlier_forgive(BackendRow *row, uint64_t now_ms) noexcept nogil:
    """An interval without an ejection: the next one is shorter again. How many are not forgiven."""
    cdef uint64_t word = load64(&row.ejection)
    while (word >> 16) <= now_ms and (word & EJECT_TIMES_MAX) != 0:
        if cas64(&row.ejection, &word, word - 1):
            return <uint32_t> ((word - 1) & EJECT_TIMES_MAX)
    return <uint32_t> (word & EJECT_TIMES_MAX)
