# SPDX-License-Identifier: MIT
"""The tables of a roster that picks walk along: wheel, ring, Maglev table. Built by door.pxi.

Pure, and the same for the same members: no process and no order of the configuration decides where
a hashed key goes. Used by build.py only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastproxy import _core
from fastproxy.balance.settings import Upstream
from fastproxy.memory import pack

WHEEL_MAX = 65536
WHEELED = {"round_robin", "least_conn"}
"""Algorithms that take turns along the wheel."""


def pick_tables(
    blob: pack.Blob, upstream: Upstream, hashes: list[int], weights: list[int]
) -> dict[str, Any]:
    """Slices of RosterUpstream for the tables that its algorithm asks for. `hashes`: of the
    members' names."""
    by_hash = upstream.balance == "hash"
    tables: dict[str, Any] = {}
    if {upstream.balance, upstream.hash.fallback if by_hash else ""} & WHEELED and any(weights):
        turns = wheel(weights)
        tables["wheel"] = (blob.raw(turns), len(turns) // 2)
    if by_hash and upstream.hash.method == "ring":
        points = _core.hash_ring(hashes, weights)
        tables["ring"] = (blob.raw(points), len(points) // pack.size("RingPoint"))
    if by_hash and upstream.hash.method == "maglev":
        entries = _core.maglev_table(hashes, weights)
        tables["maglev"] = (blob.raw(entries), len(entries) // 2)
    return tables


def wheel(weights: list[int]) -> bytes:
    """The cycle of smooth weighted round robin over these weights, as uint16 indices.

    Weights are divided by their greatest common divisor; a sum above WHEEL_MAX is scaled down,
    and nobody's share then falls below one step of the cycle.
    """
    divisor = math.gcd(*weights) or 1
    reduced = [weight // divisor for weight in weights]
    total = sum(reduced)
    if total > WHEEL_MAX:
        room = WHEEL_MAX - len(reduced)
        reduced = [max(1, weight * room // total) if weight else 0 for weight in reduced]
    return _core.smooth_wheel(reduced)


def name_hashes(names: Sequence[str]) -> list[int]:
    """Where each member of one upstream stands for hashed keys. A name that comes again counts as
    another one."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        again = f"\0{seen[name]}" if seen[name] else ""
        found.append(_core.key_hash((name + again).encode()))
        seen[name] += 1
    return found
