# SPDX-License-Identifier: MIT
"""Who says that a backend shall serve: operators, agents, and checks that are still awaited.

Three may forbid it, each on its own, and the strongest word is what stands on the scoreboard as
`admin`: up < down (not yet proven) < drain < maint. So nobody takes back what another has said: an
operator's drain outlives an agent's `up`. Control only.

    words = Words(board)
    words.operator(row, HealthWord.DRAIN)
    words.agent(row, HealthWord.UP)             # still drained
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum

from fastproxy._core import Board
from fastproxy.scoreboard import segment

SPEECH_MAX = 1024
"""Bytes of an agent's line that are read."""


class HealthWord(IntEnum):
    """As in scoreboard/table.pxd (a test compares)."""

    UP = 0
    DOWN = 1
    DRAIN = 2
    MAINT = 3


class Words:
    """The administrative words of all rows. What a successor of control cannot know (who said it)
    it is told again: operators' words stand in the roster's changes, agents speak again."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._said: dict[int, dict[str, HealthWord]] = {}

    def operator(self, row: int, word: HealthWord) -> None:
        """What an operator wants."""
        self._say(row, "operator", word)

    def agent(self, row: int, word: HealthWord) -> None:
        """What the backend's agent wants."""
        self._say(row, "agent", word)

    def proven(self, row: int, yes: bool) -> None:
        """Whether a mandatory check has been good once."""
        self._say(row, "proof", HealthWord.UP if yes else HealthWord.DOWN)

    def of(self, row: int) -> dict[str, HealthWord]:
        """Who says what now; nobody is named who says `up`."""
        return {who: word for who, word in self._said.get(row, {}).items() if word}

    def forget(self, row: int) -> None:
        """The row has, or gets, another owner."""
        self._said.pop(row, None)

    def _say(self, row: int, who: str, word: HealthWord) -> None:
        said = self._said.setdefault(row, {})
        said[who] = word
        strongest = max(said.values())
        if segment.backend_word(self.board, row, "admin") != strongest:
            segment.set_backend(self.board, row, admin=strongest)


@dataclass(frozen=True, slots=True)
class Speech:
    """What an agent has said so far. None: nothing about that."""

    word: HealthWord | None = None
    """UP, DRAIN, MAINT; DOWN is a matter of health, not of administration."""
    percent: int | None = None
    max_connections: int | None = None
    strange: tuple[str, ...] = ()
    """Words that are none of an agent's."""

    def then(self, later: Speech) -> Speech:
        """What holds after the next speech: what is not mentioned there stays."""
        return replace(
            later,
            word=self.word if later.word is None else later.word,
            percent=self.percent if later.percent is None else later.percent,
            max_connections=(
                self.max_connections if later.max_connections is None else later.max_connections
            ),
        )


SPOKEN = {
    "up": HealthWord.UP,
    "ready": HealthWord.UP,
    "drain": HealthWord.DRAIN,
    "maint": HealthWord.MAINT,
    "down": HealthWord.DOWN,
    "fail": HealthWord.DOWN,
    "failed": HealthWord.DOWN,
    "stopped": HealthWord.DOWN,
}


def listen(text: str) -> Speech:
    """The words of the first line of an agent's text. What stands behind a `#` is a description,
    as with HAProxy. The last of several words about the same thing counts. Percents above 100 are
    100: a roster's weight is the most a backend gets."""
    line = text.lstrip("\r\n").splitlines()[0] if text.strip("\r\n") else ""
    word: HealthWord | None = None
    percent = connections = None
    strange = []
    for spoken in re.split(r"[\s,]+", line.partition("#")[0].strip().lower()):
        if not spoken:
            continue
        if spoken in SPOKEN:
            word = SPOKEN[spoken]
        elif re.fullmatch(r"[0-9]{1,5}%", spoken):
            percent = min(int(spoken[:-1]), 100)
        elif re.fullmatch(r"maxconn:[0-9]{1,7}", spoken):
            connections = int(spoken.partition(":")[2])
        else:
            strange.append(spoken[:64])
    return Speech(word, percent, connections, tuple(strange))
