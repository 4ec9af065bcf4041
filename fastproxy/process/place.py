# SPDX-License-Identifier: MIT
"""Where an instance can be found: its control socket, and the lock file beside it.

The lock file `<control socket>.lock` is held with flock by the master for its whole life (no child
holds it) and contains the master's pid, so that `stop` works even without control. Everybody who
needs these names, master and command line, takes them from here.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

SOCKET_NAME = "control.sock"


class PlaceError(Exception):
    """A path that cannot or must not be used; the text says why."""


def default_control_socket() -> str:
    """/run/fastproxy/control.sock for root, else under $XDG_RUNTIME_DIR, else under a directory of
    our own in /tmp."""
    if os.geteuid() == 0:
        return f"/run/fastproxy/{SOCKET_NAME}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK):
        return f"{runtime}/fastproxy/{SOCKET_NAME}"
    return f"/tmp/fastproxy-{os.geteuid()}/{SOCKET_NAME}"


def lock_path(socket_path: str) -> str:
    return f"{socket_path}.lock"


def private_directory(path: str) -> None:
    """Make the directory a control socket stands in, mode 0700, if it is missing. One that is there
    must not be somebody else's: in /tmp anybody could have put it up for us."""
    directory = Path(path).parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise PlaceError(f"cannot make {directory}: {error.strerror}") from error
    strangers = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or strangers:
        raise PlaceError(
            f"{directory} belongs to uid {found.st_uid}, mode {found.st_mode & 0o7777:o}: "
            "others could replace what is put there; choose another place"
        )


class Lock:
    """`path` held with flock. The file holds our pid and is removed at `release`."""

    def __init__(self, path: str) -> None:
        """PlaceError if somebody holds it (its pid is named) or it cannot be made."""
        self.path = path
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self.fd = os.open(path, flags, 0o600)
            except OSError as error:
                raise PlaceError(f"cannot open {path}: {error.strerror}") from error
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _pid_in(self.fd)
                os.close(self.fd)
                raise PlaceError(f"{path} is held by {_who(pid)}") from None
            if self._still_there():
                break
            os.close(self.fd)  # its last holder removed it between our open and our lock
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _still_there(self) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """In a child: let go of our copy without ending the master's lock."""
        os.close(self.fd)

    def release(self) -> None:
        """The master, at the end."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        os.close(self.fd)


def holder(path: str) -> int | None:
    """The pid of who holds the lock at `path`; None if nobody does. 0: held, but unreadable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise PlaceError(f"{path} is not yours to read: try as the user who runs it") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    finally:
        os.close(fd)
    return None


def _pid_in(fd: int) -> int:
    text = os.pread(fd, 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _who(pid: int) -> str:
    return f"pid {pid}" if pid else "another process"
