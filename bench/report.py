# SPDX-License-Identifier: MIT
"""What came out: a table for people and Markdown for pages; results.py has it for programs."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.measures import BY_NAME, COLUMNS
from bench.processes import cpus
from bench.results import Machine, Plan, Result, Row, Run, Verdict

HEADS = {"ratio": "ratio", "spread": "least-most"}
STATES = {True: "reached", False: "MISSED", None: "not measured"}
STYLES = {True: "green", False: "red", None: "yellow"}


def machine() -> Machine:
    """What it is measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return Machine(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cpu=model,
        cpus=len(cpus()),
        kernel=platform.release(),
        python=platform.python_version(),
        load_average=os.getloadavg()[0],
    )


# ---- one scenario ---------------------------------------------------------------------------


def columns(result: Result) -> list[str]:
    """Those of its figure for which there is anything."""
    return [
        name
        for name in COLUMNS[result.scenario.figure]
        if name in HEADS or any(row.values(name) for row in result.rows)
    ]


def heads(result: Result) -> list[str]:
    return ["proxy", *(HEADS.get(one) or BY_NAME[one].head for one in columns(result))]


def cells(result: Result, row: Row) -> list[str]:
    """One row of the table."""
    found = [row.name]
    ours = row is result.rows[0]
    ratios = [] if ours else result.ratios(row)
    for name in columns(result):
        if name == "ratio":
            ratio = None if ours else result.ratio(row.name)
            found.append("" if ratio is None else f"{ratio:.2f}")
        elif name == "spread":
            found.append(f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else "")
        else:
            found.append(BY_NAME[name].show(row.median(name)))
    return found


def table(result: Result) -> Table:
    """For the terminal."""
    shown = Table(
        title=f"{result.scenario.name}: {result.scenario.text}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    for name in heads(result):
        shown.add_column(name, justify="left" if name == "proxy" else "right", no_wrap=True)
    more = BY_NAME[result.scenario.figure].more_is_better
    for row in result.rows:
        line: list[str | Text] = list(cells(result, row))
        ratio = result.ratio(row.name)
        if row is result.rows[0]:
            line[0] = Text(row.name, style="bold")
        elif ratio is not None:
            at = heads(result).index("ratio")
            style = "green" if (ratio >= 1.0 if more else ratio <= 1.0) else "red"
            line[at] = Text(str(line[at]), style=style)
        shown.add_row(*line)
    return shown


def verdict(one: Verdict) -> str:
    """A target in words."""
    found = "" if one.found is None else f" ({figure(one.found)})"
    return f"{STATES[one.reached]}: {one.text}{found}"


def figure(found: float) -> str:
    """Two places, four where that many say more: 0.8016 must not look like the 0.80 it missed."""
    whole, _, places = f"{found:.4f}".partition(".")
    return f"{whole}.{places[:2]}{places[2:].rstrip('0')}"


def verdicts(result: Result) -> list[Text]:
    """For the terminal, below the table."""
    found = [Text(f"  {verdict(one)}", style=STYLES[one.reached]) for one in result.verdicts]
    return found + [Text(f"  {one}", style="dim") for one in result.notes]


def shown(result: Result) -> Iterator[Table | Text]:
    """All that the terminal gets of it."""
    if any(row.samples for row in result.rows):
        yield table(result)
    else:
        names = ", ".join(row.name for row in result.rows)
        yield Text(f"{result.scenario.name}: right answers from {names}")
    yield from verdicts(result)


# ---- the whole ------------------------------------------------------------------------------


def summary(run: Run) -> str:
    """Targets counted."""
    every = [one.reached for result in run.results for one in result.verdicts]
    if not every:
        return "no targets"
    counts = [f"{every.count(state)} {STATES[state]}" for state in (True, False, None)]
    return f"targets: {', '.join(counts)}"


def about(machine: Machine, plan: Plan, versions: dict[str, str]) -> str:
    """Where, when, what."""
    proxies = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine.date}, {machine.cpu}, {machine.cpus} CPUs, Linux {machine.kernel}, Python "
        f"{machine.python}; {proxies}; {plan.pairs} turns of {plan.seconds:g} s each. CPU is "
        "microseconds for one request (or MiB), of all processes of the proxy; ratio is ours to "
        "theirs, turn by turn; medians."
    )


def versions(run: Run) -> dict[str, str]:
    return {row.peer: row.version for result in run.results for row in result.rows}


def markdown(run: Run) -> str:
    """Tables for a page."""
    lines = [about(run.machine, run.plan, versions(run))]
    for result in run.results:
        lines += ["", f"**{result.scenario.name}**: {result.scenario.text}", ""]
        lines.append("| " + " | ".join(heads(result)) + " |")
        lines.append("|---" + "|---:" * (len(heads(result)) - 1) + "|")
        lines += ["| " + " | ".join(cells(result, one)) + " |" for one in result.rows]
        remarks = [*(verdict(one) for one in result.verdicts), *result.notes]
        if remarks:
            lines += ["", *(f"- {one}" for one in remarks)]
    if run.notes:
        lines += ["", *(f"- {one}" for one in run.notes)]
    return "\n".join(lines) + "\n"
