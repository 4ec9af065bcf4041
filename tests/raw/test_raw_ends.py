"""How connections end: half-close, clients that go away, upstreams that close."""

from __future__ import annotations

import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, CLOSE, HANG, pattern, sized
from tests.raw.talking import Running

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


# ---- half-close and gone clients -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/slow/0.2", "/len/2000000", "/chunked/100000/100000"])
def test_half_close(proxy: Running, path: str) -> None:
    """A FIN behind a whole request is no abort: the answer is delivered."""
    with proxy.client() as client:
        client.send(GET % path.encode())
        client.finish()
        time.sleep(0.05)
        answer = client.answer()
        assert answer.status == 200
        assert len(answer.body) in (4, 2000000, 200000)
        assert client.end() == "fin"


def test_half_close_behind_pipelined_requests(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(GET % b"/slow/0.1" + GET % b"/len/3" + GET % b"/len/4")
        client.finish()
        assert [client.answer().body for _ in range(3)] == [b"slow", pattern(3), pattern(4)]
        assert client.end() == "fin"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_client_gone_inside_its_body_cancels(proxy: Running, how: str) -> None:
    """The backend must see the request cut, not completed."""
    with proxy.client() as client:
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        if how == "fin":
            client.finish()
        else:
            client.reset()
        line = proxy.recorder.lines[proxy.recorder.requests[0].connection]
        proxy.recorder.wait(lambda: line.ended)
    assert not proxy.recorder.requests[0].complete


def test_a_client_that_resets_cancels(proxy: Running) -> None:
    proxy.recorder.on("/hang", BODY, HANG)
    client = proxy.client()
    client.send(GET % b"/hang")
    proxy.recorder.wait(lambda: proxy.recorder.requests)
    client.reset()
    line = proxy.recorder.lines[proxy.recorder.requests[0].connection]
    proxy.recorder.wait(lambda: line.ended)


def test_a_fin_inside_a_head_is_just_the_end(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(b"GET /p HTTP/1.1\r\nHost")
        client.finish()
        assert client.end() == "fin"
    proxy.nothing_forwarded()


@pytest.fixture(scope="module")
def aborting(start: StartProxy) -> Running:
    return start(
        forwarding="abort_on_close = true", limits="requests_per_connection = 3", log="off"
    )


def test_abort_on_close(aborting: Running) -> None:
    aborting.recorder.on("/hang", BODY, HANG)
    with aborting.client() as client:
        client.send(GET % b"/hang")
        aborting.recorder.wait(lambda: aborting.recorder.requests)
        line = aborting.recorder.lines[aborting.recorder.requests[0].connection]
        assert not line.ended
        client.finish()
        aborting.recorder.wait(lambda: line.ended)


def test_requests_per_connection(aborting: Running) -> None:
    with aborting.client() as client:
        for at in range(3):
            client.send(GET % b"/len/1")
            assert client.answer().closes == (at == 2)
        assert client.end() == "fin"


# ---- upstream connections ------------------------------------------------------------------------


def test_an_upstream_that_closes_is_not_used_again(proxy: Running) -> None:
    proxy.recorder.on("/c", BODY, sized(b"x", more=b"Connection: close\r\n"))
    for _ in range(3):
        assert proxy.ask(GET % b"/c").body == b"x"
    seen = proxy.recorder.requests
    assert len({one.connection for one in seen}) == 3


def test_http10_upstream(proxy: Running) -> None:
    """Closes unless it says keep-alive."""
    proxy.recorder.on("/old", BODY, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx")
    proxy.recorder.on(
        "/kept", BODY, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"
    )
    for path, connections in ((b"/old", 3), (b"/kept", 1)):
        for _ in range(3):
            answer = proxy.ask(GET % path)
            assert answer.body == b"x"
            assert not answer.closes
        seen = [one for one in proxy.recorder.requests if one.path == path.decode()]
        assert len({one.connection for one in seen}) == connections


def test_http10_upstream_until_close(proxy: Running) -> None:
    proxy.recorder.on("/old", BODY, b"HTTP/1.0 200 OK\r\n\r\nold", CLOSE)
    answer = proxy.ask(GET % b"/old")
    assert answer.framing == "chunked"
    assert answer.body == b"old"


def test_idle_close_by_the_client_frees_nothing_else(proxy: Running) -> None:
    with proxy.client() as one, proxy.client() as two:
        one.send(GET % b"/len/1")
        one.answer()
        two.send(GET % b"/len/2")
        two.answer()
        one.sock.close()
        two.send(GET % b"/len/3")
        assert two.answer().body == pattern(3)


def test_truncation_shows(proxy: Running) -> None:
    """The reader itself: a cut answer is an error, not a short body."""
    proxy.recorder.on("/t", BODY, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", CLOSE)
    with pytest.raises(Truncated):
        proxy.ask(GET % b"/t")
