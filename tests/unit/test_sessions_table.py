"""Learned sessions: one table for all workers, against a slow twin, with processes that race."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import _probe
from fastproxy._core import Board
from fastproxy.balance.settings import Session
from fastproxy.memory import pack
from fastproxy.scoreboard import segment
from tests.oracle import session as oracle
from tests.unit.balancing import pool_of, roster_of
from tests.unit.boards import probe_of

IDLE = 600_000
NOT, KNOWN, NEW, EVICTED = range(4)
SETS = segment.SESSIONS // oracle.WAYS
BUSY = 1 << 26
MS = 1_000_000


@pytest.fixture
def fd() -> int:
    return segment.create(workers=2, backends=1, routes=1)


@pytest.fixture
def probe(fd: int) -> Any:
    return probe_of(fd)


def keys_of_one_set(count: int, number: int = 5) -> list[int]:
    return [(n + 1) * 0x9E3779B97F4A7C15 % 2**46 * SETS + number for n in range(count)]


def rows_of(fd: int, number: int = 5) -> list[dict[str, int]]:
    """What stands in a set."""
    board = Board(fd)
    size = pack.size("SessionRow")
    start = segment.header(board)["sessions_off"] + number * oracle.WAYS * size
    view = memoryview(board)
    return [pack.read("SessionRow", view, start + way * size) for way in range(oracle.WAYS)]


def test_what_was_learned_is_found(probe: Any) -> None:
    key = 0xDEADBEEF12345678
    assert _probe.sessions_find(probe, key, MS) is None
    assert _probe.sessions_learn(probe, key, 4095, 1023, MS) == NEW
    assert _probe.sessions_find(probe, key, MS) == (4095, 1023)
    assert _probe.sessions_find(probe, key ^ 1 << 63, MS) is None
    assert _probe.sessions_find(probe, key ^ 1 << 40, MS) is None
    assert _probe.sessions_learn(probe, key, 3, 1025, MS) == KNOWN
    assert _probe.sessions_find(probe, key, MS) == (3, 1)


def test_it_is_one_table_for_all_processes(fd: int) -> None:
    one, two = probe_of(fd), probe_of(fd)
    _probe.sessions_learn(one, 77, 5, 1, MS)
    assert _probe.sessions_find(two, 77, MS) == (5, 1)


def test_idle_ones_are_forgotten_and_used_ones_live_on(probe: Any) -> None:
    _probe.sessions_learn(probe, 9, 5, 1, MS)
    assert _probe.sessions_find(probe, 9, MS + IDLE - 256) == (5, 1)
    assert _probe.sessions_find(probe, 9, MS + 2 * IDLE - 1000) == (5, 1)
    assert _probe.sessions_find(probe, 9, MS + 3 * IDLE) is None
    assert _probe.sessions_learn(probe, 9, 6, 1, MS + 3 * IDLE) == NEW
    assert _probe.sessions_learn(probe, 9, 6, 1, MS, 1000) == KNOWN
    assert _probe.sessions_find(probe, 9, MS + 512, 1000) == (6, 1)
    assert _probe.sessions_find(probe, 9, MS + 1700, 1000) is None


def test_the_clock_may_come_round(probe: Any) -> None:
    """26 bits of 256 ms are 198 days."""
    last = (1 << 26) * 256 - 1000
    _probe.sessions_learn(probe, 11, 5, 1, last)
    assert _probe.sessions_find(probe, 11, last + 2000) == (5, 1)
    assert _probe.sessions_find(probe, 11, last + IDLE + 4000) is None
    week = 7 * 86_400_000
    _probe.sessions_learn(probe, 12, 5, 1, last, week)
    assert _probe.sessions_find(probe, 12, last + week - 1000, week) == (5, 1)


def test_the_least_used_gives_way(fd: int, probe: Any) -> None:
    keys = keys_of_one_set(oracle.WAYS + 1)
    for step, key in enumerate(keys[:-1]):
        assert _probe.sessions_learn(probe, key, step, 1, MS + step * 1000) == NEW
    assert all(row["key"] in keys for row in rows_of(fd))
    assert _probe.sessions_find(probe, keys[0], MS + 10_000) == (0, 1)
    assert _probe.sessions_learn(probe, keys[-1], 99, 1, MS + 11_000) == EVICTED
    found = [_probe.sessions_find(probe, key, MS + 12_000) is not None for key in keys]
    assert found == [True, False, *[True] * 7]


def test_one_that_is_over_gives_way_first_and_is_no_loss(probe: Any) -> None:
    keys = keys_of_one_set(oracle.WAYS + 1)
    for key in keys[:-1]:
        _probe.sessions_learn(probe, key, 1, 1, MS, 1000 if key == keys[4] else IDLE)
    assert _probe.sessions_learn(probe, keys[-1], 2, 1, MS + 5000) == NEW
    found = [_probe.sessions_find(probe, key, MS + 5000) is not None for key in keys]
    assert found == [*[True] * 4, False, *[True] * 4]


@given(
    st.lists(
        st.tuples(st.integers(0, 13), st.booleans(), st.integers(0, 200_000)), max_size=120
    ),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_it_equals_the_twin(steps: list[tuple[int, bool, int]]) -> None:
    fd = segment.create(workers=1, backends=1, routes=1)
    probe, twin, now = probe_of(fd), oracle.Learned(IDLE), MS
    os.close(fd)
    keys = keys_of_one_set(14)
    for which, learn, pause in steps:
        now += pause // 256 * 256 + 256  # ends of different times differ, so that nothing is even
        if learn:
            _probe.sessions_learn(probe, keys[which], which, 1, now)
            twin.learn(keys[which], which, 1, now)
        else:
            assert _probe.sessions_find(probe, keys[which], now) == twin.find(keys[which], now)
    for key in keys:
        assert _probe.sessions_find(probe, key, now) == twin.find(key, now)


# -- what others leave behind ---------------------------------------------------------------------


def write(fd: int, way: int, key: int, value: int, number: int = 5) -> None:
    at = segment.header(Board(fd))["sessions_off"] + (number * oracle.WAYS + way) * 16
    os.pwrite(fd, struct.pack("=QQ", key, value), at)


def test_a_torn_row_is_nobodys(fd: int, probe: Any) -> None:
    """A key with the value of another: what a worker leaves that was stopped in the middle."""
    one, two = keys_of_one_set(2)
    _probe.sessions_learn(probe, one, 7, 1, MS)
    value = rows_of(fd)[0]["value"]
    assert one >> 49 != two >> 49
    write(fd, 0, two, value)
    assert _probe.sessions_find(probe, two, MS) is None
    assert _probe.sessions_find(probe, one, MS) is None


def test_a_row_left_busy_is_used_again_and_not_before_its_time(fd: int, probe: Any) -> None:
    keys = keys_of_one_set(oracle.WAYS + 2)
    for way, key in enumerate(keys[:-2]):
        write(fd, way, key, BUSY | MS // 256)
    assert _probe.sessions_find(probe, keys[0], MS) is None
    assert _probe.sessions_learn(probe, keys[0], 1, 1, MS) == NOT
    assert _probe.sessions_learn(probe, keys[-1], 1, 1, MS + 500) == NOT
    assert _probe.sessions_learn(probe, keys[-1], 1, 1, MS + 1024) == NEW
    assert _probe.sessions_find(probe, keys[-1], MS + 1024) == (1, 1)


def test_any_bytes_are_survived(fd: int, probe: Any) -> None:
    chance = random.Random(3)
    for _ in range(300):
        for way in range(oracle.WAYS):
            write(fd, way, chance.choice(keys_of_one_set(4)), chance.getrandbits(64))
        for key in keys_of_one_set(4):
            now = chance.getrandbits(40)
            found = _probe.sessions_find(probe, key, now)
            assert found is None or (found[0] < 4096 and found[1] < 1024)
            if _probe.sessions_learn(probe, key, 1, 1, now) != NOT:
                assert _probe.sessions_find(probe, key, now) == (1, 1)


def test_processes_that_race_never_read_each_others(fd: int) -> None:
    """More keys than room, in two sets: rows change hands all the time."""
    keys = [*keys_of_one_set(12), *keys_of_one_set(12, 6)]
    given_keys = struct.pack(f"={len(keys)}Q", *keys)
    pipes = []
    for process in range(3):
        read, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = _probe.sessions_churn(probe_of(fd), given_keys, MS, 20_000_000, process + 7)
            os.write(write_end, repr(said).encode())
            os._exit(0)
        os.close(write_end)
        pipes.append((pid, read))
    for pid, read in pipes:
        said = os.read(read, 100).decode()
        os.close(read)
        assert os.waitpid(pid, 0)[1] == 0
        found, wrong = map(int, said.strip("()").split(","))
        assert found > 100_000
        assert wrong == 0
    assert not any(row["value"] & BUSY for number in (5, 6) for row in rows_of(fd, number))


def test_a_process_killed_at_any_moment_leaves_a_table_that_works(fd: int) -> None:
    keys = keys_of_one_set(12)
    given_keys = struct.pack(f"={len(keys)}Q", *keys)
    for turn in range(20):
        pid = os.fork()
        if pid == 0:
            while True:
                _probe.sessions_churn(probe_of(fd), given_keys, MS, 1000, turn)
        _probe.sessions_churn(probe_of(fd), given_keys, MS, 20_000, turn + 100)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        assert _probe.sessions_churn(probe_of(fd), given_keys, MS + 1024, 20_000, turn)[1] == 0
    probe = probe_of(fd)
    for key in keys:
        assert _probe.sessions_learn(probe, key, 1, 1, MS + 5000) != NOT


# -- keys and rows --------------------------------------------------------------------------------


def test_keys_differ_by_value_upstream_and_secret() -> None:
    values = [b"", b"a", b"b", b"a" * 7, b"a" * 8, b"a" * 9, b"\0", b"\0" * 8, b"\0" * 9]
    values += [b"%d" % n for n in range(20_000)]
    keys = {_probe.session_key(value, seed=4) for value in values}
    assert len(keys) == len(values)
    assert 0 not in keys
    assert len({key % SETS for key in keys}) > 0.9 * SETS * (1 - (1 - 1 / SETS) ** len(keys))
    assert _probe.session_key(b"a", 1) != _probe.session_key(b"a", 2)
    assert _probe.session_key(b"a", 1, 5) != _probe.session_key(b"a", 1, 6)


def test_members_by_row() -> None:
    learn = Session(learn="cookie:JSESSIONID")
    made = roster_of({"a": pool_of([1] * 3), "b": pool_of([1] * 40, session=learn)})
    assert [_probe.row_member(made, row, 1) for row in range(43)] == [-1] * 3 + list(range(40))
    assert _probe.row_member(made, 4095, 1) == -1
    assert _probe.row_member(made, 0, 0) == -1  # an upstream without sessions lists nobody
