"""Places at a backend and in the line before it: counted over all workers, never one too many."""

from __future__ import annotations

from functools import partial

import pytest

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from tests.unit.balancing import Table, group_of
from tests.unit.boards import probe_of, race

WORKERS = 4


@pytest.fixture
def fd() -> int:
    return segment.create(workers=WORKERS, backends=4, routes=1)


def test_the_most_is_of_all_workers_together(fd: int) -> None:
    probe = probe_of(fd)
    assert [probe.inflight_enter(worker, 1, 3) for worker in range(WORKERS)] == [True] * 3 + [False]
    assert probe.inflight_total(1) == 3
    probe.inflight(1, 1, -1)
    assert probe.inflight_enter(0, 1, 3)
    assert not probe.inflight_enter(1, 1, 3)
    assert probe.inflight_enter(1, 1, 4)
    assert probe.inflight_total(1) == 4
    assert probe.inflight_total(0) == 0


def test_a_dead_workers_places_and_waiters_are_given_back(fd: int) -> None:
    probe, board = probe_of(fd), Board(fd)
    for worker in (0, 1):
        assert probe.inflight_enter(worker, 2, 2)
        assert probe.queue_count_in(worker, 3, 2)
    assert not probe.inflight_enter(2, 2, 2)
    assert not probe.queue_count_in(2, 3, 2)
    assert segment.queued(board, 3, WORKERS) == probe.queue_total(3) == 2
    board.reclaim(0)
    assert segment.queued(board, 3, WORKERS) == probe.queue_total(3) == 1
    assert probe.inflight_enter(2, 2, 2)
    assert probe.queue_count_in(2, 3, 2)
    assert not probe.inflight_enter(3, 2, 2)


@pytest.mark.parametrize(("workers", "most"), [(2, 1), (4, 2), (4, 3)])
def test_a_race_for_places_is_never_won_by_one_too_many(fd: int, workers: int, most: int) -> None:
    """More processes than places. Who holds one is counted apart, with atomic additions. So many
    times that a store that is late (no fence) is seen."""
    times = 10_000_000 // workers

    found = race(
        [partial(probe_of(fd).inflight_churn, worker, 0, most, times) for worker in range(workers)]
    )
    assert max(worst for _, worst in found) <= most
    assert [had for had, _ in found] == [times] * workers
    assert probe_of(fd).inflight_total(0) == 0


def test_an_agent_may_lower_the_most_but_not_lift_it() -> None:
    table = Table({"a": group_of({"max_connections": 10}, {}, {"max_connections": 5})})
    picker = table.picker()
    assert picker.most() == [10, 0, 5]
    table.say(0, max_connections=4)
    table.say(1, max_connections=7)
    table.say(2, max_connections=50)
    assert picker.most() == [4, 7, 5]
    table.say(1, max_connections=0)
    table.say(2, generation=2, max_connections=1)  # the words of another owner
    assert picker.most() == [4, 0, 5]
