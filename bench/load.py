# SPDX-License-Identifier: MIT
"""The load: wrk in a closed loop (each connection asks again when it was answered), h2load where
clients speak TLS or HTTP/2, `handshakes` where each request has a handshake of its own; or `paced`
at a constant rate.

Latencies of a closed loop are those at saturation, and wait in the queue of the load itself: good
for comparing proxies in one run, not for promises. `paced` counts from the instant at which a
request was due, so a proxy that stalls is charged for all that had to wait.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import h2load
from bench.build import program
from bench.processes import Processes
from bench.scenario import Request, Scenario

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
        """As fast as it goes. LoadError if anything was answered but 200 with the right size."""
        if scenario.method == "handshakes":
            return self._handshakes(scenario, port, seconds)
        if scenario.setting.plain:
            return self._wrk(scenario, port, seconds)
        return self._h2load(scenario, port, seconds)

    def _wrk(self, scenario: Scenario, port: int, seconds: float) -> Load:
        """It takes whole seconds only; what is shorter becomes one."""
        asked = scenario.request
        threads = len(self.where)
        command = [
            wrk(), f"-t{threads}", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s",
            "--timeout", "10s", *fields("-H", asked),
            "-s", str(SCRIPT), f"http://127.0.0.1:{port}{asked.path}",
            "--", str(asked.body), str(asked.routes),
        ]  # fmt: skip
        return counted(scenario, "wrk", self._run(command, seconds))

    def _h2load(self, scenario: Scenario, port: int, seconds: float) -> Load:
        """Its connections are opened within the turn, their handshakes counted: less than 1% of a
        turn of 5 s. What is under way at the end is not counted."""
        if not h2load.program():
            raise LoadError("h2load is not installed: sudo apt-get install nghttp2-client")
        threads, asked = len(self.where), scenario.request
        times, body = self.log.with_name("requests.tsv"), self.log.with_name("request.body")
        body.write_bytes(message(asked))
        times.unlink(missing_ok=True)
        command = h2load.command(scenario, HOST, port, seconds, threads, times, body)
        output = self._output(command, seconds)
        if wrong := h2load.disagreement(scenario, output):
            raise LoadError(f"{scenario.name}: {wrong}")
        try:
            found = h2load.read(output, times)
        except (ValueError, OSError) as error:
            raise LoadError(f"h2load is not understood: {error}") from error
        return counted(scenario, "h2load", found)

    def _handshakes(self, scenario: Scenario, port: int, seconds: float) -> Load:
        """Each request is a connection; LoadError too if one of them was of the other kind."""
        command = [
            str(program("handshakes")), "--connections", str(scenario.connections),
            "--seconds", f"{seconds:g}", "--port", str(port), "--path", scenario.request.path,
            "--host-header", HOST, *["--resume"] * scenario.resumed,
        ]  # fmt: skip
        found = self._run(command, seconds)
        found["data"] = found["bytes"] = found["requests"] * found["size"]
        return counted(scenario, "handshakes", found)

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
        output = self._output(command, seconds)
        line = next((one for one in output.splitlines() if one.startswith("{")), "")
        if not line:
            raise LoadError(f"{Path(command[0]).name} failed: {output}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _output(self, command: list[str], seconds: float) -> str:
        """What it prints. LoadError."""
        name = Path(command[0]).name
        child = self.processes.start(command, self.where, self.log, subprocess.PIPE)
        try:
            output = child.process.communicate(timeout=seconds + GRACE_SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            limit = seconds + GRACE_SECONDS
            raise LoadError(f"{name} did not end within {limit:g} s") from None
        finally:
            self.processes.stop(child)
        if child.process.returncode != 0:
            raise LoadError(f"{name} failed: {child.said() or output}")
        return output


def counted(scenario: Scenario, program: str, found: dict[str, Any]) -> Load:
    """What a closed loop found, as wrk.lua tells it. LoadError."""
    errors = {name: count for name, count in found["errors"].items() if count}
    if errors:
        raise LoadError(f"{scenario.name}: {program} saw errors: {errors}")
    if found["requests"] == 0:
        raise LoadError(f"{scenario.name}: no request was answered")
    if found.get("data", found["bytes"]) < found["requests"] * scenario.request.answer_bytes:
        raise LoadError(f"{scenario.name}: answers were too short")
    names = ("p50", "p90", "p99", "p999", "max")
    return Load(
        requests=found["requests"],
        seconds=found["us"] / 1e6,
        read_bytes=found["bytes"],
        latency={f"{name}_ms": found[name] / 1e3 for name in names},
        curve=[],
    )


def pattern(size: int) -> bytes:
    """What origins answer to /size (origin.c), and what is uploaded (wrk.lua)."""
    one = bytes(10 if i % 64 == 63 else 97 + i % 26 for i in range(832))  # 64 and 26 divide 832
    return (one * (size // len(one) + 1))[:size]


def message(asked: Request) -> bytes:
    """The body that is sent, behind its prefix if it is a message of gRPC."""
    sent = pattern(asked.body)
    return prefixed(sent) if asked.grpc else sent


def prefixed(data: bytes) -> bytes:
    """A message of gRPC: not compressed, so long, this."""
    return struct.pack(">BI", 0, len(data)) + data


def fields(option: str, asked: Request) -> list[str]:
    """Header fields as options."""
    return [part for name, value in asked.headers for part in (option, f"{name}: {value}")]
