# SPDX-License-Identifier: MIT
"""MUST, MUST_HOT: what has to hold, or it is our bug.

MUST(cond)      always on: prints file, line and condition, aborts; the master restarts the worker.
MUST_HOT(cond)  the same, in debug builds only (FASTPROXY_DEBUG): per-byte code may use it freely.
COUNT_IF(counter, cond)  odd but survivable: counted in production, true if it happened.

Never for what a peer did: that is a Fault, and it is answered.
"""

from libc.stdint cimport uint64_t

cdef extern from "fastproxy/clib/must.h" nogil:
    void MUST(bint cond) noexcept
    void MUST_HOT(bint cond) noexcept
    bint COUNT_IF(uint64_t counter, bint cond) noexcept
