# SPDX-License-Identifier: MIT
"""What asking for a name comes to: an Answer, or Unresolved. Both resolvers (dns.py, system.py)
keep to `Resolver`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastproxy.balance.build import Place, address_of
from fastproxy.schema import UpstreamUrl

ADDRESSES_MAX = 1000
"""Of one name; an upstream has room for 1024 members."""


class UnresolvedError(OSError):
    """No answer, or none that helps; the text says why. `gone`: a server said that there is no such
    name or no such record, rather than nothing."""

    def __init__(self, text: str, gone: bool = False) -> None:
        super().__init__(text)
        self.gone = gone


@dataclass(frozen=True)
class Answer:
    """Never empty; sorted and without doubles, so that another order is no news."""

    places: list[Place]
    ttl: float
    """Seconds until it is to be asked again, as told by who answered: not clamped yet."""
    dropped: int = 0
    """Addresses beyond ADDRESSES_MAX."""


class Resolver(Protocol):
    """`last` is the answer before: what a half answer lacks (IPv6 timed out, IPv4 did not) is
    carried over from it."""

    async def ask(self, url: UpstreamUrl, last: Sequence[Place] = ()) -> Answer:
        """UnresolvedError if there is no answer in time."""
        ...


def answer_of(places: Iterable[Place], ttl: float) -> Answer:
    """Sorted by address, one place for each address: the first of several."""
    found: dict[bytes, Place] = {}
    for place in places:
        found.setdefault(address_of(place), place)
    kept = [found[address] for address in sorted(found)]
    return Answer(kept[:ADDRESSES_MAX], ttl, max(0, len(kept) - ADDRESSES_MAX))


def family_of(address: bytes) -> int:
    """AF_INET or AF_INET6 of a socket address."""
    return int.from_bytes(address[:2], sys.byteorder)
