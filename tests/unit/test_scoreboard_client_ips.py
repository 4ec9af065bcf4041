"""Connections per client address, counted over all workers without a lock."""

from __future__ import annotations

import os
import random

import pytest

from fastproxy._core import Board
from fastproxy.memory import pack
from fastproxy.scoreboard import segment
from tests.unit.boards import probe_of

WINDOW = 32
ROWS = segment.WORDS["client_ip_slots"]


@pytest.fixture
def fd() -> int:
    return segment.create(workers=2, backends=1, routes=1)


def counted(fd: int) -> int:
    """Connections in the whole table."""
    board = Board(fd)
    at = segment.header(board)["client_ips_off"] // 8
    words = memoryview(board).cast("Q")[at : at + ROWS].tolist()
    return sum(word & 0xFFFFF for word in words)


def test_the_limit_is_one_over_all_workers(fd: int) -> None:
    first, second = probe_of(fd), probe_of(fd)
    address = 0xABCDEF0123456789
    slot = first.client_ip_enter(0, address, 3)
    assert slot >= 0
    assert second.client_ip_enter(1, address, 3) == slot
    assert second.client_ip_enter(1, address, 3) == slot
    assert first.client_ip_enter(0, address, 3) == -1
    assert second.client_ip_enter(1, address, 3) == -1
    second.client_ip_leave(1, slot)
    assert first.client_ip_enter(0, address, 3) == slot
    other = first.client_ip_enter(0, address ^ (1 << 63), 3)
    assert other >= 0
    assert other != slot
    assert counted(fd) == 4


def test_leaving_frees_and_leaving_nothing_does_nothing(fd: int) -> None:
    probe = probe_of(fd)
    slot = probe.client_ip_enter(0, 1 << 50, 1)
    probe.client_ip_leave(1, slot)  # worker 1 holds none there
    assert counted(fd) == 1
    probe.client_ip_leave(0, -1)
    probe.client_ip_leave(0, -2)
    probe.client_ip_leave(0, slot)
    assert counted(fd) == 0
    probe.client_ip_leave(0, slot)
    assert counted(fd) == 0
    assert probe.client_ip_enter(0, 1 << 50, 1) >= 0


def test_a_full_window_says_so(fd: int) -> None:
    probe = probe_of(fd)
    rng = random.Random(1)
    refused = 0
    for _ in range(ROWS + ROWS // 4):
        refused += probe.client_ip_enter(0, rng.getrandbits(64), 1) == -2
    assert refused >= ROWS // 4
    assert counted(fd) == ROWS + ROWS // 4 - refused
    assert counted(fd) > ROWS * 0.95


def test_processes_racing_for_the_same_addresses_lose_no_count(fd: int) -> None:
    addresses = [hash((n, "address")) & (2**64 - 1) for n in range(4)]
    pids = []
    for worker in range(2):
        pid = os.fork()
        if pid == 0:
            probe = probe_of(fd)
            for turn in range(200):
                probe.client_ip_churn(worker, addresses[turn % 4], 1, 500)
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert counted(fd) == 0


def test_the_seed_is_secret_and_new_each_time(fd: int) -> None:
    seed = segment.header(Board(fd))["client_ip_seed"]
    assert seed != segment.header(Board(segment.create(1, 1, 1)))["client_ip_seed"]
    assert 0 not in seed


def test_the_words_row_is_one_word() -> None:
    assert pack.size("ClientIpRow") == 8
