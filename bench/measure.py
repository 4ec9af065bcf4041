# SPDX-License-Identifier: MIT
"""The turns: A B A B. One scenario at a time, every proxy up, one of them loaded.

A *sample* is one turn of one proxy: what the load counted, and the CPU time of all processes of
that proxy over the same span. Ratios are taken between samples of the same round, since neighbours
in time had the same machine; their median is the result, the least and the largest tell how far to
trust it.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import load, verify
from bench.build import program
from bench.peers import Job, Peer
from bench.processes import TICKS, Child, Processes, StartError, cpus
from bench.scenarios import Scenario

START_SECONDS = 20.0
LOG_SECONDS = 5.0
CHUNK = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One turn."""

    user_us: float
    """CPU time for one request, in user space."""
    system_us: float
    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    others: float
    """Share of the proxy's CPU that went to processes which are no part of this."""

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


@dataclass
class Series:
    """All turns of one proxy in one scenario."""

    peer: str
    version: str
    memory_bytes: int = 0
    samples: list[Sample] = field(default_factory=list)

    def median(self, name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in self.samples))

    def user_share(self) -> float:
        """Of the CPU time of all turns, how much was in user space."""
        return sum(one.user_us for one in self.samples) / sum(one.cpu_us for one in self.samples)


@dataclass
class Result:
    """One scenario; ours is the first series."""

    scenario: Scenario
    series: list[Series]
    problem: str = ""

    def ratios(self, peer: Series) -> list[float]:
        """CPU per request, ours to the peer's, round by round."""
        ours = self.series[0].samples
        return [a.cpu_us / b.cpu_us for a, b in zip(ours, peer.samples, strict=False)]

    def ratio(self, name: str) -> float:
        """The median against the peer of that name."""
        peer = next(one for one in self.series if one.peer == name)
        return statistics.median(self.ratios(peer))

    def as_dict(self) -> dict[str, Any]:
        return {
            "scenario": asdict(self.scenario),
            "series": [
                {**asdict(one), "ratios": self.ratios(one) if one is not self.series[0] else []}
                for one in self.series
            ],
        }


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float = 5.0
    pairs: int = 5
    """Turns of each proxy; 0: answers are verified, nothing is timed."""
    warm: float = 1.0
    """Seconds of load before the first turn; 0: none."""
    spoil: bool = False
    """The origin answers wrongly: shows that this is noticed."""

    def total_seconds(self, scenarios: int, peers: int) -> float:
        return scenarios * peers * (self.warm + self.pairs * self.seconds)


Tell = Callable[[str, float], None]
"""Told what begins, and how many seconds it will take."""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int, child: Child) -> None:
    """Until somebody accepts there. StartError."""
    end = time.monotonic() + START_SECONDS
    while True:
        child.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise StartError(
                    f"nobody listens on {port} after {START_SECONDS:g} s:\n{child.said()}"
                ) from None
        time.sleep(0.02)


def busy_seconds(cpu: int) -> float:
    """How long this CPU has worked, for whomever."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] == f"cpu{cpu}":
            user, nice, system, _, _, hard, soft = (int(one) for one in words[1:8])
            return (user + nice + system + hard + soft) / TICKS
    return 0.0


@dataclass
class Stand:
    """A proxy of one scenario, up."""

    peer: Peer
    job: Job
    child: Child
    series: Series


class Bench:
    """One run of the whole."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan = plan
        self.tell = tell
        self.load_cpu, self.proxy_cpu = cpus()[0], cpus()[-1]

    def scenario(self, scenario: Scenario, peers: Sequence[Peer]) -> Result:
        """Measure one. Errors: verify.WrongAnswerError, load.LoadError, StartError."""
        with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name, Processes() as all_:
            directory = Path(name)
            origin = self._origin(all_, directory)
            stands = [self._start(all_, directory, origin, scenario, peer) for peer in peers]
            for stand in stands:
                verify_one(stand)
            for stand in stands if self.plan.warm else ():
                self.tell(f"{scenario.name}: {stand.peer.name}, warming up", self.plan.warm)
                self._load(all_, stand, self.plan.warm)
            for turn in range(self.plan.pairs):
                for stand in stands:
                    self.tell(
                        f"{scenario.name}: {stand.peer.name}, {turn + 1} of {self.plan.pairs}",
                        self.plan.seconds,
                    )
                    stand.series.samples.append(self._turn(all_, stand))
            for stand in stands:
                stand.series.memory_bytes = stand.child.memory()
            return Result(scenario, [stand.series for stand in stands])

    def _origin(self, processes: Processes, directory: Path) -> int:
        """Start it; its port."""
        command = [str(program("origin")), "0", *(["--spoil"] if self.plan.spoil else [])]
        log = directory / "origin.log"
        child = processes.start(command, self.load_cpu, log, subprocess.PIPE)
        line = child.output.readline()
        if not line:
            child.process.wait()
            child.check()
        return int(line)

    def _start(
        self, processes: Processes, directory: Path, origin: int, scenario: Scenario, peer: Peer
    ) -> Stand:
        own = directory / peer.name
        own.mkdir()
        job = Job(own, free_port(), origin, scenario)
        log = job.access_log if peer.log_to_stdout and scenario.log else own / "log"
        child = processes.start(peer.command(job), self.proxy_cpu, log)
        wait_for(job.port, child)
        return Stand(peer, job, child, Series(peer.name, peer.version))

    def _load(self, processes: Processes, stand: Stand, seconds: float) -> load.Load:
        """Load it, and see that each request left its line in the log, if it keeps one."""
        scenario = stand.job.scenario
        if scenario.log:
            time.sleep(1.1)  # what is buffered of the turn before
            with stand.job.access_log.open("r+b") as file:
                file.truncate(0)
        log = stand.job.directory / "wrk.log"
        found = load.run(processes, scenario, stand.job.port, seconds, self.load_cpu, log)
        stand.child.check()
        return found

    def _turn(self, processes: Processes, stand: Stand) -> Sample:
        busy, began, before = busy_seconds(self.proxy_cpu), time.monotonic(), stand.child.cpu()
        found = self._load(processes, stand, self.plan.seconds)
        spent = stand.child.cpu() - before
        elapsed = time.monotonic() - began
        others = busy_seconds(self.proxy_cpu) - busy - spent.total
        if stand.job.scenario.log:
            check_log(stand.peer.name, stand.job.access_log, found.requests)
        return Sample(
            user_us=spent.user / found.requests * 1e6,
            system_us=spent.system / found.requests * 1e6,
            rate=found.rate,
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            requests=found.requests,
            others=max(0.0, others / elapsed),
        )


def verify_one(stand: Stand) -> None:
    """WrongAnswerError, with the proxy's name."""
    try:
        verify.check(stand.job.port, stand.job.scenario)
    except verify.WrongAnswerError as error:
        raise verify.WrongAnswerError(
            f"{stand.peer.name} in {stand.job.scenario.name}: {error}"
        ) from error


def lines_in(path: Path) -> int:
    """Newlines of a file."""
    count = 0
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            count += part.count(b"\n")
    return count


def check_log(name: str, path: Path, requests: int) -> None:
    """WrongAnswerError unless every request left a line: a log that drops lines is cheap."""
    end = time.monotonic() + LOG_SECONDS
    while (count := lines_in(path)) < requests:
        if time.monotonic() > end:
            raise verify.WrongAnswerError(f"{name} logged {count} lines for {requests} requests")
        time.sleep(0.2)
