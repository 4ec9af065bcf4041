"""Records by hand, before and within the handshake: cut small, too long, out of place, malformed.

What is answered is an alert or nothing, and then the end, at once: no byte of HTTP, no wait for the
handshake's time. Numbers of alerts: RFC 8446 6.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator

import pytest

from fastproxy.tls.keyring import ListenerKeys
from tests.running import Backend
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting

AUTHORITY = Authority()
SITE = AUTHORITY.sign("a.test", "127.0.0.1")
CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
OVERFLOW, UNEXPECTED, HANDSHAKE_FAILURE, ILLEGAL, DECODE, UNNAMED = 22, 10, 40, 47, 50, 112
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
OPEN, SHUT = range(2)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Secure]:
    keys = [ListenerKeys([SITE.pair()], unknown_sni=how) for how in ("default", "refuse")]
    with Backend() as backend, Secure(keys, upstreams=[backend.url]) as running:
        running.known = running.ports()  # type: ignore[attr-defined]
        yield running


def ports(proxy: Secure) -> list[int]:
    return list(proxy.known)  # type: ignore[attr-defined]


class Hello:
    """A client in memory, its ClientHello made."""

    def __init__(self, version: ssl.TLSVersion = VERSIONS[1], name: str | None = "a.test") -> None:
        context = trusting() if name is None else trusting(AUTHORITY)
        context.minimum_version = context.maximum_version = version
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.side = context.wrap_bio(self.come, self.go, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            self.side.do_handshake()
        self.body = self.go.read()[5:]

    def finish(self, line: socket.socket) -> None:
        while True:
            self.come.write(line.recv(65536))
            try:
                self.side.do_handshake()
                break
            except ssl.SSLWantReadError:
                line.sendall(self.go.read())
        self.side.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        line.sendall(self.go.read())
        while piece := line.recv(65536):
            self.come.write(piece)
        assert self.side.read(65536).startswith(b"HTTP/1.1 200 ")


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    return struct.pack("!BHH", kind, version, len(body)) + body


def hello(version: int = 0x0301, legacy: int | None = None) -> bytes:
    body = Hello().body
    if legacy is not None:
        body = body[:4] + struct.pack("!H", legacy) + body[6:]
    return record(HANDSHAKE, body, version)


def ended(port: int, data: bytes) -> list[int]:
    """Alerts that came; it must have been closed, and nothing but records have come before."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall(data)
        try:
            while piece := line.recv(65536):
                got += piece
        except ConnectionResetError:
            pass  # we were sending still
    alerts = []
    while got:
        kind, version, size = struct.unpack("!BHH", got[:5])
        assert kind in (CCS, ALERT, HANDSHAKE, DATA)
        assert version >> 8 == 3
        if kind == ALERT and size == 2:
            assert got[5] == 2  # fatal
            alerts.append(got[6])
        got = got[5 + size :]
    return alerts


@pytest.mark.parametrize("version", VERSIONS)
def test_a_byte_a_record(proxy: Secure, version: ssl.TLSVersion) -> None:
    client = Hello(version)
    with socket.create_connection(("127.0.0.1", ports(proxy)[OPEN]), 5) as line:
        line.sendall(b"".join(record(HANDSHAKE, bytes([one]), 0x0301) for one in client.body))
        client.finish(line)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_byte_a_packet(proxy: Secure, version: ssl.TLSVersion) -> None:
    client = Hello(version)
    with socket.create_connection(("127.0.0.1", ports(proxy)[OPEN]), 5) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in record(HANDSHAKE, client.body, 0x0301):
            line.sendall(bytes([one]))
        client.finish(line)


BAD = {
    "a plain record over 16 KiB": (record(HANDSHAKE, b"\1\0\x40\0" + bytes(16381)), OVERFLOW),
    "a length of 65535": (b"\x16\x03\x01\xff\xff" + bytes(1000), OVERFLOW),
    "a message of 16 MiB": (record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(16000)), ILLEGAL),
    "empty data": (record(DATA, b""), UNEXPECTED),
    "empty alerts": (record(ALERT, b"") * 50, UNEXPECTED),
    "warnings": (record(ALERT, b"\1\x5a") * 50, UNEXPECTED),
    "close_notify": (record(ALERT, b"\1\0"), UNEXPECTED),
    "an alert": (record(ALERT, b"\2\x28"), UNEXPECTED),
    "ChangeCipherSpec": (record(CCS, b"\1") + hello(), UNEXPECTED),
    "an unknown kind": (record(99, b"abc"), UNEXPECTED),
    "a version of before": (hello(legacy=0x0300), HANDSHAKE_FAILURE),
}


@pytest.mark.parametrize("name", BAD)
def test_it_ends_with_an_alert(proxy: Secure, name: str) -> None:
    data, alert = BAD[name]
    assert ended(ports(proxy)[OPEN], data) == [alert]


WITHIN = {
    "ChangeCipherSpec again and again": record(CCS, b"\1") * 50,
    "ChangeCipherSpec of another value": record(CCS, b"\2"),
    "ChangeCipherSpec of two bytes": record(CCS, b"\1\1"),
    "data that nobody has encrypted": record(DATA, b"GET / HTTP/1.1\r\n\r\n"),
    "a second hello": hello(),
}


@pytest.mark.parametrize("name", WITHIN)
def test_what_follows_a_hello_ends_it_too(proxy: Secure, name: str) -> None:
    """The alert is encrypted."""
    ended(ports(proxy)[OPEN], hello() + WITHIN[name])
    with proxy.talk(trusting(AUTHORITY), port=ports(proxy)[OPEN]) as line:
        assert ask(line).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", [0x0301, 0x0303, 0x0304, 0x03FF])
def test_the_records_version_is_no_matter(proxy: Secure, version: int) -> None:
    """RFC 8446 5.1."""
    client = Hello()
    with socket.create_connection(("127.0.0.1", ports(proxy)[OPEN]), 5) as line:
        line.sendall(record(HANDSHAKE, client.body, version))
        client.finish(line)


# ---- server names (RFC 6066 3) --------------------------------------------------------------


def entry(name: bytes, kind: int = 0) -> bytes:
    return struct.pack("!BH", kind, len(name)) + name


def listed(*entries: bytes) -> bytes:
    whole = b"".join(entries)
    return struct.pack("!H", len(whole)) + whole


def named(extension: bytes) -> bytes:
    """A ClientHello with this as its server_name."""
    message = Hello(name=None).body[4:]
    at = 34
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    others = message[at + 2 :]
    every = struct.pack("!HH", 0, len(extension)) + extension + others
    message = message[:at] + struct.pack("!H", len(every)) + every
    return record(HANDSHAKE, b"\1" + struct.pack("!I", len(message))[1:] + message, 0x0301)


MALFORMED = {
    "nothing": b"",
    "an empty list": listed(),
    "an empty name": listed(entry(b"")),
    "256 bytes": listed(entry(b"a" * 256)),
    "two names": listed(entry(b"a.test"), entry(b"b.test")),
    "another kind": listed(entry(b"a.test", 1)),
    "another kind first": listed(entry(b"x", 1), entry(b"a.test")),
    "a NUL": listed(entry(b"a.test\0.evil")),
    "something behind it": listed(entry(b"a.test")) + b"x",
}
UNKNOWN = [b"b.test", b"a.test..", b".", b".a.test", b" a.test", b"*.test", b"a" * 255, b"::1"]
KNOWN = [b"a.test", b"A.TEST", b"a.test.", b"127.0.0.1"]


@pytest.mark.parametrize("which", [OPEN, SHUT])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_names(proxy: Secure, name: str, which: int) -> None:
    assert ended(ports(proxy)[which], named(MALFORMED[name])) == [DECODE]


@pytest.mark.parametrize("name", UNKNOWN + KNOWN)
def test_names(proxy: Secure, name: bytes) -> None:
    data = named(listed(entry(name)))
    for port in ports(proxy) if name in KNOWN else ports(proxy)[:1]:
        with socket.create_connection(("127.0.0.1", port), 5) as line:
            line.sendall(data)
            assert line.recv(1) == bytes([HANDSHAKE])
    if name in UNKNOWN:
        assert ended(ports(proxy)[SHUT], data) == [UNNAMED]
