# SPDX-License-Identifier: MIT
"""Tests' way into the balance rooms."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy import _core as _balance_core
from fastproxy.balance cimport pick as _pick
from fastproxy.balance.table cimport PickCursor, RosterHeader, RosterUpstream, Tried
from fastproxy.scoreboard.table cimport BackendRow


def roster_check(bytes data):
    """0, or which part is unsound. The copy is exactly as long as the data, for ASan's eyes."""
    cdef size_t length = len(data)
    cdef uint64_t layout_hash = _balance_core.layout_hash()
    cdef char *copy = <char *> malloc(length or 1)
    cdef int found
    if copy == NULL:
        raise MemoryError()
    memcpy(copy, <const char *> data, length)
    with nogil:
        found = _pick.roster_check(copy, length, layout_hash)
    free(copy)
    return found


def pick_begin(bytes roster, int upstream, int slot, int workers):
    """Where worker `slot` of `workers` starts."""
    cdef const char *base = roster
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef PickCursor cursor
    _pick.pick_begin(
        &cursor, <const RosterUpstream *> (base + head.upstreams.off) + upstream, slot, workers)
    return cursor.at


def pick(bytes roster, int upstream, uint32_t at, bytes rows, uint64_t now_ms, set tried):
    """(index or -1, cursor after it); `tried` is read and marked."""
    cdef const char *base = roster
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const BackendRow *board = <const BackendRow *> <const char *> rows
    cdef PickCursor cursor
    cdef Tried seen
    cdef int index
    cursor.at = at
    _pick.tried_clear(&seen)
    for index in tried:
        seen.bits[index >> 6] |= (<uint64_t> 1) << (index & 63)
    index = _pick.pick(
        base, <const RosterUpstream *> (base + head.upstreams.off) + upstream, &cursor, board,
        now_ms, &seen)
    for bit in range(1024):
        if (seen.bits[bit >> 6] >> (bit & 63)) & 1:
            tried.add(bit)
    return index, cursor.at


def time_pick(bytes roster, int upstream, bytes rows, int rounds):
    """Nanoseconds of one pick for a new exchange, with all members up."""
    cdef const char *base = roster
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const RosterUpstream *row = <const RosterUpstream *> (base + head.upstreams.off) + upstream
    cdef const BackendRow *board = <const BackendRow *> <const char *> rows
    cdef PickCursor cursor
    cdef Tried seen
    cdef int i, worst = 0
    cdef double began
    with nogil:
        _pick.pick_begin(&cursor, row, 0, 1)
        began = _seconds()
        for i in range(rounds):
            _pick.tried_clear(&seen)
            worst = min(worst, _pick.pick(base, row, &cursor, board, 1, &seen))
        began = _seconds() - began
    if worst < 0:
        raise ValueError("nobody to pick")
    return began / rounds * 1e9
