"""Every algorithm against its slow twin (tests/oracle/boards.py), on random boards: health,
weights, tiers, parts, requests under way in two workers, latencies, members tried."""

from __future__ import annotations

import random

import pytest
from fastproxy._probe import latency_now, latency_seen

from fastproxy.balance import build, tables
from fastproxy.balance.settings import Balance, Hash
from fastproxy.scoreboard import segment
from tests.oracle import boards
from tests.unit.balancing import ALGORITHMS, Table, group_of

METHODS = ("ring", "maglev", "rendezvous")
KINDS = [*((one, "ring", 0) for one in ALGORITHMS if one != "hash"),
         *(("hash", method, bound) for method in METHODS for bound in (0, 125))]  # fmt: skip
BOARDS = 15
PICKS = 30


class Pair:
    """A random upstream on a board, and the same as plain Python."""

    def __init__(self, balance: Balance, method: str, bound: int, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        tiers = chance.choice([1, 1, 2])
        knobs = [
            {"weight": chance.choice([0, 1, 1, 1, 2, 3]), "priority": at % tiers}
            for at in range(chance.randint(2, 9))
        ]
        knobs += [{"weight": 1, "priority": at} for at in range(tiers)]
        fallback = chance.choice(["p2c", "round_robin", "random", "least_conn"])
        hashed = Hash(method=method, bound=bound / 100, fallback=fallback)  # type: ignore[arg-type]
        self.draws = chance.choice([2, 3])
        upstream = group_of(
            *knobs, balance=balance, draws=self.draws, hash=hashed, panic_threshold=0,
            overprovision=10,
        )  # fmt: skip
        self.table = Table({"a": upstream}, workers=2)
        self.worker = self.table.picker(0, 0, seed)
        group = build.members({"a": upstream}, {str(b.url): [b"x"] for b in upstream.members()})
        self.twin = boards.Pool(
            [boards.Member(one["weight"], name, one["priority"]) for one, name in
             zip(knobs, tables.name_hashes([one.name for one in group]), strict=True)],
            balance, boards.Chance([0x9E3779B97F4A7C15 ^ seed, seed + 1]), fallback, method,
            self.draws, bound,
        )  # fmt: skip

    def shuffle(self, now_ms: int) -> None:
        """Another moment: who is able, how busy, how fast."""
        chance = self.chance
        for index, member in enumerate(self.twin.members):
            member.able = chance.random() < 0.8
            percent = chance.choice([100, 100, 100, 50, 20])
            member.part = 256 if percent == 100 else percent * 256 // 100
            down = {chance.choice(["admin", "health"]): 0 if member.able else chance.randint(1, 3)}
            self.table.say(index, **{"admin": 0, "health": 0, "percent": percent, **down})
            for worker in range(2):
                change = chance.randint(0, 3) if chance.random() < 0.7 else 0
                self.table.busy(index, change, worker)
                member.load += change
            if chance.random() < 0.2:
                for worker in range(2):
                    row = self.table.members[index]["row"]
                    self.table.busy(index, -self.inflight(worker, row), worker)
                member.load = 0
            if chance.random() < 0.5:
                row = self.table.members[index]["row"]
                latency_seen(self.table.probe, row, chance.randint(1, 100_000), now_ms)
                member.latency = (latency_now(self.table.probe, row, now_ms), now_ms)

    def inflight(self, worker: int, row: int) -> int:
        """One worker's own cell."""
        head = segment.header(self.table.board)
        words = memoryview(self.table.board).cast("I")
        return int(words[head["inflight_off"] // 4 + worker * head["backends"] + row])

    def compare(self, now_ms: int) -> None:
        """All picks of one exchange, until nobody is left."""
        key = self.chance.getrandbits(64) if self.chance.random() < 0.9 else None
        tried = {i for i in range(len(self.twin.members)) if self.chance.random() < 0.2}
        self.twin.now_ms = now_ms
        while True:
            wanted = self.twin.pick(tried, key)
            assert self.worker.pick(tried, now_ms, key) == wanted
            if wanted < 0:
                return
            assert wanted in tried
            cursors = self.worker.cursors
            assert cursors == [self.twin.at.get(tier, 0) for tier in range(len(cursors))]


@pytest.mark.parametrize(("balance", "method", "bound"), KINDS)
def test_each_algorithm_equals_its_twin(balance: Balance, method: str, bound: int) -> None:
    for seed in range(BOARDS if method != "maglev" else 5):
        pair = Pair(balance, method, bound, seed)
        for turn in range(PICKS):
            now_ms = 1000 + turn * 700
            pair.shuffle(now_ms)
            pair.compare(now_ms)
