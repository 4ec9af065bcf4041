"""Bytes of an HTTP/2 client, or of an HTTP/2 upstream, through a whole engine in this process.

nghttp2 reads the frames; what is fuzzed is our own part: sessions, streams, and what the engine
makes of both. The first byte says who sends the rest (even: a client; odd: the upstream, which
others ask meanwhile in HTTP/1.1 and HTTP/2), and where it is cut in two.

Whatever comes: no crash, no hang; when all is closed the engine owns nothing for it; what the
polite side reads stays well formed; and the next good request is served.
"""

from __future__ import annotations

import functools
import os
import socket

from fastproxy import _core, _http2, start
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.process.handover import sealed
from fastproxy.scoreboard import segment
from tests.h2 import frames as h2

OK = h2.headers(1, h2.block((b":status", b"200")), h2.END_HEADERS)
DICTIONARY = [
    h2.PREFACE, h2.settings(), h2.frame(h2.SETTINGS, h2.ACK, 0), h2.get(1), h2.get(3), h2.post(1),
    h2.post(3), OK, h2.data(1, b"hello"), h2.data(1, b"hello", 0), h2.data(3), h2.data(1, b"", 0),
    h2.rst_stream(1), h2.rst_stream(3, 7), h2.rst_stream(1, 0), h2.goaway(), h2.goaway(0, 1),
    h2.goaway(0, h2.BIGGEST), h2.ping(), h2.window_update(0, 65535), h2.window_update(1, 10),
    h2.settings((h2.INITIAL_WINDOW, 0)), h2.settings((h2.MAX_STREAMS, 0)),
    h2.settings((h2.MAX_STREAMS, 1)), h2.settings((h2.ENABLE_CONNECT, 1)),
    h2.settings((h2.INITIAL_WINDOW, 1)), h2.settings((h2.TABLE_SIZE, 0)), h2.priority(1),
    h2.headers(1, h2.block((b":status", b"103")), h2.END_HEADERS),
    h2.headers(1, h2.block((b"x", b"y"))), h2.literal(b"cookie", b"a"),
    h2.headers(1, b"\x88", 0), h2.continuation(1), b"\x88", b"\x82\x84\x86\x41\x06a.test",
    h2.literal(b"content-length", b"5"), h2.literal(b"te", b"trailers"),
    h2.literal(b":protocol", b"websocket"), h2.literal(b":method", b"CONNECT"),
    h2.frame(h2.PUSH_PROMISE, 4, 1, h2.u32(2) + b"\x82\x84\x86"),
]  # fmt: skip
LENGTH_MAX = 8192
ASKED = h2.PREFACE + h2.settings()
ASKED += h2.get(1) + h2.post(3) + h2.data(3, bytes(3000), 0) + h2.post(5) + h2.data(5, b"x")
ASKED += h2.headers(
    7, h2.block(*h2.fields(b"/ws", b"CONNECT"), (b":protocol", b"websocket")), h2.END_HEADERS
)
ASKED_HTTP1 = b"GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Whole:
    """An engine with one listener of HTTP/2 and HTTP/1.1 and one h2c upstream: our own socket."""

    def __init__(self) -> None:
        self.origin = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.origin.setblocking(False)
        backend = f"h2c://127.0.0.1:{self.origin.getsockname()[1]}"
        data = {
            "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
            "upstreams": {"default": {"backends": [backend]}},
            "routes": [{"path": "/", "upstream": "default"}],
            "forwarding": {"forward_trailers": True},
            "access_log": "off",
        }
        ready = start.prepare(check.sound(from_data(data))[0])
        self.board = segment.made(1)
        self.engine = _core.WorkerEngine(0, self.board.fd)
        for adopt, content in (
            (self.engine.plan, bytes(ready.plan)),
            (self.engine.roster, ready.roster),
        ):
            fd = sealed("fuzz", content)
            adopt(fd)
            os.close(fd)
        _http2.attach(self.engine)
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self.listener = listener
        self.engine.listen(0, 0, listener.fileno())
        self.lines: list[Origin] = []
        self.said: bytes | None = None
        """What the upstream sends instead of answers."""

    def client(self, *octets: bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        for piece in octets:
            try:
                sock.send(piece)
            except OSError:
                break
            self.turn()
        return sock

    def turn(self, count: int = 4) -> None:
        """Engine and upstream, in turn."""
        for _ in range(count):
            self.engine.turn()
            try:
                sock, _ = self.origin.accept()
            except BlockingIOError:
                pass
            else:
                sock.setblocking(False)
                self.lines.append(Origin(sock, self.said))
            for line in self.lines:
                line.go()

    def counted(self, name: str) -> int:
        return int(segment.worker(self.board, 0)[name])

    def close(self, *clients: socket.socket) -> None:
        """All that was opened goes, and nothing is left of it."""
        for client in clients:
            client.close()
        self.turn(3)
        for line in self.lines:
            line.sock.close()
        for _ in range(200):
            self.engine.turn()
            while True:
                try:
                    self.origin.accept()[0].close()
                except BlockingIOError:
                    break
            if self.engine.connections() == 0 and self.counted("upstream_open") == 0:
                break
        self.lines.clear()
        left = self.engine.connections(), self.counted("upstream_open")
        assert left == (0, 0), f"{left[0]} and {left[1]} connections were left"
        assert self.counted("kept_bytes") == 0


class Origin:
    """One connection of ours as the upstream: answers, or says what it was told to."""

    def __init__(self, sock: socket.socket, said: bytes | None) -> None:
        self.sock = sock
        self.said = said
        self.held = b""
        self.greeted = False
        self.turns = 0

    def go(self) -> None:
        self.turns += 1
        try:
            octets = self.sock.recv(65536)
        except OSError:
            octets = b""
        if self.said is not None:
            cut = len(self.said) // 2
            if self.turns in (2, 4):
                self._send(self.said[:cut] if self.turns == 2 else self.said[cut:])
            return
        self.held += octets
        if not self.greeted and self.held.startswith(h2.PREFACE):
            self.greeted = True
            self.held = self.held[24:]
            self._send(h2.settings((h2.ENABLE_CONNECT, 1)))
        while self.greeted and len(self.held) >= 9:
            size = int.from_bytes(self.held[:3], "big")
            kind, flags = self.held[3], self.held[4]
            stream = int.from_bytes(self.held[5:9], "big")
            if len(self.held) < 9 + size:
                return
            self.held = self.held[9 + size :]
            assert size <= 16384, "the engine's own frame is too large"
            if kind == h2.SETTINGS and not flags & h2.ACK:
                self._send(h2.frame(h2.SETTINGS, h2.ACK, 0))
            elif kind == h2.HEADERS and flags & h2.END_HEADERS:
                self._send(h2.headers(stream, b"\x88", h2.END_HEADERS) + h2.data(stream, b"ok"))

    def _send(self, octets: bytes) -> None:
        try:
            self.sock.send(octets)
        except OSError:
            pass


@functools.cache
def whole() -> Whole:
    return Whole()


def read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except OSError:
        return b""


def kinds(octets: bytes) -> tuple[int, ...]:
    """Which frames came; they must be frames."""
    found: list[int] = []
    while len(octets) >= 9:
        size = int.from_bytes(octets[:3], "big")
        assert size <= 16384, octets[:9]
        assert octets[3] <= h2.CONTINUATION, octets[:9]
        if not found or found[-1] != octets[3]:
            found.append(octets[3])
        octets = octets[9 + size :]
    return tuple(found[:12])


def from_client(data: bytes) -> object:
    one = whole()
    one.said = None
    cut = data[0] * len(data) // 256
    sock = one.client(data[1:cut], data[cut:]) if cut > 1 else one.client(data[1:])
    one.turn()
    said = read(sock)
    one.close(sock)
    if said.startswith(b"HTTP/1.1 "):
        return said[9:12]
    return kinds(said)


def from_upstream(data: bytes) -> object:
    one = whole()
    one.said = data[1:]
    http2, http1 = one.client(ASKED), one.client(ASKED_HTTP1)
    one.turn(8)
    for line in one.lines:
        line.sock.close()
    one.turn(6)
    said, told = read(http2), read(http1)
    assert told[:9] in (b"", b"HTTP/1.1 "), told
    one.close(http2, http1)
    return kinds(said), told[9:12]


def served() -> None:
    one = whole()
    one.said = None
    sock = one.client(ASKED_HTTP1)
    one.turn(6)
    told = read(sock)
    one.close(sock)
    assert told.startswith(b"HTTP/1.1 200 "), told


def run(data: bytes) -> object:
    if not data:
        return None
    kind = from_upstream(data) if data[0] & 1 else from_client(data)
    served()
    return data[0] & 1, kind
