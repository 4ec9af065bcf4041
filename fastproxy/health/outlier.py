# SPDX-License-Identifier: MIT
"""The sweep: members whose answers differ from the others' are ejected, by what the counters say.

Workers eject for failures in a row, as they see them (balance/outlier.pxd). What only shows in
comparison is control's: every `outlier.interval` it takes what was counted since the last time, and
`judged` (pure) says who is out and why. Ejecting is the same decision as a worker's, under the same
limits. And it forgives: an interval without an ejection makes the next one shorter again.

Cheap, because of the counters only the words that are needed are read.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.balance.build import Member
from fastproxy.balance.settings import Outlier
from fastproxy.health.prober import Key, Says
from fastproxy.scoreboard import segment

ERRORS_VOLUME = 50
"""Requests of a member in one interval, before its share of failures counts."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one member has answered in an interval."""

    answers: int
    """What came of its requests, and of connects that failed."""
    failures: int
    """Of those: no connection, no answer, a broken one, or one of `outlier.status`."""
    buckets: tuple[int, ...] = ()
    """Times to the first byte, as in the scoreboard's histograms; empty: not looked at."""

    @property
    def rate(self) -> float:
        """Of success."""
        return 1 - self.failures / self.answers if self.answers else 1.0

    def less(self, before: Window) -> Window:
        """What has come since."""
        buckets = tuple(now - old for now, old in zip(self.buckets, before.buckets, strict=False))
        return Window(self.answers - before.answers, self.failures - before.failures, buckets)


def judged(seen: Mapping[int, Window], rules: Outlier) -> dict[int, str]:
    """Who is out, the worst of each test first, and why. A test says nothing unless enough members
    had enough requests."""
    found: dict[int, str] = {}
    for test in (by_success, by_errors, by_latency):
        for member, why in test(seen, rules).items():
            found.setdefault(member, why)
    return found


def by_success(seen: Mapping[int, Window], rules: Outlier) -> dict[int, str]:
    """Success rates more than `success_sigma` standard deviations below the mean."""
    rates = {member: one.rate for member, one in seen.items() if one.answers >= rules.volume}
    if not rules.success_sigma or len(rates) < rules.hosts:
        return {}
    mean = sum(rates.values()) / len(rates)
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates.values()) / len(rates))
    least = mean - rules.success_sigma * deviation
    return {
        member: f"{rate:.1%} of {seen[member].answers} answers were good, {mean:.1%} on average"
        for member, rate in sorted(rates.items(), key=lambda one: one[1])
        if rate < least - 1e-12
    }


def by_errors(seen: Mapping[int, Window], rules: Outlier) -> dict[int, str]:
    """At least `error_percent` of failures, whatever the others do."""
    enough = {member: one for member, one in seen.items() if one.answers >= ERRORS_VOLUME}
    if not rules.error_percent or len(enough) < rules.hosts:
        return {}
    return {
        member: f"{one.failures} of {one.answers} answers were failures"
        for member, one in sorted(enough.items(), key=lambda pair: pair[1].rate)
        if one.failures * 100 >= rules.error_percent * one.answers
    }


def by_latency(seen: Mapping[int, Window], rules: Outlier) -> dict[int, str]:
    """A median `latency_factor` times that of all answers together."""
    enough = {member: list(one.buckets) for member, one in seen.items()
              if sum(one.buckets) >= rules.volume}  # fmt: skip
    if not rules.latency_factor or len(enough) < rules.hosts:
        return {}
    usual = segment.quantile([sum(column) for column in zip(*enough.values(), strict=True)], 0.5)
    medians = {member: segment.quantile(buckets, 0.5) for member, buckets in enough.items()}
    return {
        member: f"it answers in {median / 1000:.1f} ms, all together in {usual / 1000:.1f} ms"
        for member, median in sorted(medians.items(), key=lambda one: -one[1])
        if median > rules.latency_factor * usual
    }


@dataclass(slots=True)
class _Swept:
    """One upstream, and what the counters said last time."""

    name: str
    index: int
    rules: Outlier
    members: list[tuple[str, int, int]]
    """Name, row, generation; in the roster's order."""
    before: dict[tuple[int, int], Window]


class Sweep:
    """All upstreams of one instance."""

    def __init__(self, board: Board, rules: Mapping[str, Outlier], log: Says) -> None:
        self.board = board
        self.log = log
        self.roster = b""
        self.upstreams = [
            _Swept(name, index, one, [], {}) for index, (name, one) in enumerate(rules.items())
        ]
        self.tasks: list[asyncio.Task[None]] = []

    def update(
        self,
        members: Iterable[Member],
        rows: Mapping[Key, int],
        generations: Mapping[int, int],
        roster: bytes,
    ) -> None:
        """Who is a member from now on: the same as in the bytes of the roster in force."""
        self.roster = roster
        by_name = {one.name: one for one in self.upstreams}
        for one in self.upstreams:
            one.members = []
        for member in members:
            row = rows[(member.upstream, member.name)]
            by_name[member.upstream].members.append((member.name, row, generations[row]))

    def start(self) -> None:
        """From now on by themselves. Needs a running loop."""
        if not self.tasks:
            self.tasks = [asyncio.create_task(self._run(one)) for one in self.upstreams
                          if one.rules.interval]  # fmt: skip

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks = []

    async def _run(self, one: _Swept) -> None:
        while True:
            try:
                self.sweep(one)
            except Exception as error:
                # Ours, and it must be seen; but it must not be the last sweep.
                self.log.error(
                    f'upstream "{one.name}": a sweep ended by a fault of ours: {error!r}'
                )
            await asyncio.sleep(float(one.rules.interval))

    def sweep(self, one: _Swept) -> dict[str, str]:
        """Judge what has come since the last time. Who was ejected, and why."""
        now = {(row, generation): self._counted(row, bool(one.rules.latency_factor))
               for _, row, generation in one.members}  # fmt: skip
        seen = {
            at: now[row, generation].less(one.before[row, generation])
            for at, (_, row, generation) in enumerate(one.members)
            if (row, generation) in one.before
        }
        one.before = now
        ejected: dict[str, str] = {}
        for at, why in judged(seen, one.rules).items():
            if _core.eject(self.board, self.roster, one.index, at):
                name = one.members[at][0]
                ejected[name] = why
                self.log.warning(f'upstream "{one.name}": {name} is ejected: {why}')
        self._forgive(one)
        return ejected

    def _forgive(self, one: _Swept) -> None:
        now_ms = time.monotonic_ns() // 1_000_000
        for _, row, _ in one.members:
            word = segment.backend_words(self.board, row, ("ejection",))["ejection"]
            if word & 0xFFFF and (word >> 16) + one.rules.interval.ms <= now_ms:
                _core.forgive(self.board, row)

    def _counted(self, row: int, times: bool) -> Window:
        """All that the workers have counted of a row so far."""
        answers = sum(segment.counted(self.board, row, "status"))
        (refused,) = segment.counted(self.board, row, "connect_errors")
        (failures,) = segment.counted(self.board, row, "failures")
        buckets = segment.counted(self.board, row, "first_byte") if times else []
        return Window(answers + refused, failures, tuple(buckets))
