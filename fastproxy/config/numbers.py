# SPDX-License-Identifier: MIT
"""Numbers that stay: which upstream and which route has which row, over all reloads of an instance.

An upstream's number is its place in the plan, the roster and the keyring, and names its rows on the
scoreboard; a route's is that of its counters. Whoever stays through a reload keeps it, so that a
request may finish by the old plan while the new one is in force, and counters, sessions and queues
go on. The number of an upstream that is gone (*retired*) is never given on: its name may come back.
A route's is, once the table is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

RETIRED = ""
"""In the place of a retired upstream's name, where nothing may refer to it."""


@dataclass(frozen=True)
class Numbers:
    """Those in force before. Empty: an instance starts."""

    upstreams: Sequence[str] = ()
    """Names by number, retired ones too."""
    routes: Mapping[str, int] = field(default_factory=dict)
    """Name -> row of its counters, of routes that are gone too."""

    def order(self, names: Iterable[str]) -> list[str]:
        """All upstreams by number, when these are those of the next configuration."""
        known = set(self.upstreams)
        return [*self.upstreams, *(name for name in names if name not in known)]

    def names(self, names: Iterable[str]) -> list[str]:
        """The same for whoever looks an upstream up by its name."""
        current = list(names)
        kept = set(current)
        return [name if name in kept else RETIRED for name in self.order(current)]

    def rows(self, names: Sequence[str], most: int) -> list[int]:
        """A row below `most` for each route: its old one, else one that was never used, else that
        of a route that is gone. There are at most `most` routes."""
        rows = [self.routes.get(name) for name in names]
        free = self._free(set(names), most)
        return [next(free) if row is None else row for row in rows]

    def _free(self, current: set[str], most: int) -> Iterator[int]:
        used = set(self.routes.values())
        yield from (row for row in range(most) if row not in used)
        yield from (row for name, row in self.routes.items() if name not in current)
