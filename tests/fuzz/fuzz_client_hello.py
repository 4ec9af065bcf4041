"""Bytes of clients that are to begin a TLS handshake, through a whole engine in this process.

libssl reads them; what is fuzzed is our own part: the server name, ALPN, the BIO's windows, the
ends. Whatever comes, the engine must answer with a handshake, an alert or an end, never with HTTP,
and must own nothing for it afterwards.
"""

from __future__ import annotations

import functools
import os
import socket

from fastproxy import _core, _tls, start
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.process.handover import sealed
from fastproxy.scoreboard import segment
from fastproxy.tls.keyring import Keyring, ListenerKeys, encode
from tests.tls.certs import Authority
from tests.tls.launcher import secured

DICTIONARY = [
    b"\x16\x03\x01", b"\x16\x03\x03", b"\x01\x00", b"\x00\x00\x00\x0b\x00\x09\x00\x00\x06a.test",
    b"\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1", b"\x15\x03\x03\x00\x02\x02\x28", b"a.test",
    b"*.b.test", b"\x14\x03\x03\x00\x01\x01", b"\x00\x2b\x00\x03\x02\x03\x04", b"\xff\xff",
]  # fmt: skip
LENGTH_MAX = 4096
TURNS = 4


class Stand:
    """An engine that listens with TLS."""

    def __init__(self) -> None:
        authority = Authority()
        pairs = [authority.sign("a.test").pair(), authority.sign("*.b.test").pair()]
        keyring = Keyring(1, [ListenerKeys(pairs, unknown_sni="refuse")], [None])
        data = {
            "listeners": ["127.0.0.1:0"],
            "upstreams": {"default": {"backends": ["http://127.0.0.1:9"]}},
            "routes": [{"path": "/", "upstream": "default"}],
            "access_log": "off",
        }
        ready = start.prepare(check.sound(from_data(data))[0])
        self.board = segment.made(1)
        self.engine = _core.WorkerEngine(0, self.board.fd)
        for adopt, content in (
            (self.engine.plan, secured(ready.plan, keyring)),
            (self.engine.roster, ready.roster),
        ):
            fd = sealed("fuzz", content)
            adopt(fd)
            os.close(fd)
        _tls.attach(self.engine)
        _tls.load(self.engine, encode(keyring))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.listener.setblocking(False)
        self.engine.listen(0, 0, self.listener.fileno())

    def turns(self, count: int = TURNS) -> None:
        for _ in range(count):
            self.engine.turn()

    def give(self, pieces: list[bytes]) -> bytes:
        """What the engine says to these pieces."""
        with socket.create_connection(self.listener.getsockname()) as line:
            line.setblocking(False)
            said = b""
            for piece in pieces:
                try:
                    line.send(piece)
                except OSError:
                    break
                self.turns()
            try:
                said = line.recv(65536)
            except OSError:
                pass
        self.turns()
        assert self.engine.connections() == 0, "a connection was left"
        return said


@functools.cache
def stand() -> Stand:
    return Stand()


def run(data: bytes) -> object:
    cut = data[0] % (len(data) + 1) if data else 0
    said = stand().give([data[:cut], data[cut:]] if cut else [data])
    assert said[:1] in (b"", b"\x16", b"\x15"), said[:40]
    assert segment.worker(stand().board, 0)["kept_bytes"] == 0
    # What kind: a handshake, or which alert.
    return said[:1] + (said[5:7] if said[:1] == b"\x15" else said[5:6])
