# SPDX-License-Identifier: MIT
"""Every name its own clock: asked for when its answer is over, sooner when there is reason to.

`Names` keeps one task for each name. A good answer holds for its TTL (within dns.min_ttl and
dns.max_ttl). Where there is none, the last good one stays in force, and the name is asked for again
after 1, 2, 4... up to 30 seconds. `suspect` asks at once: connects to one of its addresses fail, so
it may have moved. Only what changes is published, and what changes at the same moment is published
together: the same addresses in another order are no news.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastproxy.balance.build import Place
from fastproxy.discovery.answer import Answer, Resolver, UnresolvedError
from fastproxy.discovery.settings import Dns
from fastproxy.schema import UpstreamUrl

RETRY_SECONDS = (1.0, 30.0)
"""The first and the longest pause after a failure; each is twice the one before."""
SUSPECT_SECONDS = 1.0
"""A suspected name is asked for at most so often."""
GATHER_SECONDS = 0.02
"""Answers of this time are published as one."""

Publish = Callable[[Mapping[str, list[Place]]], None]


class Says(Protocol):
    """Where it tells what happens (process/log.py)."""

    def info(self, text: str) -> None: ...
    def warning(self, text: str) -> None: ...
    def error(self, text: str) -> None: ...


@dataclass
class Name:
    """What is known of one name."""

    url: UpstreamUrl
    places: list[Place]
    """The answer in force."""
    answered: float = 0.0
    """When the last good answer came (monotonic); 0: not in this process."""
    asked: float = 0.0
    ttl: float = 0.0
    """As it is kept to: clamped."""
    failures: int = 0
    """In a row."""
    fault: str = ""
    dropped: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def age(self) -> float:
        """Seconds since its answer was given; 0 if that was before our time."""
        return time.monotonic() - self.answered if self.answered else 0.0


class Names:
    """`publish({url: places})` is called with every change; no places: the last good answer has
    become too old (dns.stale)."""

    def __init__(self, resolver: Resolver, dns: Dns, log: Says, publish: Publish) -> None:
        self.resolver = resolver
        self.dns = dns
        self.log = log
        self.publish = publish
        self.names: dict[str, Name] = {}
        self.news: dict[str, list[Place]] = {}
        """What is to be published, or did not fit when it was."""
        self.telling = False
        self.refused = ""

    def follow(self, urls: Iterable[UpstreamUrl], known: Mapping[str, Sequence[Place]]) -> None:
        """These names from now on, and no others. `known`: answers already in force."""
        wanted = {str(url): url for url in urls}
        for key in self.names.keys() - wanted.keys():
            gone = self.names.pop(key)
            self.news.pop(key, None)
            if gone.task:
                gone.task.cancel()
        for key in wanted.keys() - self.names.keys():
            name = Name(wanted[key], list(known.get(key, ())))
            self.names[key] = name
            name.task = asyncio.create_task(self._keep(name))

    def stop(self) -> None:
        self.follow((), {})

    def suspect(self, url: str) -> None:
        """Ask again soon: its addresses do not take connections."""
        if name := self.names.get(url):
            name.wake.set()

    def report(self) -> list[dict[str, Any]]:
        """For `status`: each name with its addresses, and how fresh they are."""
        return [
            {
                "name": key,
                "addresses": len(name.places),
                "age_seconds": round(name.age, 1) if name.answered else None,
                "ttl_seconds": round(name.ttl, 3),
                "failures": name.failures,
                "error": name.fault,
            }
            for key, name in sorted(self.names.items())
        ]

    # -- one name -------------------------------------------------------------------------------

    async def _keep(self, name: Name) -> None:
        while True:
            name.asked = time.monotonic()
            try:
                answer = await self.resolver.ask(name.url, name.places)
            except UnresolvedError as error:
                pause = self._failed(name, str(error))
            except Exception as error:  # a bug of ours must not end the following of a name
                pause = self._failed(name, f"{type(error).__name__}: {error}")
            else:
                pause = self._answered(name, answer)
            await self._pause(name, pause)

    async def _pause(self, name: Name, seconds: float) -> None:
        """Until the time is over, or somebody suspects it: then not before SUSPECT_SECONDS after
        it was last asked for."""
        name.wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await name.wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, name.asked + SUSPECT_SECONDS - time.monotonic()))

    def _answered(self, name: Name, answer: Answer) -> float:
        if name.failures:
            self.log.info(f"{name.url} resolves again, after {name.failures} failures")
        if answer.dropped and not name.dropped:
            kept = len(answer.places)
            self.log.warning(f"{name.url} has {kept + answer.dropped} addresses; {kept} are used")
        name.failures, name.fault, name.dropped = 0, "", answer.dropped
        name.answered = time.monotonic()
        name.ttl = min(max(answer.ttl, float(self.dns.min_ttl)), float(self.dns.max_ttl))
        self._put(name, answer.places)
        return name.ttl

    def _failed(self, name: Name, fault: str) -> float:
        if fault != name.fault:
            kept = f"keeping the last answer ({len(name.places)} addresses"
            kept += f", {name.age:.0f} s old)" if name.answered else ")"
            self.log.warning(f"{name.url}: {fault}; {kept if name.places else 'nothing known yet'}")
        name.fault = fault
        first, longest = RETRY_SECONDS
        pause: float = min(longest, first * 2 ** min(name.failures, 16)) * random.uniform(0.9, 1.1)
        name.failures += 1
        if self.dns.stale != "keep" and name.places:
            left = float(self.dns.stale) - name.age
            if not name.answered:  # given by a process before us: its time begins now
                name.answered = time.monotonic()
            elif left <= 0:
                self.log.error(f"{name.url}: its last answer is too old (dns.stale): not used")
                self._put(name, [])
                return pause
            pause = min(pause, max(left, 0.01))
        return pause

    # -- telling --------------------------------------------------------------------------------

    def _put(self, name: Name, places: list[Place]) -> None:
        if places != name.places:
            name.places = places
            self.news[str(name.url)] = places
        if self.news and not self.telling:
            self.telling = True
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        """What does not fit (1000 addresses beside another 1000) is tried again with the next
        answer of any name: there may be room by then."""
        self.telling = False
        try:
            self.publish(dict(self.news))
        except ValueError as error:
            if str(error) != self.refused:
                self.log.error(f"resolving upstreams: {error}; the members stay as they were")
            self.refused = str(error)
        else:
            self.news, self.refused = {}, ""
