"""Expect: 100-continue, interim answers, early answers (B3 12, 17; RFC 9110 10.1.1, 15.2)."""

from __future__ import annotations

import time

import pytest

from tests.raw.recorder import BODY, HANG, sized
from tests.raw.talking import Running

EXPECT = b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("spelt", ["100-continue", "100-Continue", "100-CONTINUE"])
def test_the_expectation_goes_to_the_backend_and_its_100_comes_back(
    proxy: Running, spelt: str
) -> None:
    proxy.recorder.on("/e", CONTINUE, BODY, sized(b"done"))
    with proxy.client() as client:
        client.send(
            f"POST /e HTTP/1.1\r\nHost: a\r\nExpect: {spelt}\r\nContent-Length: 5\r\n\r\n".encode()
        )
        assert client.until(b"\r\n\r\n") == CONTINUE
        client.send(b"hello" + GET % b"/after")
        answer = client.answer("POST")
        assert answer.body == b"done"
        assert not answer.interim, "100 came once"
        assert client.answer().status == 200
    seen = proxy.recorder.only("/e")
    assert seen.one("expect") == "100-continue"
    assert seen.body == b"hello"


def test_a_client_that_does_not_wait(proxy: Running) -> None:
    """It may send the body at once (RFC 9110 10.1.1)."""
    proxy.recorder.on("/e", CONTINUE, BODY, sized(b"done"))
    answer = proxy.ask(EXPECT + b"Content-Length: 5\r\n\r\nhello", "POST")
    assert answer.status == 200
    assert [one.status for one in answer.interim] == [100]
    assert proxy.recorder.only("/e").body == b"hello"


def test_a_refusal_instead_of_100(proxy: Running) -> None:
    """The body never comes, so the connection cannot go on (nobody knows what comes next)."""
    proxy.recorder.on("/e", sized(b"too large", b"413 Content Too Large"))
    with proxy.client() as client:
        client.send(EXPECT + b"Content-Length: 5\r\n\r\n")
        answer = client.answer()
        assert answer.status == 413
        assert answer.closes
        assert client.end() == "fin"
    line = proxy.recorder.lines[proxy.recorder.only("/e").connection]
    proxy.recorder.wait(lambda: line.ended)


def test_an_upstream_that_never_says_100(proxy: Running) -> None:
    """The client's own timer decides when to send anyway; we do not invent a 100."""
    with proxy.client() as client:
        client.send(EXPECT + b"Content-Length: 5\r\n\r\n")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        assert client.is_open(0.2)
        client.send(b"hello")
        answer = client.answer()
        assert answer.status == 200
        assert not answer.interim


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "", "100-continue;q=1", "100"])
def test_other_expectations(proxy: Running, value: str) -> None:
    proxy.refused(
        f"POST /e HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 0\r\n\r\n".encode(), 417
    )


def test_expect_twice(proxy: Running) -> None:
    proxy.refused(EXPECT + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", 417)


def test_expect_folded_never_changes_framing(proxy: Running) -> None:
    """Akamai CVE-2025-32094."""
    proxy.refused(
        b"OPTIONS /e HTTP/1.1\r\nHost: a\r\nExpect:\r\n 100-continue\r\nContent-Length: 39\r\n\r\n"
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    )


def test_expect_without_a_body(proxy: Running) -> None:
    """Nothing to wait for: not forwarded, and an unasked 100 of the backend stops here."""
    proxy.recorder.on("/e", CONTINUE, BODY, sized(b"x"))
    answer = proxy.ask(EXPECT + b"Content-Length: 0\r\n\r\n")
    assert answer.status == 200
    assert not answer.interim
    assert "expect" not in proxy.recorder.only("/e").names()


def test_http10_expects_nothing(proxy: Running) -> None:
    """RFC 9110 10.1.1: ignored in HTTP/1.0; no interim answer of any kind goes there."""
    proxy.recorder.on("/e", CONTINUE, HINTS, BODY, sized(b"x"))
    answer = proxy.ask(
        b"POST /e HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "POST"
    )
    assert answer.status == 200
    assert not answer.interim
    assert "expect" not in proxy.recorder.only("/e").names()


def test_100_only_if_expected(proxy: Running) -> None:
    proxy.recorder.on("/e", BODY, CONTINUE, CONTINUE, sized(b"x"))
    answer = proxy.ask(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert answer.body == b"x"
    assert not answer.interim


def test_100_is_forwarded_once(proxy: Running) -> None:
    proxy.recorder.on("/e", CONTINUE, CONTINUE, BODY, CONTINUE, sized(b"x"))
    answer = proxy.ask(EXPECT + b"Content-Length: 2\r\n\r\nhi")
    assert [one.status for one in answer.interim] == [100]


@pytest.mark.parametrize("pause", [0, 0.05])
def test_early_hints(proxy: Running, pause: float) -> None:
    """103 and 102 pass as they came, less what is hop-by-hop."""
    one = b"HTTP/1.1 103 Early Hints\r\nLink: </b.js>\r\nKeep-Alive: x\r\n\r\n"
    proxy.recorder.on(
        "/e", BODY, HINTS, pause, b"HTTP/1.1 102 Processing\r\n\r\n", one, pause, sized(b"x")
    )
    answer = proxy.ask(GET % b"/e")
    assert [one.status for one in answer.interim] == [103, 102, 103]
    assert answer.interim[0].fields == [("Link", "</a.css>; rel=preload")]
    assert answer.interim[2].fields == [("Link", "</b.js>")]
    assert answer.body == b"x"
    assert proxy.ask(GET % b"/len/2").status == 200


def test_early_hints_do_not_wait_for_the_answer(proxy: Running) -> None:
    proxy.recorder.on("/e", BODY, HINTS, 0.6, sized(b"x"))
    with proxy.client() as client:
        started = time.monotonic()
        client.send(GET % b"/e")
        client.until(b"\r\n\r\n")
        assert time.monotonic() - started < 0.5
        assert client.answer().body == b"x"


@pytest.mark.parametrize("interim", [CONTINUE, HINTS], ids=["100", "103"])
def test_a_storm_of_interim_answers(proxy: Running, interim: bytes) -> None:
    """B3 17: bounded, then 502 and the connection is dropped."""
    proxy.recorder.on("/e", BODY, interim * 5000, HANG)
    with proxy.client() as client:
        client.send(GET % b"/e")
        answer = client.answer()
        assert answer.status == 502
        assert len(answer.interim) <= 16
    line = proxy.recorder.lines[proxy.recorder.only("/e").connection]
    proxy.recorder.wait(lambda: line.ended)


@pytest.mark.parametrize("head", [
    b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nBad Name: x\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
])  # fmt: skip
def test_bad_interim_answers(proxy: Running, head: bytes) -> None:
    proxy.recorder.on("/e", BODY, head + sized(b"x"))
    assert proxy.ask(GET % b"/e").status == 502


# ---- early answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1_000_000, 30_000_000])
def test_an_early_answer_reaches_the_client_that_still_uploads(proxy: Running, size: int) -> None:
    """The backend answers and reads no more; the upload is neither finished nor the end."""
    proxy.recorder.on("/e", sized(b"enough", b"413 Content Too Large"), 1.0, "close")
    with proxy.client() as client:
        client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.sock.settimeout(0.02)
        sent, answered = 0, b""
        end = time.monotonic() + 10
        while b"enough" not in answered:
            assert time.monotonic() < end
            try:
                if sent < size // 2:
                    sent += client.sock.send(b"x" * 65536)
            except TimeoutError:
                pass
            except OSError:
                sent = size // 2
            try:
                answered += client.sock.recv(65536)
            except TimeoutError:
                pass
        assert answered.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in answered
    seen = proxy.recorder.only("/e")
    assert not seen.complete
    path = b"/after"
    assert proxy.ask(GET % path).status == 200
    assert proxy.recorder.only("/after").connection != seen.connection


def test_an_early_answer_then_the_backend_resets(proxy: Running) -> None:
    """The common way of servers that refuse an upload: answer, close with unread bytes."""
    proxy.recorder.on("/e", sized(b"no", b"403 Forbidden", b"Connection: close\r\n"), 0.05, "close")
    answer = None
    with proxy.client() as client:
        client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"x" * 70000)
        answer = client.answer()
        assert (answer.status, answer.body) == (403, b"no")


def test_a_streaming_echo_runs_both_ways(proxy: Running) -> None:
    """The answer begins before the request ends, and both go on."""
    proxy.recorder.on(
        "/e", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", BODY,
        b"3\r\ntwo\r\n0\r\n\r\n",
    )  # fmt: skip
    with proxy.client() as client:
        client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        client.until(b"one\r\n")
        client.send(b"def")
        assert client.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
    assert proxy.recorder.only("/e").body == b"abcdef"
