"""Backends get into trouble under load. Every request is written down (tests/flow/ledger.py), and
the books must balance: each id was answered, or failed with a reason; no POST was sent twice; who
is out gets nothing, and comes back without being run over.

Who is out is read from the scoreboard itself (tests/flow/scores.py), as every worker reads it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Origin, gone
from tests.flow.scores import Scores
from tests.flow.trouble import Deaf, Relay
from tests.running import wait_until

LINES = 12
TURN_SECONDS = 0.05
"""One turn of a worker's loop, on a machine that others use too."""
REASONS = {502, 503, 504}
OUT = {"consecutive": 3, "ejection": "1s", "longest": "4s", "most": 70, "interval": "500ms"}
CHECKS = {
    "kind": "tcp", "interval": "200ms", "timeout": "200ms", "transition": "50ms", "rise": 2,
    "fall": 2,
}  # fmt: skip


def settings(urls: list[str], **upstream: Any) -> dict[str, Any]:
    """One upstream; timeouts so short that a test can wait for them."""
    given = {
        "backends": urls,
        "outlier": OUT,
        "panic_threshold": 0,
        "timeouts": {"connect": "300ms", "first_byte": "300ms", "idle": "1s"},
    }
    return {
        "upstreams": {"app": given | upstream},
        "routes": [{"path": "/", "upstream": "app"}],
    }


class Pool:
    """Three origins, each behind a relay that can be put into trouble, and a proxy of two workers
    before them. `bad` is the relay that tests pick on, `good` are the others."""

    def __init__(self, stack: ExitStack, **upstream: Any) -> None:
        self.origins = [stack.enter_context(Origin()) for _ in range(3)]
        self.relays = [stack.enter_context(Relay(one.port)) for one in self.origins]
        self.bad, *self.good = self.relays
        urls = [one.url for one in self.relays]
        self.proxy = stack.enter_context(Gateway(settings=settings(urls, **upstream), workers=2))
        self.scores = Scores(self.proxy)

    def load(self, **more: Any) -> Ledger:
        return Ledger(self.proxy.port, **({"lines": LINES} | more))

    def served(self) -> list[int]:
        """Requests answered with 2xx, by relay."""
        found = self.proxy.backends()
        return [int(found[one.url]["status"]["2xx"]) for one in self.relays]

    def balance_books(self, ledger: Ledger, failures: int) -> None:
        """See above; at most so many requests failed."""
        for entry in ledger.failed:
            assert (entry.outcome, entry.status in REASONS) == ("wrong", True), entry
            assert entry.detail, f"no reason given: {entry}"
        assert len(ledger.failed) <= failures, Counter(one.status for one in ledger.failed)
        seen: Counter[str] = Counter()
        for origin in self.origins:
            seen += Counter(origin.ask("/seen"))
        ledger.check_origin(seen)
        self.proxy.settle()
        assert all(self.scores.inflight(one.url) == 0 for one in self.relays)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def nothing_comes(pool: Pool, url: str, seconds: float) -> None:
    """After one turn, and as long as it is out."""
    time.sleep(TURN_SECONDS)
    assert pool.scores.is_ejected(url) or pool.scores.is_down(url)
    before = pool.scores.tried(url)
    time.sleep(seconds)
    assert pool.scores.is_ejected(url) or pool.scores.is_down(url), "it was not out for so long"
    assert pool.scores.tried(url) == before


# ---- ejected by what is seen of requests ------------------------------------------------------


@pytest.mark.parametrize("balance", ["p2c", "ewma", "hash"])
def test_killed_under_load(stack: ExitStack, balance: str) -> None:
    """It resets all it has and refuses what is new: out at once, back when it serves again."""
    pool = Pool(stack, balance=balance, hash={"key": "{header:x-ledger}"})
    with pool.load() as ledger:
        ledger.until(200)
        pool.bad.refuse()
        pool.scores.wait_ejected(pool.bad.url)
        nothing_comes(pool, pool.bad.url, 0.5)
        pool.bad.heal()
        before = pool.served()[0]
        wait_until(lambda: pool.served()[0] > before, 30)
    # What was under way there, and a POST on a kept connection that died: at most one of each line
    # for each time that it was tried.
    pool.balance_books(ledger, 2 * LINES)


def test_black_holed(stack: ExitStack) -> None:
    """SYNs are dropped: a connect timeout each until it is out, and nobody waits any more."""
    deaf = stack.enter_context(Deaf())
    origin = stack.enter_context(Origin())
    proxy = stack.enter_context(Gateway(settings=settings([deaf.url, origin.url]), workers=2))
    scores = Scores(proxy)
    with Ledger(proxy.port, lines=LINES) as ledger:
        scores.wait_ejected(deaf.url)
        began = time.monotonic()
        time.sleep(TURN_SECONDS)
        tried = scores.tried(deaf.url)
        time.sleep(0.5)
        assert scores.is_ejected(deaf.url)
        assert scores.tried(deaf.url) == tried
    assert not ledger.failed
    late = [one for one in ledger.ok if one.started > began + TURN_SECONDS and one.seconds > 0.25]
    assert late == []
    ledger.check_origin(origin.ask("/seen"))
    assert proxy.status()["totals"]["requests"] == len(ledger.entries)


def test_half_open(stack: ExitStack) -> None:
    """Connections stand, new ones are taken, and nothing is ever answered: 504 for those under way
    there, each within its timeout, and no request is ever sent twice for that."""
    pool = Pool(stack)
    with pool.load() as ledger:
        ledger.until(200)
        pool.bad.silence()
        pool.scores.wait_ejected(pool.bad.url)
        time.sleep(0.4)  # those that were sent before then
        nothing_comes(pool, pool.bad.url, 0.3)
        pool.bad.heal()
        ledger.until(300)
    pool.balance_books(ledger, 3 * LINES)
    assert {one.status for one in ledger.failed} <= {504, 502}
    assert max(one.seconds for one in ledger.failed) < 2


def test_slow_but_well(stack: ExitStack) -> None:
    """Slowness is no failure: nobody is ejected, nothing fails, and ewma hardly asks it."""
    pool = Pool(stack, balance="ewma", draws=3)
    with pool.load() as ledger:
        ledger.until(200)
        pool.bad.delay(0.1)
        time.sleep(0.5)
        before = pool.served()
        ledger.until(1000, 30)
        after = pool.served()
    pool.balance_books(ledger, 0)
    assert pool.scores.words(pool.bad.url)["ejection"] == 0
    spent = [b - a for a, b in zip(before, after, strict=True)]
    assert spent[0] < 0.1 * sum(spent), spent


def test_flapping(stack: ExitStack) -> None:
    """There and gone, five times a second: each ejection is longer than the one before, so that in
    the end it costs next to nothing."""
    pool = Pool(stack, outlier=OUT | {"ejection": "300ms", "interval": "60s"})
    with pool.load() as ledger:
        ledger.until(100)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            pool.bad.refuse()
            time.sleep(0.1)
            pool.bad.heal()
            time.sleep(0.1)
        times = pool.scores.ejected_times(pool.bad.url)
        ledger.until(200)
    # 20 flaps; with 300, 600, 900, 1200 ms it can be out four times, or once more.
    assert 2 <= times <= 5
    pool.balance_books(ledger, (times + 1) * LINES)


def test_all_down_and_back(stack: ExitStack) -> None:
    """Nobody is left: every request is told so at once, none waits, none is lost. The last one is
    never ejected, so whoever comes back first is found."""
    pool = Pool(stack)
    with pool.load() as ledger:
        ledger.until(200)
        for one in pool.relays:
            one.refuse()
        began = time.monotonic()
        time.sleep(1.0)
        down = [one for one in list(ledger.entries) if one.started > began + 0.1 and one.detail]
        assert len(down) > 20
        assert {one.status for one in down} <= REASONS
        assert max(one.seconds for one in down) < 1
        for one in pool.relays:
            one.heal()
        wait_until(lambda: not any(pool.scores.is_ejected(one.url) for one in pool.relays), 10)
        before = pool.served()
        ledger.until(600)
        after = pool.served()
    pool.balance_books(ledger, len(ledger.entries))
    spent = [b - a for a, b in zip(before, after, strict=True)]
    assert min(spent) > 0.15 * sum(spent), spent


def test_back_without_a_herd(stack: ExitStack) -> None:
    """Idle, so the least busy of all: it still gets no more than its share under way, and with a
    slow start less than that at first."""
    pool = Pool(
        stack,
        balance="least_conn",
        slow_start={"window": "2s"},
        outlier=OUT | {"ejection": "500ms"},
    )
    for one in pool.relays:
        one.delay(0.02)
    with pool.load(lines=24) as ledger:
        ledger.until(200)
        pool.bad.refuse()
        pool.scores.wait_ejected(pool.bad.url)
        pool.bad.heal()
        pool.bad.delay(0.02)
        wait_until(lambda: not pool.scores.is_ejected(pool.bad.url), 10, 0.001)
        before, most = pool.served(), 0
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            most = max(most, pool.scores.inflight(pool.bad.url))
            time.sleep(0.002)
        after = pool.served()
        ledger.until(200)
    pool.balance_books(ledger, 2 * 24)
    assert most <= 24 / 3 + 2
    spent = [b - a for a, b in zip(before, after, strict=True)]
    assert 0 < spent[0] < 0.25 * sum(spent), spent


# ---- down by its checks -----------------------------------------------------------------------


def test_a_stopped_backend_and_its_return(stack: ExitStack) -> None:
    """SIGSTOP: its kernel goes on taking connections, so only an answer tells. Down by HTTP checks,
    up again after SIGCONT."""
    checks = CHECKS | {"kind": "http", "path": "/id"}
    pool = Pool(stack, outlier=OUT | {"consecutive": 0}, health=checks)
    url, origin = pool.bad.url, pool.origins[0]
    with pool.load() as ledger:
        ledger.until(200)
        origin.stop()
        wait_until(lambda: pool.scores.is_down(url), 10)
        time.sleep(0.4)  # what was sent before then times out
        nothing_comes(pool, url, 0.5)
        origin.go()
        wait_until(lambda: not pool.scores.is_down(url), 10)
        before = pool.served()[0]
        wait_until(lambda: pool.served()[0] > before + 20, 10)
    pool.balance_books(ledger, 5 * LINES)


def test_control_dies_under_load(stack: ExitStack) -> None:
    """kill -9 of control: traffic and the last known health go on; its successor checks again."""
    pool = Pool(stack, outlier=OUT | {"consecutive": 0}, health=CHECKS)
    url = pool.bad.url
    with pool.load() as ledger:
        ledger.until(100)
        pool.bad.refuse()
        wait_until(lambda: pool.scores.is_down(url), 10)
        time.sleep(TURN_SECONDS)
        failed, tried = len(ledger.failed), pool.scores.tried(url)
        pid = int(pool.proxy.status()["control_pid"])
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        ledger.until(300)
        assert pool.scores.is_down(url)
        assert pool.scores.tried(url) == tried
        assert pool.proxy.status()["control_pid"] != pid  # waits until there is a successor
        assert pool.scores.is_down(url)
        pool.bad.heal()
        wait_until(lambda: not pool.scores.is_down(url), 20)
        before = pool.served()[0]
        wait_until(lambda: pool.served()[0] > before + 20, 10)
        new = [one for one in ledger.failed[failed:] if one.detail]
    assert new == []
    pool.balance_books(ledger, 4 * LINES)


# ---- anything, for a while --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["p2c", "round_robin", "least_conn", "ewma", "hash"])
def test_one_trouble_after_the_other(stack: ExitStack, balance: str) -> None:
    """Two of three get into any trouble at any time, checks and ejections at work; the third one is
    well. Nothing is lost, and in the end all serve again."""
    pool = Pool(stack, balance=balance, hash={"key": "{header:x-ledger}"}, health=CHECKS)
    chance = random.Random(balance)
    ways: list[Callable[[Relay], None]] = [
        Relay.refuse, Relay.silence, Relay.heal, lambda one: one.delay(0.2)
    ]  # fmt: skip
    troubles = 0
    with pool.load() as ledger:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            chance.choice(ways)(chance.choice(pool.relays[:2]))
            troubles += 1
            time.sleep(chance.uniform(0.05, 0.5))
        for one in pool.relays:
            one.heal()
        wait_until(lambda: all(is_in(pool, one.url) for one in pool.relays), 20)
        before = pool.served()
        wait_until(lambda: min(b - a for a, b in zip(before, pool.served(), strict=True)) > 20, 20)
    pool.balance_books(ledger, troubles * LINES)
    assert len(ledger.ok) > 5 * len(ledger.failed)


def is_in(pool: Pool, url: str) -> bool:
    return not (pool.scores.is_down(url) or pool.scores.is_ejected(url))
