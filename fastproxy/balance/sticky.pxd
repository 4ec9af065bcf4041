# SPDX-License-Identifier: MIT
"""Which member does a session belong to, and may it go on serving it?

A session cookie of ours holds a member's `session` in hexadecimal: 16 bytes of an HMAC that only
who knows the key can make, so that it tells nothing and a made-up one names nobody. A learned
session names a scoreboard row (sessions.pxd). Either way `RosterUpstream.sessions` lists the
members in that order, and finding one is a binary search. Workers only.

Members by label are found here too: `subset_find`.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy

from fastproxy.balance.keyhash cimport fold
from fastproxy.balance.live cimport has_member
from fastproxy.balance.table cimport Live, RosterBackend, RosterUpstream, SubsetRow
from fastproxy.clib.atomics cimport load32, load64
from fastproxy.memory.span cimport Span
from fastproxy.scoreboard.read cimport backend_row
from fastproxy.scoreboard.table cimport (
    ADMIN_AGENT_SHIFT, ADMIN_GONE, HEALTH_DRAIN, HEALTH_UP, BackendRow, BoardHeader)
from fastproxy.template.fields cimport hex_digit

cdef enum:
    SESSION_BYTES = 16


cdef inline Span unquoted(Span value) noexcept nogil:
    """A cookie's value without the quotes that may be around it (RFC 6265 4.1.1)."""
    if value.len >= 2 and value.ptr[0] == c'"' and value.ptr[value.len - 1] == c'"':
        value.ptr += 1
        value.len -= 2
    return value


cdef inline bint session_decode(Span value, uint8_t *session) noexcept nogil:
    """A cookie's value into SESSION_BYTES. False: not one of ours."""
    cdef int high, low
    cdef size_t i
    value = unquoted(value)
    if value.len != 2 * SESSION_BYTES:
        return False
    for i in range(<size_t> SESSION_BYTES):
        high = hex_digit(value.ptr[2 * i])
        low = hex_digit(value.ptr[2 * i + 1])
        if high < 0 or low < 0:
            return False
        session[i] = <uint8_t> (high << 4 | low)
    return True


cdef inline uint64_t session_hash(const uint64_t *secret, uint64_t seed, Span value) noexcept nogil:
    """The key of a learned session, never 0. `secret` is the board's: nobody can aim at one set of
    the table. `seed` keeps upstreams apart."""
    cdef uint64_t hashed = fold(secret[0] ^ seed, <uint64_t> value.len ^ secret[1])
    cdef uint64_t word
    cdef size_t at = 0, size
    while at < value.len:
        size = value.len - at if value.len - at < 8 else 8
        word = 0
        memcpy(&word, value.ptr + at, size)
        hashed = fold(hashed ^ word, <uint64_t> 0x9e3779b97f4a7c15 ^ secret[1])
        hashed ^= secret[0]
        at += 8
    hashed = fold(hashed ^ seed, <uint64_t> 0xbf58476d1ce4e5b9)
    return hashed if hashed != 0 else 1


cdef inline int32_t member_of_session(
    const char *roster, const RosterUpstream *upstream, const uint8_t *session
) noexcept nogil:
    """Index of the member that a cookie names; -1: nobody of this upstream."""
    cdef const uint16_t *order = <const uint16_t *> (roster + upstream.sessions.off)
    cdef const RosterBackend *backends = <const RosterBackend *> (roster + upstream.backends.off)
    cdef uint32_t low = 0
    cdef uint32_t high = upstream.sessions.count
    cdef uint32_t middle
    cdef int found
    while low < high:
        middle = (low + high) >> 1
        found = memcmp(backends[order[middle]].session, session, SESSION_BYTES)
        if found == 0:
            return order[middle]
        if found < 0:
            low = middle + 1
        else:
            high = middle
    return -1


cdef inline int32_t member_of_row(
    const char *roster, const RosterUpstream *upstream, uint32_t row
) noexcept nogil:
    """Index of the member that has this scoreboard row; -1: nobody (any more)."""
    cdef const uint16_t *order = <const uint16_t *> (roster + upstream.sessions.off)
    cdef const RosterBackend *backends = <const RosterBackend *> (roster + upstream.backends.off)
    cdef uint32_t low = 0
    cdef uint32_t high = upstream.sessions.count
    cdef uint32_t middle, found
    while low < high:
        middle = (low + high) >> 1
        found = backends[order[middle]].row
        if found == row:
            return order[middle]
        if found < row:
            low = middle + 1
        else:
            high = middle
    return -1


cdef inline bint keeps_sessions(
    const Live *live, const RosterBackend *backends, BoardHeader *board, uint32_t index,
    uint64_t now_ms
) noexcept nogil:
    """May this member serve a session of its own? Who gets new requests may (in a panic, that is
    everybody), and who is only drained: by an operator, by its agent, by a weight of 0. Not who is
    down, ejected or in maintenance."""
    cdef BackendRow *row = backend_row(board, backends[index].row)
    cdef uint32_t admin, health, said
    if has_member(&live.able, index):
        return True
    if load64(&row.generation) != backends[index].generation:
        return load64(&row.generation) < backends[index].generation     # as `able_now`
    admin, health = load32(&row.admin), load32(&row.health)
    # Two HealthWords in one: DRAIN and DRAIN is DRAIN, with anything else it is not.
    said = (admin | admin >> ADMIN_AGENT_SHIFT) & 0xff
    return (admin < ADMIN_GONE and (said == HEALTH_UP or said == HEALTH_DRAIN)
            and (health == HEALTH_UP or health == HEALTH_DRAIN)
            and (load64(&row.ejection) >> 16) <= now_ms)


cdef inline const SubsetRow *subset_find(
    const char *roster, const RosterUpstream *upstream, Span value
) noexcept nogil:
    """The members whose label has this value; NULL: no member has it."""
    cdef const SubsetRow *rows = <const SubsetRow *> (roster + upstream.subsets.off)
    cdef uint32_t low = 0
    cdef uint32_t high = upstream.subsets.count
    cdef uint32_t middle
    cdef size_t size
    cdef int found
    while low < high:
        middle = (low + high) >> 1
        size = rows[middle].value.len if rows[middle].value.len < value.len else value.len
        found = memcmp(roster + rows[middle].value.off, value.ptr, size) if size != 0 else 0
        if found == 0 and rows[middle].value.len == value.len:
            return &rows[middle]
        if found < 0 or (found == 0 and rows[middle].value.len < value.len):
            low = middle + 1
        else:
            high = middle
    return NULL
