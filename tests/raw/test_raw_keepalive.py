"""Connections to clients: keep-alive, pipelining, HTTP/1.0, HEAD, half-close, who closes when."""

from __future__ import annotations

import time

import pytest

from tests.raw.recorder import BODY, coded, pattern
from tests.raw.talking import Running

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


def test_one_connection_serves_many_requests(proxy: Running) -> None:
    """And one upstream connection is enough for them."""
    with proxy.client() as client:
        for at in range(50):
            client.send(GET % b"/len/%d" % at)
            answer = client.answer()
            assert answer.body == pattern(at)
            assert not answer.all("connection")
    proxy.recorder.settle()
    assert len({seen.connection for seen in proxy.recorder.requests}) == 1


@pytest.mark.parametrize("said", ["close", "Close", "foo, close", "keep-alive, close"])
def test_close_is_honoured(proxy: Running, said: str) -> None:
    with proxy.client() as client:
        client.send(f"GET /p HTTP/1.1\r\nHost: a\r\nConnection: {said}\r\n\r\n".encode())
        assert client.answer().closes
        assert client.end() == "fin"


def test_fifty_pipelined_in_one_segment(proxy: Running) -> None:
    """In order, bodies between them, answered in order, each forwarded once and whole."""
    out, methods, wanted = b"", [], []
    for at in range(50):
        if at % 3 == 0:
            out += GET % b"/len/%d" % (at * 37)
            methods.append("GET")
            wanted.append(pattern(at * 37))
        elif at % 3 == 1:
            body = pattern(at * 11, at)
            out += b"POST /echo/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
                at, len(body), body,
            )  # fmt: skip
            methods.append("POST")
            wanted.append(body)
        else:
            body = pattern(at * 5, at)
            chunks = b"".join(
                b"%x;x=y\r\n%b\r\n" % (len(body[i : i + 70]), body[i : i + 70])
                for i in range(0, len(body), 70)
            )
            out += b"PUT /echo/%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % at
            out += chunks + b"0\r\n\r\n"
            methods.append("PUT")
            wanted.append(body)
    answers = proxy.talk(out, *methods)
    for answer, body, method in zip(answers, wanted, methods, strict=True):
        assert answer.status == 200
        assert answer.body.endswith(body)
        assert method == "GET" or answer.body.startswith(method.encode())
    assert len(proxy.recorder.requests) == 50
    assert all(seen.complete and not seen.trouble for seen in proxy.recorder.requests)


def test_pipelined_answers_keep_their_order(proxy: Running) -> None:
    """A slow first one is not overtaken."""
    three = GET % b"/slow/0.2" + GET % b"/len/3" + GET % b"/chunked/4"
    answers = proxy.talk(three, "GET", "GET", "GET")
    assert [one.body for one in answers] == [b"slow", pattern(3), pattern(4)]


def test_pipelining_behind_a_local_answer(proxy: Running) -> None:
    star = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    answers = proxy.talk((star + GET % b"/len/7") * 20, *(["OPTIONS", "GET"] * 20))
    assert [one.status for one in answers] == [204, 200] * 20
    assert all(one.body == pattern(7) for one in answers[1::2])


def test_a_pipeliner_who_does_not_read_is_not_served_without_bound(proxy: Running) -> None:
    """Answers wait in the sockets, requests too: the backend sees only a few of them."""
    with proxy.client() as client:
        client.sock.settimeout(0.3)
        try:
            for _ in range(4000):
                client.sock.sendall(GET % b"/len/100000")
        except TimeoutError:
            pass
        before = -1
        while before != len(proxy.recorder.requests):
            before = len(proxy.recorder.requests)
            time.sleep(0.3)
        assert before < 2000
        client.sock.settimeout(15)
        for _ in range(before):
            assert client.answer().body == pattern(100000)


def test_empty_line_between_requests(proxy: Running) -> None:
    """RFC 9112 2.2: one is skipped (browsers of old sent it behind a POST)."""
    first = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n"
    answers = proxy.talk(first + GET % b"/two", "POST", "GET")
    assert [one.status for one in answers] == [200, 200]


# ---- HTTP/1.0 ---------------------------------------------------------------------------------


def test_http10_closes(proxy: Running) -> None:
    """The answer's version is ours (RFC 9110 2.5); upstream it is a 1.1 request with a Host."""
    with proxy.client() as client:
        client.send(b"GET /len/5 HTTP/1.0\r\n\r\n")
        answer = client.answer()
        assert answer.body == pattern(5)
        assert answer.closes
        assert client.end() == "fin"
    seen = proxy.recorder.only("/len/5")
    assert seen.one("host") == f"127.0.0.1:{proxy.recorder.port}"
    assert "connection" not in seen.names()


def test_http10_keep_alive(proxy: Running) -> None:
    with proxy.client() as client:
        for at in range(3):
            client.send(b"GET /len/5 HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n")
            answer = client.answer()
            assert answer.body == pattern(5)
            assert answer.one("connection") == "keep-alive", at
        client.send(b"GET /len/5 HTTP/1.0\r\nHost: a\r\n\r\n")
        assert client.answer().closes
        assert client.end() == "fin"


@pytest.mark.parametrize("path", ["/chunked/5/6/7", "/until-close/18"])
def test_http10_gets_no_chunks(proxy: Running, path: str) -> None:
    """What has no length is delimited by the close."""
    with proxy.client() as client:
        client.send(f"GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        answer = client.answer()
        assert answer.framing == "close"
        assert answer.closes
        assert len(answer.body) == 18
        assert client.ended == "fin"


def test_http10_post(proxy: Running) -> None:
    answer = proxy.ask(b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "POST")
    assert answer.body.endswith(b"\r\n\r\nabc")


# ---- HEAD and answers without a body -------------------------------------------------------------


@pytest.mark.parametrize(("head", "length", "coding"), [
    (b"Content-Length: 1000\r\n", ["1000"], []),
    (b"Transfer-Encoding: chunked\r\n", [], None),
    (b"", [], None),
])  # fmt: skip
def test_head_has_no_body(
    proxy: Running, head: bytes, length: list[str], coding: list[str] | None
) -> None:
    """The next answer on both connections is not touched."""
    proxy.recorder.on("/h", BODY, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    with proxy.client() as client:
        for at in range(3):
            client.send(b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"/len/%d" % at)
            answer = client.answer("HEAD")
            assert answer.all("content-length") == length
            if coding is not None:
                assert answer.all("transfer-encoding") == coding
            assert client.answer().body == pattern(at)
    proxy.recorder.settle()
    assert len({seen.connection for seen in proxy.recorder.requests}) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_by_status(proxy: Running, status: int) -> None:
    with proxy.client() as client:
        for at in range(3):
            client.send(GET % b"/status/%d" % status + GET % b"/len/%d" % at)
            assert client.answer().status == status
            assert client.answer().body == pattern(at)
    proxy.recorder.settle()
    assert len({seen.connection for seen in proxy.recorder.requests}) == 1


def test_not_modified_keeps_its_length(proxy: Running) -> None:
    proxy.recorder.on("/n", BODY, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n")
    answers = proxy.talk(GET % b"/n" + GET % b"/len/3", "GET", "GET")
    assert answers[0].one("content-length") == "7"
    assert answers[1].body == pattern(3)


# ---- bodies of answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 15000, 16384, 70000, 1_000_003])
@pytest.mark.parametrize("kind", ["len", "chunked", "until-close"])
def test_bodies_arrive_whole(proxy: Running, kind: str, size: int) -> None:
    """Sized ones sized, the others in chunks of ours; then the connection goes on."""
    proxy.recorder.on("/chunked/0", BODY, coded())
    with proxy.client() as client:
        client.send(GET % b"/%b/%d" % (kind.encode(), size))
        answer = client.answer()
        assert answer.framing == {"len": "length"}.get(kind, "chunked")
        assert answer.body == pattern(size)
        client.send(GET % b"/len/3")
        assert client.answer().body == pattern(3)


def test_many_small_chunks(proxy: Running) -> None:
    body = pattern(3000)
    pieces = [body[at : at + 7] for at in range(0, 3000, 7)]
    proxy.recorder.on(
        "/c", BODY, b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n"
        + b"".join(b"00%X;ext=1\r\n%b\r\n" % (len(one), one) for one in pieces)
        + b"00\r\nT: 1\r\n\r\n",
    )  # fmt: skip
    answer = proxy.ask(GET % b"/c")
    assert answer.body == body
    assert answer.one("transfer-encoding") == "chunked"
    assert b"ext" not in answer.coded


def test_an_answer_is_not_held_back(proxy: Running) -> None:
    """Streaming: each piece leaves when it came."""
    proxy.recorder.on(
        "/s", BODY, coded(end=False), b"5\r\nfirst\r\n", 0.6, b"4\r\nlast\r\n0\r\n\r\n"
    )
    with proxy.client() as client:
        started = time.monotonic()
        client.send(GET % b"/s")
        client.until(b"first")
        assert time.monotonic() - started < 0.5
        client.until(b"last")
        client.until(b"\r\n0\r\n\r\n")
        assert time.monotonic() - started > 0.5


def test_a_request_is_not_held_back(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        client.send(b"12345")
        proxy.recorder.wait(lambda: proxy.recorder.requests[0].body == b"12345")
        client.send(b"67890")
        assert client.answer().status == 200
    assert proxy.recorder.only("/p").body == b"1234567890"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_large_upload(proxy: Running, coding: str) -> None:
    body = pattern(3_000_000)
    if coding == "length":
        data = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + body
    else:
        data = b"PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for at in range(0, len(body), 50_000):
            data += b"c350\r\n" + body[at : at + 50_000] + b"\r\n"
        data += b"0\r\n\r\n"
    answers = proxy.talk(data + GET % b"/len/4", "PUT", "GET")
    assert [one.status for one in answers] == [200, 200]
    seen = proxy.recorder.only("/up")
    assert seen.complete
    assert seen.body == body
    assert seen.framing == coding
