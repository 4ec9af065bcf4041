# SPDX-License-Identifier: MIT
"""Learned sessions: one table on the scoreboard for all workers, lock-free, least used out first.

A key (hash of an application's cookie, or of a field) has a set of SESSION_WAYS rows where it may
stand. `value` says all about it in one word, so that using a session is one compare-and-swap:

    row 12 bits | generation of the row, 10 | check of the key, 15 | busy 1 | end, 26 (256 ms each)

The end is when it is forgotten if nobody uses it. In a full set the one that ends first gives way.

A row that gets another key is made busy first (compare-and-swap: one worker owns it), then comes
the key, then the value. Whoever reads takes key, value, key, value, and believes only what stayed
the same: a key is never seen with another's value. A worker killed while a row is busy costs that
row for BUSY_STALE; one that was stopped meanwhile and goes on may leave a key that is not its
value's, which the check tells (but for one in 32768, which then costs a session its backend, not
more). All this survives the death of any process, and new rosters: what a session names is a
scoreboard row and its generation.

Workers only, all of them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.clib.atomics cimport cas64, load64, store64
from fastproxy.scoreboard.read cimport session_rows
from fastproxy.scoreboard.table cimport BoardHeader, SessionRow


cdef enum:
    # 128 bytes: two neighbouring cache lines.
    SESSION_WAYS = 8
    SESSION_UNIT_BITS = 8           # of milliseconds
    SESSION_END_BITS = 26
    SESSION_BUSY = 1 << 26
    SESSION_GENERATIONS = 1024
    # Half a second: many times what lies between two lines of code.
    SESSION_BUSY_STALE = 2
    # 8 days. `idle` is at most 7: an end further away than this is long past, and came round again.
    SESSION_END_MAX = 2700000
    # Lost races before we do without: the next request comes soon.
    SESSION_TRIES = 8


cdef enum Learned:
    LEARNED_NOT = 0                 # the whole set is busy
    LEARNED_KNOWN = 1
    LEARNED_NEW = 2
    LEARNED_EVICTED = 3             # new, and a living one had to go


cdef inline SessionRow *session_set(BoardHeader *board, uint64_t key) noexcept nogil:
    cdef uint64_t sets = board.sessions // SESSION_WAYS
    return session_rows(board) + (key & (sets - 1)) * SESSION_WAYS


cdef inline uint64_t session_units(uint64_t ms) noexcept nogil:
    return (ms >> SESSION_UNIT_BITS) & ((<uint64_t> 1 << SESSION_END_BITS) - 1)


cdef inline uint64_t session_value(
    uint64_t key, uint32_t row, uint32_t generation, uint64_t end_ms
) noexcept nogil:
    return (<uint64_t> row << 52 | <uint64_t> (generation % SESSION_GENERATIONS) << 42
            | (key >> 49) << 27 | session_units(end_ms))


cdef inline bint session_of(uint64_t value, uint64_t key) noexcept nogil:
    """Is this the value of that key?"""
    return value != 0 and not value & SESSION_BUSY and ((value >> 27) & 0x7fff) == key >> 49


cdef inline int64_t session_left(uint64_t value, uint64_t now_ms) noexcept nogil:
    """Units until its end; 0: it is over."""
    cdef uint64_t left = ((value - session_units(now_ms))
                          & ((<uint64_t> 1 << SESSION_END_BITS) - 1))
    return <int64_t> left if left <= SESSION_END_MAX else 0


cdef inline bint session_busy(uint64_t value, uint64_t now_ms) noexcept nogil:
    """Somebody writes it, and lives as far as one can tell. While busy, the end says since when."""
    return (value & SESSION_BUSY != 0
            and ((session_units(now_ms) - value)
                 & ((<uint64_t> 1 << SESSION_END_BITS) - 1)) <= SESSION_BUSY_STALE)


cdef inline bint sessions_find(
    BoardHeader *board, uint64_t key, uint64_t now_ms, uint64_t idle_ms, uint32_t *row,
    uint32_t *generation
) noexcept nogil:
    """Where the session belongs, and it lives on for another `idle_ms`. False: not known. The
    generation is modulo SESSION_GENERATIONS."""
    cdef SessionRow *rows = session_set(board, key)
    cdef uint64_t value, longer
    cdef uint32_t way
    for way in range(<uint32_t> SESSION_WAYS):
        if load64(&rows[way].key) != key:
            continue
        value = load64(&rows[way].value)
        if (not session_of(value, key) or load64(&rows[way].key) != key
                or load64(&rows[way].value) != value or session_left(value, now_ms) == 0):
            continue
        row[0] = <uint32_t> (value >> 52)
        generation[0] = <uint32_t> (value >> 42) & (SESSION_GENERATIONS - 1)
        longer = session_value(key, row[0], generation[0], now_ms + idle_ms)
        if longer != value:
            cas64(&rows[way].value, &value, longer)     # lost: somebody else has just used it
        return True
    return False


cdef inline Learned sessions_learn(
    BoardHeader *board, uint64_t key, uint32_t row, uint32_t generation, uint64_t now_ms,
    uint64_t idle_ms
) noexcept nogil:
    """From now on the session belongs there, wherever it did before."""
    cdef uint64_t wanted = session_value(key, row, generation, now_ms + idle_ms)
    cdef int _try
    cdef Learned done
    for _try in range(<int> SESSION_TRIES):
        done = _session_known(session_set(board, key), key, wanted, now_ms)
        if done == LEARNED_NOT:
            done = _session_new(session_set(board, key), key, wanted, now_ms)
        if done != LEARNED_NOT:
            return done
    return LEARNED_NOT


cdef inline Learned _session_known(
    SessionRow *rows, uint64_t key, uint64_t wanted, uint64_t now_ms
) noexcept nogil:
    """Move it, if it stands in its set. One that is over begins anew."""
    cdef uint64_t value
    cdef uint32_t way
    cdef bint over
    for way in range(<uint32_t> SESSION_WAYS):
        value = load64(&rows[way].value)
        over = session_left(value, now_ms) == 0
        if (load64(&rows[way].key) == key and session_of(value, key)
                and cas64(&rows[way].value, &value, wanted)):
            return LEARNED_NEW if over else LEARNED_KNOWN
    return LEARNED_NOT


cdef inline Learned _session_new(
    SessionRow *rows, uint64_t key, uint64_t wanted, uint64_t now_ms
) noexcept nogil:
    """Give it the row of whoever ends first. LEARNED_NOT: somebody was faster, or all are busy."""
    cdef uint64_t value
    cdef uint64_t victim = 0
    cdef uint64_t busy = SESSION_BUSY | session_units(now_ms)
    cdef int64_t left
    cdef int64_t least = SESSION_END_MAX + 1
    cdef uint32_t way
    cdef uint32_t chosen = SESSION_WAYS
    for way in range(<uint32_t> SESSION_WAYS):
        value = load64(&rows[way].value)
        if session_busy(value, now_ms):
            continue
        left = 0 if value & SESSION_BUSY else session_left(value, now_ms)
        if left < least:
            least, chosen, victim = left, way, value
    if chosen == SESSION_WAYS or not cas64(&rows[chosen].value, &victim, busy):
        return LEARNED_NOT
    store64(&rows[chosen].key, key)
    if not cas64(&rows[chosen].value, &busy, wanted):
        return LEARNED_NOT              # we slept so long that it was given on
    return LEARNED_EVICTED if least != 0 else LEARNED_NEW
