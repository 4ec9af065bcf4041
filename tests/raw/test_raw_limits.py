"""Limits and timeouts, set small: each breach has its status, and ends in time. Error pages."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy import _core
from fastproxy.scoreboard import segment
from tests.raw.conftest import StartProxy
from tests.raw.reading import Client, Truncated
from tests.raw.recorder import BODY, HANG, pattern, sized
from tests.raw.talking import Running

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
ROUTES = """
[[routes]]
host = "known.example"
path = "/get-only"
methods = ["GET", "PUT"]
upstream = "main"
[[routes]]
host = "known.example"
path = "/known/"
upstream = "main"
[[routes]]
path = "/nowhere"
upstream = "dead"
[[routes]]
path = "/empty"
upstream = "none"
[[routes]]
path = "/short"
upstream = "main"
max_body = "1000KiB"
request_timeout = "400ms"
[upstreams.dead]
backends = ["http://127.0.0.1:{dead}"]
[upstreams.none]
backends = ["http://127.0.0.1:9"]
"""


@pytest.fixture(scope="module")
def dead_port() -> Iterator[int]:
    """A port where nobody listens: bound, so that nobody else gets it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]

HEALTH_DOWN = 1


def take_out(proxy: Running, upstream: str) -> None:
    """Say on the scoreboard that all backends of this upstream are down, as control does."""
    folder = Path(f"/proc/{proxy.pid}/fd")
    place = next(
        one for one in folder.iterdir() if "memfd:fastproxy-scoreboard" in os.readlink(one)
    )
    board = _core.Board(os.open(place, os.O_RDWR))
    names = [one["name"] for one in proxy.status()["upstreams"]]
    for row in segment.backends_used(board):
        if segment.backend(board, row)["upstream"] == names.index(upstream):
            segment.set_backend(board, row, health=HEALTH_DOWN)


@pytest.fixture(scope="module")
def plain(start: StartProxy, dead_port: int) -> Running:
    proxy = start(
        limits="""
request_line = "512"
header = "300"
headers = "2KiB"
header_count = 20
max_body = "10000"
""",
        timeouts="""
client_header = "400ms"
client_body = "400ms"
keepalive = "500ms"
client_write = "600ms"
upstream_first_byte = "400ms"
upstream_idle = "500ms"
""",
        routes=ROUTES.format(dead=dead_port),
    )
    take_out(proxy, "none")
    return proxy


def in_time(started: float, least: float, most: float = 5.0) -> None:
    """Timers fire not before their time, and soon after; `most` allows for a loaded machine."""
    spent = time.monotonic() - started
    assert least <= spent < most, spent


# ---- the size of heads ---------------------------------------------------------------------------


def line_of(size: int) -> bytes:
    """A request line of `size` bytes, its end counted."""
    return b"GET /" + b"x" * (size - len(b"GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(("size", "status"), [(500, 200), (512, 200), (513, 414), (600, 414), (9000, 414)])
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
    head = b"POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    assert proxy.ask(head % len(body) + body).status == 200
    proxy.refused(head % 1_024_001, 413)


# ---- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"G", b"GET /p HTTP/1.1\r\nHost: a\r\n", b"GET /p HTTP/1.1\r\nHost: a\r\n\r"])
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
    proxy.recorder.on("/short", BODY, *([0.1, b"HTTP/1.1 103 Early\r\n\r\n"] * 20), sized(b"x"))
    started = time.monotonic()
    answer = proxy.ask(GET % b"/short")
    assert answer.status == 504
    in_time(started, 0.39, 1.9)


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


# ---- error pages ---------------------------------------------------------------------------------

JSON_ACCEPT = b"Accept: application/json\r\n"
EACH = {
    400: b"GET /p HTTP/1.1\r\nHost: a b\r\n%b\r\n",
    404: b"GET /x HTTP/1.1\r\nHost: known.example\r\n%b\r\n",
    405: b"DELETE /get-only HTTP/1.1\r\nHost: known.example\r\n%b\r\n",
    413: b"POST /p HTTP/1.1\r\nHost: a\r\n%bContent-Length: 10001\r\n\r\n",
    417: b"GET /p HTTP/1.1\r\nHost: a\r\n%bExpect: x\r\n\r\n",
    501: b"POST /p HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: gzip, chunked\r\n\r\n",
    502: b"GET /nowhere HTTP/1.1\r\nHost: a\r\n%b\r\n",
    503: b"GET /empty HTTP/1.1\r\nHost: a\r\n%b\r\n",
    504: b"GET /hang HTTP/1.1\r\nHost: a\r\n%b\r\n",
}


@pytest.mark.parametrize("status", EACH)
@pytest.mark.parametrize("accept", [b"", JSON_ACCEPT], ids=["html", "json"])
def test_error_bodies(proxy: Running, status: int, accept: bytes) -> None:
    """Small HTML, or RFC 9457 JSON to who prefers it; neither names us or a backend."""
    proxy.recorder.on("/hang", BODY, HANG)
    answer = proxy.ask(EACH[status] % accept)
    assert answer.status == status
    if accept:
        assert answer.one("content-type") == "application/problem+json"
        page = json.loads(answer.body)
        assert page["status"] == status
        assert page["title"] == answer.reason
        assert page["detail"]
        assert page["type"] == "about:blank"
    else:
        assert answer.one("content-type") == "text/html; charset=utf-8"
        assert b"<title>%d " % status in answer.body
    said = answer.body.lower() + repr(answer.fields).lower().encode()
    for leak in (b"fastproxy", b"python", b"cython", b"uvloop", b"127.0.0.1", b"/usr", b"server"):
        assert leak not in said.replace(b"internal server error", b"")
    assert answer.one("date")


def test_405_names_what_is_allowed(proxy: Running) -> None:
    answer = proxy.ask(EACH[405] % b"")
    assert answer.one("allow").split(", ") == ["GET", "HEAD", "PUT"]
    assert not answer.closes


@pytest.mark.parametrize("status", [404, 405, 502, 503, 504])
def test_errors_that_are_no_parse_errors_keep_the_connection(proxy: Running, status: int) -> None:
    proxy.recorder.on("/hang", BODY, HANG)
    answers = proxy.talk(EACH[status] % b"" + GET % b"/len/3", "GET", "GET")
    assert [one.status for one in answers] == [status, 200]


def test_head_errors_have_no_body(proxy: Running) -> None:
    head = (EACH[404] % b"").replace(b"GET", b"HEAD")
    answers = proxy.talk(head + GET % b"/len/3", "HEAD", "GET")
    assert answers[0].status == 404
    assert int(answers[0].one("content-length")) > 0
    assert answers[1].body == pattern(3)


@pytest.mark.parametrize(("accept", "kind"), [
    ("application/json", "problem+json"), ("application/problem+json", "problem+json"),
    ("application/json, text/plain, */*", "problem+json"), ("application/ld+json", "problem+json"),
    ("text/html", "html"), ("*/*", "html"), ("", "html"), ("text/html, application/json", "html"),
    ("application/json;q=0.5, text/html", "html"), ("text/html;q=0.5, application/json", "problem+json"),
    ("application/json;q=0", "html"), ("text/html; q=0.8, application/json; q=0.9", "problem+json"),
    ("application/xhtml+xml,text/html,application/xml;q=0.9,*/*;q=0.8", "html"),
    ("x" * 200, "html"), (";;,,;q=,json", "html"),
])  # fmt: skip
def test_who_prefers_json(proxy: Running, accept: str, kind: str) -> None:
    """RFC 9110 12.5.1."""
    answer = proxy.ask(EACH[404] % f"Accept: {accept}\r\n".encode())
    assert kind in answer.one("content-type")


def test_unknown_host_without_default(start: StartProxy, tmp_path: Path) -> None:
    """421, if no route is for any host."""
    proxy = start(routes="", log="off")
    config = Path(str(proxy.config)).read_text()
    proxy.close()
    assert '[[routes]]\npath = "/"' in config
    Path(str(proxy.config)).write_text(
        config.replace('[[routes]]\npath = "/"', '[[routes]]\nhost = "known.example"\npath = "/"')
    )
    strict = Running(config=proxy.config, workers=1)
    strict.recorder = proxy.recorder
    with strict:
        with strict.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
            answer = client.answer()
            assert answer.status == 421
            assert not answer.closes
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.answer().status == 421
        assert strict.ask(b"GET / HTTP/1.1\r\nHost: known.example\r\n\r\n").status == 200


def test_the_other_statuses(proxy: Running) -> None:
    """408, 414, 431 and 505 are above; here only that all of the list exist at once."""
    assert proxy.ask(line_of(600) + b"Host: a\r\n\r\n").status == 414
    assert proxy.ask(b"GET /p HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 400 + b"\r\n\r\n").status == 431
    assert proxy.ask(b"GET /p HTTP/3.0\r\nHost: a\r\n\r\n").status == 505
    with Client(proxy.place) as client:
        client.send(b"GET /p")
        assert client.answer().status == 408
