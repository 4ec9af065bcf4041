# SPDX-License-Identifier: MIT
"""The command line's side of the control socket. Synchronous, with few imports.

An instance is found by its control socket's path; whether it runs is told by the lock beside it,
which also names the master's pid. So `stop` works even while control is down.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fastproxy.process.place import PlaceError, default_control_socket, holder, lock_path

ASK_SECONDS = 5.0
ORDER_SECONDS = 30.0
"""An order about backends may have to look names up first."""

RELOAD_SECONDS = 300.0
"""Ten thousand routes take seconds to check, names that do not resolve too."""


class NotRunningError(Exception):
    """Nothing runs there; the text says where was looked and what to do."""


class ControlError(Exception):
    """It runs, but control does not answer, or answers no."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running fastproxy."""

    path: str
    """Its control socket."""
    pid: int
    """Its master."""


def find_instance(path: str = "") -> Instance:
    """The instance at this control socket, or at the default place. NotRunningError."""
    path = path or os.environ.get("FASTPROXY_CONTROL_SOCKET", "") or default_control_socket()
    try:
        pid = holder(lock_path(path))
    except PlaceError as error:
        raise NotRunningError(str(error)) from error
    if not pid:
        raise NotRunningError(
            f"no fastproxy runs at {path}; if yours has another place: --control-socket PATH"
        )
    return Instance(path, pid)


def ask(
    path: str, verb: str, more: Mapping[str, Any] | None = None, timeout: float = ASK_SECONDS
) -> dict[str, Any]:
    """One request (`more`: its other keys), its answer. NotRunningError, or ControlError if control
    says no or nothing."""
    found = find_instance(path)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        try:
            line.connect(found.path)
            line.sendall(msgspec.json.encode({"verb": verb, **(more or {})}) + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = line.recv(1 << 20)
                if not part:
                    raise ControlError("control went away in the middle of its answer")
                data += part
        except PermissionError as error:
            raise ControlError(f"{found.path} is not yours: try as who runs it") from error
        except TimeoutError as error:
            raise ControlError(f"control did not answer within {timeout:g} s") from error
        except OSError as error:
            raise ControlError(f"{found.path}: {error.strerror}") from error
    answer: dict[str, Any] = msgspec.json.decode(data)
    if not answer.pop("ok", False):
        raise ControlError(str(answer.get("error", "no")))
    return answer


def status(path: str = "") -> dict[str, Any]:
    """What `fastproxy status` shows (process/status.py says what is in it)."""
    return ask(path, "status")


def backends(path: str = "", upstream: str = "") -> dict[str, Any]:
    """What `fastproxy backends` shows; of one upstream, or of all."""
    return ask(path, "backends", {"upstream": upstream})


def reload(path: str = "") -> dict[str, Any]:
    """Read the configuration anew; what became of it (process/verbs.py)."""
    return ask(path, "reload", timeout=RELOAD_SECONDS)


def stop(path: str = "", *, quit: bool = False, wait: float | None = None) -> Instance:
    """Drain and stop (SIGTERM, or SIGQUIT). `wait`: seconds to wait for its end, None: do not.
    NotRunningError; ControlError if it may not be signalled, or still runs after `wait`."""
    return _signal(path, signal.SIGQUIT if quit else signal.SIGTERM, wait)


def reopen(path: str = "") -> Instance:
    """Reopen the logs (SIGUSR1)."""
    return _signal(path, signal.SIGUSR1, None)


def _signal(path: str, number: signal.Signals, wait: float | None) -> Instance:
    found = find_instance(path)
    try:
        pidfd = os.pidfd_open(found.pid)
    except ProcessLookupError:
        raise NotRunningError(f"the master (pid {found.pid}) has just ended") from None
    try:
        if find_instance(path).pid != found.pid:
            raise NotRunningError(f"the master (pid {found.pid}) has just ended")
        try:
            signal.pidfd_send_signal(pidfd, number)
        except PermissionError as error:
            raise ControlError(f"pid {found.pid} is not yours to stop") from error
        if wait is not None and not select.select([pidfd], [], [], wait)[0]:
            raise ControlError(f"pid {found.pid} still drains after {wait:g} s")
    finally:
        os.close(pidfd)
    return found
