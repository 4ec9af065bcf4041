# SPDX-License-Identifier: MIT
"""What is simulated, and which numbers come of it. pictures.py draws them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from bench.balance.queueing import Outcome, Server, Service, Traffic, mixed, simulate, steady
from bench.balance.world import BEGIN_MS, World, backend, backends, key_of
from fastproxy.balance.settings import Balance, Hash, SlowStart, Upstream
from fastproxy.schema import Duration

BY_LOAD = tuple(one for one in get_args(Balance) if one != "hash")
"""The algorithms that do not look at the request."""
METHODS: tuple[Literal["ring", "maglev", "rendezvous"], ...] = ("ring", "maglev", "rendezvous")
HOT = 0.2
"""Share of the requests that have one and the same key, where some key is hot."""
BOUND = 1.25
DOWN = 1
"""HEALTH_DOWN of scoreboard/table.pxd."""


@dataclass(frozen=True)
class Scale:
    """How much is simulated."""

    requests: int = 40_000
    keys: int = 50_000


FULL = Scale()
SMALL = Scale(4_000, 5_000)
"""For a look: the shapes are there, the last digits are not."""


# ---- how evenly -----------------------------------------------------------------------------


def under_way(scale: Scale = FULL) -> dict[str, float]:
    """Requests under way at the busiest of 20 equal members, to the mean of all; 4 workers, and
    members that are busy for 70% of their time."""
    found = {}
    for balance in BY_LOAD:
        world = World(Upstream(backends=backends(20), balance=balance), workers=4)
        traffic = Traffic(
            rate=20 * 8 * 0.7 / 0.010, count=scale.requests, service=mixed(5, 55, 0.1),
            warm=scale.requests // 10,
        )  # fmt: skip
        found[balance] = simulate(world, [Server() for _ in range(20)], traffic).busiest
    return found


def hot_key(scale: Scale = FULL) -> dict[str, float]:
    """The same of a hash, where one key has HOT of all requests; with and without a bound."""
    hot = key_of("hot")

    def key(chance: random.Random) -> int:
        return hot if chance.random() < HOT else chance.getrandbits(64)

    found = {}
    for method in METHODS:
        for bound in (0.0, BOUND):
            settings = Hash(method=method, bound=bound)
            upstream = Upstream(backends=backends(20), balance="hash", hash=settings)
            # So many places that nobody waits: the bound alone spreads.
            traffic = Traffic(
                rate=20 * 10 / 0.010, count=scale.requests, service=steady(10),
                warm=scale.requests // 10, key=key,
            )  # fmt: skip
            servers = [Server(places=1 << 30) for _ in range(20)]
            name = f"{method}, {bound:g}" if bound else method
            found[name] = simulate(World(upstream, workers=4), servers, traffic).busiest
    return found


def key_share(scale: Scale = FULL) -> dict[str, float]:
    """Keys of the member with most of them, to the mean of 20."""
    return {
        method: max(Counter(homes(hashing(method, 20), scale)).values()) * 20 / scale.keys
        for method in METHODS
    }


# ---- who moves ------------------------------------------------------------------------------


def hashing(method: Literal["ring", "maglev", "rendezvous"], count: int) -> World:
    upstream = Upstream(backends=backends(count), balance="hash", hash=Hash(method=method))
    return World(upstream, workers=1)


def homes(world: World, scale: Scale) -> list[int]:
    """The member of each key."""
    return [world.pick(0, key=key_of(f"user-{n}")) for n in range(scale.keys)]


def moved(scale: Scale = FULL) -> dict[str, tuple[float, float]]:
    """Percent of all keys that go elsewhere when one of ten members is lost, and when an eleventh
    is added. `modulo`: hash modulo their number, what a plain hash does."""
    found = {}
    for method in METHODS:
        world = hashing(method, 10)
        before = homes(world, scale)
        more = homes(hashing(method, 11), scale)
        world.word(4, health=DOWN)
        found[method] = (changed(before, homes(world, scale)), changed(before, more))
    keys = [key_of(f"user-{n}") for n in range(scale.keys)]
    by = {count: [key % count for key in keys] for count in (9, 10, 11)}
    found["modulo"] = (changed(by[10], by[9]), changed(by[10], by[11]))
    return found


def changed(before: list[int], after: list[int]) -> float:
    """Percent."""
    differ = sum(a != b for a, b in zip(before, after, strict=True))
    return 100.0 * differ / len(before)


# ---- how long -------------------------------------------------------------------------------


def waits(
    servers: Callable[[], list[Server]], service: Service, mean_ms: float, load: float, scale: Scale
) -> dict[str, Outcome]:
    """Each algorithm before the same members and the same traffic. `load`: of all places."""
    found = {}
    for balance in BY_LOAD:
        members = servers()
        world = World(Upstream(backends=backends(len(members)), balance=balance), workers=2)
        rate = load * 1000 * sum(one.places / one.slowness for one in members) / mean_ms
        traffic = Traffic(rate, scale.requests, service, warm=scale.requests // 4)
        found[balance] = simulate(world, members, traffic)
    return found


def slow_member(scale: Scale = FULL) -> dict[str, Outcome]:
    """One of three takes ten times as long. A tenth of what all can do is asked for, so that even
    a third of it does not drown the slow one."""

    def servers() -> list[Server]:
        return [Server(places=64), Server(places=64), Server(slowness=10, places=64)]

    return waits(servers, steady(5), 5.0, 0.1, scale)


def long_requests(scale: Scale = FULL) -> dict[str, Outcome]:
    """Ten equal members that do two requests at a time; every tenth request takes 55 ms instead of
    5. 70% used."""
    return waits(lambda: [Server(places=2) for _ in range(10)], mixed(5, 55, 0.1), 10.0, 0.7, scale)


# ---- what changes by and by -----------------------------------------------------------------


def ramp(aggression: float, scale: Scale = FULL) -> list[tuple[float, float]]:
    """(seconds since it came back, percent of its fair share) of one of four members, with a window
    of 30 s, as the draw of p2c has it."""
    slow = SlowStart(window=Duration("30s"), aggression=aggression)
    upstream = Upstream(backends=backends(4), balance="random", slow_start=slow)
    world = World(upstream, workers=1)
    world.word(0, up_since_ms=BEGIN_MS)
    found = []
    each = max(1000, scale.requests // 4)
    for tenth in range(0, 41 * 10, 10 if scale.requests >= FULL.requests else 50):
        now = BEGIN_MS + tenth * 100
        picks = Counter(world.pick(0, now) for _ in range(each))
        found.append((tenth / 10, 100.0 * picks[0] / ((each - picks[0]) / 3)))
    return found


def spill() -> list[tuple[float, float, float]]:
    """(percent of priority 0 that can serve, percent of requests to priority 0, to priority 1); ten
    members each."""
    members = [backend(n, priority=n // 10) for n in range(20)]
    world = World(Upstream(backends=[*members], balance="p2c"), workers=1)
    found = []
    for down in range(11):
        if down:
            world.word(down - 1, health=DOWN)
        first, second = world.shares()
        found.append((100.0 - 10 * down, float(first), float(second)))
    return found
