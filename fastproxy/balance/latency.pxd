# SPDX-License-Identifier: MIT
"""How long a backend takes to its first answer byte: one word on the scoreboard, for all workers.

A peak EWMA, as in Finagle: a sample above what is known replaces it at once, one below pulls it
down little by little (a decay of 10 s). It also decays while nothing is heard: whoever was slow is
forgiven after a while, and tried again. All that is forgotten alike keeps its order. Who was down
or ejected and comes back begins anew: nothing of before is known any more.

The word is (microseconds as float, when in 32-bit milliseconds), so that one compare-and-swap
writes both. 0: nothing is known. Workers only.
"""

from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastproxy.clib.atomics cimport cas64, load64
from fastproxy.scoreboard.read cimport back_since
from fastproxy.scoreboard.table cimport BackendRow


cdef enum:
    LATENCY_DECAY_MS = 10000
    # A failure counts as an answer that took so long, one after others twice what is known, and at
    # most so long: quick errors of a backend must not make it look fast among slow ones.
    LATENCY_FAILURE_US = 1000000
    LATENCY_FAILURE_MOST_US = 60000000
    # Lost races before a sample is dropped: the winners' were as good.
    LATENCY_TRIES = 4


cdef inline int32_t _latency_age(uint64_t word, uint64_t now_ms) noexcept nogil:
    """Milliseconds. A moment ahead of ours (another worker's clock was read later) is below 0."""
    return <int32_t> (<uint32_t> now_ms - <uint32_t> (word >> 32))


cdef inline double _latency_fade(uint64_t word, uint64_t now_ms) noexcept nogil:
    """What is left of what was known at the word's moment: 1 is all of it."""
    cdef int32_t age_ms = _latency_age(word, now_ms)
    if age_ms <= 0:
        return 1.0
    return exp(-<double> age_ms / LATENCY_DECAY_MS)


cdef inline double _latency_us(uint64_t word) noexcept nogil:
    cdef uint32_t bits = <uint32_t> word
    cdef float us
    memcpy(&us, &bits, 4)
    return us


cdef inline double _latency_known(BackendRow *row, uint64_t word, uint64_t now_ms) noexcept nogil:
    """Microseconds that `word` counts as now; 0: nothing is known (any more)."""
    cdef uint64_t since
    if word == 0:
        return 0
    since = back_since(row, now_ms)
    if since != 0 and _latency_age(word, now_ms) > <int64_t> (now_ms - since):
        return 0
    return _latency_us(word) * _latency_fade(word, now_ms)


cdef inline double latency_now(BackendRow *row, uint64_t now_ms) noexcept nogil:
    return _latency_known(row, load64(&row.ewma), now_ms)


cdef inline void latency_seen(
    BackendRow *row, uint64_t sample_us, bint at_least, uint64_t now_ms
) noexcept nogil:
    """An answer began after so long. `at_least`: none had begun by then, so it may only raise."""
    cdef uint64_t word = load64(&row.ewma)
    cdef double known, us
    cdef float kept
    cdef uint32_t bits
    cdef int _try
    for _try in range(<int> LATENCY_TRIES):
        known = _latency_known(row, word, now_ms)
        us = <double> sample_us
        if us < known or (at_least and us == known):
            if at_least:
                return
            us = known + us * (1 - _latency_fade(word, now_ms))
        kept = <float> us
        memcpy(&bits, &kept, 4)
        if cas64(&row.ewma, &word, <uint64_t> (<uint32_t> now_ms) << 32 | bits):
            return


cdef inline void latency_failed(
    BackendRow *row, uint64_t after_us, uint64_t now_ms
) noexcept nogil:
    """It answered with an error, or did not, after so long."""
    cdef double us = 2 * latency_now(row, now_ms)
    if us > LATENCY_FAILURE_MOST_US:
        us = LATENCY_FAILURE_MOST_US
    if us < LATENCY_FAILURE_US:
        us = LATENCY_FAILURE_US
    latency_seen(row, after_us if after_us > <uint64_t> us else <uint64_t> us, True, now_ms)
