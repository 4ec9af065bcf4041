"""Error answers: pages for people, RFC 9457 for programs, nothing about us in either."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy import _core
from fastproxy.scoreboard import segment
from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, HANG, pattern
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
[upstreams.dead]
backends = ["http://127.0.0.1:{dead}"]
[upstreams.none]
backends = ["http://127.0.0.1:9"]
panic_threshold = 0
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
max_body = "10000"
""",
        timeouts="""
client_header = "300ms"
upstream_first_byte = "300ms"
""",
        routes=ROUTES.format(dead=dead_port),
    )
    take_out(proxy, "none")
    return proxy


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


def test_503_says_when_to_come_back_to_each_another_time(proxy: Running) -> None:
    said = {proxy.ask(EACH[503] % b"").one("retry-after") for _ in range(100)}
    assert said == {str(seconds) for seconds in range(5, 10)}


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
    ("application/json;q=0.5, text/html", "html"),
    ("text/html;q=0.5, application/json", "problem+json"),
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
    """With the table above all that we make ourselves: 421 is the test before."""
    head = b"GET /p HTTP/1.1\r\nHost: a\r\n"
    for status, data in {
        408: head,
        414: b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        431: head + b"X: " + b"y" * 400 + b"\r\n\r\n",
        505: b"GET /p HTTP/3.0\r\nHost: a\r\n\r\n",
    }.items():
        answer = proxy.refused(data, status)
        assert answer.body
        assert answer.one("content-type") == "text/html; charset=utf-8"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("size", "chunked", "kept"), [(40, False, True), (60_000, False, True), (70_000, False, False),
                                  (40, True, False)],
)  # fmt: skip
def test_a_local_answer_while_a_body_is_coming(
    proxy: Running, size: int, chunked: bool, kept: bool, late: bool
) -> None:
    """B3 14: a short rest is read and thrown away, else the connection ends; no byte of the body is
    taken for a request."""
    body = (b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 30 + 1))[:size]
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    head = b"POST /x HTTP/1.1\r\nHost: known.example\r\n" + framing + b"\r\n\r\n"
    with proxy.client() as client:
        client.send(head)
        if late:
            assert client.answer().status == 404
        client.send(body + GET % b"/len/3")
        if not late:
            assert client.answer().status == 404
        if kept:
            assert client.answer().body == pattern(3)
        else:
            assert client.end() == "fin"
    proxy.recorder.settle()
    assert b"smuggled" not in proxy.recorder.bytes()
    assert proxy.recorder.count("/len/3") == kept
