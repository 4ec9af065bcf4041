"""An upstream on a real board, for tests of balancing: `Table({"a": pool_of([1, 2])}).picker()`."""

from __future__ import annotations

import os
from typing import Any, get_args

from fastproxy._probe import Picker

from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.balance.settings import Backend, Balance, Upstream
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from tests.unit.boards import probe_of

ALGORITHMS: tuple[Balance, ...] = get_args(Balance)


def url_of(number: int) -> UpstreamUrl:
    return UpstreamUrl.parse(f"http://10.0.{number >> 8}.{number & 255}:80")


def pool_of(weights: list[int], balance: Balance = "p2c", **knobs: Any) -> Upstream:
    """An upstream with a member for each weight."""
    backends = [Backend(url=url_of(at), weight=weight) for at, weight in enumerate(weights)]
    return Upstream(backends=list(backends), balance=balance, **knobs)


def group_of(*members: dict[str, Any], **knobs: Any) -> Upstream:
    """An upstream with a member for each set of settings."""
    return Upstream(
        backends=[Backend(url=url_of(at), **one) for at, one in enumerate(members)], **knobs
    )


def roster_of(upstreams: dict[str, Upstream], epoch: int = 1, zone: str = "") -> bytes:
    addresses = {
        str(member.url): build.resolve(member.url)
        for upstream in upstreams.values()
        for member in upstream.members()
    }
    rows = build.assign_rows(build.members(upstreams, addresses))
    return build.build_roster(upstreams, addresses, rows, epoch, zone=zone)


class Table:
    """A roster, and a board with a row for each of its members."""

    def __init__(self, upstreams: dict[str, Upstream], workers: int = 1, zone: str = "") -> None:
        self.roster = roster_of(upstreams, zone=zone)
        self.members = build.read_roster(self.roster)
        fd = segment.create(workers)
        self.board = Board(fd)
        self.probe = probe_of(fd)
        os.close(fd)
        for member in self.members:
            segment.set_backend(
                self.board,
                member["row"],
                member["name"],
                upstream=member["upstream"],
                percent=100,
                generation=1,
            )

    def say(self, member: int, **words: int) -> None:
        """Control's words of a member (by its number in the roster)."""
        segment.set_backend(self.board, self.members[member]["row"], **words)

    def eject(self, member: int, until_ms: int) -> None:
        """A worker's word."""
        self.probe.eject(self.members[member]["row"], until_ms)
        self.board.touch(self.members[member]["upstream"])

    def busy(self, member: int, change: int, worker: int = 0) -> None:
        """More or fewer requests under way at a member."""
        self.probe.inflight(worker, self.members[member]["row"], change)

    def picker(self, upstream: int = 0, at: int = 0, seed: int = 1) -> Any:
        """One worker's picks."""
        return Picker(self.roster, self.probe, upstream, at, seed)
