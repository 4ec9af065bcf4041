# SPDX-License-Identifier: MIT
"""The turns: A B C A B C. One scenario at a time, every proxy up, one of them loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import syscalls
from bench.methods import METHODS, allow_many_files, load
from bench.peers.base import Installed
from bench.processes import Processes, places
from bench.results import Plan, Result, judge
from bench.scenario import Scenario
from bench.stand import Scene, Stand, begin_failing, entries, excused, set_up

COUNT_SECONDS = 1.0
IDLE_SECONDS = 5.0
"""About what a turn of `idle` takes."""
OTHERS_MAX = 0.05
"""A larger share of the proxy's CPU in foreign hands is worth a note."""
REFERENCE = "nginx"
"""Its saturation is what paced scenarios are half of; without it the first peer's is."""

Tell = Callable[[str, float], None]
"""Told what begins, and how many seconds it will take."""


class Bench:
    """One run of the whole."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan = plan
        self.tell = tell
        self.why_not = syscalls.why_not()
        """Why system calls cannot be counted; empty: they can."""
        allow_many_files()

    def total_seconds(self, scenarios: Sequence[Scenario], found: Sequence[Installed]) -> float:
        """How long the turns of all will take."""
        return sum(self._row_seconds(one) * len(entries(one, found)[0]) for one in scenarios)

    def _row_seconds(self, scenario: Scenario) -> float:
        plan = self.plan
        if not plan.pairs:
            return 0.0
        if scenario.method == "idle":
            return IDLE_SECONDS
        return plan.warm + plan.pairs * plan.seconds + COUNT_SECONDS * self._counts(scenario)

    def _counts(self, scenario: Scenario) -> bool:
        """Whether system calls are counted."""
        if self.why_not or scenario.method != "closed":
            return False
        return self.plan.count or any(one.measure == "syscalls" for one in scenario.targets)

    def scenario(self, scenario: Scenario, found: Sequence[Installed]) -> Result:
        """Measure one. Errors: verify.WrongAnswerError, load.LoadError, StartError."""
        where = places(scenario.setting.workers)
        with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name, Processes() as all_:
            strict = not self.plan.pairs
            spoil = self.plan.spoil
            scene = set_up(scenario, found, all_, where, Path(name), strict=strict, spoil=spoil)
            self._warm(scene)
            if scenario.method == "paced" and self.plan.pairs:
                self._pace(scene)
            begin_failing(scene)
            turns = min(1, self.plan.pairs) if scenario.method == "idle" else self.plan.pairs
            for turn in range(turns):
                for stand in list(scene.stands):
                    with excused(scene, stand.row.name):
                        self._turn(scene, stand, f"{turn + 1} of {turns}")
            for stand in list(scene.stands) if turns else ():
                with excused(scene, stand.row.name):
                    self._once(scene, stand)
            result = Result(scenario, [stand.row for stand in scene.stands], notes=scene.notes)
        if turns:
            result.verdicts = judge(result)
            result.notes += doubts(result, where.shared)
        return result

    def _warm(self, scene: Scene) -> None:
        if not self.plan.warm or not self.plan.pairs or scene.scenario.method == "idle":
            return
        for stand in list(scene.stands):
            self.tell(f"{scene.scenario.name}: {stand.row.name}, warming up", self.plan.warm)
            with excused(scene, stand.row.name):
                scene.loader.closed(scene.scenario, stand.job.port, self.plan.warm)

    def _pace(self, scene: Scene) -> None:
        """The rate of a paced scenario."""
        scene.rate = float(scene.scenario.rate)
        if scene.rate:
            return
        others = scene.stands[1:] or scene.stands
        stand = next((one for one in others if one.row.name == REFERENCE), others[0])
        self.tell(f"{scene.scenario.name}: what saturates {stand.row.name}", COUNT_SECONDS)
        found = scene.loader.closed(scene.scenario, stand.job.port, 2 * COUNT_SECONDS)
        scene.rate = found.rate / 2
        scene.notes.append(
            f"{scene.rate:,.0f} requests a second: half of what saturates {stand.row.name}"
        )

    def _turn(self, scene: Scene, stand: Stand, which: str) -> None:
        seconds = IDLE_SECONDS if scene.scenario.method == "idle" else self.plan.seconds
        self.tell(f"{scene.scenario.name}: {stand.row.name}, {which}", seconds)
        method = METHODS[scene.scenario.method]
        stand.row.samples.append(method(scene, stand, self.plan.seconds))

    def _once(self, scene: Scene, stand: Stand) -> None:
        """Memory after all that load; and system calls, in a turn of their own."""
        if scene.scenario.method == "idle":
            return
        memory = stand.child.memory()
        stand.row.once.update(rss_bytes=memory.rss, pss_bytes=memory.pss)
        if not self._counts(scene.scenario):
            return
        self.tell(f"{scene.scenario.name}: {stand.row.name}, system calls", COUNT_SECONDS)
        requests: list[int] = []
        calls = syscalls.count(
            scene.processes,
            stand.child.family(),
            scene.places.load,
            lambda: requests.append(load(scene, stand, COUNT_SECONDS).requests),
        )
        if calls is not None:
            stand.row.once["syscalls"] = calls / requests[0]


def doubts(result: Result, shared: bool) -> list[str]:
    """What a reader should know before trusting the figures."""
    found = []
    shares = [share for row in result.rows for share in row.values("others")]
    if shares and max(shares) > OTHERS_MAX:
        found.append(
            f"up to {max(shares):.0%} of the proxies' CPU went to processes that are no part of "
            "this; trust the ratios, not the rates"
        )
    if shared:
        found.append("proxy and load share their CPUs: there are too few")
    return found
