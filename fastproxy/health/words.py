# SPDX-License-Identifier: MIT
"""What an agent says: the words of HAProxy's agent-check. Pure.

Words are about three things, and what a speech does not mention stays as it was: whether the
backend serves (`up`, `ready`, `drain`, `maint`, `down`, `fail`, `failed`, `stopped`), how much of
its weight it takes (`75%`), and how many requests at once (`maxconn:30`; 0: no limit of its own).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from fastproxy.scoreboard.segment import Health as Word

SPEECH_MAX = 1024
"""Bytes of an agent's line that are read."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What an agent has said so far. None: nothing about that."""

    word: Word | None = None
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
    "up": Word.UP,
    "ready": Word.UP,
    "drain": Word.DRAIN,
    "maint": Word.MAINT,
    "down": Word.DOWN,
    "fail": Word.DOWN,
    "failed": Word.DOWN,
    "stopped": Word.DOWN,
}


def listen(text: str) -> Speech:
    """The words of the first line of an agent's text. What stands behind a `#` is a description,
    as with HAProxy. The last of several words about the same thing counts. Percents above 100 are
    100: a roster's weight is the most a backend gets."""
    line = text.lstrip("\r\n").splitlines()[0] if text.strip("\r\n") else ""
    word: Word | None = None
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
