# SPDX-License-Identifier: MIT
"""Control's discovery: names, files and other sources, and the rosters they lead to."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastproxy._core import Board
from fastproxy.balance.build import Place
from fastproxy.balance.settings import Backend
from fastproxy.config.backends import faults, long_form, read_backends
from fastproxy.discovery.file import FileSource
from fastproxy.discovery.names import Names
from fastproxy.discovery.resolver import resolver_of
from fastproxy.discovery.settings import Dns
from fastproxy.discovery.source import Publish, Source, keep
from fastproxy.discovery.suspects import Suspects
from fastproxy.process.changes import CODE, FILE
from fastproxy.process.log import Log
from fastproxy.process.rosters import Rosters, converted
from fastproxy.schema import UpstreamUrl

SUSPECTS_SECONDS = 1.0


class Discover:
    """`hand_on` gets each new roster. To be made inside the running loop; `run` ends when it is
    cancelled."""

    def __init__(
        self,
        rosters: Rosters,
        dns: Mapping[str, Any],
        board: Board,
        log: Log,
        hand_on: Callable[[bytes], None],
    ) -> None:
        self.rosters = rosters
        self.log = log
        self.hand_on = hand_on
        settings: Dns = converted(Dns, dict(dns), "dns")
        self.names = Names(resolver_of(settings), settings, log, self.on_answers)
        self.suspects = Suspects(board)
        self.rows: dict[int, str] = {}
        """Scoreboard row of each member that has a name -> its URL."""

    async def run(self) -> None:
        self.on_roster(self.rosters)
        tasks = [
            asyncio.create_task(keep(make, self.publisher(upstream, kind), shown, self.log))
            for upstream, kind, make, shown in self.sources()
        ]
        try:
            while True:
                await asyncio.sleep(SUSPECTS_SECONDS)
                for url in self.suspects.look(self.rows):
                    self.names.suspect(url)
        finally:
            self.names.stop()
            for task in tasks:
                task.cancel()

    def on_roster(self, rosters: Rosters) -> None:
        """Who its members are has changed: so may have their names."""
        self.rows = {
            rosters.rows[(one.upstream, one.name)]: str(one.backend.url)
            for one in rosters.members
            if "#" in one.name
        }
        self.names.follow(rosters.names, rosters.addresses)

    async def look_up(self, url: UpstreamUrl) -> list[Place]:
        """For orders: the addresses of one name, now. OSError."""
        return (await self.names.resolver.ask(url)).places

    # -- names ----------------------------------------------------------------------------------

    def on_answers(self, answers: Mapping[str, list[Place]]) -> None:
        self.take(self.rosters.next(answers))

    def take(self, roster: bytes | None) -> None:
        if roster is not None:
            self.hand_on(roster)

    # -- files and other sources ----------------------------------------------------------------

    def sources(self) -> list[tuple[str, str, Callable[[], Source], str]]:
        """(upstream, kind, what makes it, how messages call it)."""
        found: list[tuple[str, str, Callable[[], Source], str]] = []
        for name, upstream in self.rosters.current.items():
            file, place = upstream.backends_file, upstream.backends_source
            if file:
                make = functools.partial(FileSource, file, read_backends, self.log)
                found.append((name, FILE, make, f"upstream {name}: {file}"))
            if place:
                shown = f"upstream {name}: {place}"
                found.append((name, CODE, functools.partial(source_at, place), shown))
        return found

    def publisher(self, upstream: str, kind: str) -> Publish:
        def publish(backends: Sequence[Any]) -> None:
            self.take(self.rosters.provide(upstream, kind, as_backends(backends)))

        return publish


def as_backends(given: Sequence[Any]) -> list[Backend]:
    """URLs or tables, checked as if they stood in the configuration. ValueError with every
    mistake."""
    plain = [one for one in given if not isinstance(one, Backend)]
    checked = iter(long_form(converted(list[UpstreamUrl | Backend], plain, "backends")))
    found = [one if isinstance(one, Backend) else next(checked) for one in given]
    wrong = [text for _, text, hint in faults(found) if not hint]
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def source_at(place: str) -> Source:
    """What `package.module:Class` makes."""
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    made: Source = found()
    return made
