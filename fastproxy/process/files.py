# SPDX-License-Identifier: MIT
"""Files the master opens so that workers need not: logs and the pid file."""

from __future__ import annotations

import os

LOG_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
LOG_MODE = 0o640


class LogFiles:
    """The access log's fd, and the error log put in the place of standard error.

    `access_log`: "-" is standard output, "off" none. `error_log`: "-" leaves standard error as it
    is. O_APPEND lets all workers write the same file. OSError if one cannot be opened.
    """

    def __init__(self, access_log: str, error_log: str) -> None:
        self.access_log = access_log
        self.error_log = error_log
        self.access_fd = -1
        if access_log == "-":
            self.access_fd = os.dup(1)
        elif access_log != "off":
            self.access_fd = os.open(access_log, LOG_FLAGS, LOG_MODE)
        if error_log != "-":
            self._error_to(error_log)

    def reopen(self) -> list[str]:
        """Open the files by name again; which of "log" and "error_log" are new. OSError: the old
        one stays in use."""
        reopened = []
        if self.access_log not in ("-", "off"):
            new = os.open(self.access_log, LOG_FLAGS, LOG_MODE)
            os.close(self.access_fd)
            self.access_fd = new
            reopened.append("log")
        if self.error_log != "-":
            self._error_to(self.error_log)
            reopened.append("error_log")
        return reopened

    def _error_to(self, path: str) -> None:
        fd = os.open(path, LOG_FLAGS, LOG_MODE)
        os.dup2(fd, 2)
        os.close(fd)


class PidFile:
    """`path` with our pid, written whole or not at all; no file for an empty path."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not path:
            return
        half = f"{path}.{os.getpid()}"
        fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, f"{os.getpid()}\n".encode())
        finally:
            os.close(fd)
        os.rename(half, path)

    def remove(self) -> None:
        """If it is still ours: a later instance may have replaced it."""
        if not self.path:
            return
        try:
            with open(self.path) as file:
                if file.read().strip() == str(os.getpid()):
                    os.unlink(self.path)
        except OSError:
            pass
