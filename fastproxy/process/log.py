# SPDX-License-Identifier: MIT
"""What processes say on standard error: one line each, `time level process message`.

One write(2) per line, so that lines of several processes never mix. Control characters (a peer's
bytes may be quoted in a message) are escaped. Not the access log: that is the engine's.
"""

from __future__ import annotations

import os
import time

LEVELS = ("debug", "info", "warning", "error")


class Log:
    """`process` is "master", "control" or "worker 3"."""

    def __init__(self, process: str, level: str = "info", fd: int = 2) -> None:
        self.process = process
        self.level = LEVELS.index(level)
        self.fd = fd

    def named(self, process: str) -> Log:
        """The same log for another process, after a fork."""
        return Log(process, LEVELS[self.level], self.fd)

    @property
    def debugs(self) -> bool:
        """Are lines of the level debug wanted?"""
        return self.level == 0

    def debug(self, text: str) -> None:
        self._line(0, text)

    def info(self, text: str) -> None:
        self._line(1, text)

    def warning(self, text: str) -> None:
        self._line(2, text)

    def error(self, text: str) -> None:
        self._line(3, text)

    def _line(self, level: int, text: str) -> None:
        if level < self.level:
            return
        now = time.time_ns() // 1_000_000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000))
        clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
        line = f"{stamp}.{now % 1000:03d}Z {LEVELS[level]} {self.process}: {clean}\n"
        try:
            os.write(self.fd, line.encode(errors="backslashreplace"))
        except OSError:
            pass  # a reader that went away must not take the proxy with it
