"""Outliers: the statistics against a slow twin, and the sweep on a real scoreboard."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.balance.build import Member
from fastproxy.balance.settings import Outlier, Upstream
from fastproxy.health.outlier import Sweep, Window, by_latency, judged
from fastproxy.memory import pack
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from tests.unit.watched import Heard

PLAIN = Outlier()


def windows(*pairs: tuple[int, int]) -> dict[int, Window]:
    return {at: Window(answers, failures) for at, (answers, failures) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("pairs", "out"),
    [
        ([(100, 0)] * 5, []),
        ([(100, 0)] * 4 + [(100, 20)], [4]),
        ([(1000, 10)] * 9 + [(1000, 300)], [9]),
        ([(100, 0)] * 3 + [(100, 20)], []),  # four are too few to compare
        ([(100, 0)] * 4 + [(99, 20)], []),  # and so are 99 requests
        ([(100, 0)] * 4 + [(60, 60)], [4]),  # but 50 are enough for 85%
        ([(100, 0)] * 4 + [(49, 49)], []),
        ([(50, 50)] * 5, [0, 1, 2, 3, 4]),  # whatever the others do; the limits come later
        ([(1000, 500)] * 20 + [(1000, 700), (1000, 990)], [21]),  # not 20: the worst pulls the rest
        ([(100, 100)] + [(100, 0)] * 9, [0]),
        ([(0, 0)] * 9, []),
        ([], []),
    ],
)
def test_who_is_out(pairs: list[tuple[int, int]], out: list[int]) -> None:
    assert sorted(judged(windows(*pairs), PLAIN)) == out


def test_tests_can_be_switched_off() -> None:
    seen = windows(*[(100, 0)] * 4, (100, 100))
    assert "on average" in judged(seen, Outlier(error_percent=0))[4]
    assert "100 of 100 answers were failures" in judged(seen, Outlier(success_sigma=0.0))[4]
    assert judged(seen, Outlier(success_sigma=0.0, error_percent=0)) == {}


def test_the_worst_comes_first() -> None:
    """The limits may let only one be ejected."""
    seen = windows(*[(100, 0)] * 20, (100, 60), (100, 90), (100, 75))
    assert next(iter(judged(seen, Outlier(error_percent=0)))) == 21


def twin(seen: dict[int, Window], rules: Outlier) -> set[int]:
    """As Envoy's documentation says it, slowly."""
    found = set()
    enough = {at: one for at, one in seen.items() if one.answers >= rules.volume}
    if rules.success_sigma and len(enough) >= rules.hosts:
        rates = {at: (one.answers - one.failures) / one.answers for at, one in enough.items()}
        mean = statistics.fmean(rates.values())
        least = mean - rules.success_sigma * statistics.pstdev(rates.values())
        found |= {at for at, rate in rates.items() if rate < least - 1e-12}
    enough = {at: one for at, one in seen.items() if one.answers >= 50}
    if rules.error_percent and len(enough) >= rules.hosts:
        found |= {
            at
            for at, one in enough.items()
            if 100 * one.failures >= rules.error_percent * one.answers
        }
    return found


@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), max_size=30),
    st.sampled_from([0.0, 1.0, 1.9, 3.0]),
    st.sampled_from([0, 20, 85, 100]),
    st.integers(1, 8),
    st.sampled_from([1, 100, 300]),
)
def test_the_twin_agrees(
    given_: list[tuple[int, float]], sigma: float, percent: int, hosts: int, volume: int
) -> None:
    seen = windows(*((answers, int(answers * share)) for answers, share in given_))
    rules = Outlier(success_sigma=sigma, error_percent=percent, hosts=hosts, volume=volume)
    assert set(judged(seen, rules)) == twin(seen, rules)


def timed(us: int, count: int) -> Window:
    buckets = [0] * segment.WORDS["buckets"]
    index = min(range(280), key=lambda at: abs(segment.bucket_middle(at) - us))
    buckets[index] = count
    return Window(count, 0, tuple(buckets))


def test_latency() -> None:
    rules = Outlier(latency_factor=3.0)
    seen = {at: timed(10_000, 200) for at in range(5)} | {5: timed(40_000, 200)}
    assert list(by_latency(seen, rules)) == [5]
    assert by_latency({**seen, 5: timed(25_000, 200)}, rules) == {}
    assert by_latency({**seen, 5: timed(40_000, 99)}, rules) == {}
    assert by_latency(seen, Outlier()) == {}
    assert by_latency({at: seen[at] for at in (3, 4, 5)}, rules) == {}


# ---- on the scoreboard ------------------------------------------------------------------------


class Swept:
    """An upstream of ten members, and what workers would have counted."""

    def __init__(self, count: int = 10, **values: Any) -> None:
        self.board = Board(segment.create(2))
        urls = [UpstreamUrl.parse(f"http://127.0.0.1:{9000 + at}") for at in range(count)]
        upstream = Upstream(backends=urls, outlier=Outlier(**values))
        addresses = {str(url): build.resolve(url) for url in urls}
        self.members: list[Member] = build.members({"web": upstream}, addresses)
        self.rows = build.assign_rows(self.members)
        self.generations = dict.fromkeys(self.rows.values(), 1)
        for row, one in enumerate(self.members):
            segment.set_backend(self.board, row, one.name, percent=100, weight=1, generation=1)
        self.roster = build.build_roster({"web": upstream}, addresses, self.rows, 1)
        self.log = Heard()
        self.sweep = Sweep(self.board, {"web": upstream.outlier}, self.log)
        self.update()

    def update(self) -> None:
        self.sweep.update(self.members, self.rows, self.generations, self.roster)

    def count(self, row: int, good: int, bad: int, worker: int = 0) -> None:
        """Answers of a row, counted by a worker."""
        self.add(worker, row, "status", 2, good)
        self.add(worker, row, "status", 5, bad)
        self.add(worker, row, "failures", 0, bad)

    def add(self, worker: int, row: int, field: str, index: int, count: int) -> None:
        size, fields = pack.LAYOUT["BackendCount"]
        start = segment._head(self.board, "backend_counts_off")
        at = start + (worker * segment.BACKENDS_MAX + row) * size + fields[field][0]
        memoryview(self.board).cast("Q")[at // 8 + index] += count

    def round(self) -> dict[str, str]:
        return self.sweep.sweep(self.sweep.upstreams[0])

    def ejection(self, row: int) -> int:
        return int(segment.backend(self.board, row)["ejection"])


def test_a_sweep_ejects_by_what_has_come_since() -> None:
    swept = Swept()
    for row in range(10):
        swept.count(row, 5000, 5000 if row == 3 else 0)  # of old: before control was there
    assert swept.round() == {}
    for row in range(10):
        swept.count(row, 60, 0, worker=0)
        swept.count(row, 60, 60 if row == 7 else 0, worker=1)
    found = swept.round()
    assert list(found) == ["http://127.0.0.1:9007"]
    assert "66.7% of 180 answers were good, 96.7% on average" in swept.log.lines[0]
    until_ms = swept.ejection(7) >> 16
    assert abs(until_ms - time.monotonic() * 1000 - 30_000) < 1000
    assert swept.round() == {}  # nothing new has come


def test_a_sweep_counts_refused_connects_and_no_client_that_left() -> None:
    swept = Swept()
    swept.round()
    for row in range(10):
        swept.count(row, 120, 0)
    swept.add(0, 3, "connect_errors", 0, 60)
    swept.add(0, 3, "failures", 0, 60)
    swept.add(0, 5, "status", 0, 60)  # no answer, and nobody's fault but the client's
    assert list(swept.round()) == ["http://127.0.0.1:9003"]
    assert "66.7% of 180 answers were good" in swept.log.lines[0]


def test_a_sweep_sees_who_is_slow() -> None:
    swept = Swept(latency_factor=3.0)
    swept.round()
    size, fields = pack.LAYOUT["BackendCount"]
    start = segment._head(swept.board, "backend_counts_off")
    words = memoryview(swept.board).cast("Q")
    for row in range(10):
        bucket = 120 if row == 4 else 90  # a step of eight is a factor of two
        for worker in (0, 1):
            at = start + (worker * segment.BACKENDS_MAX + row) * size + fields["first_byte"][0]
            words[at // 8 + bucket] += 60
        swept.count(row, 120, 0)
    assert list(swept.round()) == ["http://127.0.0.1:9004"]
    assert "all together in" in swept.log.lines[0]


def test_the_limits_hold() -> None:
    """10% of ten is one, however many are bad."""
    swept = Swept()
    swept.round()
    for row in range(10):
        swept.count(row, 0 if row < 4 else 200, 200 if row < 4 else 0)
    assert len(swept.round()) == 1


def test_it_forgives() -> None:
    swept = Swept()
    now_ms = int(time.monotonic() * 1000)
    for row, ended in ((0, now_ms - 20_000), (1, now_ms - 3_000), (2, now_ms + 20_000)):
        at = segment._head(swept.board, "backends_off") + row * pack.size("BackendRow")
        segment._set_words(swept.board, "BackendRow", at, {"ejection": ended << 16 | 3})
    swept.round()
    assert [swept.ejection(row) & 0xFFFF for row in range(4)] == [2, 3, 3, 0]
    swept.round()
    assert [swept.ejection(row) & 0xFFFF for row in range(4)] == [1, 3, 3, 0]


def test_a_new_owner_of_a_row_has_no_past() -> None:
    swept = Swept()
    swept.round()
    for row in range(10):
        swept.count(row, 200, 200 if row == 2 else 0)
    swept.generations[2] = 2
    segment.set_backend(swept.board, 2, generation=2)
    swept.update()
    assert swept.round() == {}


def test_a_sweep_of_a_thousand_is_cheap() -> None:
    swept = Swept(1000)
    swept.round()
    for row in range(1000):
        swept.count(row, 200, 0)
    began = time.process_time()
    swept.round()
    assert time.process_time() - began < 0.25
