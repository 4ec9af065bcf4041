"""Balancing, slow and plain: what the compiled pick must agree with."""

from __future__ import annotations

import math


def smooth_wheel(weights: list[int]) -> list[int]:
    """nginx's smooth weighted round robin (ngx_http_upstream_get_peer), one whole cycle."""
    divisor = math.gcd(*weights) if weights else 0
    weights = [weight // divisor for weight in weights] if divisor else weights
    current = [0] * len(weights)
    order = []
    for _ in range(sum(weights)):
        best = -1
        for index, weight in enumerate(weights):
            if weight == 0:
                continue
            current[index] += weight
            if best < 0 or current[index] > current[best]:
                best = index
        current[best] -= sum(weights)
        order.append(best)
    return order


class RoundRobin:
    """One worker's walk."""

    def __init__(self, weights: list[int], at: int = 0) -> None:
        self.wheel = smooth_wheel(weights)
        self.at = at

    def pick(self, unable: set[int], tried: set[int]) -> int:
        """The next index that is able and not tried, else -1 and nothing moves."""
        for step in range(len(self.wheel)):
            at = (self.at + step) % len(self.wheel)
            index = self.wheel[at]
            if index not in unable and index not in tried:
                tried.add(index)
                self.at = (at + 1) % len(self.wheel)
                return index
        return -1
