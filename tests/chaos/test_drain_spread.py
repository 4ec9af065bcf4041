"""Whom a stop sends away comes back elsewhere at once: so they are told one after the other.

WebSockets with the `websockets` library at both ends, HTTP/2 frame by frame, event streams with a
recorder behind them.
"""

from __future__ import annotations

import asyncio
import re
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.flow.peers import Gateway
from tests.flow.websockets_end import EchoServer
from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.raw.reading import Client as Plain
from tests.raw.recorder import BODY, HANG, Recorder, chunked, sized
from tests.running import wait_until

HINT = re.compile(rb"retry: (\d+)\n\n\Z")


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as one:
        yield one


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as one:
        yield one


def before(url: str, workers: int = 1, **timeouts: str) -> Gateway:
    settings = {
        "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
        "upstreams": {"a": {"backends": [url]}},
        "routes": [{"path": "/", "upstream": "a"}],
        "timeouts": timeouts,
    }
    return Gateway(settings=settings, workers=workers)


def terminate(proxy: Gateway) -> float:
    """SIGTERM now; when that was."""
    assert proxy.process
    proxy.process.send_signal(signal.SIGTERM)
    return time.monotonic()


def exits(proxy: Gateway, seconds: float) -> float:
    """Well, in that time; when it did."""
    assert proxy.process
    assert proxy.process.wait(seconds) == 0
    assert "drain time is over" not in proxy.log()
    return time.monotonic()


def busiest(instants: list[float], width: float) -> int:
    """The most of them within any window of this width."""
    instants = sorted(instants)
    return max(sum(one <= other < one + width for other in instants) for one in instants)


# ---- WebSockets -------------------------------------------------------------------------------


async def until_told(line: ClientConnection, number: int) -> float:
    """Talk until it is told to go; when that was. What was said before was answered."""
    said = 0
    try:
        while True:
            await line.send(f"{number} {said}")
            assert await asyncio.wait_for(line.recv(), 10) == f"{number} {said}"
            said += 1
            await asyncio.sleep(0.1)
    except websockets.ConnectionClosedOK:
        assert line.close_code == 1001
        return time.monotonic()


async def goodbyes(proxy: Gateway, count: int) -> tuple[float, list[float]]:
    """When it was stopped, and when each of so many WebSockets was told."""
    url = f"ws://127.0.0.1:{proxy.port}/"
    opening = (connect(url, proxy=None, compression=None, ping_interval=None) for _ in range(count))
    lines = await asyncio.gather(*opening)
    talks = [asyncio.ensure_future(until_told(line, at)) for at, line in enumerate(lines)]
    await asyncio.sleep(0.2)
    started = terminate(proxy)
    return started, list(await asyncio.gather(*talks))


@pytest.mark.parametrize(("spread", "apart"), [("2s", True), ("0", False)])
def test_200_websockets(echo: EchoServer, spread: str, apart: bool) -> None:
    """None is lost, the backend hears of each, and the drain ends in time."""
    with before(echo.url, 2, drain="4s", drain_spread=spread) as proxy:
        started, told = asyncio.run(goodbyes(proxy, 200))
        assert proxy.process
        assert proxy.process.wait(5) == 0
        assert time.monotonic() - started < 5
    if apart:
        assert min(told) - started > 1.9
        assert max(told) - started < 4.1
        assert max(told) - min(told) > 0.7
        assert busiest(told, 0.1) < 60
    else:
        assert min(told) - started > 3.9
        assert busiest(told, 0.1) > 60
    wait_until(lambda: len(echo.endings) == 200)
    assert Counter(echo.endings) == {1001: 200}


def test_few_websockets_are_not_waited_for(echo: EchoServer) -> None:
    with before(echo.url, drain="4s", drain_spread="2s") as proxy:
        started, told = asyncio.run(goodbyes(proxy, 3))
        assert min(told) - started > 1.9
        assert exits(proxy, 3) - started < 2.8
    wait_until(lambda: Counter(echo.endings) == {1001: 3})


def test_at_most_half_of_the_drain(echo: EchoServer) -> None:
    """However long the spread may be, WebSockets live for half of the time."""
    with before(echo.url, drain="2s", drain_spread="1m") as proxy:
        started, told = asyncio.run(goodbyes(proxy, 20))
        assert min(told) - started > 0.9
        assert exits(proxy, 3) - started < 2.3


# ---- HTTP/2 -----------------------------------------------------------------------------------


def notices(clients: list[Client], seconds: float) -> list[float]:
    """When each of them had its first GOAWAY."""
    heard: dict[int, float] = {}
    end = time.monotonic() + seconds
    while len(heard) < len(clients) and time.monotonic() < end:
        waiting = {one.sock: at for at, one in enumerate(clients) if at not in heard}
        for sock in select.select(list(waiting), [], [], 0.1)[0]:
            one = clients[waiting[sock]]
            one.more(0.1)
            if one.goaways:
                heard[waiting[sock]] = time.monotonic()
    return list(heard.values())


@pytest.mark.parametrize(("spread", "apart"), [("2s", True), ("off", False)])
def test_goaway_comes_one_after_the_other(recorder: Recorder, spread: str, apart: bool) -> None:
    """And what is asked until then, on each connection, is answered."""
    with before(recorder.url, drain="4s", drain_spread=spread) as proxy:
        clients = [Client(("127.0.0.1", proxy.port), tls=False) for _ in range(100)]
        for one in clients:
            one.send(h2.get(1))
        assert all(one.outcome(1) == "200" for one in clients)
        recorder.on("/slow", BODY, 2.5, sized(b"slowly"))
        for one in clients:
            one.send(h2.get(3, path=b"/slow"))
        wait_until(lambda: proxy.inflight() == 100)
        started = terminate(proxy)
        told = notices(clients, 5)
        assert len(told) == 100
        assert max(told) - started < 2
        assert (max(told) - min(told) > 0.7) is apart
        assert (busiest(told, 0.1) < 40) is apart
        for one in clients:
            assert one.until(lambda one=one: one.stream(3).ended)
            assert one.stream(3).body == b"slowly"
            one.sock.close()
        exits(proxy, 3)


def test_few_and_idle_connections_do_not_hold_it(recorder: Recorder) -> None:
    with before(recorder.url, drain="20s") as proxy:
        clients = [Client(("127.0.0.1", proxy.port), tls=False) for _ in range(5)]
        for one in clients:
            one.send(h2.get(1))
        assert all(one.outcome(1) == "200" for one in clients)
        started = terminate(proxy)
        for one in clients:
            assert one.until(lambda one=one: one.ended)
            one.sock.close()
        assert exits(proxy, 3) - started < 1.5


# ---- event streams ----------------------------------------------------------------------------

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CODED = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n"
ENDS: dict[str, tuple[list[bytes], bool]] = {
    "nothing": ([], True),
    "an event": ([b"data: 1\n\n"], True),
    "many": ([b"data: 1\n\n"] * 50, True),
    "crlf": ([b"data: 1\r\n\r\n"], True),
    "cr": ([b"data: 1\r\r"], True),
    "mixed": ([b"data: 1\n\r\n"], True),
    "single bytes": ([b"d", b":", b"1", b"\r", b"\n", b"\r", b"\n"], True),
    "a comment": ([b": still here\n\n"], True),
    "a line": ([b"data: 1\n"], False),
    "a line, crlf": ([b"data: 1\r\n"], False),
    "a line, cr and lf": ([b"data: 1\r", b"\n"], False),
    "half a line": ([b"data: 1\n\n", b"data: "], False),
    "line, then half": ([b"data: 1\n\n", b"d"], False),
}
"""What came before the stop, and whether a hint may be put behind it."""


def streaming(recorder: Recorder, path: str, head: bytes, pieces: list[bytes]) -> None:
    steps: list[Any] = [BODY, head]
    for one in pieces:
        steps += [0.01, chunked(one, end=False) if b"chunked" in head else one]
    recorder.on(path, *steps, HANG)


def asks(proxy: Gateway, path: str, version: str = "1.1") -> Plain:
    client = Plain(("127.0.0.1", proxy.port))
    client.send(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    return client


def answered(client: Plain, mark: bytes) -> bytes:
    """What has come so far, once that has."""
    while mark not in client.held:
        assert client.more(), client.held
    return client.held


def rest(client: Plain) -> bytes:
    """All of the answer's body, to the end."""
    while client.more():
        pass
    return client.held.partition(b"\r\n\r\n")[2]


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """The body, and whether its last chunk came."""
    body = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body, False


def test_an_event_stream_is_told_when_to_come_back(recorder: Recorder) -> None:
    """Between two events, and never inside of one; then it is cut, since it is not all there is."""
    with before(recorder.url, drain="3s", drain_spread="1s") as proxy:
        clients = {}
        for name, (pieces, _) in ENDS.items():
            path = f"/{len(clients)}"
            streaming(recorder, path, CODED, pieces)
            clients[name] = asks(proxy, path)
        for name, client in clients.items():
            answered(client, b"\r\n\r\n")
            whole = b"".join(ENDS[name][0])
            while unchunked(client.held.partition(b"\r\n\r\n")[2])[0] != whole:
                assert client.more(), client.held
        started = terminate(proxy)
        hints = []
        for name, client in clients.items():
            with client:
                body, last = unchunked(rest(client))
                assert 1.9 < time.monotonic() - started < 3.1
                pieces, hinted = ENDS[name]
                found = HINT.search(body)
                assert (found is not None) is hinted, (name, body)
                assert body.startswith(b"".join(pieces)), name
                assert not last, name
                if found:
                    assert body[: found.start()] == b"".join(pieces), name
                    hints.append(int(found[1]))
        assert all(1000 <= one <= 3000 for one in hints)
        assert len(set(hints)) > len(hints) // 2
        exits(proxy, 2)


@pytest.mark.parametrize(
    ("head", "timeouts"),
    [
        (CODED[:-2] + b"Content-Encoding: gzip\r\n\r\n", {}),
        (CODED.replace(b"text/event-stream", b"text/plain"), {}),
        (CODED, {"drain_retry": "off"}),
    ],
    ids=["gzip", "no events", "off"],
)
def test_into_what_nothing_is_put(
    recorder: Recorder, head: bytes, timeouts: dict[str, str]
) -> None:
    streaming(recorder, "/s", head, [b"data: 1\n\n"])
    with before(recorder.url, drain="1s", **timeouts) as proxy:
        with asks(proxy, "/s") as client:
            answered(client, b"data: 1\n\n\r\n")
            terminate(proxy)
            body, last = unchunked(rest(client))
            assert body == b"data: 1\n\n"
            assert not last


@pytest.mark.parametrize("spread", ["5s", "off"])
def test_event_streams_by_http2(recorder: Recorder, spread: str) -> None:
    """The hint comes before the reset, on every stream of a connection; until then there may be
    more events."""
    streaming(recorder, "/s", CODED, [b"data: %d\n\n" % at for at in range(60)])
    with before(recorder.url, drain="2s", drain_spread=spread) as proxy:
        with Client(("127.0.0.1", proxy.port), tls=False) as client:
            streams = range(1, 41, 2)
            for one in streams:
                client.send(h2.get(one, path=b"/s"))
            assert client.until(lambda: all(client.stream(one).body for one in streams))
            started = terminate(proxy)
            assert client.until(lambda: all(client.decided(one) for one in streams))
            hints = set()
            for one in streams:
                stream = client.stream(one)
                assert not stream.ended
                assert stream.body.startswith(b"data: 0\n\ndata: 1\n\n")
                found = HINT.search(stream.body)
                assert found
                hints.add(found[1])
            assert len(hints) > 10
            if spread != "off":
                assert all(client.stream(one).reset is not None for one in streams)
            assert client.until(lambda: client.ended)
        assert proxy.process
        assert proxy.process.wait(3) == 0
        assert time.monotonic() - started < 3


def test_what_only_the_close_ends_is_reset(recorder: Recorder) -> None:
    """HTTP/1.0's way: a FIN would say that this was all of it."""
    streaming(recorder, "/s", EVENTS + b"\r\n", [b"data: 1\n\n"])
    with before(recorder.url, drain="1s") as proxy:
        with asks(proxy, "/s", "1.0") as client:
            answered(client, b"data: 1\n\n")
            terminate(proxy)
            assert HINT.sub(b"", rest(client)) == b"data: 1\n\n"
            assert client.ended == "rst"


def test_how_it_is_logged(recorder: Recorder, tmp_path: Path) -> None:
    """We cut it."""
    streaming(recorder, "/s", CODED, [b"data: 1\n\n"])
    log = tmp_path / "log"
    flags = ["--drain-timeout=1s", f"--access-log={log}", "--log-format={status} {end_state}"]
    with Gateway(*flags, upstreams=[recorder.url], workers=1) as proxy:
        with asks(proxy, "/s") as client:
            answered(client, b"data: 1\n\n")
            terminate(proxy)
            rest(client)
        exits(proxy, 2)
    assert log.read_text() == "200 KD\n"
