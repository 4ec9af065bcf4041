# SPDX-License-Identifier: MIT
"""Control's keeping of the keyring: files of certificates and keys change, the next one is made.

They are looked at, not watched, for the reasons of discovery/file.py, and read once they have stood
still from one look to the next. A keyring is made whole or not at all: with one bad file the one in
force stays, and the error log says what is wrong, until the files change again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastproxy.process.handover import Handover
from fastproxy.process.log import Log
from fastproxy.process.rosters import converted
from fastproxy.tls import keyring as keys
from fastproxy.tls.build import Built, build_keyring, certificates_report
from fastproxy.tls.files import mark

if TYPE_CHECKING:
    from fastproxy.config.model import Upstream
    from fastproxy.tls.settings import Tls

LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Listener:
    """What a keyring needs of a listener."""

    tls: Tls | None
    http2: bool | None


@dataclass(frozen=True)
class Configured:
    """What a keyring needs of a configuration."""

    listeners: list[Listener]
    upstreams: Mapping[str, Upstream]


class Keyrings:
    """`keyring`: the bytes in force. `hand_on` gets each next one. ValueError if
    the bytes are no keyring."""

    def __init__(
        self,
        handover: Handover,
        upstreams: Mapping[str, Upstream],
        keyring: bytes,
        log: Log,
        hand_on: Callable[[bytes], None],
    ) -> None:
        # Late: master and workers import what this module imports too, and never check a setting.
        from fastproxy.config import plugs
        from fastproxy.tls.settings import Tls

        given = handover.tls
        kinds = [None if one is None else converted(Tls, one, "tls") for one in given.listeners]
        pairs = zip(kinds, given.http2, strict=True)
        self.config = Configured([Listener(tls, http2) for tls, http2 in pairs], upstreams)
        self.directory = given.directory
        self.http2 = not plugs.trouble(plugs.HTTP2)
        self.binds = [one.bind for one in handover.listeners]
        self.log = log
        self.hand_on = hand_on
        self.keyring: keys.Keyring = keys.decode(keyring)
        self.taken = dict(self.keyring.files)
        """State of each file as it was read last, for good or in vain."""

    async def run(self) -> None:
        """Until cancelled."""
        before: dict[str, str] = {}
        while True:
            now = {path: mark(path) for path in self.taken}
            if now != self.taken and now == before:
                await self.renew()
            before = now
            await asyncio.sleep(LOOK_SECONDS)

    async def renew(self) -> None:
        """Read everything again; hand on what came of it, if it is sound and new."""
        generation = self.keyring.generation + 1
        # In a thread: thousands of certificates take seconds.
        built = await asyncio.to_thread(
            build_keyring, self.config, generation, self.directory, http2=self.http2
        )
        # What is named only in what cannot be used now may come back.
        self.taken = {path: mark(path) for path in self.taken} | built.keyring.files
        self._take(built)

    def _take(self, built: Built) -> None:
        errors = built.errors
        for problem in errors or built.problems:
            say = self.log.error if errors else self.log.warning
            say(f"{problem}" + (" (certificates stay as they are)" if errors else ""))
        if errors:
            return
        ours, theirs = self.keyring, built.keyring
        if (ours.listeners, ours.upstreams) == (theirs.listeners, theirs.upstreams):
            return
        self.keyring = theirs
        self.hand_on(keys.encode(theirs))
        self.log.info(f"certificates are replaced: keyring {theirs.generation}")

    def report(self) -> list[dict[str, Any]]:
        """Every certificate in force."""
        return certificates_report(self.keyring, self.binds, list(self.config.upstreams))
