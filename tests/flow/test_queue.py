"""The queue before an upstream whose members are all at their max_connections: order, limits."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.flow.counting import Counting
from tests.flow.peers import get
from tests.flow.queueing import Asked, Capped, queued, until_queued
from tests.running import wait_until

# ---- order --------------------------------------------------------------------------------------


def test_first_come_first_served_over_all_workers(capped: Capped, counting: Counting) -> None:
    proxy = capped(1)
    asked = [Asked(proxy, "/hold?ms=500", "X-Ledger: first")]
    wait_until(lambda: counting.log())
    for number in range(24):
        asked.append(Asked(proxy, "/hold?ms=5", f"X-Ledger: {number}"))
        until_queued(proxy, number + 1)
    waiting = [worker["queued"] for worker in proxy.status()["workers"]]
    assert sum(waiting) == 24
    assert min(waiting) > 0, "all went to one worker"
    assert {one.answer.status for one in asked} == {200}
    assert [name for _, name, _ in counting.log()] == ["first", *map(str, range(24))]
    assert counting.worst == 1
    assert queued(proxy) == 0


def test_a_lower_class_goes_first(capped: Capped, counting: Counting) -> None:
    """Over all workers: class, then who came first. What is no class is 4."""
    proxy = capped(1, {"priority": "{header:x-class}"})
    asked = [Asked(proxy, "/hold?ms=600", "X-Ledger: first")]
    wait_until(lambda: counting.log())
    classes = ["7", "", "0", "3", "4", "0", "nonsense", "9", "7", "00", "1", "3"]
    for number, word in enumerate(classes):
        asked.append(Asked(proxy, "/hold?ms=5", f"X-Ledger: {number}", f"X-Class: {word}"))
        until_queued(proxy, number + 1)
    assert {one.answer.status for one in asked} == {200}
    means = [int(word) if word in tuple("01234567") else 4 for word in classes]
    wanted = sorted(range(len(classes)), key=lambda number: (means[number], number))
    assert [name for _, name, _ in counting.log()] == ["first", *map(str, wanted)]


def test_a_place_that_comes_free_is_taken_at_once(capped: Capped, counting: Counting) -> None:
    """Not by the next tick (25 ms), whichever worker has it and whichever waits."""
    proxy = capped(1)
    asked = [Asked(proxy, "/hold?ms=2") for _ in range(200)]
    assert {one.answer.status for one in asked} == {200}
    times = sorted(at for at, _, _ in counting.log())
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    assert gaps[len(gaps) // 2] < 0.012, "the tick wakes them, not the bell"
    assert counting.worst == 1


# ---- limits -------------------------------------------------------------------------------------


def test_who_waits_too_long_gets_503(capped: Capped, counting: Counting, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    proxy = capped(
        1,
        {"timeout": "300ms"},
        access_log=str(log),
        log_format="{status} {end_state} {retries} {backend}",
    )
    first = Asked(proxy, "/hold?ms=1000")
    wait_until(lambda: counting.log())
    second = Asked(proxy, "/hold")
    assert second.answer.status == 503
    assert "none was free in time" in second.answer.text
    assert 0.29 < second.seconds < 0.6
    assert queued(proxy) == 0
    assert first.answer.status == 200
    totals = proxy.totals()
    assert (totals["queue_timeouts"], totals["queue_refused"], totals["queued"]) == (1, 0, 0)
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == 2 and found)
    assert lines[0] == "503 sW 0 -"
    assert len(counting.log()) == 1


@pytest.mark.parametrize("length", [0, 1, 5])
def test_more_than_may_wait_get_503_at_once(
    capped: Capped, counting: Counting, length: int, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = capped(2, {"length": length}, access_log=str(log), log_format="{status} {end_state}")
    asked = [Asked(proxy, "/hold?ms=700") for _ in range(2)]
    wait_until(lambda: len(counting.log()) == 2)
    for number in range(length):
        asked.append(Asked(proxy, "/hold"))
        until_queued(proxy, number + 1)
    for _ in range(6):
        refused = get(proxy, "/hold")
        assert refused.status == 503
        assert "too many requests wait" in refused.text
    assert {one.answer.status for one in asked} == {200}
    assert proxy.totals()["queue_refused"] == 6
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == length + 8 and found)
    assert lines.count("503 PW") == 6
    assert counting.worst == 2


def test_the_routes_own_timeout_still_counts(capped: Capped, counting: Counting) -> None:
    short = {
        "path": "/short/",
        "strip_prefix": "/short",
        "upstream": "a",
        "request_timeout": "300ms",
    }
    proxy = capped(1, routes=[short, {"path": "/", "upstream": "a"}])
    first = Asked(proxy, "/hold?ms=1000")
    wait_until(lambda: counting.log())
    second = Asked(proxy, "/short/hold")
    assert second.answer.status == 504
    assert 0.29 < second.seconds < 0.6
    assert queued(proxy) == 0
    assert first.answer.status == 200
    proxy.settle()
    assert proxy.totals()["queue_timeouts"] == 0
    assert proxy.backends()[counting.url]["timeouts"] == 0
    assert len(counting.log()) == 1
