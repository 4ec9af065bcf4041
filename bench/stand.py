# SPDX-License-Identifier: MIT
"""A scenario set up: origins, and every proxy that takes part, each up and verified."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import certificates, verify
from bench.build import program
from bench.certificates import Certificate
from bench.load import Loader, LoadError
from bench.peers.base import Installed, Job
from bench.processes import Child, Places, Processes, StartError
from bench.results import Row
from bench.scenario import OURS, Scenario, Setting

START_SECONDS = 30.0
FAILURES = (LoadError, StartError, verify.WrongAnswerError)


@dataclass
class Stand:
    """One proxy in one setting: a row of the table."""

    installed: Installed
    job: Job
    child: Child
    row: Row


@dataclass
class Scene:
    """One scenario, up."""

    scenario: Scenario
    processes: Processes
    places: Places
    directory: Path
    loader: Loader
    origins: list[int]
    """Their ports."""
    stands: list[Stand]
    notes: list[str]
    rate: float = 0.0
    """Requests per second, where the load is paced."""
    odd: Child | None = None
    """The origin that is slow or fails."""
    certificate: Certificate | None = None
    """Of all proxies, with TLS."""


def entries(
    scenario: Scenario, found: Sequence[Installed]
) -> tuple[list[tuple[Installed, str, Setting]], list[str]]:
    """(proxy, variant, setting) of each row, ours first; and a line for what is left out."""
    rows, notes = [], []
    for one in found:
        if scenario.peers and not one.is_one_of(scenario.peers):
            continue
        wanted = [("", scenario.setting)]
        wanted += [(v.name, v.setting) for v in scenario.variants if one.is_one_of(v.peers)]
        for variant, setting in wanted:
            if reason := one.peer.cannot(scenario, setting):
                notes.append(f"{row_name(one, variant)} is left out: {reason}")
            else:
                rows.append((one, variant, setting))
    return rows, notes


def row_name(one: Installed, variant: str) -> str:
    return f"{one.name} {variant}" if variant else one.name


def set_up(
    scenario: Scenario,
    found: Sequence[Installed],
    processes: Processes,
    places: Places,
    directory: Path,
    *,
    strict: bool = False,
    spoil: bool = False,
) -> Scene:
    """Start and verify everything. Errors: FAILURES."""
    loader = Loader(processes, places.load, directory / "load.log")
    scene = Scene(scenario, processes, places, directory, loader, [], [], [])
    rows, scene.notes = entries(scenario, found)
    if kind := scenario.setting.tls:
        scene.certificate = certificates.make(directory, kind)
    several = max((setting.backends for _, _, setting in rows), default=1) > 1
    delay = ["--delay", str(scenario.delay_ms)] if scenario.delay_ms else []
    start_origin(scene, *["--everywhere"] * several, *["--spoil"] * spoil, *delay)
    if scenario.slow_ms or scenario.failing_percent:
        delay = scenario.slow_ms or scenario.delay_ms
        failing = scenario.failing_percent
        scene.odd = start_origin(scene, "--delay", str(delay), "--fail", str(failing))
    for one, variant, setting in rows:
        name = row_name(one, variant)
        with excused(scene, name, strict):
            stand = start(scene, one, name, setting)
            stand.row.variant = variant
            verify_one(scene, stand)
            scene.stands.append(stand)
            scene.notes += [f"{name}: {why}" for why in one.peer.exempt.values()]
    return scene


@contextlib.contextmanager
def excused(scene: Scene, name: str, strict: bool = False) -> Iterator[None]:
    """A peer that fails is left out with a line: the rest of a long run is not lost. What is ours
    fails the run, and so does everybody if it is `strict`."""
    try:
        yield
    except FAILURES as error:
        if strict or name.startswith(OURS):
            raise
        scene.stands = [one for one in scene.stands if one.row.name != name]
        scene.notes.append(f"{name} is left out, it FAILED: {error}")


def start_origin(scene: Scene, *options: str) -> Child:
    name = "origin_grpc" if scene.scenario.request.grpc else "origin"
    command = [str(program(name)), "0", *options]
    log = scene.directory / "origin.log"
    child = scene.processes.start(command, scene.places.origin, log, subprocess.PIPE)
    line = child.output.readline()
    if not line:
        child.process.wait()
        child.check()
    scene.origins.append(int(line))
    return child


def begin_failing(scene: Scene) -> None:
    """From now on the odd backend fails, if this scenario has such a one."""
    if scene.odd and scene.scenario.failing_percent:
        scene.odd.process.send_signal(signal.SIGUSR1)


def backends(scene: Scene, count: int) -> tuple[tuple[str, int], ...]:
    """So many addresses of the first origin; the last one is the odd origin, if there is one."""
    port = scene.origins[0]
    all_ = [(f"127.0.{1 + n // 250}.{1 + n % 250}", port) for n in range(count)]
    if count == 1:
        all_ = [("127.0.0.1", port)]
    if scene.odd:
        all_[-1] = ("127.0.0.1", scene.origins[1])
    return tuple(all_)


def start(scene: Scene, one: Installed, name: str, setting: Setting) -> Stand:
    own = scene.directory / name.replace(" ", "-")
    own.mkdir()
    request, certificate = scene.scenario.request, scene.certificate
    to = backends(scene, setting.backends)
    job = Job(own, free_port(), to, setting, request, certificate)
    log = job.access_log if one.peer.log_to_stdout and setting.log else own / "log"
    child = scene.processes.start(one.command(job), scene.places.proxy, log)
    try:
        wait_for(job, child)
    except StartError:
        scene.processes.stop(child)
        raise
    return Stand(one, job, child, Row(name, one.name, "", one.version))


def verify_one(scene: Scene, stand: Stand) -> None:
    """WrongAnswerError, with the proxy's name."""
    scenario, job = scene.scenario, stand.job
    try:
        verify.check(
            job.port, scenario.request, job.setting, stand.installed.peer.exempt, job.trusted
        )
        if scenario.resumed:
            verify.check_resumption(job.port, scenario.request, job.trusted)
    except verify.WrongAnswerError as error:
        said = stand.child.said()[-1000:]
        raise verify.WrongAnswerError(
            f"{stand.row.name} in {scenario.name}: {error}" + (f"\n{said}" if said else "")
        ) from error


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(job: Job, child: Child) -> None:
    """Until it forwards. StartError if nobody listens there; what answers wrongly for that long is
    left to who verifies."""
    end = time.monotonic() + START_SECONDS
    state = "nobody listens"
    while time.monotonic() < end:
        child.check()
        try:
            status = verify.probe(job.port, job.request, job.setting, job.trusted)
            if status == 200:
                return
            # Some listen before they have read their routes.
            state = f"the answer is {status}"
        except ConnectionRefusedError:
            pass
        except (OSError, http.client.HTTPException) as error:
            state = f"no answer ({error!r})"
        time.sleep(0.02)
    raise StartError(f"port {job.port}: {state} after {START_SECONDS:g} s:\n{child.said()[-2000:]}")
