# SPDX-License-Identifier: MIT
"""What has changed in an upstream since the configuration: by operators, and by sources of members.

The configuration stays as it is; what stands beside it is small, plain and whole: `Change`, one per
upstream. Control keeps it as JSON in the roster in force (RosterHeader.changes), so that a control
that is started anew goes on from it, and in the state file, if there is one, for the next start
(process/state.py).

Who wins, when the same URL comes from several sides: what an operator added, then the
configuration, then sources by name. What an operator removed stays away until it is added again, or
until nobody else names it any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from fastproxy.balance.build import Member
from fastproxy.balance.settings import Backend, Upstream
from fastproxy.schema import dec_hook, enc_hook
from fastproxy.scoreboard.segment import Health

CONFIGURED, OPERATOR = "configuration", "operator"
FILE, CODE = "file", "source"
"""What lists of other sources are known by."""
Word = Literal["up", "drain", "maint"]
WORDS: dict[Health, Word] = {Health.UP: "up", Health.DRAIN: "drain", Health.MAINT: "maint"}


class Change(msgspec.Struct, omit_defaults=True):
    """Of one upstream. A name below is a URL, or "URL#address" for one address of a host name."""

    provided: dict[str, list[Backend]] = {}
    """Source (a file's path...) -> all that it names."""
    added: list[Backend] = []
    removed: list[str] = []
    weights: dict[str, int] = {}
    words: dict[str, Word] = {}
    """Name -> "drain", "maint", or "up" where the URL has another word; as in `Health`."""

    def sources(self, upstream: Upstream) -> dict[str, tuple[Backend, str]]:
        """URL -> its settings and who named it, without those that were removed as a whole."""
        found = {str(one.url): (one, OPERATOR) for one in self.added}
        for one in upstream.members():
            found.setdefault(str(one.url), (one, CONFIGURED))
        for source in sorted(self.provided):
            for one in self.provided[source]:
                found.setdefault(str(one.url), (one, source))
        return {url: found[url] for url in found if url not in self.removed}

    def backends(self, upstream: Upstream) -> list[Backend]:
        """Those that the upstream has now: the configuration's in their order (the same URL twice
        stays so), then the others."""
        current = self.sources(upstream)
        kept = {url for url, (_, source) in current.items() if source == CONFIGURED}
        first = [one for one in upstream.members() if str(one.url) in kept]
        return [*first, *(one for one, source in current.values() if source != CONFIGURED)]

    def touch(self, member: Member) -> Member | None:
        """A member as operators want it; None: its address was removed."""
        if member.name in self.removed:
            return None
        url = str(member.backend.url)
        weight = self.weights.get(member.name, self.weights.get(url))
        if weight is None or weight == member.weight:
            return member
        backend = msgspec.structs.replace(member.backend, weight=weight)
        endpoint = member.endpoint and dataclasses.replace(member.endpoint, weight=None)
        return dataclasses.replace(member, backend=backend, endpoint=endpoint)

    def word_of(self, member: Member) -> Health:
        """What operators say of a member."""
        url = str(member.backend.url)
        return Health[self.words.get(member.name, self.words.get(url, "up")).upper()]

    def say(self, name: str, word: Health) -> None:
        """From now on this is what operators say of it; of a URL: of all its addresses."""
        if "#" not in name:
            self.words = {old: one for old, one in self.words.items() if url_of(old) != name}
        self.words.pop(name, None)
        if word != Health.UP or url_of(name) in self.words:
            self.words[name] = WORDS[word]

    def weigh(self, name: str, weight: int) -> None:
        """From now on this is its weight; of a URL: of all its addresses."""
        if "#" not in name:
            self.weights = {old: one for old, one in self.weights.items() if url_of(old) != name}
        self.weights[name] = weight

    def forget(self, url: str) -> None:
        """Whatever was said of a URL and its addresses is over."""
        self.added = [one for one in self.added if str(one.url) != url]
        self.removed = [name for name in self.removed if url_of(name) != url]
        self.weights = {name: one for name, one in self.weights.items() if url_of(name) != url}
        self.words = {name: one for name, one in self.words.items() if url_of(name) != url}

    def prune(self, upstream: Upstream) -> None:
        """Forget what was said of URLs that nobody names any more."""
        named = {str(one.url) for one in [*upstream.members(), *self.added]}
        named |= {str(one.url) for group in self.provided.values() for one in group}
        self.removed = [name for name in self.removed if url_of(name) in named]
        self.weights = {name: one for name, one in self.weights.items() if url_of(name) in named}
        self.words = {name: one for name, one in self.words.items() if url_of(name) in named}


def url_of(name: str) -> str:
    """The URL in a member's name."""
    return name.partition("#")[0]


def copied(change: Change) -> Change:
    """One that may be altered without touching the first."""
    return Change(
        provided=dict(change.provided),
        added=list(change.added),
        removed=list(change.removed),
        weights=dict(change.weights),
        words=dict(change.words),
    )


def text_of(changes: Mapping[str, Change]) -> str:
    """As JSON; "" if nothing was changed."""
    kept = {name: one for name, one in changes.items() if one != Change()}
    return msgspec.json.encode(kept, enc_hook=enc_hook).decode() if kept else ""


def read(text: str | bytes, known: Iterable[str]) -> dict[str, Change]:
    """From JSON: a Change for each known upstream; others are left out. ValueError."""
    found: dict[str, Change] = {}
    if text:
        found = msgspec.json.decode(text, type=dict[str, Change], dec_hook=dec_hook)
    return {name: found.get(name) or Change() for name in known}
