"""Timeouts, set short: each ends in time, with its status, and cancels what runs upstream."""

from __future__ import annotations

import socket
import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, HANG, coded, pattern, sized
from tests.raw.talking import Running, in_time

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        timeouts="""
client_header = "400ms"
client_body = "400ms"
keepalive = "500ms"
client_write = "600ms"
upstream_first_byte = "400ms"
upstream_idle = "500ms"
""",
        routes="""
[[routes]]
path = "/short"
upstream = "main"
request_timeout = "250ms"
""",
    )


@pytest.mark.parametrize(
    "data", [b"G", b"GET /p HTTP/1.1\r\nHost: a\r\n", b"GET /p HTTP/1.1\r\nHost: a\r\n\r"]
)
def test_a_head_that_stalls(proxy: Running, data: bytes) -> None:
    """B3 16: 408 and close."""
    started = time.monotonic()
    proxy.refused(data, 408)
    in_time(started, 0.39)


def test_slowloris(proxy: Running) -> None:
    """One byte now and then does not help: the deadline is absolute."""
    started = time.monotonic()
    with proxy.client() as client:
        client.sock.settimeout(0.05)
        head = b"GET /p HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200
        for byte in head:
            client.send(bytes([byte]))
            try:
                if not client.more() or client.held:
                    break
            except TimeoutError:
                pass
        client.sock.settimeout(15)
        answer = client.answer()
        assert answer.status == 408
        assert answer.closes
        in_time(started, 0.39)
        assert client.end() == "fin"
    proxy.nothing_forwarded()


def test_a_later_head_that_stalls(proxy: Running) -> None:
    """On a kept connection the deadline begins with the first byte of the next request."""
    with proxy.client() as client:
        client.send(GET % b"/len/1")
        client.answer()
        time.sleep(0.2)
        started = time.monotonic()
        client.send(b"GET /")
        answer = client.answer()
        assert answer.status == 408
        in_time(started, 0.39)
        assert client.end() == "fin"


def test_a_connection_that_never_speaks(proxy: Running) -> None:
    """Nothing was asked, so nothing is answered: closed."""
    started = time.monotonic()
    with proxy.client() as client:
        assert client.end() == "fin"
    in_time(started, 0.39)


def test_keepalive(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(GET % b"/len/1")
        client.answer()
        started = time.monotonic()
        assert client.end() == "fin"
        in_time(started, 0.45)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_stalls(proxy: Running, framing: bytes) -> None:
    """B3 16, 37: 408 and close; the backend sees the request cut."""
    started = time.monotonic()
    with proxy.client() as client:
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        answer = client.answer()
        assert answer.status == 408
        assert answer.closes
        in_time(started, 0.39)
        assert client.end() == "fin"
    line = proxy.recorder.lines[proxy.recorder.requests[0].connection]
    proxy.recorder.wait(lambda: line.ended)
    assert not proxy.recorder.requests[0].complete


def test_a_slow_body_that_makes_progress_passes(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.2)
            client.send(b"x")
        assert client.answer().status == 200


def test_a_reader_that_stops(proxy: Running) -> None:
    """Closed, and the backend's work is cancelled."""
    proxy.recorder.on("/big", BODY, sized(pattern(20_000_000)))
    with proxy.client() as client:
        client.send(GET % b"/big")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        line = proxy.recorder.lines[proxy.recorder.requests[0].connection]
        proxy.recorder.wait(lambda: line.ended, 10)
        with pytest.raises(Truncated):
            client.answer()


def test_first_byte(proxy: Running) -> None:
    """504, and the connection upstream is not used again; the client's goes on."""
    proxy.recorder.on("/hang", BODY, HANG)
    started = time.monotonic()
    with proxy.client() as client:
        client.send(GET % b"/hang")
        answer = client.answer()
        assert answer.status == 504
        assert not answer.closes
        in_time(started, 0.39)
        client.send(GET % b"/len/3")
        assert client.answer().body == pattern(3)
    line = proxy.recorder.lines[proxy.recorder.only("/hang").connection]
    proxy.recorder.wait(lambda: line.ended)


def test_a_head_that_stops_in_the_middle(proxy: Running) -> None:
    proxy.recorder.on("/half", BODY, b"HTTP/1.1 200 OK\r\nContent-", HANG)
    assert proxy.ask(GET % b"/half").status == 504


def test_idle_inside_an_answer(proxy: Running) -> None:
    """The head is gone: cut."""
    proxy.recorder.on("/idle", BODY, sized(pattern(100))[:-50], HANG)
    started = time.monotonic()
    with pytest.raises(Truncated):
        proxy.ask(GET % b"/idle")
    in_time(started, 0.45)


def test_total_of_a_route(proxy: Running) -> None:
    """Whatever makes progress meanwhile: interim answers here."""
    proxy.recorder.on("/short", BODY, *([0.1, b"HTTP/1.1 103 Early\r\n\r\n"] * 15), HANG)
    started = time.monotonic()
    answer = proxy.ask(GET % b"/short")
    assert answer.status == 504
    assert b"longer than allowed" in answer.body
    in_time(started, 0.24)


def test_total_inside_an_answer(proxy: Running) -> None:
    proxy.recorder.on("/short", BODY, coded(end=False), *([b"1\r\nx\r\n", 0.1] * 100))
    started = time.monotonic()
    with pytest.raises(Truncated):
        proxy.ask(GET % b"/short")
    in_time(started, 0.24)


def test_connect_timeout(start: StartProxy) -> None:
    """A backend whose queue is full answers no SYN: 504 in time."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = []
    port = full.getsockname()[1]
    try:
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            waiting.append(sock)
        proxy = start([f"http://127.0.0.1:{port}"], timeouts='upstream_connect = "300ms"')
        started = time.monotonic()
        answer = proxy.ask(GET % b"/")
        assert answer.status == 504
        in_time(started, 0.29)
    finally:
        for sock in [full, *waiting]:
            sock.close()
