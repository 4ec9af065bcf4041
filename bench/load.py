# SPDX-License-Identifier: MIT
"""The load: wrk in a closed loop (each connection asks again when it was answered), or `paced` at a
constant rate.

wrk's latencies are those at saturation, and wait in the queue of the load itself: good for
comparing proxies in one run, not for promises. `paced` counts from the instant at which a request
was due, so a proxy that stalls is charged for all that had to wait.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.build import program
from bench.processes import Processes
from bench.scenarios import Request, Scenario

SCRIPT = Path(__file__).with_name("wrk.lua")
GRACE_SECONDS = 20.0
HOST = "bench.example"


class LoadError(Exception):
    """The load could not be made, or was answered wrongly."""


@dataclass(frozen=True)
class Load:
    """What one run counted. Times in ms."""

    requests: int
    seconds: float
    read_bytes: int
    """Heads and bodies, of answers that were not read to their end too."""
    latency: dict[str, float]
    curve: list[tuple[int, int]]
    """[us, count] ascending; empty: not kept."""
    failed: int = 0
    """Not among `requests`."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def wrk() -> str:
    """Where wrk is. LoadError."""
    found = shutil.which("wrk")
    if not found:
        raise LoadError("wrk is not installed: sudo apt-get install wrk")
    return found


@dataclass(frozen=True)
class Loader:
    """Runs loads against ports, on these CPUs."""

    processes: Processes
    where: Sequence[int]
    log: Path

    def closed(self, scenario: Scenario, port: int, seconds: float) -> Load:
        """wrk takes whole seconds only; what is shorter becomes one. LoadError if anything was
        answered but 200 with the right size."""
        asked = scenario.request
        threads = len(self.where)
        command = [
            wrk(), f"-t{threads}", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s",
            "--timeout", "10s", *fields("-H", asked),
            "-s", str(SCRIPT), f"http://127.0.0.1:{port}{asked.path}",
            "--", str(asked.body), str(asked.routes),
        ]  # fmt: skip
        found = self._run(command, seconds)
        errors = {name: count for name, count in found["errors"].items() if count}
        if errors:
            raise LoadError(f"{scenario.name}: wrk saw errors: {errors}")
        if found["requests"] == 0:
            raise LoadError(f"{scenario.name}: no request was answered within {seconds:g} s")
        if found["bytes"] < found["requests"] * asked.answer_bytes:
            raise LoadError(f"{scenario.name}: answers were too short")
        names = ("p50", "p90", "p99", "p999", "max")
        return Load(
            requests=found["requests"],
            seconds=found["us"] / 1e6,
            read_bytes=found["bytes"],
            latency={f"{name}_ms": found[name] / 1e3 for name in names},
            curve=[],
        )

    def paced(self, scenario: Scenario, port: int, seconds: float, rate: float) -> Load:
        """So many requests a second. LoadError if one failed, or if the load did not keep up; where
        a backend fails on purpose, only if all did."""
        command = [
            str(program("paced/paced")),
            "--rate", f"{rate:.0f}", "--connections", str(scenario.connections),
            "--seconds", f"{seconds:g}", "--host", "127.0.0.1", "--port", str(port),
            "--path", scenario.request.path, "--host-header", HOST,
            *fields("--header", scenario.request),
        ]  # fmt: skip
        found = self._run(command, seconds)
        if not found["done"] or (found["errors"] and not scenario.failing_percent):
            raise LoadError(f"{scenario.name}: {found['errors']} of {found['sent']} failed")
        names = ("p50", "p90", "p99", "p999", "max")
        return Load(
            requests=found["done"],
            seconds=seconds,
            read_bytes=found["done"] * scenario.request.answer_bytes,
            latency={f"{name}_ms": found[f"{name}_us"] / 1e3 for name in names},
            curve=[(int(us), int(count)) for us, count in found["histogram"]],
            failed=found["errors"],
        )

    def _run(self, command: list[str], seconds: float) -> dict[str, Any]:
        """The JSON that it prints. LoadError."""
        name = Path(command[0]).name
        child = self.processes.start(command, self.where, self.log, subprocess.PIPE)
        try:
            output = child.process.communicate(timeout=seconds + GRACE_SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            limit = seconds + GRACE_SECONDS
            raise LoadError(f"{name} did not end within {limit:g} s") from None
        finally:
            self.processes.stop(child)
        line = next((one for one in output.splitlines() if one.startswith("{")), "")
        if child.process.returncode != 0 or not line:
            raise LoadError(f"{name} failed: {child.said() or output}")
        found: dict[str, Any] = json.loads(line)
        return found


def fields(option: str, asked: Request) -> list[str]:
    """Header fields as options."""
    return [part for name, value in asked.headers for part in (option, f"{name}: {value}")]
