"""How a WebSocket over HTTP/2 to an HTTP/2 backend ends: END_STREAM of a backend is passed on, also
when it resets its stream right behind it, as servers do that want nothing more (RFC 9113 8.1)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from tests.flow.peers import Gateway
from tests.h2 import frames as h2
from tests.h2.cases_messages import offered, websocket
from tests.h2.client import Client

HELLO = b"hello"


class Ender:
    """A backend of frames: greets in a tunnel, and ends it when `go` is set, all in one write."""

    def __init__(self, last: bytes) -> None:
        self.last = last
        self.go = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"h2c://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.listener.close()

    def serve(self) -> None:
        line, _ = self.listener.accept()
        with line, line.makefile("rb") as reader:
            reader.read(len(h2.PREFACE))
            line.sendall(h2.settings((h2.ENABLE_CONNECT, 1)))
            while head := reader.read(9):
                reader.read(int.from_bytes(head[:3], "big"))
                if head[3] == h2.HEADERS:
                    self.answer(line, int.from_bytes(head[5:], "big"))

    def answer(self, line: socket.socket, number: int) -> None:
        line.sendall(h2.headers(number, h2.block((b":status", b"200")), h2.END_HEADERS))
        line.sendall(h2.data(number, HELLO, 0))
        self.go.wait(10)
        line.sendall(h2.data(number, self.last) + h2.rst_stream(number, 0))


@pytest.fixture(params=[b"", b"bye"], ids=["at once", "with a word"])
def ender(request: pytest.FixtureRequest) -> Iterator[Ender]:
    with Ender(request.param) as one:
        yield one


def test_an_end_is_no_reset(ender: Ender) -> None:
    settings = {
        "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
        "upstreams": {"a": {"backends": [ender.url]}},
        "routes": [{"path": "/", "upstream": "a"}],
    }
    with Gateway(settings=settings, workers=1) as gateway:
        with Client(("127.0.0.1", gateway.port), False) as client:
            offered(client)
            client.send(websocket())
            assert client.until(lambda: client.stream(1).body == HELLO)
            ender.go.set()
            assert client.outcome(1) == "200"
            assert client.stream(1).body == HELLO + ender.last
            assert client.stream(1).reset in (None, 0)
