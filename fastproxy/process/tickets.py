# SPDX-License-Identifier: MIT
"""Keys of TLS session tickets: control makes a new one every twelve hours.

They lie in the scoreboard, where all workers read them; the two before the newest still open their
tickets, so a session can be resumed for a day at least, and a key that leaks opens what was said
within a day and a half. The first one comes with the board.
"""

from __future__ import annotations

import asyncio

from fastproxy._core import Board
from fastproxy.scoreboard import segment

ROTATE_SECONDS = 12 * 3600.0
LOOK_SECONDS = 600.0
"""How often the age is asked for: a machine that slept does not wait twelve hours more."""


async def rotate(board: Board, every: float = ROTATE_SECONDS, look: float = LOOK_SECONDS) -> None:
    """For as long as control lives; a successor goes on where it was."""
    while True:
        left = every - board.ticket_age_ms() / 1000
        if left <= 0:
            board.rotate_tickets(segment.ticket_key())
        else:
            await asyncio.sleep(min(left, look))
