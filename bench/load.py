# SPDX-License-Identifier: MIT
"""The load: wrk, one thread, closed loop (each connection asks again when it was answered).

Latencies are therefore those at saturation, and wait in the queue of the load itself: good for
comparing proxies in one run, not for promises. A paced load comes with the whole suite.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Processes
from bench.scenarios import Scenario

SCRIPT = Path(__file__).with_name("wrk.lua")
GRACE_SECONDS = 20.0


class LoadError(Exception):
    """The load could not be made, or was answered wrongly."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk counted. Times in ms."""

    requests: int
    seconds: float
    body_bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def wrk() -> str:
    """Where wrk is. LoadError."""
    found = shutil.which("wrk")
    if not found:
        raise LoadError("wrk is not installed: sudo apt-get install wrk")
    return found


def command(scenario: Scenario, port: int, seconds: float) -> list[str]:
    """wrk takes whole seconds only; what is shorter becomes one."""
    fields = [part for name, value in scenario.headers for part in ("-H", f"{name}: {value}")]
    return [
        wrk(), "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s",
        "--timeout", "5s", *fields,
        "-s", str(SCRIPT), f"http://127.0.0.1:{port}{scenario.path}",
    ]  # fmt: skip


def run(
    processes: Processes, scenario: Scenario, port: int, seconds: float, cpu: int, log: Path
) -> Load:
    """Load this port. LoadError if anything was answered but 200 with the right size."""
    child = processes.start(command(scenario, port, seconds), cpu, log, subprocess.PIPE)
    try:
        output = child.process.communicate(timeout=seconds + GRACE_SECONDS)[0].decode()
    except subprocess.TimeoutExpired:
        raise LoadError(f"wrk did not end within {seconds + GRACE_SECONDS:g} s") from None
    finally:
        processes.stop(child)
    line = next((one for one in output.splitlines() if one.startswith("{")), "")
    if child.process.returncode != 0 or not line:
        raise LoadError(f"wrk failed: {child.said() or output}")
    found = json.loads(line)
    errors = {name: count for name, count in found["errors"].items() if count}
    if errors:
        raise LoadError(f"{scenario.name}: wrk saw errors: {errors}")
    if found["requests"] == 0:
        raise LoadError(f"{scenario.name}: no request was answered")
    if found["bytes"] < found["requests"] * scenario.body_bytes:
        raise LoadError(f"{scenario.name}: answers were too short")
    return Load(
        requests=found["requests"],
        seconds=found["us"] / 1e6,
        body_bytes=found["requests"] * scenario.body_bytes,
        p50_ms=found["p50"] / 1e3,
        p99_ms=found["p99"] / 1e3,
        max_ms=found["max"] / 1e3,
    )
