"""Streams are flushed at once, whatever delimits them and without configuration (HP10); a client
that goes away is seen at once, and the backend's work is cancelled."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client as Http2
from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, HANG, chunked
from tests.raw.talking import Running

EVENT = b"data: %d\n\n"
PIECES = 4
SOON = 0.05
HEADS = {
    "event stream": b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
    "event stream until close": b"Content-Type: text/event-stream\r\n",
    "chunked": b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
    "until close": b"Content-Type: text/plain\r\n",
    "sized": b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % (len(EVENT % 0) * PIECES),
    "said so": b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n",
    "grpc": b"Content-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n",
}


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(log="off", listener='{ bind = "127.0.0.1:0", http2 = true }')


def streaming(proxy: Running, kind: str, sent: list[float]) -> None:
    """/s answers with a head, and then PIECES pieces 120 ms apart; `sent`: when each one went."""
    head = b"HTTP/1.1 200 OK\r\n" + HEADS[kind] + b"\r\n"
    coded = b"Transfer-Encoding" in head

    def note(_: object) -> list[bytes]:
        sent.append(time.monotonic())
        return []

    steps: list[object] = [BODY, head]
    for number in range(PIECES):
        piece = EVENT % number
        steps += [0.12, note, chunked(piece, end=False) if coded else piece]
    steps += [] if kind == "sized" else [HANG]
    proxy.recorder.on("/s", *steps)  # type: ignore[arg-type]


def told(kind: str) -> bytes:
    """A line of its head that says what it is."""
    return HEADS[kind].partition(b"\r\n")[0]


def in_step(sent: list[float], came: list[float]) -> None:
    late = [b - a for a, b in zip(sent, came, strict=True)]
    assert statistics.median(late) < SOON / 5, late
    assert max(late) < SOON, late


@pytest.mark.parametrize("kind", HEADS)
def test_each_piece_comes_at_once(proxy: Running, kind: str) -> None:
    sent: list[float] = []
    came: list[float] = []
    streaming(proxy, kind, sent)
    with proxy.client() as client:
        client.send(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
        head = client.until(b"\r\n\r\n")
        assert not sent, "the head waits for nothing"
        assert told(kind) in head
        for number in range(PIECES):
            client.until(EVENT % number)
            came.append(time.monotonic())
        client.reset()  # what is no stream for sure could still be read by one who only says FIN
    in_step(sent, came)


@pytest.mark.parametrize("kind", HEADS)
def test_each_piece_comes_at_once_by_http2(proxy: Running, kind: str) -> None:
    sent: list[float] = []
    came: list[float] = []
    streaming(proxy, kind, sent)
    with Http2(proxy.place, tls=False) as client:
        client.send(h2.get(path=b"/s"))
        stream = client.stream(1)
        assert client.until(lambda: stream.status)
        assert not sent, "the head waits for nothing"
        name, _, value = told(kind).partition(b": ")
        assert stream.all(name.lower()) == [value.strip()]
        for number in range(PIECES):
            assert client.until(lambda number=number: (EVENT % number) in stream.body)
            came.append(time.monotonic())
    in_step(sent, came)


@pytest.mark.parametrize("how", ["closes", "resets", "resets the stream"])
def test_a_client_that_goes_away_is_seen_at_once(proxy: Running, how: str) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + HEADS["event stream"] + b"\r\n"
    proxy.recorder.on("/s", BODY, head + chunked(EVENT % 0, end=False), HANG)
    if how == "resets the stream":
        client: Http2 = Http2(proxy.place, tls=False)
        client.send(h2.get(path=b"/s"))
        assert client.until(lambda: client.stream(1).body)
        gone = time.monotonic()
        client.send(h2.rst_stream(1))
    else:
        plain = proxy.client()
        plain.send(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
        plain.until(EVENT % 0)
        gone = time.monotonic()
        plain.reset() if how == "resets" else plain.sock.close()
    line = proxy.recorder.lines[proxy.recorder.only("/s").connection]
    proxy.recorder.wait(lambda: line.ended)
    assert time.monotonic() - gone < SOON
