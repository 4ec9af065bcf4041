# SPDX-License-Identifier: MIT
"""What a run found: these classes are the schema of `--json` FILE, read back by `load`.

    Run
      format     1; another number is another schema
      machine    where and when
      plan       how much was measured
      results    one for each scenario
        scenario   the data of scenarios.py
        rows       one for each proxy and variant; the first one is ours
          samples    one for each turn: figures by name (measures.py)
          once       figures taken once, after the turns: memory, system calls
          curve      latencies of all turns, [us, count] ascending; only where the load is paced
        verdicts   the targets, and whether they were reached
        notes      what was left out, and what makes the figures doubtful

Ratios are ours to theirs, turn by turn: neighbours in time had the same machine. Their median is
the result, the least and the largest tell how far to trust it.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

from bench.measures import BY_NAME
from bench.scenario import OURS, Scenario, Target

FORMAT = 1


class Machine(msgspec.Struct):
    """Where and when."""

    date: str
    """UTC, to the minute."""
    cpu: str
    cpus: int
    kernel: str
    python: str
    load_average: float
    """Before the run: what else was going on."""


class Plan(msgspec.Struct, frozen=True):
    """How much is measured."""

    seconds: float = 5.0
    """Length of a turn."""
    pairs: int = 5
    """Turns of each proxy; 0: answers are verified, nothing is timed."""
    warm: float = 1.0
    """Seconds of load before the first turn; 0: none."""
    count: bool = True
    """Whether system calls are counted, in one more turn of a second: in every scenario, or only
    where there is a target for them."""
    spoil: bool = False
    """The origin answers wrongly: shows that this is noticed."""


class Row(msgspec.Struct):
    """All turns of one proxy in one setting."""

    name: str
    """`nginx`, or with the variant: `nginx tuned`."""
    peer: str
    variant: str
    version: str
    samples: list[dict[str, float]] = []
    once: dict[str, float] = {}
    curve: list[tuple[int, int]] = []

    def values(self, measure: str) -> list[float]:
        """Of all turns, or the one that was taken once; empty: not measured."""
        found = [one[measure] for one in self.samples if measure in one]
        return found or [value for name, value in self.once.items() if name == measure]

    def median(self, measure: str) -> float | None:
        values = self.values(measure)
        return statistics.median(values) if values else None


class Verdict(msgspec.Struct):
    """One target of one scenario."""

    text: str
    """What must be: `CPU time per request, us: at most 0.80 x nginx`."""
    found: float | None
    """None: not measured, since a peer is not there."""
    reached: bool | None


class Result(msgspec.Struct):
    """One scenario."""

    scenario: Scenario
    rows: list[Row]
    verdicts: list[Verdict] = []
    notes: list[str] = []

    def row(self, name: str) -> Row | None:
        return next((one for one in self.rows if one.name == name), None)

    def ratios(self, row: Row, measure: str = "") -> list[float]:
        """Ours to theirs, turn by turn; the scenario's figure if none is named."""
        name = measure or self.scenario.figure
        pairs = zip(self.rows[0].values(name), row.values(name), strict=False)
        return [ours / theirs for ours, theirs in pairs if theirs]

    def ratio(self, name: str, measure: str = "") -> float | None:
        """The median against the row of that name."""
        row = self.row(name)
        found = self.ratios(row, measure) if row else []
        return statistics.median(found) if found else None


class Run(msgspec.Struct):
    """All of it."""

    machine: Machine
    plan: Plan
    results: list[Result]
    notes: list[str] = []
    format: int = FORMAT


def dump(run: Run) -> bytes:
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"


def load(path: Path) -> Run:
    """ValueError (msgspec.ValidationError is one) with the place that is not as above."""
    data = path.read_bytes()
    found = msgspec.json.decode(data)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path} is no result of format {FORMAT}")
    return msgspec.json.decode(data, type=Run)


# ---- targets --------------------------------------------------------------------------------


def judge(result: Result) -> list[Verdict]:
    """The targets of its scenario; without ours in the first row there is nothing to judge."""
    if not result.rows or result.rows[0].peer != OURS:
        return []
    return [_verdict(result, target) for target in result.scenario.targets]


def _verdict(result: Result, target: Target) -> Verdict:
    found = _found(result, target)
    text = f"{BY_NAME[target.measure].text}: {_wanted(target)}"
    if found is None:
        return Verdict(text, None, None)
    reached = (target.most is None or round(found, 3) <= target.most) and (
        target.least is None or round(found, 3) >= target.least
    )
    return Verdict(text, found, reached)


def _wanted(target: Target) -> str:
    bound = f"at most {target.most:g}" if target.most is not None else f"at least {target.least:g}"
    if not target.against:
        return bound
    return f"{bound} {'more than' if target.difference else 'x'} {target.best_of}"


def _found(result: Result, target: Target) -> float | None:
    ours = result.rows[0].median(target.measure)
    if ours is None or not target.against:
        return ours
    rows = [row for name in target.against if (row := result.row(name))]
    measured = [(value, row) for row in rows if (value := row.median(target.measure)) is not None]
    if not measured:
        return None
    choose = max if BY_NAME[target.measure].more_is_better else min
    best = choose(measured, key=lambda one: one[0])[1]
    if not target.difference:
        return result.ratio(best.name, target.measure)
    pairs = zip(result.rows[0].values(target.measure), best.values(target.measure), strict=False)
    return statistics.median(a - b for a, b in pairs)
