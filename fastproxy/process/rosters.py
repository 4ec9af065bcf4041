# SPDX-License-Identifier: MIT
"""Control's keeping of the roster: which names resolve to what, which rows that takes.

`Rosters` starts from the roster in force (made by the command line, or by a control before us),
looks names up again, and makes the next roster when an answer changed. A name that does not resolve
keeps its last good answer. Rows of the scoreboard stay with a member for good; only when the table
is full are those given on that no current member has, with a new generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.memory import pack
from fastproxy.scoreboard import segment

if TYPE_CHECKING:
    from fastproxy.config.model import Upstream


def upstreams_of(given: Mapping[str, Any]) -> dict[str, Upstream]:
    """The settings in a handover. They were checked before they were packed."""
    # Late: master and workers import this module too, and never check a setting.
    from fastproxy.config.convert import Converter
    from fastproxy.config.load import Where, path_text
    from fastproxy.config.model import Upstream

    faults: list[str] = []

    def report(where: Where, text: str, hint: str) -> None:
        faults.append(f"{path_text(where)}: {text}")

    found = Converter(report).convert(dict[str, Upstream], dict(given), ("upstreams",))
    if faults:
        raise ValueError("; ".join(faults))
    return dict(found)


class Rosters:
    """`roster`: the bytes in force. ValueError if they are no roster of this build."""

    def __init__(
        self,
        upstreams: dict[str, Upstream],
        roster: bytes,
        board: Board,
        zone: str = "",
        session_key: bytes = b"",
    ) -> None:
        self.board = board
        self.zone = zone
        self.session_key = session_key
        self.upstreams = upstreams
        head = pack.read("RosterHeader", roster)
        if head["magic"] != build.ROSTER_MAGIC or head["layout_hash"] != _core.layout_hash():
            raise ValueError("this is no roster of this build")
        self.epoch: int = head["epoch"]
        urls = [member.url for one in self.upstreams.values() for member in one.members()]
        self.names = [url for url in dict.fromkeys(urls) if not build.is_numeric(url)]
        self.addresses: dict[str, list[bytes]] = {
            str(url): build.resolve(url) for url in urls if build.is_numeric(url)
        }
        self.rows: dict[tuple[str, str], int] = {}
        self.generations: dict[int, int] = {}
        self._learn(build.read_roster(roster))

    def _learn(self, entries: list[dict[str, object]]) -> None:
        """Take over rows and addresses of the roster in force, and rows of members that were."""
        order = list(self.upstreams)
        for row in segment.backends_used(self.board):
            old = segment.backend(self.board, row)
            self.generations[row] = old["generation"]
            if old["upstream"] < len(order):
                self.rows[(order[old["upstream"]], old["name"])] = row
        for entry in entries:
            name, row = str(entry["name"]), int(str(entry["row"]))
            self.rows[(order[int(str(entry["upstream"]))], name)] = row
            self.generations[row] = int(str(entry["generation"]))
            url, sharp, _ = name.partition("#")
            known = self.addresses.setdefault(url, []) if sharp else []
            if sharp and entry["address"] not in known:
                known.append(bytes(entry["address"]))  # type: ignore[call-overload]
        for known in self.addresses.values():
            known.sort()

    def publish(self) -> None:
        """Write the rows of all current members to the scoreboard, as control has to."""
        order = {name: index for index, name in enumerate(self.upstreams)}
        for member in build.members(self.upstreams, self.addresses):
            row = self.rows[(member.upstream, member.name)]
            segment.set_backend(
                self.board,
                row,
                member.name,
                upstream=order[member.upstream],
                weight=member.weight,
                percent=100,
                generation=self.generations.setdefault(row, 1),
            )

    def next(self, answers: Mapping[str, list[bytes]]) -> bytes | None:
        """The next roster if these answers (URL -> addresses) change anything, else None. An empty
        answer changes nothing. ValueError if it does not fit."""
        changed = {
            url: found
            for url, found in answers.items()
            if found and found != self.addresses.get(url)
        }
        if not changed:
            return None
        addresses = {**self.addresses, **changed}
        members = build.members(self.upstreams, addresses)
        try:
            rows = build.assign_rows(members, self.rows)
        except ValueError:
            self._forget(members)
            rows = build.assign_rows(members, self.rows)
        self.rows.update(rows)
        self.addresses = addresses
        self.epoch += 1
        self.publish()
        return build.build_roster(
            self.upstreams,
            addresses,
            rows,
            self.epoch,
            self.generations,
            self.zone,
            session_key=self.session_key,
        )

    def _forget(self, members: list[build.Member]) -> None:
        """The table is full: give on the rows of members that are no more."""
        current = {(member.upstream, member.name) for member in members}
        for key in [key for key in self.rows if key not in current]:
            row = self.rows.pop(key)
            self.generations[row] = self.generations.get(row, 1) + 1
