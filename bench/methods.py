# SPDX-License-Identifier: MIT
"""The ways of measuring: what one turn of one proxy is. Each returns figures by name (measures.py).

closed      as fast as it goes: wrk, or h2load
handshakes  as fast as it goes, a TLS handshake for each request
paced       at a constant rate: latencies as users would see them
idle        connections that have asked once and wait: memory
"""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from bench import usage, verify
from bench.load import HOST, Load, LoadError, pattern
from bench.scenario import KIB, MIB
from bench.stand import Scene, Stand

LOG_SECONDS = 5.0
CHUNK = 1 << 20
BODIES = 64 * KIB
"""From here on CPU is also told for a MiB."""
WORKER = "fastproxy: worker"
"""What requests cost, without what checks cost control."""
OPEN_FILES = 65_536
SETTLE_SECONDS = 1.0
"""For buffers to be given back once the last answer left."""
WARM_CONNECTIONS = 64
ANSWER_SECONDS = 10.0
OPEN_SECONDS = 60.0

Sample = dict[str, float]
Method = Callable[[Scene, Stand, float], Sample]


def closed(scene: Scene, stand: Stand, seconds: float) -> Sample:
    """wrk or h2load; and each request must have left its line in the log, if there is one."""
    return timed(scene, stand, lambda: load(scene, stand, seconds))


def handshakes(scene: Scene, stand: Stand, seconds: float) -> Sample:
    """What a second of CPU is enough for, the one request on each connection included."""
    sample = timed(scene, stand, lambda: load(scene, stand, seconds))
    return {**sample, "handshakes": 1e6 / sample["cpu_us"]}


def paced(scene: Scene, stand: Stand, seconds: float) -> Sample:
    """At `scene.rate`; the latencies are added to the row's curve."""
    scenario, port = scene.scenario, stand.job.port
    found: list[Load] = []

    def run() -> Load:
        found.append(scene.loader.paced(scenario, port, seconds, scene.rate))
        return found[0]

    sample = timed(scene, stand, run)
    counts = dict(stand.row.curve)
    for us, count in found[0].curve:
        counts[us] = counts.get(us, 0) + count
    stand.row.curve = sorted(counts.items())
    return sample


def load(scene: Scene, stand: Stand, seconds: float) -> Load:
    """One run of the closed loop."""
    if stand.job.setting.log:
        time.sleep(1.1)  # what is buffered of the run before
        with stand.job.access_log.open("r+b") as file:
            file.truncate(0)
    found = scene.loader.closed(scene.scenario, stand.job.port, seconds)
    stand.child.check()
    return found


def timed(scene: Scene, stand: Stand, run: Callable[[], Load]) -> Sample:
    """What the proxy used for it."""
    where = scene.places.proxy
    counts = scene.scenario.request.body >= BODIES
    sent = verify.origin_received(scene.origins[0]) if counts else 0
    busy, began, before = usage.busy_seconds(where), time.monotonic(), stand.child.usage()
    apart = scene.scenario.figure == "worker_us"
    workers = usage.titled(stand.child.family(), WORKER) if apart else []
    workers_before = usage.usage(workers)
    found = run()
    spent = stand.child.usage() - before
    elapsed = time.monotonic() - began
    others = usage.busy_seconds(where) - busy - spent.total
    if stand.job.setting.log:
        check_log(stand.row.name, stand.job.access_log, found.requests)
    sample = {
        "cpu_us": spent.total / found.requests * 1e6,
        "user_us": spent.user / found.requests * 1e6,
        "system_us": spent.system / found.requests * 1e6,
        "rate": found.rate,
        "requests": found.requests,
        **found.latency,
        "switches": spent.switches / found.requests,
        "preempted": spent.preempted / found.requests,
    }
    if workers:
        spent_there = usage.usage(workers) - workers_before
        sample["worker_us"] = spent_there.total / found.requests * 1e6
    if scene.scenario.failing_percent:
        sample["errors"] = found.failed / (found.requests + found.failed)
    if not scene.places.shared:
        sample["others"] = max(0.0, others / elapsed / len(where))
    if scene.scenario.request.body_bytes >= BODIES:
        if counts:
            sent = verify.origin_received(scene.origins[0]) - sent
        mib = (found.read_bytes + sent) / MIB
        sample["cpu_us_per_mib"] = spent.total / mib * 1e6
        sample["mib_rate"] = mib / found.seconds
    return sample


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


# ---- idle -----------------------------------------------------------------------------------


def idle(scene: Scene, stand: Stand, _: float) -> Sample:
    """What memory grows by with that many connections. Once for each start of a proxy: what was
    allocated once is there the next time."""
    count, port = scene.scenario.connections, stand.job.port
    _close(_open(port, WARM_CONNECTIONS, scene))
    time.sleep(SETTLE_SECONDS)
    before = stand.child.memory()
    lines = _open(port, count, scene)
    try:
        time.sleep(SETTLE_SECONDS)
        after = stand.child.memory()
        stand.child.check()
        closed = _ended(lines)
    finally:
        _close(lines)
    if closed:
        scene.notes.append(f"{stand.row.name} closed {closed} of {count} idle connections")
    return {
        "idle_bytes": max(0, after.pss - before.pss) / max(1, count - closed),
        "pss_before": before.pss,
        "pss_bytes": after.pss,
        "rss_bytes": after.rss,
    }


def allow_many_files() -> None:
    """The soft limit of open files, for us and all we start, to what the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open(port: int, count: int, scene: Scene) -> list[socket.socket]:
    """Connections that have had one answer each. LoadError."""
    path, size = scene.scenario.request.path, scene.scenario.request.answer_bytes
    asked = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    expected = pattern(size)
    lines: list[socket.socket] = []
    end = time.monotonic() + OPEN_SECONDS
    try:
        for _ in range(count):
            if time.monotonic() > end:
                raise OSError(f"{count} connections took more than {OPEN_SECONDS:g} s")
            line = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
            lines.append(line)
            line.sendall(asked)
            found = b""
            while not found.endswith(b"\r\n\r\n" + expected):
                part = line.recv(CHUNK)
                if not part:
                    raise OSError(f"closed: {found[:200]!r}")
                found += part
    except OSError as error:
        _close(lines)
        raise LoadError(f"connection {len(lines)}: {error}") from error
    return lines


def _ended(lines: list[socket.socket]) -> int:
    """How many of them the other side has closed."""
    poll = select.poll()
    for line in lines:
        poll.register(line, select.POLLIN)
    return len(poll.poll(0))


def _close(lines: list[socket.socket]) -> None:
    for line in lines:
        line.close()


METHODS: dict[str, Method] = {
    "closed": closed,
    "handshakes": handshakes,
    "paced": paced,
    "idle": idle,
}
