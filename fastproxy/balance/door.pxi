# SPDX-License-Identifier: MIT
"""What the program asks of balancing from Python: the wheel of smooth weighted round robin, and
ejections that control decides."""

from libc.stdint cimport int64_t as _int64_t, uint16_t as _uint16_t, uint32_t as _uint32_t
from libc.stdlib cimport calloc, free


def smooth_wheel(weights):
    """One whole cycle of smooth weighted round robin, as native uint16 indices in bytes.

    nginx's algorithm: each step adds every member's weight to its score, takes the highest (the
    first of equals) and subtracts the sum from it. After sum(weights) steps all scores are zero
    again. Members of weight 0 do not appear. Control and CLI only: it costs members x sum.
    """
    cdef _uint32_t count = len(weights)
    cdef _int64_t total = sum(weights)
    cdef _int64_t *score
    cdef _int64_t *weight
    cdef _uint16_t *wheel
    cdef _int64_t step
    cdef _uint32_t i, best
    if count > 65535 or total > 65536 or any(w < 0 for w in weights):
        raise ValueError("too many members, or weights that are out of range")
    if total == 0:
        return b""
    score = <_int64_t *> calloc(count, sizeof(_int64_t))
    weight = <_int64_t *> calloc(count, sizeof(_int64_t))
    wheel = <_uint16_t *> calloc(total, sizeof(_uint16_t))
    if score == NULL or weight == NULL or wheel == NULL:
        free(score)
        free(weight)
        free(wheel)
        raise MemoryError()
    for i in range(count):
        weight[i] = weights[i]
    with nogil:
        for step in range(total):
            best = 0
            for i in range(count):
                score[i] += weight[i]
                if score[i] > score[best]:
                    best = i
            score[best] -= total
            wheel[step] = best
    try:
        return (<char *> wheel)[:total * sizeof(_uint16_t)]
    finally:
        free(score)
        free(weight)
        free(wheel)


def eject(Board board, bytes roster, unsigned int upstream, unsigned int member):
    """Eject a member of an upstream of this roster, if it is able and the limits allow it."""
    cdef const char *base = roster
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const RosterUpstream *row
    if roster_check(base, len(roster), _hash) != 0:
        raise ValueError("this is no roster of this build")
    if upstream >= head.upstreams.count:
        raise IndexError(f"no upstream {upstream} in this roster")
    row = <const RosterUpstream *> (base + head.upstreams.off) + upstream
    if member >= row.backends.count:
        raise IndexError(f"no member {member} in upstream {upstream}")
    if roster_backend(base, row, member).row >= board.header.backends:
        raise ValueError("this roster has more backends than the scoreboard")
    return bool(outlier_eject(board.header, row, roster_backend(base, row, 0), member,
                              board_now_ms()))


def uneject(Board board, unsigned int row, unsigned int upstream):
    """The ejection of the backend in this row ends now."""
    if row >= board.header.backends:
        raise IndexError(f"no backend row {row}")
    if upstream >= UPSTREAMS_MAX:
        raise IndexError(f"no upstream {upstream}")
    return bool(outlier_uneject(board.header, backend_row(board.header, row), upstream,
                                board_now_ms()))


def forgive(Board board, unsigned int row):
    """One ejection less to be remembered."""
    if row >= board.header.backends:
        raise IndexError(f"no backend row {row}")
    return outlier_forgive(backend_row(board.header, row), board_now_ms())
