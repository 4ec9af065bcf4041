"""Event streams through TLS, by HTTP/1.1 and by HTTP/2: each event comes when it was sent, the end
looks like the end and a cut like a cut, and a client that goes away is seen at once."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client, context
from tests.h2.subject import Subject
from tests.raw.recorder import BODY, CLOSE, HANG, chunked
from tests.raw.test_raw_streams import EVENT, HEADS, PIECES, SOON, in_step, streaming

KINDS = ["event stream", "event stream until close", "grpc", "sized"]
GET = b"GET /s HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n" + HEADS["event stream"] + b"\r\n"


@pytest.fixture(scope="module")
def instance() -> Iterator[Subject]:
    with Subject() as one:
        yield one


@pytest.fixture
def subject(instance: Subject) -> Iterator[Subject]:
    instance.clear()
    yield instance
    assert instance.alive()


class Reader:
    """HTTP/1.1 in TLS. `data`: all that came."""

    def __init__(self, subject: Subject) -> None:
        plain = socket.create_connection(subject.addresses["tls"], 10)
        self.line = context("http/1.1").wrap_socket(plain, server_hostname="a.test")
        self.data = b""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def until(self, what: bytes) -> None:
        while what not in self.data:
            piece = self.line.recv(65536)
            assert piece, f"it ended: {self.data!r}"
            self.data += piece

    def end(self) -> str:
        """How it ends: "polite" is TLS's own end, behind everything else."""
        try:
            while piece := self.line.recv(65536):
                self.data += piece
        except ssl.SSLEOFError:
            return "cut"
        except ConnectionError:
            return "reset"
        return "polite"

    def reset(self) -> None:
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.line.close()


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_comes_at_once(subject: Subject, kind: str) -> None:
    sent: list[float] = []
    came: list[float] = []
    streaming(subject, kind, sent)
    with Reader(subject) as client:
        client.line.sendall(GET)
        client.until(b"\r\n\r\n")
        assert not sent, "the head waits for nothing"
        for number in range(PIECES):
            client.until(EVENT % number)
            came.append(time.monotonic())
        client.reset()  # what is no stream for sure could still be read by one who only says FIN
    in_step(sent, came)


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_comes_at_once_by_http2(subject: Subject, kind: str) -> None:
    sent: list[float] = []
    came: list[float] = []
    streaming(subject, kind, sent)
    with Client(subject.addresses["tls"], tls=True) as client:
        client.send(h2.get(path=b"/s"))
        stream = client.stream(1)
        assert client.until(lambda: stream.status)
        assert not sent, "the head waits for nothing"
        for number in range(PIECES):
            assert client.until(lambda number=number: (EVENT % number) in stream.body)
            came.append(time.monotonic())
    in_step(sent, came)


def test_a_long_stream_is_whole(subject: Subject) -> None:
    """More than a record in each event, more than a window in all."""
    events = [b"data: " + b"%05d" % at * 9000 + b"\n\n" for at in range(30)]
    whole = b"".join(events)
    subject.recorder.on(
        "/s", BODY, HEAD, *(chunked(one, end=False) for one in events), b"0\r\n\r\n"
    )
    with Client(subject.addresses["tls"], tls=True) as client:
        client.send(h2.window_update(0, 1 << 24))
        client.send(h2.headers(1, h2.block(*h2.fields(b"/s"))) + h2.window_update(1, 1 << 24))
        assert client.outcome(1) == "200"
        assert client.stream(1).body == whole
    with Reader(subject) as reader:
        reader.line.sendall(GET)
        reader.until(b"\r\n0\r\n\r\n")
        body = reader.data.partition(b"\r\n\r\n")[2]
        found = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            found += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        assert found == whole


def test_a_cut_stream_looks_cut(subject: Subject) -> None:
    """By HTTP/1.1 the last chunk is missing, by HTTP/2 the stream is reset."""
    subject.recorder.on("/s", BODY, HEAD + chunked(EVENT % 0, end=False), 0.1, CLOSE)
    with Reader(subject) as reader:
        reader.line.sendall(GET)
        reader.until(EVENT % 0)
        assert reader.end() in ("polite", "cut", "reset")
        assert not reader.data.endswith(b"0\r\n\r\n")
    with Client(subject.addresses["tls"], tls=True) as client:
        client.send(h2.get(path=b"/s"))
        assert client.outcome(1).startswith("200 reset")


@pytest.mark.parametrize("how", ["closes politely", "closes", "resets", "resets the stream"])
def test_a_client_that_goes_away_is_seen_at_once(subject: Subject, how: str) -> None:
    subject.recorder.on("/s", BODY, HEAD + chunked(EVENT % 0, end=False), HANG)
    if how == "resets the stream":
        client = Client(subject.addresses["tls"], tls=True)
        client.send(h2.get(path=b"/s"))
        assert client.until(lambda: client.stream(1).body)
        gone = time.monotonic()
        client.send(h2.rst_stream(1))
    else:
        reader = Reader(subject)
        reader.line.sendall(GET)
        reader.until(EVENT % 0)
        gone = time.monotonic()
        if how == "closes politely":
            reader.line.settimeout(0)
            with pytest.raises((ssl.SSLWantReadError, OSError)):
                reader.line.unwrap()
        reader.reset() if how == "resets" else reader.line.close()
    line = subject.recorder.lines[subject.recorder.only("/s").connection]
    subject.recorder.wait(lambda: line.ended)
    assert time.monotonic() - gone < SOON
