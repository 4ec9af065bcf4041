"""Workers are killed and stopped under load: who loses what, to the last request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flow.ledger import Ledger, held_ports
from tests.flow.peers import Gateway, Origin
from tests.flow.wire import Line, head_of
from tests.running import alive, wait_until


@pytest.fixture
def proxy(origin: Origin) -> Iterator[Gateway]:
    with Gateway(upstreams=[origin.url], workers=2) as one:
        assert one.port
        yield one


def again(measure: Callable[[], None], times: int = 3) -> None:
    """Times are measured on a machine that others use too: the best of `times`."""
    for left in reversed(range(times)):
        try:
            return measure()
        except AssertionError:
            if not left:
                raise
            time.sleep(0.5)
    return None


def serving(proxy: Gateway, slot: int) -> bool:
    return bool(proxy.status()["workers"][slot]["state"] == "serving")


# ---- kill -9 ----------------------------------------------------------------------------------


def kill_and_see(proxy: Gateway, slot: int) -> set[int]:
    """kill -9; the client ports of the connections that die with it."""
    wait_until(lambda: serving(proxy, slot))
    pid = proxy.worker_pids()[slot]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text())
    held = held_ports(pid, proxy.port)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    return held


def test_kill_9_under_load_costs_only_what_the_dead_had_accepted(
    proxy: Gateway, origin: Origin
) -> None:
    held: set[int] = set()
    with Ledger(proxy.port, lines=24) as kept, Ledger(proxy.port, lines=4, fresh=True) as fresh:
        kept.until(300)
        for turn in range(3):
            held |= kill_and_see(proxy, turn % 2)
            kept.until(300)
            fresh.until(20)
    everybody = kept.failed + fresh.failed
    strangers = [entry for entry in everybody if entry.port not in held]
    assert not strangers, strangers[:5]
    assert {entry.outcome for entry in everybody} <= {"lost", "cut"}
    # A connection fails once: the one request that was under way on it, or came next.
    assert len({entry.port for entry in everybody}) == len(everybody) <= len(held)
    assert len(held) > 0
    seen = origin.ask("/seen")
    kept.check_origin(seen)
    fresh.check_origin(seen)
    wait_until(lambda: serving(proxy, 0) and serving(proxy, 1))
    proxy.settle()  # in-flight and gauges of the dead were taken back
    status = proxy.status()
    assert sum(one["restarts"] for one in status["workers"]) == 3
    # Counters live on: everything that was answered is still counted.
    assert status["totals"]["requests"] >= len(kept.ok) + len(fresh.ok)
    assert status["totals"]["upstream_open"] == status["totals"]["upstream_idle"]


def test_who_had_not_been_accepted_yet_is_not_lost(proxy: Gateway, origin: Origin) -> None:
    """Both workers stop, connections queue in the kernel, one is killed: all are answered."""
    pids = proxy.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        lines = [Line(proxy.port) for _ in range(40)]
        for number, line in enumerate(lines):
            line.sock.sendall(head_of("POST", "/id", f"X-Ledger: queued-{os.getpid()}-{number}",
                                      "Content-Length: 0"))  # fmt: skip
        os.kill(pids[0], signal.SIGKILL)
    finally:
        os.kill(pids[1], signal.SIGCONT)
    for number, line in enumerate(lines):
        answer = line.answer()
        assert answer.status == 200
        assert answer.text.split()[1] == f"queued-{os.getpid()}-{number}"
        line.sock.close()
    seen = origin.ask("/seen")
    assert all(seen[f"queued-{os.getpid()}-{number}"] == 1 for number in range(40))


def test_new_connections_wait_at_most_200_ms_for_a_dead_worker(origin: Origin) -> None:
    """Killed so often that its successor is seconds away: its queue is served by the other."""

    def measure() -> None:
        with Gateway(upstreams=[origin.url], workers=2) as proxy:
            assert proxy.port
            for _ in range(5):
                wait_until(lambda: serving(proxy, 0))
                pid = proxy.worker_pids()[0]
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: not alive(pid))  # type: ignore[misc]
            with Ledger(proxy.port, lines=4, fresh=True, pause=0.01) as ledger:
                time.sleep(0.6)
            assert proxy.status()["workers"][0]["state"] == "gone"
            assert not ledger.failed, ledger.count()
            assert len(ledger.ok) > 50
            assert max(entry.seconds for entry in ledger.ok) < 0.2
            assert proxy.totals()["adopted"] > 0

    again(measure)


def test_new_connections_at_the_moment_of_death(origin: Origin) -> None:
    """The other worker takes over at once, not when a beat is missed."""

    def measure() -> None:
        with Gateway(upstreams=[origin.url], workers=2) as proxy:
            assert proxy.port
            with Ledger(proxy.port, lines=8, fresh=True, pause=0.005) as ledger:
                ledger.until(50)
                held = kill_and_see(proxy, 0)
                ledger.until(200)
            assert all(entry.port in held for entry in ledger.failed)
            assert max(entry.seconds for entry in ledger.ok) < 0.2

    again(measure)


# ---- SIGSTOP ----------------------------------------------------------------------------------


def test_a_stopped_worker_is_stepped_in_for_and_loses_nothing(origin: Origin) -> None:
    """2 s of SIGSTOP: new connections are answered within 400 ms throughout; what it held goes on
    when it goes on; then it takes its own queue again."""

    def measure() -> None:
        with Gateway(upstreams=[origin.url], workers=2) as proxy:
            assert proxy.port
            pid = proxy.worker_pids()[0]
            with Ledger(proxy.port, lines=16, pause=0.005) as kept:
                kept.until(100)
                stopped = time.monotonic()
                os.kill(pid, signal.SIGSTOP)
                try:
                    with Ledger(proxy.port, lines=6, fresh=True, pause=0.01) as fresh:
                        time.sleep(2)
                finally:
                    os.kill(pid, signal.SIGCONT)
                spent = time.monotonic() - stopped
                kept.until(100)
            assert not fresh.failed, fresh.count()
            assert not kept.failed, kept.count()
            assert len(fresh.ok) > 100
            assert max(entry.seconds for entry in fresh.ok) < 0.4
            held = [entry for entry in kept.ok if entry.seconds > 1]
            assert held, "no connection of the stopped worker was under way"
            assert max(entry.seconds for entry in held) < spent + 1
            seen = origin.ask("/seen")
            for ledger in (kept, fresh):
                assert all(seen[entry.id] == 1 for entry in ledger.ok)
            assert proxy.worker_pids()[0] == pid
            before = proxy.status()["workers"]
            with Ledger(proxy.port, lines=8, fresh=True) as fresh:
                fresh.until(200)
            after = proxy.status()["workers"]
            assert after[0]["accepted"] > before[0]["accepted"] + 20
            assert after[0]["adopted_by"] is None
            assert after[1]["adopted"] == before[1]["adopted"]

    again(measure)


# ---- back again -------------------------------------------------------------------------------


def test_wrk_does_not_notice_that_a_worker_joins_again(proxy: Gateway) -> None:
    """After a kill under load both workers get connections again, and no error follows."""
    kill_and_see(proxy, 0)
    wait_until(lambda: serving(proxy, 0))
    with Ledger(proxy.port, lines=32) as ledger:
        ledger.until(500)
    assert not ledger.failed
    shares = [one["connections"] + one["accepted"] for one in proxy.status()["workers"]]
    assert min(shares) > 0
