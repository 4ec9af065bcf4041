# SPDX-License-Identifier: MIT
"""How the scoreboard is written. Who may write what stands in table.pxd; here is how.

A word with one writer is stored plainly (relaxed or release); a word with several is moved by
compare-and-swap. No lock anywhere: a process may die between any two lines.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fastproxy.clib.atomics cimport (
    cas32, cas64, count_add, exchange32, fence_all, fetch_add64, fetch_or32, load32, load64,
    store32, store64)
from fastproxy.memory.limits cimport CLIENT_IP_SLOTS, UPSTREAMS_MAX
from fastproxy.scoreboard.read cimport (
    client_ip_held, client_ip_rows, histogram_index, inflight_cell, inflight_total, queue_cell,
    queue_total, upstream_board, worker_row)
from fastproxy.scoreboard.table cimport (
    CLIENT_IP_COUNT_BITS, CLIENT_IP_WINDOW, WORKER_GONE,
    BoardHeader, ClientIpRow, WorkerRow)


cdef inline void board_beat(BoardHeader *board, uint32_t worker, uint64_t now_ms) noexcept nogil:
    """I am alive. Called by the worker at each tick."""
    store64(&worker_row(board, worker).beat_ms, now_ms)


cdef inline void doorbell_set(BoardHeader *board, uint32_t worker, uint32_t bits) noexcept nogil:
    """Leave a reason for ringing; the ringer then writes the slot's eventfd. Anybody."""
    fetch_or32(&worker_row(board, worker).doorbell, bits)


cdef inline uint32_t doorbell_take(BoardHeader *board, uint32_t worker) noexcept nogil:
    """All reasons since the last look, and none left behind. The slot's owner."""
    return exchange32(&worker_row(board, worker).doorbell, 0)


cdef inline bint claim_take(uint32_t *word, uint32_t by) noexcept nogil:
    """May worker `by` accept for the slot whose `adopted_by` or `helped_by` this is? At most one at
    a time holds a claim."""
    cdef uint32_t seen = 0
    return cas32(word, &seen, by + 1) or seen == by + 1


cdef inline void claim_give(uint32_t *word, uint32_t by) noexcept nogil:
    """Give the claim up, if it is ours."""
    cdef uint32_t seen = by + 1
    cas32(word, &seen, 0)


cdef inline void live_moved(BoardHeader *board, uint32_t upstream) noexcept nogil:
    """Words of this upstream's members have changed (just before this call): workers look again who
    is able. Anybody."""
    fetch_add64(&upstream_board(board, upstream).live, 1)


cdef inline void inflight_add(uint32_t *cell, int32_t change) noexcept nogil:
    """One more or one less under way. The column's own worker only."""
    store32(cell, load32(cell) + <uint32_t> change)


cdef enum:
    # Two who ask at the same time may both see the other and both step back: so often they ask
    # again before they believe it.
    ENTER_TRIES = 4


cdef inline bint inflight_enter(
    BoardHeader *board, uint32_t worker, uint32_t backend, uint32_t most
) noexcept nogil:
    """One more under way, unless all workers together have `most`. Never above it, not by one: each
    counts itself first and then looks at all, so of those who ask at once the last to count itself
    sees every other (what it costs: who is about to step back is seen too). Worker `worker` only.
    """
    cdef uint32_t *cell = inflight_cell(board, worker, backend)
    cdef int _try
    for _try in range(ENTER_TRIES):
        inflight_add(cell, 1)
        fence_all()
        if inflight_total(board, backend) <= most:
            return True
        inflight_add(cell, -1)
        if inflight_total(board, backend) >= most:
            return False
    return False


cdef inline bint queue_count_in(
    BoardHeader *board, uint32_t worker, uint32_t upstream, uint32_t most
) noexcept nogil:
    """One more of this worker's waits, unless all workers together have `most` waiting."""
    cdef uint32_t *length = &queue_cell(board, worker, upstream).length
    store32(length, load32(length) + 1)
    fence_all()
    if queue_total(board, upstream) <= most:
        return True
    store32(length, load32(length) - 1)
    return False


cdef inline void histogram_add(uint64_t *buckets, uint64_t us) noexcept nogil:
    count_add(&buckets[histogram_index(us)], 1)


cdef inline int client_ip_enter(
    BoardHeader *board, uint32_t worker, uint64_t hash, uint32_t limit
) noexcept nogil:
    """Count one more connection of an address, over all workers: its slot, or -1 if the address
    already has `limit`, or -2 if there is no room to count it (the caller decides; count it odd).

    `hash`: of the address, keyed with board.client_ip_seed, so that nobody can aim at a window.
    Two workers that meet a new address at once while a slot before theirs becomes free may count
    it in two slots: then the limit is loose for that address until one is empty. Never strict by
    mistake. A worker killed between the two writes below leaks one count, for nanoseconds' worth.
    """
    cdef ClientIpRow *rows = client_ip_rows(board)
    cdef uint16_t *held = client_ip_held(board, worker)
    cdef uint64_t ones = (<uint64_t> 1 << CLIENT_IP_COUNT_BITS) - 1
    cdef uint64_t tag = hash & ~ones
    cdef uint32_t home = <uint32_t> (hash * 0x9e3779b97f4a7c15u >> 40)
    cdef uint64_t word
    cdef int at, step, _tries, place
    for _tries in range(64):            # only a lost race comes round again
        place = -1
        for step in range(<int> CLIENT_IP_WINDOW):
            at = <int> ((home + step) & (CLIENT_IP_SLOTS - 1))
            word = load64(&rows[at].word)
            if (word & ones) == 0:
                if place < 0:
                    place = at
            elif (word & ~ones) == tag:
                place = at
                break
        if place < 0:
            return -2
        word = load64(&rows[place].word)
        if (word & ones) == 0:
            if limit == 0:
                return -1
            if not cas64(&rows[place].word, &word, tag | 1):
                continue
        elif (word & ~ones) == tag:
            if (word & ones) >= limit or (word & ones) == ones or held[place] == 0xffff:
                return -1
            if not cas64(&rows[place].word, &word, word + 1):
                continue
        else:
            continue
        held[place] += 1
        return place
    return -2


cdef inline void client_ip_give_back(
    BoardHeader *board, uint32_t slot, uint64_t count
) noexcept nogil:
    """Take `count` connections off a slot; never below none."""
    cdef uint64_t *word = &client_ip_rows(board)[slot].word
    cdef uint64_t ones = (<uint64_t> 1 << CLIENT_IP_COUNT_BITS) - 1
    cdef uint64_t seen = load64(word)
    cdef uint64_t less
    while True:
        less = count if count < (seen & ones) else seen & ones
        if cas64(word, &seen, seen - less):
            return


cdef inline void client_ip_leave(BoardHeader *board, uint32_t worker, int slot) noexcept nogil:
    """The connection that `client_ip_enter` gave `slot` to is gone. Negative: none was counted."""
    cdef uint16_t *held
    if slot < 0:
        return
    held = client_ip_held(board, worker)
    if held[slot] == 0:
        return
    held[slot] -= 1
    client_ip_give_back(board, <uint32_t> slot, 1)


cdef inline uint32_t board_reclaim(BoardHeader *board, uint32_t worker) noexcept nogil:
    """A worker is dead: take back what its pid held. The master only, after reaping.

    Its in-flight column and its gauges become zero, its client addresses are given back, queues it
    had adopted are free for another, its bell is silent. Counters stay. How many connections were
    given back.
    """
    cdef WorkerRow *row = worker_row(board, worker)
    cdef uint16_t *held = client_ip_held(board, worker)
    cdef uint32_t given = 0
    cdef uint32_t at
    store32(&row.state, WORKER_GONE)
    for at in range(board.backends):
        if inflight_cell(board, worker, at)[0]:
            store32(inflight_cell(board, worker, at), 0)
    for at in range(<uint32_t> UPSTREAMS_MAX):
        if queue_cell(board, worker, at).length:
            store32(&queue_cell(board, worker, at).length, 0)
        if queue_cell(board, worker, at).first:
            store64(&queue_cell(board, worker, at).first, 0)
    for at in range(<uint32_t> CLIENT_IP_SLOTS):
        if held[at]:
            given += held[at]
            client_ip_give_back(board, at, held[at])
            held[at] = 0
    for at in range(board.workers):
        claim_give(&worker_row(board, at).adopted_by, worker)
        claim_give(&worker_row(board, at).helped_by, worker)
    row.connections = 0
    row.idle = 0
    row.upstream_open = 0
    row.upstream_idle = 0
    row.kept_bytes = 0
    row.parked = 0
    row.queued = 0
    doorbell_take(board, worker)
    return given
