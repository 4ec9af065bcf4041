"""A whole pick, slow and plain: members with their words, one function for each algorithm.

Chance is the compiled one's (xorshift128+), so that draws can be compared one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tests.oracle import hashing
from tests.oracle.pick import smooth_wheel

MASK = (1 << 64) - 1
DRAW_ATTEMPTS = 8
DECAY_MS = 10_000
UNKNOWN_US = 1_000_000_000


@dataclass
class Chance:
    """memory/random.pxd."""

    state: list[int]

    def below(self, most: int) -> int:
        a, b = self.state
        a = (a ^ a << 23) & MASK
        following = a ^ b ^ (a >> 17) ^ (b >> 26)
        self.state = [b, following]
        return ((following + b & MASK) >> 32) * most >> 32


@dataclass
class Member:
    weight: int
    hash: int = 0
    tier: int = 0
    able: bool = True
    load: int = 0
    part: int = 256
    latency: tuple[float, int] | None = None
    """(microseconds, when in ms)"""

    @property
    def weight_now(self) -> int:
        return self.weight * self.part

    def latency_now(self, now_ms: int) -> float:
        if self.latency is None:
            return 0.0
        us, when = self.latency
        return us * math.exp(-(now_ms - when) / DECAY_MS) if now_ms > when else us


@dataclass
class Pool:
    """One upstream as one worker picks from it."""

    members: list[Member]
    balance: str
    chance: Chance
    fallback: str = "p2c"
    method: str = "ring"
    draws: int = 2
    bound_percent: int = 0
    at: dict[int, int] = field(default_factory=dict)
    """Tier -> where its turns stand in the wheel."""
    number: int = 0
    """The tier that this pick is from."""
    points: list[tuple[int, int]] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    now_ms: int = 1
    left: list[int] = field(default_factory=list)
    """Members that this pick may choose, in order."""
    tier: list[int] = field(default_factory=list)
    """The same, and those that were tried before."""

    def pick(self, tried: set[int], key: int | None) -> int:
        """As `pick`: tiers in their order, each with its algorithm. (Spilling by share is not in
        here: tests give the first tier with anybody able all requests.)"""
        balance = self.fallback if self.balance == "hash" and key is None else self.balance
        able = [index for index, one in enumerate(self.members) if one.able and one.weight]
        tiers = sorted({one.tier for one in self.members})
        if balance != "hash" and len(tiers) > 1 and all(self.members[i].tier for i in able):
            self.chance.below(65536)  # the tier is drawn, since the first one has nobody
        for tier in tiers:
            self.number = tier
            self.tier = [index for index in able if self.members[index].tier == tier]
            self.left = [index for index in self.tier if index not in tried]
            if not self.tier:
                continue
            found = int(getattr(self, balance)()) if balance != "hash" else self.hashed(key or 0)
            if found >= 0:
                return found
        return -1

    # ---- draws ------------------------------------------------------------------------------

    def draw_member(self) -> int:
        weights = [self.members[index].weight_now for index in self.tier]
        if len(set(weights)) == 1:
            return self.tier[self.chance.below(len(self.tier))]
        draw = self.chance.below(sum(weights))
        for index, weight in zip(self.tier, weights, strict=True):
            draw -= weight
            if draw < 0:
                return index
        raise AssertionError

    def draw_other(self, drawn: list[int]) -> int:
        for _ in range(DRAW_ATTEMPTS):
            index = self.draw_member()
            if index in self.left and index not in drawn:
                return index
        at = self.chance.below(len(self.tier))
        turned = self.tier[at:] + self.tier[:at]
        return next((one for one in turned if one in self.left and one not in drawn), -1)

    def draw_some(self) -> list[int]:
        if len(self.tier) <= self.draws:
            at = self.tier.index(self.draw_member()) if len(self.tier) > 1 else 0
            return [one for one in self.tier[at:] + self.tier[:at] if one in self.left]
        drawn: list[int] = []
        while len(drawn) < self.draws and (index := self.draw_other(drawn)) >= 0:
            drawn.append(index)
        return drawn

    # ---- algorithms -------------------------------------------------------------------------

    def random(self) -> int:
        return self.draw_other([])

    def p2c(self) -> int:
        def busy(index: int) -> float:
            one = self.members[index]
            return one.load / one.weight_now

        return min(self.draw_some(), key=busy, default=-1)

    def ewma(self) -> int:
        def time(index: int) -> float:
            one = self.members[index]
            us = one.latency_now(self.now_ms)
            if us == 0 and one.load:
                us = UNKNOWN_US
            return us * (one.load + 1) / one.weight_now

        return min(self.draw_some(), key=time, default=-1)

    def round_robin(self) -> int:
        return self.turn(self.left)

    def least_conn(self) -> int:
        def busy(index: int) -> float:
            return self.members[index].load / self.members[index].weight_now

        least = min((busy(index) for index in self.left), default=0)
        equal = [index for index in self.left if busy(index) == least]
        return equal[0] if len(equal) == 1 else self.turn(equal)

    def turn(self, among: list[int]) -> int:
        """Along the wheel; who gets a part only has his turn with that chance, in the first lap."""
        wheel = smooth_wheel([member.weight for member in self.members])
        at = self.at.get(self.number, 0)
        for step in range(2 * len(wheel)):
            index = wheel[(at + step) % len(wheel)]
            if index not in among:
                continue
            part = self.members[index].part
            if part < 256 and step < len(wheel) and self.chance.below(256) >= part:
                continue
            self.at[self.number] = (at + step + 1) % len(wheel)
            return index
        return -1

    # ---- hashes -----------------------------------------------------------------------------

    def below_bound(self, index: int) -> bool:
        if self.bound_percent == 0 or self.members[index].load == 0:
            return True
        requests = sum(self.members[one].load for one in self.left)
        weights = sum(self.members[one].weight_now for one in self.left)
        return self.members[index].load < hashing.limit(
            self.bound_percent, requests + 1, self.members[index].weight_now, weights
        )

    def hashed(self, key: int) -> int:
        names = [member.hash for member in self.members]
        weights = [member.weight for member in self.members]

        def takes(index: int) -> bool:
            part = self.members[index].part
            mine = part >= 256 or hashing.mix(key, names[index]) & 255 < part
            return index in self.left and mine and self.below_bound(index)

        found = -1
        if self.method == "ring":
            self.points = self.points or hashing.ring(names, weights)
            found = hashing.ring_walk(self.points, key, takes)
        if self.method == "maglev":
            self.entries = self.entries or hashing.maglev(names, weights)
            found = hashing.maglev_walk(self.entries, key, takes)
        if found >= 0:
            return found
        return hashing.rendezvous(
            key,
            {index: names[index] for index in self.left},
            {index: self.members[index].weight_now for index in self.left},
            self.below_bound,
        )
