"""Backends with queues, fed by the compiled picks of two workers: events in order, no real time.

Requests come at random (Poisson) and take exponential times; each backend serves some at once and
queues the rest. What the engine does, this does: in flight is counted, latencies are told.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass

from fastproxy._probe import latency_seen

from fastproxy.balance.settings import Balance
from tests.unit.balancing import Table, pool_of

WORKERS = 2


@dataclass
class Service:
    """One backend."""

    ms: float
    """Mean time of one request."""
    at_once: int = 4


@dataclass
class Found:
    mean_ms: float
    p99_ms: float
    shares: list[float]


def queueing(
    balance: Balance, backends: list[Service], busy: float, seconds: float, draws: int = 2
) -> Found:
    """`busy`: requests that come, of what all backends together can serve."""
    chance = random.Random(1)
    table = Table({"a": pool_of([1] * len(backends), balance, draws=draws)}, WORKERS)
    workers = [table.picker(0, slot, slot + 1) for slot in range(WORKERS)]
    rate = busy * sum(one.at_once / one.ms for one in backends)  # a millisecond
    free = [one.at_once for one in backends]
    waiting: list[deque[tuple[int, float]]] = [deque() for _ in backends]
    given = [0] * len(backends)
    times: list[float] = []
    order = itertools.count()
    events: list[tuple[float, int, int, int, float]] = [(0.0, next(order), -1, 0, 0.0)]

    def serve(index: int, slot: int, came: float, now: float) -> None:
        end = now + chance.expovariate(1 / backends[index].ms)
        heapq.heappush(events, (end, next(order), index, slot, came))

    while events:
        now, _, index, slot, came = heapq.heappop(events)
        if index < 0:
            if now < seconds * 1000:
                following = now + chance.expovariate(rate)
                heapq.heappush(events, (following, next(order), -1, 0, 0.0))
            slot = chance.randrange(WORKERS)
            index = workers[slot].pick(None, 1000 + int(now))
            given[index] += 1
            table.busy(index, 1, slot)
            if free[index]:
                free[index] -= 1
                serve(index, slot, now, now)
            else:
                waiting[index].append((slot, now))
            continue
        table.busy(index, -1, slot)
        latency_seen(
            table.probe, table.members[index]["row"], int((now - came) * 1000), 1000 + int(now)
        )
        times.append(now - came)
        if waiting[index]:
            serve(index, *waiting[index].popleft(), now)
        else:
            free[index] += 1
    times.sort()
    shares = [one / sum(given) for one in given]
    return Found(sum(times) / len(times), times[int(len(times) * 0.99)], shares)
