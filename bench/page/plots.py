# SPDX-License-Identifier: MIT
"""What is drawn of a run: against each peer, all scenarios; in each scenario, all proxies."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from bench.measures import BY_NAME
from bench.page import charts
from bench.page.style import SERIES
from bench.page.svg import Drawing
from bench.results import Result, Row, Run

MIB_FIGURE = "cpu_us_per_mib"


@dataclass(frozen=True)
class Plot:
    """A drawing and what it is called as a file."""

    name: str
    drawing: Drawing
    main: bool = False
    """Whether it is worth a file (png.py)."""


def word(measure: str) -> str:
    """A figure in few words."""
    return {
        "cpu_us": "CPU per request",
        MIB_FIGURE: "CPU per MiB",
        "worker_us": "CPU of the workers per request",
        "rate": "requests per second",
        "handshakes": "handshakes per second of CPU",
        "p99_ms": "99th percentile of latency",
        "idle_bytes": "bytes per idle connection",
    }.get(measure, BY_NAME[measure].text)


def numbers(values: list[float], measure: str) -> str:
    """The median, and what it is the median of."""
    show = BY_NAME[measure].show
    middle = show(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({show(min(values))} to {show(max(values))})"


# ---- ratios ---------------------------------------------------------------------------------


def ratio(result: Result, row: Row, label: str) -> charts.Ratio | None:
    """None: there is nothing to compare."""
    found = [one for one in result.ratios(row) if one > 0]
    if not found:
        return None
    figure = result.scenario.figure
    ours = numbers(result.rows[0].values(figure), figure)
    hint = (
        f"{result.scenario.name}, {BY_NAME[figure].text}: {result.rows[0].name} {ours}, {row.name} "
        f"{numbers(row.values(figure), figure)}; ratio {statistics.median(found):.2f}, "
        f"{min(found):.2f} to {max(found):.2f} in {len(found)} turns"
    )
    wanted = goal(result, row)
    if wanted:
        hint += f"; target {wanted:g}"
    return charts.Ratio(label, hint, found, BY_NAME[figure].more_is_better, wanted)


def goal(result: Result, row: Row) -> float | None:
    """The ratio that is wanted against this row: who must beat the best must beat all."""
    for one in result.scenario.targets:
        if row.name in one.against and one.measure == result.scenario.figure and not one.difference:
            return one.most if one.most is not None else one.least
    return None


def peers(run: Run) -> list[str]:
    """All but ours, in order of appearance."""
    ours = {result.rows[0].peer for result in run.results}
    return list(
        dict.fromkeys(row.peer for one in run.results for row in one.rows if row.peer not in ours)
    )


def against(run: Run) -> list[Plot]:
    """For each peer its ratios in all scenarios."""
    found = []
    for peer in peers(run):
        rows = []
        for result in run.results:
            for row in result.rows[1:]:
                if row.peer == peer:
                    rows.append(ratio(result, row, f"{result.scenario.name} {row.variant}".strip()))
        there = [one for one in rows if one]
        if there:
            version = next(r.version for one in run.results for r in one.rows if r.peer == peer)
            drawing = charts.ratios(
                f"{run.results[0].rows[0].peer} against {peer} {version}",
                "ratios, median and range; tinted: better for us; yellow: target",
                there,
            )
            found.append(Plot(f"against-{peer}", drawing, main=True))
    return found


# ---- one scenario ---------------------------------------------------------------------------


def scenario(run: Run, result: Result) -> Iterator[Plot]:
    """All that there is to see of it."""
    name, figure = result.scenario.name, result.scenario.figure
    first = next((one for one in run.results if one.scenario.method == "closed"), None)
    rows = [ratio(result, row, row.name) for row in result.rows[1:]]
    there = [one for one in rows if one]
    if there:
        text = f"{result.rows[0].name} to each, median and range; tinted: better for us"
        yield Plot(f"{name}-ratio", charts.ratios(f"{name}: {word(figure)}, ratio", text, there))
    if any(row.curve for row in result.rows):
        yield Plot(f"{name}-curve", latency(run, result), main=True)
    if any(row.values("cpu_us") for row in result.rows):
        yield Plot(f"{name}-cpu", processor(result), main=result is first)
    if figure in ("rate", "handshakes", "idle_bytes"):
        yield Plot(f"{name}-{figure}", plain(result, figure), main=figure == "idle_bytes")
    if any(row.values("pss_bytes") for row in result.rows):
        yield Plot(f"{name}-memory", plain(result, "pss_bytes"), main=result is first)


def latency(run: Run, result: Result) -> Drawing:
    """A peer has one colour in all of a run."""
    order = {name: 1 + n % (SERIES - 1) for n, name in enumerate(peers(run))}
    rows = [
        charts.Curve(row.name, row.curve, order.get(row.peer, 0))
        for row in result.rows
        if row.curve
    ]
    text = "ms at percentiles, from when each request was due; all turns together"
    return charts.curves(f"{result.scenario.name}: waiting for answers", text, rows)


def processor(result: Result) -> Drawing:
    """User and system; for large bodies the same shares of what a MiB takes."""
    figure = MIB_FIGURE if result.rows[0].values(MIB_FIGURE) else "cpu_us"
    bars = []
    for row in result.rows:
        total, user, system = (row.median(one) for one in (figure, "user_us", "system_us"))
        if total is None or user is None or system is None:
            continue
        share = user / (user + system) if user + system else 0.0
        hint = f"{row.name}: {numbers(row.values(figure), figure)} us, {share:.0%} of it user"
        if figure == "cpu_us":
            parts = f"user {numbers(row.values('user_us'), 'user_us')}"
            parts += f", system {numbers(row.values('system_us'), 'system_us')}"
            hint = f"{row.name}: {numbers(row.values(figure), figure)} us; {parts}"
        bars.append(bar(result, row, figure, hint, (share, 1 - share)))
    text = "us of all its processes, user and system; median, least and largest turn"
    return charts.bars(f"{result.scenario.name}: {word(figure)}", text, bars)


def plain(result: Result, figure: str) -> Drawing:
    """One figure of each."""
    measure = BY_NAME[figure]
    bars = [
        bar(result, row, figure, f"{row.name}: {numbers(row.values(figure), figure)}")
        for row in result.rows
        if row.values(figure)
    ]
    title, text = word(figure), "median, least and largest turn"
    if figure == "pss_bytes":
        title, text = "memory, MiB", "PSS of all its processes with the load behind them"
    elif figure == "idle_bytes":
        title, text = "memory per idle connection", "bytes by which PSS grew; yellow: target"
    goals = [
        one.most for one in result.scenario.targets if one.measure == figure and not one.against
    ]
    return charts.bars(
        f"{result.scenario.name}: {title}", text, bars, measure.divisor, goals[0] if goals else None
    )


def bar(
    result: Result, row: Row, figure: str, hint: str, parts: tuple[float, ...] = (1.0,)
) -> charts.Bar:
    values = row.values(figure)
    middle = statistics.median(values)
    return charts.Bar(
        label=row.name,
        hint=hint,
        shown=BY_NAME[figure].show(middle),
        value=middle,
        low=min(values),
        high=max(values),
        parts=parts,
        ours=row.peer == result.rows[0].peer,
    )
