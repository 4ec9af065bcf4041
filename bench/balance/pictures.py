# SPDX-License-Identifier: MIT
"""The pictures of docs/balancing.md, drawn as the benchmark's are (bench/page). Blue is what is the
default, or what is the point."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bench.balance import figures
from bench.balance.figures import FULL, Scale
from bench.balance.queueing import Outcome
from bench.page import charts
from bench.page.plots import Plot

DIRECTORY = Path(__file__).resolve().parent.parent.parent / "docs" / "balancing"
SERIES = {"p2c": 0, "random": 9, "round_robin": 2, "least_conn": 1, "ewma": 3}
AGGRESSIONS = {1.0: 0, 2.0: 1, 0.5: 2}


def bar(label: str, value: float, shown: str, ours: bool = False) -> charts.Bar:
    return charts.Bar(label, f"{label}: {shown}", shown, value, value, value, ours=ours)


def to_mean(
    name: str, title: str, text: str, found: dict[str, float], ours: str, goal: float = 1.0
) -> Plot:
    """Something of the one that has most, to the mean of all. `ours`: a part of blue names."""
    rows = [bar(one, value, f"{value:.2f}", ours in one) for one, value in found.items()]
    return Plot(name, charts.bars(title, text, rows, goal=goal))


def spread(scale: Scale) -> Plot:
    return to_mean(
        "spread", "Requests under way at the busiest backend",
        "to the mean of all; 20 backends, 4 workers, 70% busy; best is 1",
        figures.under_way(scale), "p2c",
    )  # fmt: skip


def keys(scale: Scale) -> Plot:
    return to_mean(
        "keys", "Keys of the backend that has most of them",
        "to the mean of 20 backends; best is 1", figures.key_share(scale), "ring",
    )  # fmt: skip


def bound(scale: Scale) -> Plot:
    return to_mean(
        "bound", "A hot key: requests under way at the busiest backend",
        f"to the mean of 20; {figures.HOT:.0%} have one key; blue: bound 1.25, yellow",
        figures.hot_key(scale), ", ", figures.BOUND,
    )  # fmt: skip


def moved(scale: Scale) -> Plot:
    rows = []
    for name, (lost, added) in figures.moved(scale).items():
        ours = name != "modulo"
        rows.append(bar(f"{name}, 10 to 9", lost, f"{lost:.1f}%", ours))
        rows.append(bar(f"{name}, 10 to 11", added, f"{added:.1f}%", ours))
    return Plot("moved", charts.bars(
        "Keys that move when a backend is lost or added",
        "percent of all keys; yellow: what must move, a tenth", rows, goal=10.0,
    ))  # fmt: skip


def waits(name: str, title: str, text: str, found: dict[str, Outcome]) -> Plot:
    rows = [
        charts.Curve(balance, outcome.counts_us(), SERIES[balance])
        for balance, outcome in sorted(found.items(), key=lambda one: SERIES[one[0]])
    ]
    return Plot(name, charts.curves(title, text, rows))


def slow(scale: Scale) -> Plot:
    return waits(
        "slow-backend", "One of three backends takes ten times as long",
        "ms from coming to answered, at percentiles", figures.slow_member(scale),
    )  # fmt: skip


def long(scale: Scale) -> Plot:
    return waits(
        "long-requests", "Every tenth request takes 55 ms, the others 5",
        "ms from coming to answered, 10 backends that do 2 at a time, 70% busy",
        figures.long_requests(scale),
    )  # fmt: skip


def slow_start(scale: Scale) -> Plot:
    rows = [
        charts.Line(f"aggression {one:g}", figures.ramp(one, scale), series)
        for one, series in AGGRESSIONS.items()
    ]
    return Plot("slow-start", charts.lines(
        "Slow start: the share of a backend that came back",
        "percent of its fair share; window 30 s, least 10", rows, "seconds since it came back",
    ))  # fmt: skip


def tiers(_: Scale) -> Plot:
    found = list(reversed(figures.spill()))
    rows = [
        charts.Line("priority 0", [(able, first) for able, first, _ in found], 0),
        charts.Line("priority 1", [(able, second) for able, _, second in found], 2),
    ]
    return Plot("tiers", charts.lines(
        "Who gets the requests when members of priority 0 fail",
        "percent of requests; overprovision 1.4", rows, "percent of priority 0 that can serve",
    ))  # fmt: skip


ALL: dict[str, Callable[[Scale], Plot]] = {
    "spread": spread, "slow-backend": slow, "long-requests": long, "keys": keys, "moved": moved,
    "bound": bound, "tiers": tiers, "slow-start": slow_start,
}  # fmt: skip
"""By the name of the file."""


def draw(names: Iterable[str] = ALL, scale: Scale = FULL) -> list[Plot]:
    return [ALL[name](scale) for name in names]


def table(scale: Scale = FULL) -> list[str]:
    """The figures as lines, for the page's tables."""
    lines = ["busiest to mean, by load:"]
    lines += [f"  {name:22} {value:.2f}" for name, value in figures.under_way(scale).items()]
    lines += ["keys of the fullest to mean:"]
    lines += [f"  {name:22} {value:.3f}" for name, value in figures.key_share(scale).items()]
    lines += ["a hot key, busiest to mean:"]
    lines += [f"  {name:22} {value:.2f}" for name, value in figures.hot_key(scale).items()]
    lines += ["keys that move, 10 to 9 and 10 to 11, percent:"]
    for name, (lost, added) in figures.moved(scale).items():
        lines.append(f"  {name:22} {lost:5.1f} {added:5.1f}")
    for title, found in (
        ("one of three ten times slower", figures.slow_member(scale)),
        ("every tenth request long", figures.long_requests(scale)),
    ):
        lines.append(f"{title}, p50 p99 p99.9 ms, share of the last member:")
        for name, one in found.items():
            part = one.sent[one.members - 1] / sum(one.sent.values())
            cells = [one.percentile(p) for p in (50, 99, 99.9)]
            lines.append(f"  {name:16} {cells[0]:8.1f} {cells[1]:8.1f} {cells[2]:8.1f} {part:6.1%}")
    return lines
