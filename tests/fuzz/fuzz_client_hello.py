"""Bytes of clients that are to begin a TLS handshake, through a whole engine in this process.

libssl reads them; what is fuzzed is our own part: the server name, ALPN, the BIO's windows, the
ends. Whatever comes, the engine must answer with a handshake, an alert or an end, never with HTTP,
and must own nothing for it afterwards.
"""

from __future__ import annotations

import functools
import socket

from fastproxy.tls.keyring import ListenerKeys
from tests.tls.certs import Authority
from tests.tls.stand import Stand

DICTIONARY = [
    b"\x16\x03\x01", b"\x16\x03\x03", b"\x01\x00", b"\x00\x00\x00\x0b\x00\x09\x00\x00\x06a.test",
    b"\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1", b"\x15\x03\x03\x00\x02\x02\x28", b"a.test",
    b"*.b.test", b"\x14\x03\x03\x00\x01\x01", b"\x00\x2b\x00\x03\x02\x03\x04", b"\xff\xff",
]  # fmt: skip
LENGTH_MAX = 4096


@functools.cache
def stand() -> Stand:
    authority = Authority()
    pairs = [authority.sign("a.test").pair(), authority.sign("*.b.test").pair()]
    return Stand(ListenerKeys(pairs, unknown_sni="refuse"))


def give(pieces: list[bytes]) -> bytes:
    """What the engine says to these pieces."""
    with socket.create_connection(("127.0.0.1", stand().port)) as line:
        line.setblocking(False)
        said = b""
        for piece in pieces:
            try:
                line.send(piece)
            except OSError:
                break
            stand().turns()
        try:
            said = line.recv(65536)
        except OSError:
            pass
    stand().turns()
    return said


def run(data: bytes) -> object:
    cut = data[0] % (len(data) + 1) if data else 0
    said = give([data[:cut], data[cut:]] if cut else [data])
    # Plain HTTP is told so; all else gets records or nothing.
    plain = data.startswith((b"GET ", b"POST ", b"HEAD ", b"PUT "))
    assert said[:1] in (b"", b"\x16", b"\x15", b"H" if plain else b""), said[:40]
    assert stand().engine.connections() == 0, "a connection was left"
    assert stand().counted("kept_bytes") == 0
    # What kind: a handshake, or which alert.
    return said[:1] + (said[5:7] if said[:1] == b"\x15" else said[5:6])
