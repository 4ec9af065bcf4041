# SPDX-License-Identifier: MIT
"""A queueing simulation: requests come at random, wait for a free place at the member that was
chosen for them, are served, and leave. One event after the other, no clock, no thread.

A member serves `places` requests at a time; others wait there, first come, first served: what a
pool of threads or processes behind a port does.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.balance.world import BEGIN_MS, World

Service = Callable[[random.Random], float]
"""Draws how long one request takes to serve at a member of usual speed, ms."""


def steady(ms: float) -> Service:
    """About as long for all: real ones differ by a few percent."""
    return lambda chance: ms * chance.uniform(0.9, 1.1)


def mixed(ms: float, long_ms: float, part: float) -> Service:
    """Some take much longer than the rest."""
    return lambda chance: (long_ms if chance.random() < part else ms) * chance.uniform(0.9, 1.1)


@dataclass
class Server:
    """One member as it really is."""

    slowness: float = 1.0
    """So many times as long as others."""
    places: int = 8
    busy: int = 0
    waiting: deque[tuple[float, int]] = field(default_factory=deque)
    """(when it came, ms; the worker that sent it)"""


@dataclass(frozen=True)
class Traffic:
    """What comes."""

    rate: float
    """Requests a second, Poisson; each at a worker drawn by chance, as SO_REUSEPORT does it."""
    count: int
    service: Service
    warm: int = 0
    """The first ones are not in the figures: averages must be learned."""
    key: Callable[[random.Random], int] | None = None
    """The hash of a request's key."""


@dataclass
class Outcome:
    """What came of it."""

    members: int
    waits_ms: list[float] = field(default_factory=list)
    """From coming to answered, one of each request."""
    sent: Counter[int] = field(default_factory=Counter)
    """Requests by member."""
    busiest: float = 0.0
    """Requests under way at the busiest member against the mean of all: average over arrivals."""

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.waits_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def counts_us(self) -> list[tuple[int, int]]:
        """[us, count] ascending, as charts.Curve has it; to within 1%."""
        found: Counter[int] = Counter()
        for ms in self.waits_ms:
            us = round(ms * 1000)
            step = max(1, us // 100)
            found[us // step * step] += 1
        return sorted(found.items())


def simulate(world: World, servers: Sequence[Server], traffic: Traffic, seed: int = 1) -> Outcome:
    """All of it, from an idle system on."""
    chance = random.Random(seed)
    outcome = Outcome(len(servers))
    arrival = float(BEGIN_MS)
    ends: list[tuple[float, int, int, float, int]] = []
    """(when, order, member, when it came, worker): a heap of what is being served."""
    order = 0
    loads: list[float] = []

    def serve(now: float, member: int, came: float, worker: int) -> None:
        nonlocal order
        order += 1
        server = servers[member]
        server.busy += 1
        spent = traffic.service(chance) * server.slowness
        heapq.heappush(ends, (now + spent, order, member, came, worker))

    def leave(until: float) -> None:
        """All that is answered before then."""
        while ends and ends[0][0] <= until:
            now, _, member, came, worker = heapq.heappop(ends)
            server = servers[member]
            server.busy -= 1
            world.end(worker, member, (now - came) * 1000, now)
            outcome.waits_ms.append(now - came)
            if server.waiting:
                serve(now, member, *server.waiting.popleft())

    for number in range(traffic.count):
        if number == traffic.warm:
            outcome.waits_ms.clear()
        arrival += chance.expovariate(traffic.rate) * 1000
        leave(arrival)
        if number >= traffic.warm:
            under_way = [one.busy + len(one.waiting) for one in servers]
            if total := sum(under_way):
                loads.append(max(under_way) * len(servers) / total)
        worker = chance.randrange(world.workers)
        member = world.pick(worker, arrival, traffic.key(chance) if traffic.key else None)
        assert member >= 0, "nobody was chosen"
        world.begin(worker, member)
        if number >= traffic.warm:
            outcome.sent[member] += 1
        server = servers[member]
        if server.busy < server.places:
            serve(arrival, member, arrival, worker)
        else:
            server.waiting.append((arrival, worker))
    leave(float("inf"))
    outcome.busiest = sum(loads) / len(loads)
    return outcome
