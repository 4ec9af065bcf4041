# SPDX-License-Identifier: MIT
"""What the command line hands to the master, and the leap from one to the other.

The command line reads the configuration, checks it and compiles plan and roster; then it *becomes*
the master by exec, so that master and workers carry neither click nor rich nor what checking left
behind. Memfds cross the exec: the plan, the roster, the keyring if there is TLS, and this
`Handover` as JSON. Everything in it is already checked; the master believes it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec

FDS = ("plan_fd", "roster_fd", "keyring_fd")
"""Memfds of a handover."""
SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class ListenerSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One address to accept on, in the order of the plan's ListenerRow rows."""

    bind: str
    """"host:port", "[v6]:port", ":port" (dual-stack) or "unix:/path". Port 0: any free one."""
    backlog: int = 4096
    """Connections that may queue, per worker (the kernel caps it at net.core.somaxconn)."""
    defer_accept: int = 0
    """TCP_DEFER_ACCEPT in seconds: wake for a connection only with its first bytes. 0: off."""
    keepalive: bool = True
    """SO_KEEPALIVE on accepted connections (inherited from the listener)."""
    mode: int = 0o666
    """Permission bits of a unix socket."""
    owner: str = ""
    """"user", "user:group" or ":group" of a unix socket; empty: who starts."""


class Tls(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What control makes the next keyring of (process/keyrings.py). Upstreams it has already."""

    listeners: list[dict[str, Any] | None] = []
    """`tls.settings.Tls`, as plain data; None: plain text."""
    http2: list[bool | None] = []
    """`config.model.Listener.http2`."""
    directory: str = ""
    """What paths in it are relative to."""


class Given(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the command line was given, for a reload to read it again (`flags.document`)."""

    reader: str = ""
    """ "module:function" that does it (process/reload.py); empty: there is nothing to be read."""
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}


class Handover(msgspec.Struct, forbid_unknown_fields=True):
    """All the master needs to know."""

    listeners: list[ListenerSpec]
    upstreams: dict[str, dict[str, Any]] = {}
    """`config.model.Upstream` by number, as plain data: only control reads it
    (process/rosters.py)."""
    retired: list[str] = []
    """Those of them that a reload has left out (config/numbers.py)."""
    retired_routes: dict[str, int] = {}
    """Name -> row of its counters."""
    zone: str = ""
    session_key: str = ""
    """Hexadecimal: names members in session cookies (balance/session.py). Made once, at the first
    start: whoever comes after this master must get the same."""
    workers: int = 1
    max_workers: int = 0
    """Slots laid out on the scoreboard; 0: as many as `workers`."""
    learned_sessions: int = 1 << 18
    """Rows of the table of sessions on the scoreboard."""
    user: str = ""
    """Whom workers become; empty: stay."""
    group: str = ""
    """Empty: the user's own."""
    pid_file: str = ""
    control_socket: str = ""
    """Empty: the default place (process/place.py)."""
    drain_seconds: float = 30.0
    start_seconds: float = 30.0
    """A worker that does not serve by then is killed and tried again. Code of responders is
    imported in that time; what takes longer than this hangs."""
    access_log: str = "-"
    """"-": standard output, "off", or a path."""
    error_log: str = "-"
    """"-": standard error, or a path."""
    log_level: str = "info"
    """debug, info, warning or error."""
    given: Given = Given()
    config_path: str = ""
    """The file the settings came from, for status; empty: flags only."""
    state_file: str = ""
    """Where control keeps what operators changed about backends; empty: nowhere."""
    dns: dict[str, Any] = {}
    """`discovery.settings.Dns`, as plain data: only control reads it."""
    responders: dict[str, str] = {}
    """Python responders for the engine: {name: "module:function"}, imported by each worker."""
    demo: bool = False
    extra: dict[str, str] = {}
    """What else the command line wants shown by `status`."""
    plan_fd: int = -1
    """Set by `launch`."""
    roster_fd: int = -1
    """Set by `launch`."""
    keyring_fd: int = -1
    """Set by `launch`; -1: no TLS anywhere."""
    tls: Tls = Tls()

    @property
    def slots(self) -> int:
        """Worker slots laid out."""
        return max(self.workers, self.max_workers)


def sealed(name: str, data: bytes, *, inheritable: bool = False) -> int:
    """A memfd holding `data` that nobody can change any more. Close-on-exec unless asked."""
    fd = os.memfd_create(f"fastproxy-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    os.set_inheritable(fd, inheritable)
    return fd


def contents(fd: int) -> bytes:
    """All bytes of a memfd, whatever its position."""
    data = b""
    length = os.fstat(fd).st_size
    while len(data) < length:
        part = os.pread(fd, length - len(data), len(data))
        if not part:
            raise OSError(f"memfd {fd} ended after {len(data)} of {length} bytes")
        data += part
    return data


def prepare(handover: Handover, plan: bytes, roster: bytes, keyring: bytes = b"") -> int:
    """Plan, roster, keyring and handover as inheritable memfds; the handover's fd."""
    handover.plan_fd = sealed("plan", plan, inheritable=True)
    handover.roster_fd = sealed("roster", roster, inheritable=True)
    if keyring:
        handover.keyring_fd = sealed("keyring", keyring, inheritable=True)
    return sealed("handover", msgspec.json.encode(handover), inheritable=True)


def receive(fd: int) -> Handover:
    """The master's end: the handover, its fds no longer inheritable."""
    handover = msgspec.json.decode(contents(fd), type=Handover)
    os.close(fd)
    for kept in (getattr(handover, name) for name in FDS):
        if kept >= 0:
            os.set_inheritable(kept, False)
    return handover


def hold_standard_fds() -> None:
    """Started with 0, 1 or 2 closed (`2>&-`), a memfd would become "standard error"."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def environment() -> dict[str, str]:
    """The environment for the master's interpreter: as ours, and able to import this very package
    however we were started. `-P` keeps the working directory out of its import path."""
    root = str(Path(__file__).resolve().parents[2])
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != root]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *others])}


def launch(
    handover: Handover,
    plan: bytes,
    roster: bytes,
    keyring: bytes = b"",
    *,
    module: str = "fastproxy.process.master",
) -> NoReturn:
    """Become the master. Does not come back; OSError if the exec itself fails."""
    hold_standard_fds()
    fd = prepare(handover, plan, roster, keyring)
    sys.stdout.flush()
    sys.stderr.flush()
    argv = [sys.executable, "-P", "-m", module, "--handover", str(fd)]
    os.execve(sys.executable, argv, environment())
