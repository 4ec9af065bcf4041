# SPDX-License-Identifier: MIT
"""SRV records (RFC 2782) -> what the balancer knows: weights up to 256, priorities 0 to 7."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastproxy.balance.settings import PRIORITY_MAX, WEIGHT_MAX


@dataclass(frozen=True)
class Service:
    """One record."""

    priority: int
    weight: int
    target: str
    """Without a dot at the end."""
    port: int

    @property
    def authority(self) -> str:
        return f"{self.target}:{self.port}"


def shares(records: Iterable[Service]) -> list[tuple[Service, int, int]]:
    """(record, weight, priority), best priority first.

    Priorities are numbered as they come: 10, 20, 20, 70 is 0, 1, 1, 2; from the eighth on they are
    one. Weights count among records of one priority, so each group is scaled for itself.
    """
    groups: dict[int, list[Service]] = {}
    for record in records:
        groups.setdefault(record.priority, []).append(record)
    found = []
    for number, priority in enumerate(sorted(groups)):
        group = groups[priority]
        weights = scaled([record.weight for record in group])
        place = min(number, PRIORITY_MAX)
        found += [(record, weight, place) for record, weight in zip(group, weights, strict=True)]
    return found


def scaled(weights: list[int]) -> list[int]:
    """Weights of 0 to 65535 as ours. 0 means "a very small chance" among others, not "never": it
    becomes the smallest step there is. All 0: all are equal."""
    most = max(weights, default=0)
    if most == 0:
        return [1] * len(weights)
    divisor = math.gcd(*weights)
    if 0 not in weights and most // divisor <= WEIGHT_MAX:
        return [weight // divisor for weight in weights]
    return [max(1, round(weight * WEIGHT_MAX / most)) for weight in weights]
