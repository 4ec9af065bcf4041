# SPDX-License-Identifier: MIT
"""Names whose backends do not take connections, by what the workers count on the scoreboard.

Reads one word of each worker for each member that has a name: cheap enough for once a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastproxy._core import Board
from fastproxy.scoreboard import segment


class Suspects:
    """`look` again and again; what is asked for is what has grown since the last time."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.seen: dict[int, int] = {}

    def look(self, rows: Mapping[int, str]) -> set[str]:
        """`rows`: scoreboard row of each member -> its URL. The URLs whose connect errors grew."""
        now = segment.connect_errors(self.board, rows)
        grown = {rows[row] for row, errors in now.items() if errors > self.seen.get(row, errors)}
        self.seen = now
        return grown
