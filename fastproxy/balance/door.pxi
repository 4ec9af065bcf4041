# SPDX-License-Identifier: MIT
"""What the program asks of balancing from Python: the tables that picks walk along, and ejections
that control decides."""

from libc.stdint cimport int64_t as _int64_t, uint16_t as _uint16_t, uint32_t as _uint32_t
from libc.stdint cimport uint64_t as _uint64_t
from libc.stdlib cimport calloc, free, qsort

from fastproxy.balance.keyhash cimport hash_key, mix_hashes


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


# ---- tables of hashes -------------------------------------------------------------------------
# Members are put in the order of their hashes first, so that two proxies whose configurations name
# them in another order make the same table.

cdef enum:
    # Points on the ring for each unit of weight: ketama's.
    RING_POINTS = 160


cdef struct HashedMember:
    _uint64_t hash              # of its name
    _uint32_t index
    _uint32_t weight            # for the ring: points
    _uint32_t credit            # Maglev: an entry is due at the largest weight
    _uint32_t place             # Maglev: where in its permutation it is


def key_hash(bytes key):
    """The 64-bit hash of a key, as the hot path takes it of requests; of members' names too."""
    return hash_key(key, len(key))


def hash_ring(list hashes, list weights):
    """RingPoint rows, sorted: 160 points x weight for each member, halved for all until they fit
    RING_MAX (nobody loses his last one). Points that fall together go to the lower hash.

    `hashes`: of the members' names, by index.
    """
    cdef _uint32_t count = len(hashes)
    cdef HashedMember *members = _by_hash(hashes, [RING_POINTS * one for one in weights])
    cdef _uint64_t total = _halved(members, count)
    cdef _uint64_t *keys = <_uint64_t *> calloc(total + 1, sizeof(_uint64_t))
    cdef RingPoint *ring = <RingPoint *> calloc(total + 1, sizeof(RingPoint))
    cdef _uint32_t rank, number
    cdef size_t at = 0
    if keys == NULL or ring == NULL:
        free(members)
        free(keys)
        free(ring)
        raise MemoryError()
    with nogil:
        for rank in range(count):
            for number in range(members[rank].weight):
                keys[at] = mix_hashes(members[rank].hash, number) >> 32 << 32 | rank
                at += 1
        qsort(keys, total, sizeof(_uint64_t), _by_value)
        for at in range(total):
            ring[at].hash = <_uint32_t> (keys[at] >> 32)
            ring[at].index = members[<_uint32_t> keys[at]].index
    try:
        return (<char *> ring)[:total * sizeof(RingPoint)]
    finally:
        free(members)
        free(keys)
        free(ring)


def maglev_table(list hashes, list weights):
    """MAGLEV_SIZE native uint16 indices; empty if every weight is 0.

    In each round a member takes the next free entry of its own permutation of the table. One of the
    largest weight does so in every round, the others in their share of them, all in the first.
    `hashes`: of the members' names, by index.
    """
    cdef _uint32_t count = len(hashes)
    cdef _uint32_t most = max(weights, default=0)
    cdef HashedMember *members
    cdef _uint16_t *table
    if most == 0:
        return b""
    members = _by_hash(hashes, weights)
    table = <_uint16_t *> calloc(MAGLEV_SIZE, sizeof(_uint16_t))
    if table == NULL:
        free(members)
        raise MemoryError()
    with nogil:
        _maglev_fill(table, members, count, most)
    try:
        return (<char *> table)[:MAGLEV_SIZE * sizeof(_uint16_t)]
    finally:
        free(members)
        free(table)


cdef void _maglev_fill(_uint16_t *table, HashedMember *members, _uint32_t count,
                       _uint32_t most) noexcept nogil:
    cdef _uint32_t filled = 0
    cdef _uint32_t rank, skip
    cdef HashedMember *one
    for rank in range(<_uint32_t> MAGLEV_SIZE):
        table[rank] = 0xffff
    for rank in range(count):
        members[rank].credit = most - members[rank].weight
        members[rank].place = <_uint32_t> (mix_hashes(members[rank].hash, 0) % MAGLEV_SIZE)
    while True:
        for rank in range(count):
            one = &members[rank]
            one.credit += one.weight
            if one.weight == 0 or one.credit < most:
                continue
            one.credit -= most
            skip = <_uint32_t> (mix_hashes(one.hash, 1) % (MAGLEV_SIZE - 1)) + 1
            while table[one.place] != 0xffff:
                one.place = (one.place + skip) % MAGLEV_SIZE
            table[one.place] = <_uint16_t> one.index
            filled += 1
            if filled == MAGLEV_SIZE:
                return


cdef HashedMember *_by_hash(list hashes, list weights) except NULL:
    """Members in the order of their hashes. Given back with free()."""
    cdef HashedMember *members = <HashedMember *> calloc(
        len(hashes) + 1, sizeof(HashedMember))
    if members == NULL:
        raise MemoryError()
    for rank, (hash, index) in enumerate(sorted(zip(hashes, range(len(hashes))))):
        members[rank].hash = hash
        members[rank].index = index
        members[rank].weight = weights[index]
    return members


cdef _uint64_t _halved(HashedMember *members, _uint32_t count) noexcept nogil:
    """Halve all points until there are at most RING_MAX of them; how many."""
    cdef _uint64_t total
    cdef _uint32_t rank
    while True:
        total = 0
        for rank in range(count):
            total += members[rank].weight
        if total <= RING_MAX:
            return total
        for rank in range(count):
            if members[rank].weight > 1:
                members[rank].weight >>= 1


cdef int _by_value(const void *one, const void *other) noexcept nogil:
    cdef _uint64_t a = (<const _uint64_t *> one)[0]
    cdef _uint64_t b = (<const _uint64_t *> other)[0]
    return (a > b) - (a < b)


# ---- ejections --------------------------------------------------------------------------------

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
