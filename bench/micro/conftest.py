# SPDX-License-Identifier: MIT
"""How a probe is timed, and the table at the end."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

ROUND_SECONDS = 0.002
"""A round is about as long: much longer than the clock's grain, shorter than a time slice."""
ROUNDS = 25

Table = dict[str, dict[str, tuple[float, float]]]
TABLE = pytest.StashKey[Table]()


class Clock:
    """Moves on by what a probe said one operation took: pytest-benchmark then shows, saves and
    compares one operation, whatever the number of repetitions."""

    seconds = 0.0

    def read(self) -> float:
        return self.seconds


CLOCK = Clock()

Timing = Callable[[str, str, Callable[[int], float], int], None]


@pytest.fixture
def timing(benchmark: Any, request: pytest.FixtureRequest) -> Timing:
    """timing(what, by whom, run, bytes): run(n) does it n times and answers ns of one."""
    table = request.config.stash.setdefault(TABLE, {})

    def timing(what: str, who: str, run: Callable[[int], float], size: int) -> None:
        repeat = repetitions(run)

        def one_round() -> None:
            CLOCK.seconds += run(repeat) * 1e-9

        benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=2)
        if benchmark.stats is None:  # --benchmark-disable: it was run, no more
            return
        best = benchmark.stats.stats.min * 1e9
        benchmark.extra_info["ns"] = best
        benchmark.extra_info["bytes_per_ns"] = size / best
        table.setdefault(what, {})[who] = best, size / best

    return timing


def repetitions(run: Callable[[int], float]) -> int:
    """As many as fill a round."""
    repeat = 1
    while True:
        began = perf_counter()
        run(repeat)
        if perf_counter() - began >= ROUND_SECONDS / 2 or repeat >= 1 << 20:
            return repeat
        repeat *= 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=CLOCK.read))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line an operation, best of its rounds, below pytest-benchmark's own tables."""
    for what, rows in config.stash.get(TABLE, {}).items():
        line = f"{what:34}"
        for who, (ns, bytes_per_ns) in rows.items():
            line += f"  {who:9}{ns:10,.1f} ns"
            line += f"{bytes_per_ns:7.2f} B/ns" if bytes_per_ns else " " * 12
        terminalreporter.write_line(line.rstrip())
