# SPDX-License-Identifier: MIT
"""Control's keeping of the roster: who is a member now, at which addresses, on which rows.

`Rosters` starts from the roster in force (made by the command line, or by a control before us). It
makes the next one when names resolve to something else (`next`), when a source names others
(`provide`), or when an operator says so (`change`); None: nothing is new. A roster is made whole or
not at all: ValueError says what does not fit, and all stays as it was.

Rows of the scoreboard stay with a member for good, so that its counters, its ejection and what was
said of it are there when it comes back. While it is gone its row says so (Admin.GONE), from when
every worker has the roster without it: a request that began before does not choose it either. Only
when the table is full are rows given on, with a new generation, and only those where nothing is
under way and of which no worker knows any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.balance.build import Endpoint, Member, Place
from fastproxy.balance.settings import Backend
from fastproxy.memory import pack
from fastproxy.process import changes as changing
from fastproxy.process.changes import Change
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin, Health, WorkerState

if TYPE_CHECKING:
    from fastproxy.config.model import Upstream
    from fastproxy.process.handover import Handover

Key = tuple[str, str]
"""(upstream, member's name): what a row belongs to."""


def upstreams_of(given: Mapping[str, Any]) -> dict[str, Upstream]:
    """The settings in a handover. They were checked before they were packed."""
    # Late, here and below: master and workers import this module too, and never check a setting.
    from fastproxy.config.model import Upstream

    return dict(converted(dict[str, Upstream], dict(given), "upstreams"))


def rosters_of(handover: Handover, roster: bytes, board: Board) -> Rosters:
    """Those of an instance with these settings. `roster`: the one in force."""
    return Rosters(
        upstreams_of(handover.upstreams),
        roster,
        board,
        handover.zone,
        bytes.fromhex(handover.session_key),
        handover.retired,
    )


def converted(kind: Any, given: Any, where: str) -> Any:
    """Plain data as settings. ValueError, with every mistake in it."""
    from fastproxy.config.convert import Converter
    from fastproxy.config.load import Where, path_text

    faults: list[str] = []

    def report(at: Where, text: str, hint: str) -> None:
        faults.append(f"{path_text(at)}: {text}" + (f" ({hint})" if hint else ""))

    found = Converter(report).convert(kind, given, (where,))
    if faults:
        raise ValueError("; ".join(faults))
    return found


def all_members(
    upstreams: Mapping[str, Upstream],
    changes: Mapping[str, Change],
    addresses: Mapping[str, Iterable[Place]],
) -> list[Member]:
    """Every address of every backend that is a member now."""
    current = {
        name: msgspec.structs.replace(one, backends=changes[name].backends(one))
        for name, one in upstreams.items()
    }
    touched = (changes[one.upstream].touch(one) for one in build.members(current, addresses))
    return [one for one in touched if one is not None]


def place_of(entry: Mapping[str, Any]) -> Place:
    """Where a backend of a roster is, as the answer said that it came from."""
    address: bytes = entry["address"]
    if not UpstreamUrl(changing.url_of(entry["name"])).is_srv:
        return address
    return Endpoint(address, entry["weight"], entry["tier"], entry["authority"])


class Rosters:
    """`roster`: the bytes in force. ValueError if they are no roster of this build."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        roster: bytes,
        board: Board,
        zone: str = "",
        session_key: bytes = b"",
        retired: Iterable[str] = (),
    ) -> None:
        self.board = board
        self.zone = zone
        self.session_key = session_key
        self.upstreams = upstreams
        """As configured, by number."""
        self.retired = frozenset(retired)
        """Those that keep their numbers and have no members (config/numbers.py)."""
        self.current = {n: one for n, one in upstreams.items() if n not in self.retired}
        """The others."""
        head = pack.read("RosterHeader", roster)
        if head["magic"] != build.ROSTER_MAGIC or head["layout_hash"] != _core.layout_hash():
            raise ValueError("this is no roster of this build")
        self.epoch: int = head["epoch"]
        self.changes = changing.read(build.read_changes(roster), upstreams)
        self.addresses: dict[str, list[Place]] = {}
        self.rows: dict[Key, int] = {}
        self.generations: dict[int, int] = {}
        self.left: dict[Key, int] = {}
        """Members that were -> the roster they are not in any more."""
        self.unsaid: set[Key] = set()
        """Those of them whose row does not say so yet (`settle`)."""
        self.written: dict[Key, tuple[int, int, int]] = {}
        """Members on the scoreboard -> (generation, weight, operator's word), as written there."""
        current = self._learn(build.read_roster(roster))
        members = all_members(self.current, self.changes, self.addresses)
        self.members = [one for one in members if (one.upstream, one.name) in current]
        """Who is a member now."""

    def _learn(self, entries: list[dict[str, Any]]) -> set[Key]:
        """Take over rows and addresses of the roster in force, and rows of members that were; who
        is on the roster."""
        order = list(self.upstreams)
        for row in segment.backends_used(self.board):
            old = segment.backend(self.board, row)
            self.generations[row] = old["generation"]
            if old["upstream"] < len(order):
                self.rows[(order[old["upstream"]], old["name"])] = row
        current = set()
        for entry in entries:
            key = (order[entry["upstream"]], entry["name"])
            current.add(key)
            self.rows[key] = entry["row"]
            self.generations[entry["row"]] = entry["generation"]
            known = self.addresses.setdefault(changing.url_of(entry["name"]), [])
            place = place_of(entry)
            if place not in known:
                known.append(place)
        self._know_numbers(self.addresses, self.changes)
        for known in self.addresses.values():
            known.sort(key=build.address_of)
        return current

    def _know_numbers(
        self, addresses: dict[str, list[Place]], changes: Mapping[str, Change]
    ) -> None:
        """Addresses of all URLs that need no resolver."""
        for name, upstream in self.upstreams.items():
            for one in changes[name].backends(upstream):
                if str(one.url) not in addresses and build.is_numeric(one.url):
                    addresses[str(one.url)] = list(build.resolve(one.url))

    @property
    def names(self) -> list[UpstreamUrl]:
        """URLs of members whose addresses have to be asked for, again and again."""
        urls = [
            one.url
            for name, upstream in self.current.items()
            for one in self.changes[name].backends(upstream)
        ]
        return list(dict.fromkeys(url for url in urls if not build.is_numeric(url)))

    # -- what makes the next one ----------------------------------------------------------------

    def catch_up(self) -> bytes | None:
        """The first roster leaves out whom operators had taken out before this start: a worker must
        not choose them before their word is on the scoreboard."""
        return self._make(self.changes, self.addresses)

    def next(self, answers: Mapping[str, list[Place]]) -> bytes | None:
        """Names were looked up: URL -> addresses. None of them: it has no member any more (who asks
        keeps the last good answer for as long as it is to be kept)."""
        return self._make(self.changes, {**self.addresses, **answers})

    def renew(
        self, changes: dict[str, Change], answers: Mapping[str, list[Place]] | None = None
    ) -> bytes:
        """After a reload: a roster by the new settings, whether or not its members are others."""
        roster = self._make(changes, {**self.addresses, **(answers or {})}, always=True)
        assert roster is not None
        return roster

    def provide(self, upstream: str, source: str, backends: list[Backend]) -> bytes | None:
        """All that a source of members (a file...) names for an upstream, in place of what it named
        before. Host names among them become members when `next` brings their addresses."""
        change = changing.copied(self.changes[upstream])
        change.provided[source] = list(backends)
        if not backends:
            del change.provided[source]
        return self.change(upstream, change)

    def change(
        self, upstream: str, change: Change, answers: Mapping[str, list[Place]] | None = None
    ) -> bytes | None:
        """An upstream as it is to be from now on; `answers`: addresses of new host names."""
        change.prune(self.upstreams[upstream])
        changes = {**self.changes, upstream: change}
        return self._make(changes, {**self.addresses, **(answers or {})})

    def said(self, row: int) -> Admin:
        """What operator and agent say of the member on this row."""
        return Admin.of(segment.backend(self.board, row)["admin"])

    def unejected(self, members: Iterable[Member]) -> list[str]:
        """End the ejections of these members, since an operator vouches for them; whose they
        were."""
        numbers = {name: index for index, name in enumerate(self.upstreams)}
        return [
            one.name
            for one in members
            if _core.uneject(self.board, self.rows[(one.upstream, one.name)], numbers[one.upstream])
        ]

    def _make(
        self, changes: dict[str, Change], addresses: dict[str, list[Place]], always: bool = False
    ) -> bytes | None:
        for name, upstream in self.current.items():
            scheme = upstream.scheme
            for one in changes[name].backends(upstream):
                if one.url.scheme != scheme:
                    raise ValueError(f"{one.url}: backends of {name} are {scheme}://")
        self._know_numbers(addresses, changes)
        members = all_members(self.current, changes, addresses)
        if members == self.members and changes == self.changes and not always:
            self.addresses = addresses
            return None
        rows, given_on = self._rows_of(members)
        generations = dict(self.generations)
        for row in given_on.values():
            generations[row] = generations.get(row, 1) + 1
        roster = build.build_roster(
            self.upstreams,
            addresses,
            rows,
            self.epoch + 1,
            generations,
            self.zone,
            changes=changing.text_of(changes),
            session_key=self.session_key,
            found=members,
        )
        # Nothing below can fail: from here on it is so.
        self.epoch += 1
        self.changes, self.addresses, self.members = changes, addresses, members
        self.generations = generations
        for key in given_on:
            del self.rows[key], self.left[key]
            self.unsaid.discard(key)
        self.rows.update(rows)
        self.publish(came_now=True)
        return roster

    def _rows_of(self, members: list[Member]) -> tuple[dict[Key, int], dict[Key, int]]:
        """A row for each; and whose rows those were that had to be given on."""
        try:
            return build.assign_rows(members, self.rows), {}
        except ValueError as error:
            current = {(one.upstream, one.name) for one in members}
            free = self._free_rows(current)
            taken = {key: row for key, row in self.rows.items() if key not in free}
            try:
                rows = build.assign_rows(members, taken)
            except ValueError:
                held = sum(key not in current for key in taken)
                why = f", {held} of it for removed ones that are still in use" if held else ""
                raise ValueError(f"{error}{why}") from None
            used = set(rows.values())
            return rows, {key: row for key, row in free.items() if row in used}

    def _free_rows(self, current: set[Key]) -> dict[Key, int]:
        """Rows of members that are no more: nothing is under way there, and every worker has a
        roster without them."""
        oldest = self._oldest_epoch()
        return {
            key: self.rows[key]
            for key, epoch in self.left.items()
            if key not in current and epoch <= oldest and not self.board.inflight(self.rows[key])
        }

    def _oldest_epoch(self) -> int:
        """Of the rosters that workers use."""
        epochs = [
            segment.worker(self.board, slot)["roster_epoch"]
            for slot in range(self.board.workers)
            if self.board.state(slot) in (WorkerState.SERVING, WorkerState.DRAINING)
        ]
        return min(epochs, default=self.epoch)

    # -- the scoreboard -------------------------------------------------------------------------

    def publish(self, came_now: bool = False) -> None:
        """Write who is a member to the scoreboard, as control has to. `came_now`: those that were
        none have just come; at the proxy's own start nobody has."""
        current = {(one.upstream, one.name): one for one in self.members}
        for key, member in current.items():
            generation = self.generations.setdefault(self.rows[key], 1)
            word = self.changes[member.upstream].word_of(member)
            if self.written.get(key) != (generation, member.weight, word):
                self._enter(member, generation, came_now, word)
                self.written[key] = (generation, member.weight, word)
                self.left.pop(key, None)
                self.unsaid.discard(key)
        for key in self.rows:
            if key not in current and key not in self.left:
                self.written.pop(key, None)
                self.left[key] = self.epoch
                self.unsaid.add(key)
        self.settle()

    def settle(self) -> bool:
        """Say of those that left that they are gone, as soon as no worker begins requests with a
        roster that has them: before, they may be all that it knows. False: some still do."""
        oldest = self._oldest_epoch()
        for key in [key for key in self.unsaid if self.left[key] <= oldest]:
            row = self.rows[key]
            admin = self.said(row)._replace(gone=True).word
            segment.set_backend(self.board, row, admin=admin)
            self.unsaid.discard(key)
        return not self.unsaid

    def _enter(self, member: Member, generation: int, came_now: bool, word: int) -> None:
        """Write one member to its row, with the operator's word. What was seen of it and what its
        agent says stays, unless the row was another's. Who comes (back) now starts slowly."""
        key = (member.upstream, member.name)
        row = self.rows[key]
        old = segment.backend(self.board, row)
        words = {"weight": member.weight}
        comes = key in self.left or old["generation"] != generation
        if old["generation"] == generation:
            comes = comes or (Admin.of(old["admin"]).operator != Health.UP and word == Health.UP)
            words["admin"] = Admin.of(old["admin"])._replace(operator=word, gone=False).word
        else:
            segment.clear_backend(self.board, row)
            words["upstream"] = list(self.upstreams).index(member.upstream)
            words["generation"] = generation
            unproven = self.upstreams[member.upstream].proven_first
            words["health"] = Health.DOWN if unproven else Health.UP
            words["admin"] = Admin(operator=word, agent=words["health"]).word
        if came_now and comes:
            words["up_since_ms"] = time.monotonic_ns() // 1_000_000
        segment.set_backend(self.board, row, member.name, **words)
