"""Balancing by load: what is known of least_conn, p2c and peak EWMA."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from fastproxy._probe import latency_failed, latency_now, latency_seen

from fastproxy.balance.settings import Balance
from fastproxy.scoreboard import segment
from tests.unit.balancing import Table, pool_of
from tests.unit.queueing import Service, queueing

# ---- least_conn ---------------------------------------------------------------------------------


def fill(balance: Balance, weights: list[int], requests: int, workers: int = 2) -> list[int]:
    """Requests that stay, given out by workers in turn: how many each member has."""
    table = Table({"a": pool_of(weights, balance)}, workers)
    pickers = [table.picker(0, slot, slot) for slot in range(workers)]
    loads = [0] * len(weights)
    for number in range(requests):
        index = pickers[number % workers].pick()
        table.busy(index, 1, number % workers)
        loads[index] += 1
    return loads


@pytest.mark.parametrize("requests", [1, 7, 100, 1000])
def test_least_conn_is_within_1_of_ideal(requests: int) -> None:
    for weights in ([1, 1, 1], [1] * 7, [1, 2, 3], [3, 1]):
        for load, weight in zip(fill("least_conn", weights, requests), weights, strict=True):
            assert abs(load - requests * weight / sum(weights)) <= 1, weights


def test_least_conn_evens_out_what_others_left_uneven() -> None:
    table = Table({"a": pool_of([1, 1, 1], "least_conn")}, workers=3)
    table.busy(0, 9, worker=1)
    table.busy(1, 4, worker=2)
    worker = table.picker()
    seen: Counter[int] = Counter()
    for _ in range(14):
        index = worker.pick()
        table.busy(index, 1)
        seen[index] += 1
    assert seen == {2: 9, 1: 5}


def test_idle_members_take_turns_by_weight() -> None:
    worker = Table({"a": pool_of([3, 1, 0], "least_conn")}).picker()
    seen = Counter(worker.pick() for _ in range(400))
    assert seen == {0: 300, 1: 100}


# ---- p2c ----------------------------------------------------------------------------------------


def test_two_choices_keep_the_fullest_low() -> None:
    """n requests on n members (Azar et al. 1994): the fullest has ln n / ln ln n of them by chance,
    ln ln n / ln 2 + O(1) by two choices. n = 1000: about 5.5 and 3."""
    chance = [max(fill("random", [1] * 1000, 1000, workers=1)) for _ in range(3)]
    choices = [max(fill("p2c", [1] * 1000, 1000, workers=1)) for _ in range(3)]
    assert max(choices) <= math.log(math.log(1000)) / math.log(2) + 1.5
    assert min(chance) > max(choices)


def test_more_draws_are_better() -> None:
    loads = {}
    for draws in (2, 8):
        table = Table({"a": pool_of([1] * 200, "p2c", draws=draws)})
        worker = table.picker()
        for _ in range(4000):
            table.busy(worker.pick(), 1)
        loads[draws] = [table.board.inflight(one["row"]) for one in table.members]
    spread = {draws: max(found) - min(found) for draws, found in loads.items()}
    assert spread[8] < spread[2] <= 8


# ---- what is known of latency -------------------------------------------------------------------


class Word:
    """One backend's word."""

    def __init__(self) -> None:
        self.table = Table({"a": pool_of([1], "ewma")})
        self.row = self.table.members[0]["row"]

    def seen(self, us: int, now_ms: int, at_least: bool = False) -> float:
        latency_seen(self.table.probe, self.row, us, now_ms, at_least)
        return self.now(now_ms)

    def now(self, now_ms: int) -> float:
        return float(latency_now(self.table.probe, self.row, now_ms))


def test_a_peak_counts_at_once_and_fades() -> None:
    word = Word()
    assert word.now(5) == 0
    assert word.seen(1000, 1000) == 1000
    assert word.seen(50_000, 1000) == 50_000
    assert word.now(11_000) == pytest.approx(50_000 / math.e, rel=1e-6)
    assert word.now(101_000) == pytest.approx(50_000 * math.exp(-10), rel=1e-6)


def test_faster_answers_pull_it_down_by_their_age() -> None:
    word = Word()
    word.seen(10_000, 1000)
    assert word.seen(1000, 1000) == 10_000  # no time has passed: nothing is forgotten
    kept = math.exp(-0.5)
    assert word.seen(1000, 6000) == pytest.approx(10_000 * kept + 1000 * (1 - kept), rel=1e-6)


def test_at_least_only_raises() -> None:
    word = Word()
    word.seen(10_000, 1000)
    assert word.seen(500, 2000, at_least=True) == word.now(2000) == 10_000 * math.exp(-0.1)
    assert word.seen(90_000, 2000, at_least=True) == 90_000


def test_failures_count_as_slow_and_slower() -> None:
    word = Word()

    def failed(us: int, now_ms: int) -> float:
        latency_failed(word.table.probe, word.row, us, now_ms)
        return word.now(now_ms)

    assert failed(100, 1000) == 1_000_000
    assert failed(100, 1000) == 2_000_000
    assert failed(30_000_000, 1000) == 30_000_000
    assert failed(100, 1000) == failed(100, 1000) == 60_000_000
    assert failed(90_000_000, 1000) == failed(100, 1000) == 90_000_000  # a timeout of its own
    assert failed(100, 501_000) == 1_000_000


def test_a_clock_that_is_behind_or_has_wrapped() -> None:
    word = Word()
    word.seen(10_000, (1 << 32) - 10)
    assert word.now((1 << 32) - 500) == 10_000  # another worker's clock
    assert word.now((1 << 32) + 9_990) == pytest.approx(10_000 / math.e, rel=1e-6)


def test_who_comes_back_begins_anew() -> None:
    """From an ejection that has ended, or from being down: what was seen before does not count,
    what comes then does."""
    word = Word()
    latency_failed(word.table.probe, word.row, 100, 1000)
    word.table.eject(0, 31_000)
    assert word.seen(7_000_000, 20_000) == 7_000_000  # a late answer, while it is out
    assert word.now(30_999) > 2_000_000
    assert word.now(31_000) == word.now(90_000) == 0
    assert word.seen(2000, 32_000) == 2000
    assert word.seen(500, 42_000) == pytest.approx(2000 / math.e + 500 * (1 - 1 / math.e))
    word.table.say(0, up_since_ms=50_000)
    assert word.now(50_000) == 0
    assert word.seen(3000, 50_000, at_least=True) == 3000
    assert word.now(40_000) == 3000  # another worker's clock


def test_one_that_was_ejected_is_tried_at_once() -> None:
    table = Table({"a": pool_of([1, 1], "ewma")})
    rows = [one["row"] for one in table.members]
    worker = table.picker()
    latency_seen(table.probe, rows[0], 1000, 1000)
    latency_failed(table.probe, rows[1], 100, 1000)
    table.eject(1, 31_000)
    latency_seen(table.probe, rows[0], 1000, 30_000)
    assert worker.pick(None, 30_999) == 0
    assert worker.pick(None, 31_000) == 1


def test_an_unknown_member_is_tried_by_one_request() -> None:
    table = Table({"a": pool_of([1, 1], "ewma")})
    rows = [one["row"] for one in table.members]
    latency_seen(table.probe, rows[0], 1000, 1000)
    worker = table.picker()
    assert worker.pick(None, 1000) == 1
    table.busy(1, 1)
    assert [worker.pick(None, 1000) for _ in range(20)] == [0] * 20
    latency_seen(table.probe, rows[1], 500, 1000)
    table.busy(1, -1)
    assert worker.pick(None, 1000) == 1


def test_latency_load_and_weight_count() -> None:
    table = Table({"a": pool_of([2, 1], "ewma")})
    for index, us in enumerate((1000, 900)):
        latency_seen(table.probe, table.members[index]["row"], us, 1000)
    worker = table.picker()
    assert worker.pick(None, 1000) == 0  # 1000 x 1 / 2
    table.busy(0, 1)
    assert worker.pick(None, 1000) == 1  # 1000 x 2 / 2 against 900
    table.busy(1, 1)
    assert worker.pick(None, 1000) == 0


def test_a_slow_one_is_tried_again() -> None:
    """100 times slower: forgiven after 10 s x ln 100 = 46 s, not before."""
    table = Table({"a": pool_of([1, 1], "ewma")})
    rows = [one["row"] for one in table.members]
    worker = table.picker()
    latency_seen(table.probe, rows[1], 100_000, 0)
    for now_ms in range(0, 46_000, 500):
        latency_seen(table.probe, rows[0], 1000, now_ms)
        assert worker.pick(None, now_ms) == 0
    for now_ms in range(46_500, 48_000, 500):
        latency_seen(table.probe, rows[0], 1000, now_ms)
    assert worker.pick(None, 47_500) == 1


def test_the_word_is_one_for_all_workers() -> None:
    word = Word()
    word.seen(1234, 1000)
    row = segment.backend(word.table.board, word.row)
    assert row["ewma"] >> 32 == 1000


# ---- queues -------------------------------------------------------------------------------------

SLOW = [Service(20.0), Service(2.0), Service(2.0)]
EVEN = [Service(2.0), Service(2.0), Service(2.0)]


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_one_of_three_is_10_times_slower(busy: float) -> None:
    """The tail of each algorithm, of those that it should beat: docs/decisions on prequal."""
    tails = {
        one: queueing(one, SLOW, busy, seconds=20)
        for one in ("round_robin", "p2c", "least_conn", "ewma")
    }
    assert tails["ewma"].p99_ms < 0.5 * tails["p2c"].p99_ms
    assert tails["least_conn"].p99_ms < 1.1 * tails["p2c"].p99_ms
    assert tails["p2c"].p99_ms < 0.05 * tails["round_robin"].p99_ms
    assert tails["ewma"].shares[0] < 0.03
    assert tails["p2c"].shares[0] < 0.12


def test_nobody_is_worse_than_turns_among_equals() -> None:
    turns = queueing("round_robin", EVEN, 0.7, seconds=20)
    for one in ("p2c", "least_conn", "ewma"):
        found = queueing(one, EVEN, 0.7, seconds=20)
        assert found.mean_ms < turns.mean_ms
        assert max(found.shares) < 0.37


def test_chance_for_draws_is_each_workers_own() -> None:
    table = Table({"a": pool_of([1] * 50)})
    one, other = table.picker(seed=1), table.picker(seed=2)
    assert [one.pick() for _ in range(20)] != [other.pick() for _ in range(20)]
    assert random.Random(1).random() != random.Random(2).random()
