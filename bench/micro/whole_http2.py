# SPDX-License-Identifier: MIT
"""Whole requests as in whole.py, from clients that speak HTTP/2 without TLS: a few connections with
many streams each. The frames are written by hand, with literal fields, so that all rounds are alike
but for the streams' numbers."""

from __future__ import annotations

import socket
from typing import Any

from bench.micro.whole import CLIENTS, TURNS_MAX, Whole, received
from fastproxy import _core

CONNECTIONS = 2
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS = 1, 4
FIELDS = (
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"bench.example"),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A field that enters no table (RFC 7541 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


BLOCK = b"".join(literal(*one) for one in FIELDS)


class WholeHttp2(Whole):
    """CLIENTS streams at once, on CONNECTIONS connections."""

    def __init__(self, changes: dict[str, Any] | None = None) -> None:
        self.stream = 1
        super().__init__(changes)

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            streams = range(self.stream, self.stream + 2 * CLIENTS // CONNECTIONS, 2)
            self.stream = streams.stop
            asked = b"".join(
                frame(HEADERS, END_STREAM | END_HEADERS, one, BLOCK) for one in streams
            )
            for client in self.clients[:CONNECTIONS]:
                client.sendall(asked)
            for end in self._asked():
                end.sendall(self.answer)
            self._answered()

    def _answered(self) -> None:
        """Turn until all streams have ended."""
        ended = 0
        for _ in range(TURNS_MAX):
            self.engine.turn()
            for client in self.clients[:CONNECTIONS]:
                ended += ends(received(client))
            if ended == CLIENTS:
                return
        raise TimeoutError(f"{ended} of {CLIENTS} streams were answered")

    def _client(self, door: socket.socket) -> socket.socket:
        one = super()._client(door)
        one.sendall(
            PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4))
        )
        return one

    def _engine(self, door: socket.socket, changes: dict[str, Any]) -> _core.WorkerEngine:
        bind = f"127.0.0.1:{door.getsockname()[1]}"
        return super()._engine(door, {"listeners": [{"bind": bind, "http2": True}]} | changes)

    def _made(self, engine: _core.WorkerEngine) -> None:
        from fastproxy import _http2

        _http2.attach(engine)


def ends(data: bytes) -> int:
    """How many streams end in these frames, which come whole. AssertionError: some other way."""
    at = found = 0
    while at < len(data):
        size, kind, flags = int.from_bytes(data[at : at + 3]), data[at + 3], data[at + 4]
        assert kind in (DATA, HEADERS, SETTINGS, WINDOW_UPDATE), kind
        found += kind == DATA and flags & END_STREAM
        at += 9 + size
    assert at == len(data), "half a frame"
    return found
