# SPDX-License-Identifier: MIT
"""The master's view of one child: a seat that is filled, or waits to be filled again."""

from __future__ import annotations

import time
from dataclasses import dataclass

RESPAWN_FIRST_SECONDS, RESPAWN_MOST_SECONDS = 0.1, 10.0
HEALTHY_SECONDS = 10.0
"""A child that lived this long starts the back-off anew."""
CONTROL = -1
"""Control's seat number."""


@dataclass(slots=True)
class Seat:
    """One place for a child: a worker slot, or control. Empty while `pid` is 0."""

    number: int
    pid: int = 0
    pidfd: int = -1
    born: float = 0.0
    generation: int = 0
    failures: int = 0
    due: float = 0.0
    """When to fork next (monotonic)."""
    served: bool = False
    """This child came up."""
    stale: bool = False
    """Its beat is old: it is stuck."""
    loud: bool = False
    """That has been said."""
    why: str = ""
    """Why it could not start: its own word, or ours."""

    @property
    def name(self) -> str:
        return "control" if self.number == CONTROL else f"worker {self.number}"

    def age(self) -> float:
        """Seconds since its child was born."""
        return time.monotonic() - self.born

    def wait(self) -> None:
        """When to try again: 100 ms, doubling to 10 s; anew after a healthy life (a worker that
        hung in its start had none)."""
        healthy = self.born and (self.served or self.number == CONTROL)
        if healthy and self.age() >= HEALTHY_SECONDS:
            self.failures = 0
        seconds = min(RESPAWN_FIRST_SECONDS * 2**self.failures, RESPAWN_MOST_SECONDS)
        self.failures = min(self.failures + 1, 16)
        self.due = time.monotonic() + seconds
