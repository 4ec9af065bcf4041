"""A running proxy's scoreboard, read past all of its processes: what every worker sees, at once.

scores = Scores(proxy)
scores.wait_ejected(backend.url)
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from tests.flow.peers import Gateway
from tests.running import wait_until

UP, DOWN = 0, 1


def now_ms() -> int:
    """The clock of the board's words."""
    return time.monotonic_ns() // 1_000_000


class Scores:
    """By URL of the backend."""

    def __init__(self, proxy: Gateway) -> None:
        fd = _board_fd(proxy.pid)
        try:
            self.board = Board(fd)
        finally:
            os.close(fd)
        self.workers = proxy.workers
        self.rows: dict[str, int] = {}

    def row(self, url: str) -> int:
        if url not in self.rows:
            for row in segment.backends_used(self.board):
                self.rows[segment.backend(self.board, row)["name"]] = row
        return self.rows[url]

    def words(self, url: str) -> dict[str, Any]:
        """The backend's row."""
        return segment.backend(self.board, self.row(url))

    def is_down(self, url: str) -> bool:
        """By its checks."""
        return bool(self.words(url)["health"] != UP)

    def is_ejected(self, url: str) -> bool:
        return bool(self.words(url)["ejection"] >> 16 > now_ms())

    def ejected_times(self, url: str) -> int:
        """How often in a row."""
        return int(self.words(url)["ejection"] & 0xFFFF)

    def inflight(self, url: str) -> int:
        return int(self.board.inflight(self.row(url)))

    def tried(self, url: str) -> int:
        """Requests that were sent there, or could not be, so far; those under way too."""
        found = segment.counts(self.board, "backend", self.row(url), self.workers)
        return int(found["requests"] + found["connect_errors"]) + self.inflight(url)

    def wait_ejected(self, url: str, seconds: float = 10.0) -> None:
        wait_until(lambda: self.is_ejected(url), seconds, 0.001)


def _board_fd(pid: int) -> int:
    """The master's board, opened anew."""
    for one in Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:fastproxy-scoreboard" in os.readlink(one):
            return os.open(one, os.O_RDWR)
    raise AssertionError(f"process {pid} has no scoreboard")
