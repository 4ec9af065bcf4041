"""Backends that die, stop, refuse and lie: what the client gets, and what the counters say."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flow.ledger import Ledger
from tests.flow.origin import Closed
from tests.flow.peers import Gateway, Origin, free_port, get
from tests.flow.trouble import Deaf
from tests.flow.wire import Line, head_of
from tests.running import wait_until

# ---- dead before, dead meanwhile ----------------------------------------------------------------


def test_all_are_down() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    with Gateway(upstreams=urls, workers=1) as proxy:
        for _ in range(5):
            answer = get(proxy, "/id")
            assert answer.status == 502
            assert "reached" in answer.text
        counts = proxy.backends()
        assert sum(one["connect_errors"] for one in counts.values()) == 15
        assert proxy.status()["status"]["5xx"] == 5
        assert proxy.inflight() == 0


def test_one_of_three_is_down_and_no_client_notices(origin: Origin) -> None:
    with Origin() as second:
        urls = [origin.url, second.url, f"http://127.0.0.1:{free_port()}"]
        with Gateway(upstreams=urls, workers=2) as proxy:
            with Ledger(proxy.port, lines=8) as ledger:
                ledger.until(300)
            assert not ledger.failed
            wait_until(lambda: proxy.inflight() == 0)
            counts = proxy.backends()
            dead = counts[urls[2]]
            assert dead["status"]["2xx"] == 0
            assert dead["connect_errors"] > 0
            assert sum(counts[url]["status"]["2xx"] for url in urls[:2]) == len(ledger.ok)


def test_killed_under_load_and_back_again() -> None:
    """Requests that were being worked on when it died fail or are sent again by the method rules;
    none is answered with anything else, and the other backend carries on. It is ejected, and comes
    back."""
    port = free_port()
    with Origin() as stays:
        goes = Origin(f"127.0.0.1:{port}").start()
        upstream = {"backends": [stays.url, goes.url], "outlier": {"ejection": "500ms"}}
        settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
        try:
            with Gateway(settings=settings, workers=2) as proxy:
                with Ledger(proxy.port, lines=16) as ledger:
                    ledger.until(200)
                    goes.kill()
                    ledger.until(300)
                    goes.close()
                    goes = Origin(f"127.0.0.1:{port}").start()
                    before = proxy.backends()[goes.url]["status"]["2xx"]
                    wait_until(lambda: proxy.backends()[goes.url]["status"]["2xx"] > before)
                    ledger.until(300)
                # A POST that was on its way to the dead one may have been done: 502, never again.
                for entry in ledger.failed:
                    assert (entry.outcome, entry.status) == ("wrong", 502), entry
                assert len(ledger.failed) <= 2 * 16
                seen = Counter(stays.ask("/seen")) + Counter(goes.ask("/seen"))
                for entry in ledger.entries:
                    assert seen[entry.id] <= 1, entry
                proxy.settle()
        finally:
            goes.close()


def test_dies_before_a_word_of_the_answer(origin: Origin) -> None:
    with Gateway(upstreams=[origin.url], workers=1) as proxy:
        answer = get(proxy, "/headless")
        assert (answer.status, "502" in answer.text) == (502, True)
        # Not sent again: the connection was fresh, the backend saw the request.
        assert origin.ask("/seen").get("headless", 0) == 0
        name = f"headless-{os.getpid()}"
        assert get(proxy, "/headless", f"X-Ledger: {name}").status == 502
        assert origin.ask("/seen")[name] == 1


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_dies_in_the_middle_of_the_answer(how: str) -> None:
    """The client must be able to see that the answer is not whole."""
    with Origin() as victim, Gateway(upstreams=[victim.url], workers=1) as proxy:
        with Line(proxy.port) as line:
            line.sock.sendall(head_of("GET", f"/bytes?n=100000000&framing={how}"))
            status, fields = line.head()
            assert status == 200
            body = line.reader.body(fields, 1 << 16)
            for _ in range(10):
                next(body)
            victim.kill()
            with pytest.raises((Closed, OSError)):
                for _ in body:
                    pass
        proxy.settle()
        assert get(proxy, "/id").status == 502


def test_a_backend_that_kills_itself_while_it_answers() -> None:
    with Origin() as victim, Gateway(upstreams=[victim.url], workers=1) as proxy:
        with pytest.raises((Closed, OSError)):
            get(proxy, "/die?n=100000")


def test_a_kept_connection_that_dies_is_no_reason_to_fail(origin: Origin) -> None:
    """Restarted between two requests: the second is sent on a fresh connection."""
    port = free_port()
    backend = Origin(f"127.0.0.1:{port}").start()
    try:
        with Gateway(upstreams=[backend.url], workers=1) as proxy, Line(proxy.port) as line:
            for method in ("GET", "POST", "PUT", "POST", "DELETE"):
                assert line.ask(method, "/id", "Content-Length: 0").status == 200
                backend.kill()
                backend.close()
                backend = Origin(f"127.0.0.1:{port}").start()
            assert line.ask("GET", "/id").status == 200
    finally:
        backend.close()


# ---- slow and silent ----------------------------------------------------------------------------


def test_a_black_hole_is_given_up_after_the_connect_timeout(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with (
        Deaf() as deaf,
        Gateway(
            "--upstream-connect-timeout=350ms",
            "--balance=round_robin",
            f"--access-log={log}",
            "--log-format={end_state}",
            upstreams=[deaf.url, origin.url],
            workers=1,
        ) as proxy,
    ):
        spent = []
        for _ in range(4):
            started = time.monotonic()
            assert get(proxy, "/id").status == 200
            spent.append(time.monotonic() - started)
        assert len([one for one in spent if one < 0.3]) == 2, spent  # the turns of the good one
        assert 0.3 < max(spent) < 3
        counts = proxy.backends()[deaf.url]
        assert counts["timeouts"] == 2
        assert counts["inflight"] == 0
        # What came before is not how they ended, and no fault of the one that answered.
        assert wait_until(lambda: len(text := log.read_text()) == 4 * 3 and text) == "--\n" * 4
        assert proxy.backends()[origin.url]["ejections"] == 0


def test_only_black_holes_is_504(origin: Origin) -> None:
    with (
        Deaf() as deaf,
        Gateway("--upstream-connect-timeout=300ms", upstreams=[deaf.url], workers=1) as proxy,
    ):
        started = time.monotonic()
        assert get(proxy, "/id").status == 504
        assert 0.2 < time.monotonic() - started < 3


def test_a_silent_backend_is_504_and_the_others_are_not_held_up(origin: Origin) -> None:
    with Gateway("--upstream-first-byte-timeout=500ms", upstreams=[origin.url]) as proxy:
        with ThreadPoolExecutor(8) as pool:
            silent = [pool.submit(get, proxy, "/mute") for _ in range(8)]
            with Line(proxy.port) as line:
                for _ in range(50):
                    started = time.monotonic()
                    assert line.ask("GET", "/id").status == 200
                    assert time.monotonic() - started < 0.4
            assert {one.result().status for one in silent} == {504}
        assert proxy.backends()[origin.url]["timeouts"] == 8
        wait_until(lambda: proxy.inflight() == 0)


def test_a_stopped_backend_and_one_that_goes_on() -> None:
    with (
        Origin() as first,
        Origin() as second,
        Gateway(
            "--upstream-first-byte-timeout=500ms",
            "--balance=round_robin",
            upstreams=[first.url, second.url],
            workers=1,
        ) as proxy,
    ):
        assert {get(proxy, "/id").status for _ in range(4)} == {200}
        first.stop()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: get(proxy, "/id").status, range(8)))
        assert Counter(answers) == {200: 4, 504: 4}
        first.go()
        wait_until(lambda: {get(proxy, "/id").status for _ in range(4)} == {200})


def test_an_answer_that_stops_in_the_middle_is_cut(origin: Origin) -> None:
    with Gateway("--upstream-idle-timeout=400ms", upstreams=[origin.url], workers=1) as proxy:
        started = time.monotonic()
        with pytest.raises((Closed, OSError)):
            get(proxy, "/bytes?n=200000&piece=100000&pause=5000")
        assert 0.3 < time.monotonic() - started < 3


def test_the_whole_request_has_a_limit(origin: Origin) -> None:
    """A backend that trickles is never idle; the total timeout ends it."""
    with Gateway("--request-timeout=500ms", upstreams=[origin.url], workers=1) as proxy:
        assert get(proxy, "/slow?ms=3000").status == 504
        started = time.monotonic()
        with pytest.raises((Closed, OSError)):
            get(proxy, "/bytes?n=100000&piece=1000&pause=100")
        assert time.monotonic() - started < 3
        assert get(proxy, "/id").status == 200


def test_the_timers_of_one_request_leave_the_next_alone(origin: Origin) -> None:
    """A slow first byte within its limit passes, again and again; then keep-alive ends."""
    with (
        Gateway(
            "--upstream-first-byte-timeout=600ms",
            "--keepalive=500ms",
            upstreams=[origin.url],
            workers=1,
        ) as proxy,
        Line(proxy.port) as line,
    ):
        for _ in range(3):
            assert line.ask("GET", "/slow?ms=300").status == 200
            time.sleep(0.2)
        time.sleep(0.5)
        assert line.sock.recv(1) == b""  # keep-alive is over


# ---- other addresses ----------------------------------------------------------------------------


def test_a_unix_socket_backend(tmp_path: Path) -> None:
    path = tmp_path / "b.sock"
    with Origin(f"unix:{path}") as backend, Gateway(upstreams=[backend.url], workers=2) as proxy:
        with Ledger(proxy.port, lines=8) as ledger:
            ledger.until(200)
        assert not ledger.failed
        answer = get(proxy, "/bytes?n=5000000&framing=chunked")
        assert answer.size == 5_000_000
        proxy.settle()
        assert proxy.totals()["upstream_reused"] > 100
        backend.kill()
        path.unlink()
        assert get(proxy, "/id").status == 502


def test_a_unix_listener(origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    with Gateway(listen=[f"unix:{path}", "127.0.0.1:0"], upstreams=[origin.url], workers=2):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(path))
                sock.sendall(head_of("GET", "/id", "Connection: close"))
                data = b""
                while part := sock.recv(1000):
                    data += part
                assert data.startswith(b"HTTP/1.1 200 OK")


def test_a_name_is_resolved(origin: Origin) -> None:
    url = f"http://localhost:{origin.port}"
    with Gateway(upstreams=[url], workers=1) as proxy:
        assert {get(proxy, "/id").status for _ in range(10)} == {200}
        assert any(name.startswith(url) for name in proxy.backends())
