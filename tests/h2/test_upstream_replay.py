"""A request whose body comes later than its head, and an HTTP/2 upstream that says that it has not
looked at it (GOAWAY, REFUSED_STREAM): sent again with the body, if it is small (RFC 9113 8.7)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Answer, Behind, read_http1, read_http2
from tests.h2.server import Line, Request, reply
from tests.running import wait_until

REFUSED = 7
LIMIT = 65536
KINDS = [*ASKERS, "chunked"]


def pattern(size: int) -> bytes:
    return b"".join(b"%07d\n" % at for at in range(size // 8 + 1))[:size]


class Upload:
    """A POST, its head sent at once, its body when the test says so."""

    def __init__(self, behind: Behind, kind: str, size: int = 0, trailer: bool = False) -> None:
        self.kind, self.trailer = kind, trailer
        if kind == "http2":
            self.client = behind.client()
            more = [(b"te", b"trailers")]
            if size:
                more.append((b"content-length", b"%d" % size))
            block = h2.block(*h2.fields(b"/", b"POST"), *more)
            self.client.send(h2.headers(1, block, h2.END_HEADERS))
            return
        self.sock = socket.create_connection(behind.address, 8)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        framing = f"Content-Length: {size}" if kind == "http1" else "Transfer-Encoding: chunked"
        head = (
            f"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close, te\r\nTE: trailers\r\n{framing}"
        )
        self.sock.sendall(f"{head}\r\n\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.sock.close() if self.kind == "http2" else self.sock.close()

    def send(self, piece: bytes) -> None:
        if self.kind == "http2":
            for at in range(0, len(piece), 10_000):
                self.client.send(h2.data(1, piece[at : at + 10_000], 0))
                assert self.client.sync()
        elif self.kind == "chunked":
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self.sock.sendall(piece)

    def end(self) -> Answer:
        """The body is whole; the answer."""
        if self.kind == "http2":
            if self.trailer:
                self.client.send(h2.headers(1, h2.block((b"x-sum", b"42")), h2.WHOLE))
            else:
                self.client.send(h2.data(1, b"", h2.END_STREAM))
        elif self.kind == "chunked":
            self.sock.sendall(b"0\r\nX-Sum: 42\r\n\r\n" if self.trailer else b"0\r\n\r\n")
        return self.answer()

    def answer(self) -> Answer:
        if self.kind == "http2":
            return read_http2(self.client, 1)
        return read_http1(self.sock, "POST")


class Reluctant:
    """Refuses the first `times` requests when so much of their body has come (whole: all of it),
    and echoes all others."""

    def __init__(self, behind: Behind, at: int | None = None, times: int = 1) -> None:
        self.behind, self.at, self.times = behind, at, times
        self.refused: list[tuple[Line, int]] = []
        self.lock = threading.Lock()
        behind.server.on_head = self.on_head
        behind.server.on_request = self.on_request

    def refuse(self, line: Line, asked: Request) -> None:
        line.send(h2.rst_stream(asked.stream, REFUSED))

    def on_head(self, line: Line, asked: Request) -> None:
        with self.lock:
            if asked.ended or self.at is None or len(self.refused) == self.times:
                return
            if (line, asked.stream) in self.refused:
                return
            self.refused.append((line, asked.stream))

        def later() -> None:
            self.behind.server.until(lambda: len(asked.body) >= (self.at or 0))
            self.refuse(line, asked)

        threading.Thread(target=later, daemon=True).start()

    def on_request(self, line: Line, asked: Request) -> None:
        if (line, asked.stream) in self.refused:
            return
        if self.at is None and len(self.refused) < self.times:
            self.refused.append((line, asked.stream))
            self.refuse(line, asked)
        else:
            line.answer(asked.stream, b"%d bytes" % len(asked.body))


class Leaving(Reluctant):
    """By GOAWAY that names an earlier stream."""

    def refuse(self, line: Line, asked: Request) -> None:
        line.send(h2.goaway(0, asked.stream - 2 if asked.stream > 1 else 0))


def kept(behind: Behind) -> int:
    return behind.gateway.totals()["kept_bytes"]


def last_body(behind: Behind) -> bytes:
    return [asked.body for _, asked in behind.server.all()][-1]


def in_pieces(body: bytes, count: int) -> Sequence[bytes]:
    size = max(1, -(-len(body) // count))
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("how", [Reluctant, Leaving])
@pytest.mark.parametrize("size", [1, 1000, 30_000, 60_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_body_is_sent_again(
    behind: Behind, kind: str, size: int, how: type[Reluctant]
) -> None:
    how(behind)
    body = pattern(size)
    with Upload(behind, kind, size) as upload:
        behind.server.asked()
        for piece in in_pieces(body, 5):
            upload.send(piece)
        answer = upload.end()
        assert (answer.outcome, answer.body) == ("200", b"%d bytes" % size)
    assert last_body(behind) == body
    assert behind.server.count() == 2
    wait_until(lambda: kept(behind) == 0)


@pytest.mark.parametrize("how", [Reluctant, Leaving])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("at", [0, 1, 20_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_body_on_its_way_goes_on_elsewhere(
    behind: Behind, kind: str, at: int, times: int, how: type[Reluctant]
) -> None:
    """Refused in the midst of it: what has come is sent again, and then what comes."""
    server = how(behind, at, times)
    body = pattern(40_000)
    with Upload(behind, kind, len(body)) as upload:
        behind.server.asked()
        upload.send(body[:20_000])
        behind.server.asked(1 + times)
        assert len(server.refused) == times
        upload.send(body[20_000:])
        answer = upload.end()
        assert (answer.outcome, answer.body) == ("200", b"40000 bytes")
    assert last_body(behind) == body
    wait_until(lambda: kept(behind) == 0)


@pytest.mark.parametrize("kind", ["http2", "chunked"])
def test_trailers_are_sent_again(behind: Behind, kind: str) -> None:
    Reluctant(behind)
    with Upload(behind, kind, trailer=True) as upload:
        upload.send(b"some")
        upload.send(b"thing")
        assert upload.end().outcome == "200"
    found = [(asked.body, asked.trailers) for _, asked in behind.server.all()]
    assert found == [(b"something", [(b"x-sum", b"42")])] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_body_is_not(behind: Behind, kind: str) -> None:
    """Nor is anything kept of one whose length says so."""
    Reluctant(behind)
    with Upload(behind, kind, LIMIT + 1) as upload:
        behind.server.asked()
        upload.send(pattern(1000))
        [(_, asked)] = behind.server.asked()
        behind.server.until(lambda: len(asked.body) == 1000)
        assert kept(behind) == (1000 + len("3e8\r\n\r\n") if kind == "chunked" else 0)
        upload.send(pattern(LIMIT + 1)[1000:])
        assert upload.end().outcome == "502"
    assert behind.server.count() == 1
    wait_until(lambda: kept(behind) == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_kept_until_an_answer_begins(behind: Behind, kind: str) -> None:
    """And counted with all that is kept."""
    behind.server.on_request = None
    with Upload(behind, kind, 20_000) as upload:
        [(line, asked)] = behind.server.asked()
        upload.send(pattern(20_000))
        behind.server.until(lambda: len(asked.body) == 20_000)
        assert 20_000 <= wait_until(lambda: kept(behind)) < 21_000
        line.send(reply(asked.stream), h2.data(asked.stream, b"begun", 0))
        wait_until(lambda: kept(behind) == 0)
        line.send(h2.rst_stream(asked.stream, REFUSED))
        assert upload.end().outcome == "200 cut"
    assert behind.server.count() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_goes_away_leaves_nothing(behind: Behind, kind: str) -> None:
    behind.server.on_request = None
    with Upload(behind, kind, 20_000) as upload:
        [(_, asked)] = behind.server.asked()
        upload.send(pattern(10_000))
        behind.server.until(lambda: len(asked.body) == 10_000)
        wait_until(lambda: kept(behind))
    wait_until(lambda: kept(behind) == 0)
    assert behind.server.until(lambda: asked.reset is not None)


@pytest.fixture(scope="module")
def sparing() -> Iterator[Behind]:
    """Nothing is kept."""
    settings: dict[str, Any] = {"limits": {"replay_body": "off"}}
    with Behind(**settings) as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_off(sparing: Behind, kind: str) -> None:
    sparing.clear()
    Reluctant(sparing)
    with Upload(sparing, kind, 9) as upload:
        sparing.server.asked()
        upload.send(b"something")
        assert upload.end().outcome == "502"
    assert sparing.server.count() == 1
    sparing.check()
