"""Members that answer badly are ejected: once, for all workers, for a while."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.counting import Counting
from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, free_port, get
from tests.flow.wire import Line, head_of
from tests.running import wait_until

# From the moment of the decision: what was being sent has arrived, on a machine that is busy.
ARRIVAL_SECONDS = 0.1


@pytest.fixture
def bad() -> Iterator[Counting]:
    with Counting() as one:
        yield one


@pytest.fixture
def good() -> Iterator[Counting]:
    with Counting() as one:
        yield one


def before(*urls: str, workers: int = 3, **outlier: Any) -> Gateway:
    """`balance`: so that each has its turn."""
    upstream = {"backends": list(urls), "balance": "round_robin", "outlier": outlier}
    settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
    return Gateway(settings=settings, workers=workers)


def ejected_until(proxy: Gateway, url: str) -> float:
    """Waits for it."""
    return float(wait_until(lambda: proxy.backends()[url]["ejected_until"]))


def statuses(ledger: Ledger, since: int = 0) -> set[int]:
    return {entry.status for entry in ledger.entries[since:] if entry.seconds}


def test_failures_among_good_answers_likewise(bad: Counting, good: Counting) -> None:
    """By their number in a window; with the default they are too few in a row. 429 is one here."""
    with before(bad.url, good.url, failures=3, status="429", workers=1) as proxy:
        for status in (503, 429, 200, 429, 200, 429):
            bad.code(status)
            assert proxy.backends()[bad.url]["ejections"] == 0
            assert {get(proxy, "/hold").status for _ in range(2)} | {200} == {200, status}
        assert proxy.backends()[bad.url]["ejections"] == 1


@pytest.mark.parametrize("workers", [2, 4])
def test_one_that_fails_is_ejected_once_and_at_once(
    bad: Counting, good: Counting, workers: int
) -> None:
    """All workers see it: after the decision nothing more comes to it."""
    with before(bad.url, good.url, workers=workers) as proxy:
        with Ledger(proxy.port, lines=16, target="/hold", methods=("GET",)) as ledger:
            ledger.until(200)
            assert len(bad.log()) > 20
            began = time.time()
            bad.code(500)
            until = ejected_until(proxy, bad.url)
            ledger.until(400)
        decided = until - 30
        assert began - 0.01 < decided < time.time()
        failed = [at for at, _, code in bad.log() if code == 500]
        assert len(failed) >= 5
        assert max(failed) < decided + ARRIVAL_SECONDS
        counts = proxy.backends()
        assert counts[bad.url]["ejections"] == 1
        assert counts[good.url]["ejections"] == 0
        assert counts[good.url]["ejected_until"] is None
        assert counts[bad.url]["status"]["5xx"] == len(failed)
        # Those that were under way when it was decided, of 16 lines.
        assert len(failed) <= 5 + 16
        assert {entry.status for entry in ledger.failed} == {500}
        assert len(ledger.failed) == len(failed)


def test_one_that_closes_without_an_answer_likewise(bad: Counting, good: Counting) -> None:
    bad.code(0)
    with before(bad.url, good.url, consecutive=0, consecutive_gateway=3) as proxy:
        with Ledger(proxy.port, lines=8, target="/hold", methods=("POST",)) as ledger:
            decided = ejected_until(proxy, bad.url) - 30
            ledger.until(200)
        assert max(at for at, _, _ in bad.log()) < decided + ARRIVAL_SECONDS
        assert statuses(ledger) == {200, 502}
        assert proxy.backends()[bad.url]["ejections"] == 1


def test_one_that_refuses_connections_likewise_and_no_client_notices(good: Counting) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with before(dead, good.url) as proxy:
        with Ledger(proxy.port, lines=8, target="/hold", methods=("GET",)) as ledger:
            ejected_until(proxy, dead)
            time.sleep(ARRIVAL_SECONDS)
            errors = proxy.backends()[dead]["connect_errors"]
            ledger.until(300)
        assert not ledger.failed
        counts = proxy.backends()[dead]
        assert counts["connect_errors"] == errors <= 5 + 8
        assert counts["ejections"] == 1


def test_one_that_is_silent_likewise(good: Counting, bad: Counting) -> None:
    upstream = {
        "backends": [bad.url, good.url],
        "balance": "round_robin",
        "outlier": {"consecutive_gateway": 2, "consecutive": 0},
        "timeouts": {"first_byte": "200ms"},
    }
    routes = [{"path": "/", "upstream": "a"}]
    with Gateway(settings={"upstreams": {"a": upstream}, "routes": routes}, workers=2) as proxy:
        bad.stop()
        try:
            found = [get(proxy, "/hold").status for _ in range(8)]
            assert found.count(504) == 2
            assert proxy.backends()[bad.url]["ejections"] == 1
        finally:
            bad.go()


def test_it_comes_back_after_its_time_and_the_second_lasts_longer(
    bad: Counting, good: Counting
) -> None:
    with before(bad.url, good.url, ejection="700ms", longest="1400ms") as proxy:
        with Ledger(proxy.port, lines=8, target="/hold", methods=("GET",)) as ledger:
            ledger.until(100)
            bad.code(500)
            first = ejected_until(proxy, bad.url)
            ledger.until(50)
            bad.code(200)
            back = wait_until(lambda: [at for at, _, _ in bad.log() if at > first])
            assert back[0] < first + 0.3
            ledger.until(100)
            bad.code(500)
            began = time.time()
            second = ejected_until(proxy, bad.url)
            third = wait_until(lambda: (now := ejected_until(proxy, bad.url)) > second and now)
            ledger.until(20)
        times = [at for at, _, _ in bad.log()]
        assert not [at for at in times if first - 0.7 + ARRIVAL_SECONDS < at < first - 0.005]
        # Failing goes on: twice as long, and then as long as it may last.
        assert began + 1.3 < second < began + 1.4 + 1.0
        assert third > second + 1.35
        gap = [at for at in times if second - 1.4 + ARRIVAL_SECONDS < at < second - 0.005]
        assert not gap
        assert proxy.backends()[bad.url]["ejections"] >= 3


def test_the_last_one_stays_however_bad(bad: Counting, good: Counting) -> None:
    with before(bad.url, good.url, most=100) as proxy:
        bad.code(500)
        good.code(503)
        with Ledger(proxy.port, lines=4, target="/hold", methods=("GET",)) as ledger:
            wait_until(lambda: len(bad.log()) + len(good.log()) > 200)
        assert statuses(ledger) == {500, 503}
        counts = proxy.backends()
        assert counts[bad.url]["ejections"] + counts[good.url]["ejections"] == 1
        assert max(len(bad.log()), len(good.log())) > 150, "nobody was asked any more"


def test_what_clients_do_is_no_failure_of_a_backend(bad: Counting, good: Counting) -> None:
    """Those who leave, and those who are told 4xx."""
    with before(bad.url, good.url, consecutive=2) as proxy:
        bad.code(404)
        for _ in range(10):
            assert get(proxy, "/hold").status in (200, 404)
        for _ in range(20):
            with Line(proxy.port) as line:
                line.sock.sendall(head_of("GET", "/hold?ms=2000"))
                wait_until(lambda: proxy.inflight() > 0)
                line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: proxy.inflight() == 0)
        counts = proxy.backends()
        assert counts[bad.url]["ejections"] == counts[good.url]["ejections"] == 0


def test_switched_off_nobody_is_ejected(bad: Counting, good: Counting) -> None:
    bad.code(500)
    with before(bad.url, good.url, consecutive=0) as proxy:
        with Ledger(proxy.port, lines=4, target="/hold", methods=("GET",)) as ledger:
            ledger.until(200)
        assert len(bad.log()) > 100
        assert proxy.backends()[bad.url]["ejections"] == 0
