# SPDX-License-Identifier: MIT
"""One upstream as workers see it: a real roster, a real scoreboard, a compiled pick each.

Only time is made up: `now_ms` is whatever the simulation says. Requests under way are written into
the cell of the worker that sent them; times to the first byte go through the engine's own average.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fastproxy import _probe
from fastproxy.balance.settings import Backend, Upstream
from tests.unit.balancing import Table, url_of

BEGIN_MS = 1_000_000
"""When a simulation begins: a machine that is up for a while."""


def backends(count: int) -> list[Any]:
    """So many equal members; addresses that exist nowhere."""
    return [backend(number) for number in range(count)]


def backend(number: int, **knobs: Any) -> Backend:
    return Backend(url=url_of(number), **knobs)


def key_of(text: str) -> int:
    """The hash of a request's key: any good one will do here."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class World:
    """`workers` workers before one upstream."""

    def __init__(self, upstream: Upstream, workers: int = 2) -> None:
        self.table = Table({"app": upstream}, workers)
        self.rows = [one["row"] for one in self.table.members]
        self.pickers = [self.table.picker(seed=1 + slot) for slot in range(workers)]

    @property
    def workers(self) -> int:
        return len(self.pickers)

    def pick(self, worker: int, now_ms: float = BEGIN_MS, key: int | None = None) -> int:
        """The member for a new request; -1: nobody."""
        return int(self.pickers[worker].pick(None, int(now_ms), key))

    def begin(self, worker: int, member: int) -> None:
        """It was sent there."""
        self.table.busy(member, 1, worker)

    def end(self, worker: int, member: int, us: float, now_ms: float) -> None:
        """It was answered after so long."""
        self.table.busy(member, -1, worker)
        _probe.latency_seen(self.table.probe, self.rows[member], int(us), int(now_ms))

    def word(self, member: int, **words: int) -> None:
        """Control says something of a member: health, admin, percent, up_since_ms."""
        self.table.say(member, **words)

    def shares(self, now_ms: float = BEGIN_MS) -> list[int]:
        """Percent of new requests that each tier gets."""
        return list(self.pickers[0].live(int(now_ms))[1])
