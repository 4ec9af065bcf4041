"""Places at backends under load: never one too many, whoever is killed; nobody waits for ever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.counting import Counting
from tests.flow.ledger import Ledger, held_ports
from tests.flow.peers import Gateway, get, gone, wrk
from tests.flow.wire import Line, head_of
from tests.running import halt, wait_until

PLACES = 3


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as one:
        yield one


def behind(counting: Counting, workers: int, places: int = PLACES, **queue: Any) -> Gateway:
    upstream = {
        "backends": [{"url": counting.url, "max_connections": places}],
        "queue": {"timeout": "30s", **queue},
    }
    settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
    return Gateway(settings=settings, workers=workers)


def check_quiet(proxy: Gateway) -> None:
    """Nothing is left of what was: no place taken, nobody in line."""
    proxy.settle()
    status = proxy.status()
    assert status["upstreams"][0]["queued"] == 0
    assert status["totals"]["queued"] == 0


@pytest.mark.parametrize(("workers", "places"), [(2, 1), (3, 3), (4, 2)])
def test_never_one_too_many_under_load(counting: Counting, workers: int, places: int) -> None:
    with behind(counting, workers, places) as proxy:
        with (
            Ledger(proxy.port, lines=24, target="/hold?ms=1", methods=("GET",)) as kept,
            Ledger(proxy.port, lines=8, target="/hold?ms=3", methods=("GET",), fresh=True) as fresh,
        ):
            kept.until(600)
            fresh.until(100)
        assert not kept.failed + fresh.failed
        assert counting.worst == places
        seen = [name for _, name, _ in counting.log()]
        assert sorted(seen) == sorted(entry.id for entry in kept.ok + fresh.ok)
        check_quiet(proxy)
        assert proxy.totals()["queue_timeouts"] == 0


def test_never_one_too_many_as_fast_as_it_goes(counting: Counting) -> None:
    with behind(counting, 3) as proxy:
        load = wrk(f"{proxy.url}/hold?ms=1", 48, 3)
        assert load.clean, load
        assert counting.worst == PLACES
        check_quiet(proxy)


def test_workers_are_killed_while_requests_wait(counting: Counting) -> None:
    """Their own requests are lost with them, those in line too; nobody else's. What they held is
    free again, and never were there more than the places."""
    with behind(counting, 3) as proxy:
        held: set[int] = set()
        with Ledger(proxy.port, lines=32, target="/hold?ms=5", methods=("GET",)) as ledger:
            for turn in range(4):
                ledger.until(150)
                pid = proxy.worker_pids()[turn % 3]
                halt(pid)  # so that the connections it has are those it dies with
                held |= held_ports(pid, proxy.port)
                os.kill(pid, signal.SIGKILL)
                gone(pid)
                proxy.worker_pids()
            ledger.until(150)
        assert {entry.outcome for entry in ledger.failed} <= {"lost", "cut"}
        assert not [entry for entry in ledger.failed if entry.port not in held]
        assert len(ledger.failed) > 0
        assert counting.worst == PLACES
        check_quiet(proxy)


def test_a_worker_is_killed_that_has_all_places_and_the_line(counting: Counting) -> None:
    """Those who wait at the other worker get the places when its death is noticed."""
    with behind(counting, 2, 1) as proxy:
        victim, other = proxy.worker_pids()
        halt(other)  # then the other one's doors are the victim's
        time.sleep(0.3)
        taking = [Line(proxy.port) for _ in range(3)]
        for line in taking:
            line.sock.sendall(head_of("GET", "/hold?ms=60000"))
        wait_until(lambda: proxy.status()["upstreams"][0]["queued"] == 2)
        os.kill(other, signal.SIGCONT)
        halt(victim)
        time.sleep(0.3)
        waiting = Line(proxy.port)
        waiting.sock.sendall(head_of("GET", "/hold", "X-Ledger: mine"))
        wait_until(lambda: proxy.status()["upstreams"][0]["queued"] == 3)
        os.kill(victim, signal.SIGKILL)
        assert waiting.answer().text.endswith("mine")
        assert counting.worst == 1
        for line in (*taking, waiting):
            line.sock.close()
        proxy.worker_pids()
        check_quiet(proxy)


def test_a_stopped_worker_does_not_hold_the_others_up(counting: Counting) -> None:
    """It is the first in line and cannot take its turn: it is passed over, until it moves again."""
    with behind(counting, 2, 1) as proxy:
        stopped, other = proxy.worker_pids()
        lines: list[Line] = []

        def ask(by: int, target: str, name: str) -> None:
            """A request whose connection this worker takes: the other one is stopped meanwhile."""
            away = stopped if by == other else other
            halt(away)
            time.sleep(0.3)
            lines.append(Line(proxy.port))
            lines[-1].sock.sendall(head_of("GET", target, f"X-Ledger: {name}"))
            wait_until(lambda: name in names() or queued() == len(lines) - 1)
            if name != "c":
                os.kill(away, signal.SIGCONT)

        def names() -> list[str]:
            return [name for _, name, _ in counting.log()]

        def queued() -> int:
            return int(proxy.status()["upstreams"][0]["queued"])

        ask(other, "/hold?ms=3000", "a")
        ask(stopped, "/hold", "b")
        ask(other, "/hold", "c")
        assert names() == ["a"]
        assert lines[0].answer().text.endswith(" a")
        assert lines[2].answer().text.endswith(" c")
        assert names() == ["a", "c"]
        os.kill(stopped, signal.SIGCONT)
        assert lines[1].answer().text.endswith(" b")
        assert counting.worst == 1
        for line in lines:
            line.sock.close()
        check_quiet(proxy)


def test_backends_that_die_and_come_back_give_their_places_back(counting: Counting) -> None:
    """Whatever way a request ends at a backend, its place is free again."""
    with behind(counting, 2, timeout="2s") as proxy:
        port = counting.port
        with Ledger(proxy.port, lines=16, target="/hold?ms=4", methods=("GET",)) as ledger:
            for _ in range(3):
                ledger.until(80)
                counting.kill()
                time.sleep(0.3)
                counting = Counting(port).start()
            ledger.until(80)
            counting.code(0)
            time.sleep(0.3)
            counting.code(200)
            ledger.until(80)
        assert {entry.status for entry in ledger.failed} <= {502, 503}
        assert counting.worst == PLACES
        check_quiet(proxy)
        assert get(proxy, "/hold").status == 200
        counting.close()
