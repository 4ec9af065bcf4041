"""Limits, set small: each breach has its status, and nothing of it is forwarded."""

from __future__ import annotations

import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import pattern
from tests.raw.talking import Running, in_time

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        limits="""
request_line = "512"
header = "300"
headers = "2KiB"
header_count = 20
max_body = "10000"
""",
        routes="""
[[routes]]
path = "/more"
upstream = "main"
max_body = "1000KiB"
""",
    )


# ---- the size of heads ---------------------------------------------------------------------------


def line_of(size: int) -> bytes:
    """A request line of `size` bytes, its end counted."""
    return b"GET /" + b"x" * (size - len(b"GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("size", "status"), [(500, 200), (512, 200), (513, 414), (600, 414), (9000, 414)]
)
def test_request_line(proxy: Running, size: int, status: int, bytewise: bool) -> None:
    data = line_of(size) + b"Host: a\r\n\r\n"
    if status == 200:
        assert proxy.ask(data).status == 200
    else:
        proxy.refused(data, status, bytewise)


@pytest.mark.parametrize("part", ["method", "target", "version"])
def test_an_endless_request_line_is_refused_without_its_end(proxy: Running, part: str) -> None:
    """The verdict does not wait for a line end that never comes."""
    data = {"method": b"G" * 600, "target": b"GET /" + b"a" * 600, "version": line_of(700)[:600]}
    proxy.refused(data[part], 414)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(("size", "status"), [(300, 200), (301, 431), (1500, 431)])
def test_one_header(proxy: Running, size: int, status: int, bytewise: bool) -> None:
    """Name, colon, value and line end."""
    data = b"GET /p HTTP/1.1\r\nHost: a\r\nX: " + b"v" * (size - 5) + b"\r\n\r\n"
    if status == 200:
        assert proxy.ask(data).status == 200
    else:
        proxy.refused(data, status, bytewise)


def test_all_headers(proxy: Running) -> None:
    lines = b"".join(b"X-%02d: %b\r\n" % (at, b"v" * 200) for at in range(9))
    assert proxy.ask(b"GET /p HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n").status == 200
    more = b"X-10: " + b"v" * 200 + b"\r\n"
    proxy.refused(b"GET /p HTTP/1.1\r\nHost: a\r\n" + lines + more + b"\r\n", 431)
    proxy.refused(b"GET /p HTTP/1.1\r\nHost: a\r\n" + lines + more, 431)


@pytest.mark.parametrize(("count", "status"), [(20, 200), (21, 431), (100, 431)])
def test_header_count(proxy: Running, count: int, status: int) -> None:
    data = b"GET /p HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (count - 1) + b"\r\n"
    if status == 200:
        assert proxy.ask(data).status == 200
    else:
        proxy.refused(data, status)


# ---- the size of bodies --------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status"), [(10000, 200), (10001, 413), (10**12, 413)])
def test_max_body_sized(proxy: Running, size: int, status: int) -> None:
    """Refused by its head, before a byte of it."""
    head = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    if status == 200:
        assert proxy.ask(head + pattern(size)).status == 200
        assert proxy.recorder.only("/p").body == pattern(size)
    else:
        proxy.refused(head, status)


def test_max_body_and_expect(proxy: Running) -> None:
    """A client that waits for 100 gets 413 and never sends."""
    proxy.refused(
        b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n", 413
    )


@pytest.mark.parametrize(("chunks", "status"), [(10, 200), (11, 413), (300, 413)])
@pytest.mark.parametrize("separate", [False, True])
def test_max_body_chunked(proxy: Running, chunks: int, status: int, separate: bool) -> None:
    """Counted as it comes: the backend sees it cut."""
    head = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    one = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    with proxy.client() as client:
        client.send(head)
        if separate:
            proxy.recorder.wait(lambda: proxy.recorder.requests)
        client.send(one * chunks + b"0\r\n\r\n")
        answer = client.answer()
        assert answer.status == status
        if status == 413:
            assert answer.closes
            assert client.end() == "fin"
    proxy.recorder.settle()
    for seen in proxy.recorder.requests:
        assert seen.complete == (status == 200)
        assert len(seen.body) <= 10000


def test_a_route_may_allow_more(proxy: Running) -> None:
    body = pattern(500_000)
    head = b"POST /more HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    assert proxy.ask(head % len(body) + body).status == 200
    proxy.refused(head % 1_024_001, 413)


# ---- connections ---------------------------------------------------------------------------------


def test_connections_per_ip(start: StartProxy) -> None:
    """The one too many is closed at once; when one goes, the next may come. Over all workers."""
    proxy = start(limits="connections_per_ip = 5", top="", log="off")
    clients = [proxy.client() for _ in range(5)]
    try:
        for client in clients:
            client.send(GET % b"/len/2")
            assert client.answer().body == pattern(2)
        for _ in range(3):
            with proxy.client() as extra:
                extra.send(GET % b"/extra")
                assert extra.end() in ("fin", "rst")
        clients.pop().sock.close()
        end = time.monotonic() + 5
        while True:
            with proxy.client() as extra:
                extra.send(GET % b"/len/3")
                try:
                    assert extra.answer().body == pattern(3)
                    break
                except Truncated:
                    assert time.monotonic() < end
                    time.sleep(0.02)
        proxy.recorder.settle()
        assert proxy.recorder.count("/extra") == 0
    finally:
        for client in clients:
            client.sock.close()


def test_connections_of_a_worker(start: StartProxy) -> None:
    """Above it the oldest idle one makes room; if none is idle, new ones wait in the queue."""
    proxy = start(limits="connections = 4", log="off")
    idle = [proxy.client() for _ in range(4)]
    for client in idle:
        client.send(GET % b"/len/2")
        assert client.answer().body == pattern(2)
    with proxy.client() as fifth:
        fifth.send(GET % b"/len/3")
        assert fifth.answer().body == pattern(3)
        assert idle[0].end() == "fin"
        for client in idle[1:]:
            client.send(GET % b"/slow/0.6")
        fifth.send(GET % b"/slow/0.6")
        proxy.recorder.wait(lambda: proxy.recorder.count("/slow/0.6") == 4)
        started = time.monotonic()
        with proxy.client() as late:
            late.send(GET % b"/len/4")
            assert late.answer().body == pattern(4)
            in_time(started, 0.2)
    for client in idle:
        client.sock.close()
