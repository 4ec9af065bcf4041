# SPDX-License-Identifier: MIT
"""Tests' way into the balance rooms."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy import _core as _balance_core
from fastproxy.balance cimport bound as _bound
from fastproxy.balance cimport latency as _latency
from fastproxy.balance cimport live as _live
from fastproxy.balance cimport outlier as _outlier
from fastproxy.balance cimport pick as _pick
from fastproxy.balance.table cimport (
    Ask, Live, Members, PickCursor, RosterBackend, RosterHeader, RosterUpstream, SubsetRow)
from fastproxy.clib.atomics cimport fetch_add64, load64
from fastproxy.memory.limits cimport UPSTREAMS_MAX
from fastproxy.scoreboard.read cimport backend_row, upstream_board
from fastproxy.scoreboard.table cimport BackendRow
from fastproxy.balance.sessions cimport (
    sessions_find as _sessions_find, sessions_learn as _sessions_learn)
from fastproxy.balance.sticky cimport (
    keeps_sessions as _keeps_sessions, member_of_row, member_of_session, session_decode,
    session_hash, subset_find)
from fastproxy.template.fields cimport cookie_find as _cookie_find


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
    return cursor.at[0]


def latency_seen(BoardProbe board, uint32_t row, uint64_t us, uint64_t now_ms, bint at_least=False):
    """A backend's answer began after so long; `at_least`: it had not by then."""
    _latency.latency_seen(backend_row(board.header, row), us, at_least, now_ms)


def latency_failed(BoardProbe board, uint32_t row, uint64_t us, uint64_t now_ms):
    """A backend failed after so long."""
    _latency.latency_failed(backend_row(board.header, row), us, now_ms)


def latency_now(BoardProbe board, uint32_t row, uint64_t now_ms):
    """Microseconds as they count now."""
    return _latency.latency_now(backend_row(board.header, row), now_ms)


# ---- sessions and subsets ---------------------------------------------------------------------

cdef const RosterUpstream *_upstream_of(const char *base, int upstream) noexcept nogil:
    return (<const RosterUpstream *> (base + (<const RosterHeader *> base).upstreams.off)
            + upstream)


cdef int _cookie_member(const Head *head, Span name, const char *roster,
                        const RosterUpstream *upstream) noexcept nogil:
    """As the engine's session_prepare does for a cookie of ours; -2: there is none."""
    cdef Span value
    cdef uint8_t session[16]
    if not _cookie_find(head, name, &value):
        return -2
    if not session_decode(value, session):
        return -1
    return member_of_session(roster, upstream, session)


def cookie_member(bytes data, bytes name, bytes roster, int upstream=0, long rounds=0):
    """Index of the member that a request's head names by the cookie `name`; -1: a cookie that names
    nobody, -2: no cookie. With `rounds`: nanoseconds of finding that out."""
    cdef HeadParser parser
    cdef HeadLimits given = _limits(DEF_LIMITS)
    cdef Fault fault
    cdef const char *base = roster
    cdef const char *at = _place(data, len(data), False)
    cdef Span wanted = span(name, len(name))
    cdef int found = 0
    cdef long i
    cdef double began
    _begin(&parser, True, _scan(None), &given)
    if _parse(&parser, True, at, len(data), &fault) <= 0:
        raise ValueError("not a whole good head")
    if rounds == 0:
        return _cookie_member(&parser.head, wanted, base, _upstream_of(base, upstream))
    with nogil:
        began = _seconds()
        for i in range(rounds):
            found += _cookie_member(&parser.head, wanted, base, _upstream_of(base, upstream))
        began = _seconds() - began
    return began / rounds * 1e9


def row_member(bytes roster, uint32_t row, int upstream=0):
    """Index of the member that has a scoreboard row; -1: nobody."""
    cdef const char *base = roster
    return member_of_row(base, _upstream_of(base, upstream), row)


def subset_members(bytes roster, bytes value, int upstream=0):
    """Indices of the members whose label has this value; None: nobody has it."""
    cdef const char *base = roster
    cdef const SubsetRow *row = subset_find(
        base, _upstream_of(base, upstream), span(value, len(value)))
    if row == NULL:
        return None
    return {i for i in range(1024) if _live.has_member(&row.members, i)}


def keeps_sessions(Picker picker, uint32_t index, uint64_t now_ms=1):
    """May this member serve its sessions?"""
    picker.live(now_ms)
    return bool(_keeps_sessions(
        picker.ask.live, picker.ask.backends, picker.ask.board, index, now_ms))


def session_key(bytes value, uint64_t seed=0, uint64_t secret=1):
    """The key of a learned session."""
    cdef uint64_t words[2]
    words[0] = secret
    words[1] = secret * <uint64_t> 0x9e3779b97f4a7c15 + 1
    return session_hash(words, seed, span(value, len(value)))


def sessions_find(BoardProbe board, uint64_t key, uint64_t now_ms, uint64_t idle_ms=600_000):
    """(row, generation) of a learned session, used now; None: not known."""
    cdef uint32_t row = 0, generation = 0
    if not _sessions_find(board.header, key, now_ms, idle_ms, &row, &generation):
        return None
    return row, generation


def sessions_learn(BoardProbe board, uint64_t key, uint32_t row, uint32_t generation,
                   uint64_t now_ms, uint64_t idle_ms=600_000):
    """What became of it: `cdef enum Learned`."""
    return _sessions_learn(board.header, key, row, generation, now_ms, idle_ms)


cdef inline uint32_t _row_of(uint64_t key) noexcept nogil:
    return <uint32_t> (key * <uint64_t> 0x9e3779b97f4a7c15 >> 52)


def sessions_churn(BoardProbe board, bytes keys, uint64_t now_ms, long times, uint64_t seed):
    """For the race of several processes: learn and look for these keys (native uint64), each with a
    row of its own, by chance. (how often one was found, how often with another's row)."""
    cdef uint64_t chance = seed * 2 + 1
    cdef const uint64_t *words = <const uint64_t *> <const char *> keys
    cdef uint64_t key, count = len(keys) // 8
    cdef uint32_t row, generation
    cdef long i, found = 0, wrong = 0
    with nogil:
        for i in range(times):
            chance = chance * 6364136223846793005u + 1442695040888963407u
            key = words[(chance >> 33) % count]
            if (chance >> 62) == 0:
                _sessions_learn(
                    board.header, key, _row_of(key), <uint32_t> key & 1023, now_ms, 600_000)
            elif _sessions_find(board.header, key, now_ms, 600_000, &row, &generation):
                found += 1
                wrong += row != _row_of(key) or generation != (key & 1023)
    return found, wrong


def time_sessions(BoardProbe board, bytes keys, str what, long rounds):
    """Nanoseconds to "find" a learned session or to "learn" one, over these keys in turn."""
    cdef const uint64_t *words = <const uint64_t *> <const char *> keys
    cdef uint64_t key, count = len(keys) // 8
    cdef uint32_t row, generation
    cdef bint learn = what == "learn"
    cdef long i
    cdef double began
    with nogil:
        began = _seconds()
        for i in range(rounds):
            key = words[<uint64_t> i % count]
            if learn:
                _sessions_learn(board.header, key, 7, 1, 1000, 600_000)
            else:
                _sessions_find(board.header, key, 1000, 600_000, &row, &generation)
        began = _seconds() - began
    return began / rounds * 1e9


cdef class Picker:
    """One worker's picks in one upstream of a roster, with the words of a board."""

    cdef bytes roster
    cdef BoardProbe board
    cdef Live *lives
    cdef Ask ask
    cdef PickCursor cursor
    cdef Members tried
    cdef uint64_t random[2]

    def __cinit__(self, bytes roster, BoardProbe board, int upstream=0, uint32_t at=0, seed=1):
        cdef const char *base = roster
        cdef const RosterHeader *head = <const RosterHeader *> base
        self.roster = roster
        self.board = board
        self.lives = _live.lives_make(base)
        if self.lives == NULL:
            raise MemoryError()
        _pick.cursor_set(&self.cursor, at)
        self.random[0], self.random[1] = 0x9e3779b97f4a7c15 ^ <uint64_t> seed, seed + 1
        self.ask.roster = base
        self.ask.upstream = <const RosterUpstream *> (base + head.upstreams.off) + upstream
        self.ask.live = &self.lives[upstream]
        self.ask.board = board.header
        self.ask.cursor = &self.cursor
        self.ask.random = self.random
        self.ask.tried = &self.tried

    def __dealloc__(self):
        _live.lives_free(self.lives)

    @property
    def at(self):
        """The cursor of the first tier."""
        return self.cursor.at[0]

    @property
    def cursors(self):
        """Those of all tiers."""
        return self.cursor.at

    def pick(self, set tried=None, uint64_t now_ms=1, key=None):
        """Index or -1. `tried` is read and marked. `key`: the hash of the request's key."""
        cdef int index
        _live.clear_members(&self.tried)
        for index in tried or ():
            _live.add_member(&self.tried, index)
        self.ask.now_ms = now_ms
        self.ask.has_key = key is not None
        self.ask.key = key or 0
        with nogil:
            index = _pick.pick(&self.ask)
        if tried is not None and index >= 0:
            tried.add(index)
        return index

    def bound_kept(self, int index):
        """Is this member, the last one picked and counted by now, within its bound?"""
        return bool(_bound.bound_kept(&self.ask, index))

    def live(self, uint64_t now_ms=1):
        """(able members with their part of 256, tier by tier; each tier's share in percent)."""
        cdef Live *live = self.ask.live
        self.ask.backends = _pick.roster_backend(self.ask.roster, self.ask.upstream, 0)
        _live.live_refresh(live, self.ask.upstream, self.ask.backends, self.ask.board, now_ms)
        tiers = []
        shares = []
        before = 0
        for at in range(live.tiers):
            first = live.tier[at].first
            tiers.append({live.members[i]: live.part[live.members[i]]
                          for i in range(first, first + live.tier[at].count)})
            shares.append(round((live.tier[at].share_upto - before) * 100 / 65536))
            before = live.tier[at].share_upto
        return tiers, shares

    def most(self, uint64_t now_ms=1):
        """Requests that each member may have under way, by index; 0: no limit."""
        self.live(now_ms)
        return [self.ask.live.most[i] for i in range(self.ask.upstream.backends.count)]

    def failure(self, uint32_t member, bint gateway=False, uint64_t now_ms=1):
        """An exchange ended badly there. True: the member is ejected by that."""
        return bool(_outlier.outlier_failure(
            self.board.header, self.ask.upstream,
            _pick.roster_backend(self.ask.roster, self.ask.upstream, 0), member, gateway, now_ms))

    def is_failing(self, uint16_t status):
        return bool(_outlier.is_failing(&self.ask.upstream.outlier, status))

    def success(self, uint32_t member):
        _outlier.outlier_success(backend_row(self.board.header, self._row(member)))

    def eject(self, uint32_t member, uint64_t now_ms=1):
        return bool(_outlier.outlier_eject(
            self.board.header, self.ask.upstream,
            _pick.roster_backend(self.ask.roster, self.ask.upstream, 0), member, now_ms))

    def uneject(self, uint32_t member, uint64_t now_ms=1):
        return bool(_outlier.outlier_uneject(
            self.board.header, backend_row(self.board.header, self._row(member)),
            self.ask.upstream.queue_row, now_ms))

    def forgive(self, uint32_t member, uint64_t now_ms=1):
        return _outlier.outlier_forgive(
            backend_row(self.board.header, self._row(member)), now_ms)

    cdef uint32_t _row(self, uint32_t member):
        return _pick.roster_backend(self.ask.roster, self.ask.upstream, member).row

    def time(self, int rounds, key=None):
        """Nanoseconds of one pick for a new exchange."""
        cdef int i, worst = 0
        cdef double began
        self.ask.now_ms = 1
        self.ask.has_key = key is not None
        self.ask.key = key or 0
        with nogil:
            began = _seconds()
            for i in range(rounds):
                _live.clear_members(&self.tried)
                self.ask.key = self.ask.key * 6364136223846793005u + 1442695040888963407u
                worst = min(worst, _pick.pick(&self.ask))
            began = _seconds() - began
        if worst < 0:
            raise ValueError("nobody to pick")
        return began / rounds * 1e9


def failure_race(bytes roster, BoardProbe board, uint32_t member, uint32_t failures,
                 uint64_t parties, uint64_t now_ms=1):
    """One party of a race: in each upstream in turn, when all parties are there, so many failures
    of this member. Upstreams in which this party's call has ejected it."""
    cdef const char *base = roster
    cdef const RosterHeader *head = <const RosterHeader *> base
    cdef const RosterUpstream *upstream
    cdef uint64_t *arrived = &upstream_board(board.header, UPSTREAMS_MAX - 1).live
    cdef uint32_t at, i
    cdef bint ejected
    found = []
    for at in range(head.upstreams.count):
        upstream = <const RosterUpstream *> (base + head.upstreams.off) + at
        ejected = False
        with nogil:
            fetch_add64(arrived, 1)
            while load64(arrived) < parties * (at + 1):
                sched_yield()
            for i in range(failures):
                if _outlier.outlier_failure(board.header, upstream,
                                            _pick.roster_backend(base, upstream, 0), member, False,
                                            now_ms):
                    ejected = True
        if ejected:
            found.append(at)
    return found
