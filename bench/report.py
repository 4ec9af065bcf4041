# SPDX-License-Identifier: MIT
"""What came out: a table for people, JSON for programs, Markdown for the README."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.measure import Plan, Result, Series
from bench.processes import cpus
from bench.scenarios import MIB

COLUMNS = ("proxy", "CPU us", "user + system", "ratio", "least-most", "req/s", "p50 ms", "p99 ms",
           "MiB")  # fmt: skip
OTHERS_MAX = 0.05
"""A larger share of the proxy's CPU in foreign hands is worth a note."""


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model,
        "cpus": len(cpus()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def row(result: Result, series: Series) -> list[str]:
    """The cells of one proxy."""
    cpu = series.median("cpu_us")
    ratio = spread = ""
    if series is not result.series[0]:
        ratios = result.ratios(series)
        ratio = f"{result.ratio(series.peer):.2f}"
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    return [
        series.peer,
        f"{cpu:.1f}",
        f"{cpu * series.user_share():.1f} + {cpu * (1 - series.user_share()):.1f}",
        ratio,
        spread,
        f"{series.median('rate'):,.0f}",
        f"{series.median('p50_ms'):.2f}",
        f"{series.median('p99_ms'):.2f}",
        f"{series.memory_bytes / MIB:.0f}",
    ]


def table(result: Result) -> Table:
    """For the terminal."""
    title = f"{result.scenario.name}: {result.scenario.text}"
    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    for name in COLUMNS:
        shown.add_column(name, justify="left" if name == "proxy" else "right", no_wrap=True)
    for series in result.series:
        cells: list[str | Text] = list(row(result, series))
        if series is result.series[0]:
            cells[0] = Text(series.peer, style="bold")
        else:
            style = "green" if result.ratio(series.peer) <= 1.0 else "red"
            cells[3] = Text(str(cells[3]), style=style)
        shown.add_row(*cells)
    return shown


def notes(results: Sequence[Result]) -> list[str]:
    """What a reader should know before trusting the figures."""
    found = []
    for result in results:
        shares = [one.others for series in result.series for one in series.samples]
        if shares and max(shares) > OTHERS_MAX:
            found.append(
                f"{result.scenario.name}: up to {max(shares):.0%} of the proxies' CPU went to "
                "processes that are no part of this; trust the ratios, not the rates"
            )
        if result.scenario.target is not None:
            for series in result.series[1:]:
                if series.peer == "nginx":
                    ratio = result.ratio("nginx")
                    word = "met" if ratio <= result.scenario.target else "MISSED"
                    found.append(
                        f"{result.scenario.name}: {ratio:.2f} x nginx, target "
                        f"{result.scenario.target:.2f}: {word}"
                    )
    return found


def as_dict(results: Sequence[Result], plan: Plan, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": about,
        "seconds": plan.seconds,
        "pairs": plan.pairs,
        "results": [result.as_dict() for result in results],
    }


def markdown(results: Sequence[Result], plan: Plan, about: dict[str, Any]) -> str:
    """Tables for a page."""
    versions = ", ".join(f"{one.peer} {one.version}" for one in results[0].series)
    lines = [
        f"{about['date']}, {about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, Python "
        f"{about['python']}; {versions}; {plan.pairs} rounds of {plan.seconds:g} s each. CPU is "
        "microseconds for one request, of all processes of the proxy; ratio is ours to "
        "theirs, round by round; medians.",
    ]
    for result in results:
        lines += ["", f"**{result.scenario.name}**: {result.scenario.text}", ""]
        lines.append("| " + " | ".join(COLUMNS) + " |")
        lines.append("|---" + "|---:" * (len(COLUMNS) - 1) + "|")
        lines += ["| " + " | ".join(row(result, one)) + " |" for one in result.series]
    if remarks := notes(results):
        lines += ["", *(f"- {one}" for one in remarks)]
    return "\n".join(lines) + "\n"
