"""Replays and retries (RFC 9110 9.2.2): what was perhaps done is not done twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, CLOSE, RESET, Recorder, Seen, Step, pattern, sized
from tests.raw.talking import Running

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


def warm(proxy: Running) -> int:
    """Make sure there is an idle connection upstream: the one used last, its index."""
    proxy.ask(GET % b"/warm")
    proxy.recorder.settle()
    return next(
        seen.connection for seen in reversed(proxy.recorder.requests) if seen.path == "/warm"
    )


def first_fails(how: str, before: bytes = b"") -> Step:
    """On a connection that served a request before: end it. On a fresh one: answer."""

    def step(seen: Seen) -> list[Step]:
        if seen.place == 0:
            return [BODY, sized(b"fresh")]
        return [BODY, *([before] if before else []), how]

    return step


IDEMPOTENT = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]


@pytest.mark.parametrize("how", [CLOSE, RESET])
@pytest.mark.parametrize("method", IDEMPOTENT)
def test_a_dead_reused_connection_is_replaced_once(proxy: Running, method: str, how: str) -> None:
    """The backend closed just when we sent: sent again, on a fresh connection, exactly once."""
    used = warm(proxy)
    proxy.recorder.on("/r", first_fails(how))
    answer = proxy.ask(f"{method} /r HTTP/1.1\r\nHost: a\r\n\r\n".encode(), method)
    assert answer.status == 200
    seen = [one for one in proxy.recorder.requests if one.path == "/r"]
    assert [one.place == 0 for one in seen] == [False, True]
    assert seen[0].connection == used
    assert seen[0].head == seen[1].head, "the same request, id included"


@pytest.mark.parametrize("how", [CLOSE, RESET])
@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "get"])
def test_others_are_never_sent_twice(proxy: Running, method: str, how: str) -> None:
    warm(proxy)
    proxy.recorder.on("/r", first_fails(how))
    for body in (b"Content-Length: 2\r\n\r\nhi", b"\r\n"):
        proxy.recorder.requests.clear()
        warm(proxy)
        answer = proxy.ask(f"{method} /r HTTP/1.1\r\nHost: a\r\n".encode() + body)
        assert answer.status == 502
        proxy.recorder.settle()
        assert proxy.recorder.count("/r") == 1


def test_a_fresh_connection_is_not_replayed(start: StartProxy) -> None:
    """The first request on it reached the backend, which chose to close."""
    proxy = start(limits="upstream_idle = 0", log="off")
    proxy.recorder.on("/r", BODY, CLOSE)
    assert proxy.ask(GET % b"/r").status == 502
    assert proxy.recorder.count("/r") == 1


@pytest.mark.parametrize("before", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"])
def test_nothing_is_replayed_after_an_answer_byte(proxy: Running, before: bytes) -> None:
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE, before))
    assert proxy.ask(GET % b"/r").status == 502
    assert proxy.recorder.count("/r") == 1


def test_nothing_is_replayed_after_an_interim_answer(proxy: Running) -> None:
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE, b"HTTP/1.1 103 Early\r\n\r\n"))
    assert proxy.ask(GET % b"/r").status == 502
    assert proxy.recorder.count("/r") == 1


def test_nothing_is_replayed_inside_an_answer(proxy: Running) -> None:
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE, sized(pattern(50))[:-10]))
    with pytest.raises(Truncated):
        proxy.ask(GET % b"/r")
    assert proxy.recorder.count("/r") == 1


def test_a_malformed_answer_is_not_replayed(proxy: Running) -> None:
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE, b"garbage\r\n\r\n"))
    assert proxy.ask(GET % b"/r").status == 502
    assert proxy.recorder.count("/r") == 1


def test_a_replay_happens_once(proxy: Running) -> None:
    """If the fresh connection dies too, that is the answer."""
    warm(proxy)
    proxy.recorder.on("/r", BODY, CLOSE)
    assert proxy.ask(GET % b"/r").status == 502
    seen = [one for one in proxy.recorder.requests if one.path == "/r"]
    assert [one.place == 0 for one in seen] == [False, True]


@pytest.mark.parametrize("size", [100, 40_000, 300_000])
def test_a_put_with_a_body_is_sent_again_only_if_all_of_it_is_kept(
    proxy: Running, size: int
) -> None:
    """Never a body that was not kept: 502 then, and a PUT is whole or not there at all."""
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE))
    body = pattern(size, 3)
    answer = proxy.ask(b"PUT /r HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body)
    assert answer.status == (200 if size == 100 else 502)
    for seen in proxy.recorder.requests:
        if seen.path == "/r":
            assert seen.body == body
            assert seen.complete


def test_expect_is_not_replayed(proxy: Running) -> None:
    """B3 12: the body is not here yet; the client must decide."""
    warm(proxy)
    proxy.recorder.on("/r", first_fails(CLOSE))
    proxy.recorder.on("/r", lambda seen: [sized(b"fresh")] if seen.place == 0 else [CLOSE])
    with proxy.client() as client:
        client.send(
            b"PUT /r HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert client.answer().status == 502
    assert proxy.recorder.count("/r") == 1


def test_connections_that_died_while_idle(proxy: Running) -> None:
    """All of the pool closed by the backend: nobody notices, POST included."""
    threads = [threading.Thread(target=proxy.ask, args=(GET % b"/slow/0.2",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in proxy.recorder.lines:
        if not line.ended:
            proxy.recorder.end(line.index)
    for at in range(6):
        answer = proxy.ask(b"POST /p/%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" % at)
        assert answer.status == 200
        assert proxy.recorder.count(f"/p/{at}") == 1


# ---- connect failures ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dead() -> Iterator[list[str]]:
    """Three addresses where nobody listens."""
    socks = [socket.socket() for _ in range(3)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    yield [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in socks]
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_an_unreachable_backend_is_passed_over(
    start: StartProxy, dead: list[str], method: str
) -> None:
    """Nothing was sent, so any method moves on; each backend is tried at most once."""
    with Recorder() as alive:
        proxy = start([*dead[:2], alive.url, dead[2]], log="off")
        for at in range(8):
            with proxy.client() as client:
                client.send(
                    f"{method} /{at} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".encode()
                )
                assert client.answer().status == 200
            assert alive.only(f"/{at}").body == b"hi"


def test_all_unreachable(start: StartProxy, dead: list[str]) -> None:
    proxy = start(dead, log="off")
    for method in ("GET", "POST"):
        answer = proxy.ask(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
        assert answer.status == 502
    backends = proxy.status()["upstreams"][0]["backends"]
    assert [one["connect_errors"] for one in backends] == [2, 2, 2], "each once per request"


def test_a_large_body_waits_for_the_backend_that_takes_it(
    start: StartProxy, dead: list[str]
) -> None:
    """Only what was not read yet is behind a refused connect: the body arrives whole."""
    body = pattern(2_000_000, 7)
    with Recorder() as alive:
        proxy = start([*dead, alive.url], log="off")
        for at in range(4):
            answer = proxy.ask(
                b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (at, len(body))
                + body
            )
            assert answer.status == 200
            assert alive.only(f"/{at}").body == body


def test_round_robin_over_two(start: StartProxy) -> None:
    """Every other request; by weight if there is one."""
    with Recorder() as one, Recorder() as two:
        proxy = start([one.url, two.url], log="off")
        for _ in range(10):
            assert proxy.ask(GET % b"/p").status == 200
        assert one.count("/p") == two.count("/p") == 5
