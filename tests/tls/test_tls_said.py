"""Failed handshakes of clients in the error log: whose, where and why, for who debugs."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import Backend, wait_until
from tests.tls.certs import DAY, Authority
from tests.tls.files import PAIR, Filed
from tests.tls.secure import ask, showing, trusting

AUTHORITY, PEOPLE = Authority(), Authority("people")
SITE = AUTHORITY.sign("a.test")
LINE = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z debug worker 0: "
    r"TLS handshake of (\S+) at (\S+) failed: (.*?)(?: \(and (\d+) more failed\))?$",
    re.MULTILINE,
)
LISTENERS: list[dict[str, Any]] = [
    {"tls": {**PAIR, "unknown_sni": "refuse"}},
    {"tls": {**PAIR, "client_auth": {"mode": "required", "ca": "people.pem"}}},
    {"tls": {**PAIR, "profile": "modern"}, "bind": "[::1]:0"},
]


def made(level: str, backend: Backend, **settings: Any) -> Filed:
    files = {"people.pem": PEOPLE.pem}
    more = {"log_level": level, "timeouts": {"tls_handshake": "500ms"}, **settings}
    return Filed(SITE, backend.url, LISTENERS, files, more, workers=1)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as one:
        yield one


@pytest.fixture(scope="module")
def proxy(backend: Backend) -> Iterator[Filed]:
    with made("debug", backend) as one:
        yield one


def said(proxy: Filed) -> list[tuple[str, str, str, int]]:
    """(client, listener, reason, how many more) of each line."""
    return [(who, at, why, int(more or 0)) for who, at, why, more in LINE.findall(proxy.log())]


def plain(proxy: Filed, number: int = 0) -> socket.socket:
    port = proxy.ports()[number]
    return socket.create_connection(("::1" if number == 2 else "127.0.0.1", port), 10)


def shake(line: socket.socket, context: ssl.SSLContext, name: str = "a.test") -> None:
    """Until it fails; TLS 1.3 tells a client of a refusal with the first read only."""
    with pytest.raises((OSError, AssertionError)):
        with context.wrap_socket(line, server_hostname=name) as secured:
            ask(secured)


def http(line: socket.socket) -> None:
    line.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")


def garbage(line: socket.socket) -> None:
    line.sendall(b"\x16\x03\x01\x00\x05garbage")


def leaves(line: socket.socket) -> None:
    line.sendall(b"\x16\x03\x01\x02\x00")


def resets(line: socket.socket) -> None:
    line.sendall(b"\x16\x03\x01\x02\x00")
    time.sleep(0.1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def old(line: socket.socket) -> None:
    context = trusting(AUTHORITY)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    shake(line, context)


def wary(line: socket.socket) -> None:
    """Does not know our authority."""
    shake(line, ssl.create_default_context())


def stranger(line: socket.socket) -> None:
    shake(line, trusting(AUTHORITY), "b.test")


def odd(line: socket.socket) -> None:
    shake(line, trusting(AUTHORITY, alpn=["smtp"]))


def nobody(line: socket.socket) -> None:
    shake(line, trusting(AUTHORITY))


def expired(line: socket.socket) -> None:
    own = PEOPLE.sign("old", since=-9 * DAY, until=-DAY)
    shake(line, showing(trusting(AUTHORITY), own))


def unknown(line: socket.socket) -> None:
    shake(line, showing(trusting(AUTHORITY), AUTHORITY.sign("alice")))


def slow(line: socket.socket) -> None:
    assert line.recv(1) == b""


CASES: list[tuple[int, Any, str]] = [
    (0, http, "http request"),
    (0, garbage, "unexpected message"),
    (0, leaves, "the connection was closed"),
    (0, resets, "the connection was closed"),
    (0, wary, "alert unknown ca"),
    (0, stranger, "no certificate is for the name it asks for"),
    (0, odd, "no application protocol"),
    (0, slow, "it was not over in time"),
    (1, nobody, "peer did not return a certificate"),
    (1, expired, "certificate verify failed (certificate has expired)"),
    (1, unknown, "certificate verify failed (self-signed certificate in certificate chain)"),
    (2, old, "unsupported protocol"),
    (2, http, "http request"),
]


@pytest.mark.parametrize(("number", "how", "why"), CASES)
def test_whose_where_and_why(proxy: Filed, number: int, how: Any, why: str) -> None:
    before, failed = len(said(proxy)), proxy.totals()["tls_failed"]
    with plain(proxy, number) as line:
        address, port = line.getsockname()[:2]
        how(line)
    wait_until(lambda: len(said(proxy)) > before)
    [(who, at, reason, more)] = said(proxy)[before:]
    assert who == (f"[{address}]:{port}" if number == 2 else f"{address}:{port}")
    assert at == ("[::1]:0" if number == 2 else "127.0.0.1:0")
    assert why in reason
    assert reason
    assert more == 0
    wait_until(lambda: proxy.totals()["tls_failed"] > failed)  # counted after it is said
    assert proxy.totals()["tls_failed"] == failed + 1


def test_good_ones_are_not_worth_a_line(proxy: Filed) -> None:
    before = len(said(proxy))
    for _ in range(3):
        with proxy.talk(trusting(AUTHORITY)) as line:
            assert ask(line).endswith(b"hello\n")
    with plain(proxy) as last:
        http(last)
    wait_until(lambda: len(said(proxy)) > before)
    assert len(said(proxy)) == before + 1


def test_few_a_second(proxy: Filed) -> None:
    """Those that have no line are counted in the next one."""
    time.sleep(1.1)  # no second of somebody else's is under way
    before = len(said(proxy))
    started = time.monotonic()
    for _ in range(150):
        with plain(proxy) as line:
            http(line)
            assert line.recv(100) is not None
    spent = time.monotonic() - started
    assert len(said(proxy)) - before <= 20 * (spent + 1)
    time.sleep(1.1)  # the next second
    with plain(proxy) as line:
        http(line)
        assert line.recv(100) is not None
    wait_until(lambda: sum(1 + more for *_, more in said(proxy)[before:]) == 151)


def test_no_line_by_default(backend: Backend) -> None:
    with made("info", backend) as proxy:
        failed = proxy.totals()["tls_failed"]
        for how in (http, wary):
            with plain(proxy) as line:
                how(line)
        wait_until(lambda: proxy.totals()["tls_failed"] == failed + 2)
        assert not said(proxy)
        assert "handshake" not in proxy.log()
