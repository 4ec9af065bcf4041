# SPDX-License-Identifier: MIT
"""One upstream as workers see it: a real roster, a real scoreboard, a compiled pick each.

Only time is made up: `now_ms` is whatever the simulation says. Requests under way are written into
the cell of the worker that sent them; times to the first byte go through the engine's own average.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from fastproxy import _core, _probe
from fastproxy.balance import build
from fastproxy.balance.settings import Backend, Upstream
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment

BEGIN_MS = 1_000_000
"""When a simulation begins: a machine that is up for a while."""


def backends(count: int, **more: Any) -> list[UpstreamUrl | Backend]:
    """So many equal members; addresses that exist nowhere."""
    return [backend(n, **more) for n in range(count)]


def backend(number: int, **more: Any) -> Backend:
    url = f"http://10.0.{number >> 8}.{number & 255}:80"
    return Backend(url=UpstreamUrl.parse(url), **more)


def key_of(text: str) -> int:
    """The hash of a request's key: any good one will do here."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class World:
    """`workers` workers before one upstream."""

    def __init__(self, upstream: Upstream, workers: int = 2, seed: int = 1) -> None:
        pool = {"app": upstream}
        urls = {str(one.url): build.resolve(one.url) for one in upstream.members()}
        rows = build.assign_rows(build.members(pool, urls))
        roster = build.build_roster(pool, urls, rows, 1)
        self.names = [one["name"] for one in build.read_roster(roster)]
        self.rows = [one["row"] for one in build.read_roster(roster)]
        fd = segment.create(workers=workers, backends=max(self.rows) + 1, routes=1)
        self.board = _core.Board(fd)
        probe = _probe.BoardProbe(fd, os.fstat(fd).st_size)
        os.close(fd)
        for row, name in zip(self.rows, self.names, strict=True):
            segment.set_backend(
                self.board, row, name, upstream=0, weight=1, percent=100, generation=1
            )
        self.probe = probe
        self.pickers = [
            _probe.Picker(roster, probe, 0, 0, 1 + seed * workers + slot) for slot in range(workers)
        ]

    @property
    def workers(self) -> int:
        return len(self.pickers)

    def pick(self, worker: int, now_ms: float = BEGIN_MS, key: int | None = None) -> int:
        """The member for a new request; -1: nobody."""
        return int(self.pickers[worker].pick(None, int(now_ms), key))

    def begin(self, worker: int, member: int) -> None:
        """It was sent there."""
        self.probe.inflight(worker, self.rows[member], 1)

    def end(self, worker: int, member: int, us: float, now_ms: float) -> None:
        """It was answered after so long."""
        self.probe.inflight(worker, self.rows[member], -1)
        self.probe.answered(self.rows[member], us, int(now_ms))

    def word(self, member: int, **words: int) -> None:
        """Control says something of a member: health, admin, percent, up_since_ms."""
        segment.set_backend(self.board, self.rows[member], **words)

    def shares(self, now_ms: float = BEGIN_MS) -> list[int]:
        """Percent of new requests that each tier gets."""
        return list(self.pickers[0].live(int(now_ms))[1])
