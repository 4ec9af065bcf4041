"""TLS, ALPN and extended CONNECT (RFC 8441) toward an HTTP/2 upstream."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Behind, read_http1, read_http2
from tests.h2.server import Line, Request, reply
from tests.h2.subject import make_pair

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
PROOF = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What answers that key (RFC 6455 1.3)."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_pair(Path(tmp_path_factory.mktemp("pair")))


@pytest.fixture(scope="module")
def instance() -> Iterator[Behind]:
    with Behind() as one:
        yield one


@pytest.fixture
def behind(instance: Behind) -> Iterator[Behind]:
    instance.clear((h2.ENABLE_CONNECT, 1))
    yield instance
    instance.check()


@pytest.fixture(scope="module", params=["auto", "http2"])
def secured(pair: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[Behind]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2", "http/1.1"])
    upstream = {"protocol": request.param, "tls": {"ca": pair[0], "server_name": "a.test"}}
    with Behind(tls=context, upstream=upstream) as one:
        yield one


def upgrade(behind: Behind) -> socket.socket:
    """An HTTP/1.1 client that wants to speak WebSocket."""
    sock = socket.create_connection(behind.address, 8)
    sock.sendall(
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
    )
    return sock


def greets(line: Line, asked: Request) -> None:
    """2xx to extended CONNECT, a greeting; a plain request is answered plainly."""
    if b":protocol" in asked.fields:
        line.send(reply(asked.stream), h2.data(asked.stream, b"hello", 0))
    else:
        line.answer(asked.stream)


def refuses(line: Line, asked: Request) -> None:
    line.answer(asked.stream, b"no", status=b"403")


# ---- WebSocket ----------------------------------------------------------------------------------


def test_websocket_from_http1(behind: Behind) -> None:
    behind.server.on_request = None
    behind.server.on_head = greets
    with upgrade(behind) as sock:
        raw = b""
        while not raw.endswith(b"hello"):
            raw += sock.recv(4096) or pytest.fail(repr(raw))
        assert raw.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: " + PROOF in raw.replace(
            b"Sec-WebSocket-Accept", b"sec-websocket-accept"
        )
        [(line, asked)] = behind.server.asked()
        assert asked.fields[b":method"] == b"CONNECT"
        assert asked.fields[b":protocol"] == b"websocket"
        assert asked.fields[b":path"] == b"/ws"
        assert b"sec-websocket-key" not in asked.fields
        sock.sendall(b"\x81\x85abcd12345")
        assert behind.server.until(lambda: asked.body == b"\x81\x85abcd12345")
        line.send(h2.data(asked.stream, b"\x88\x00"))
        assert sock.recv(4096) == b"\x88\x00"


def test_websocket_from_http2(behind: Behind) -> None:
    behind.server.on_request = None
    behind.server.on_head = greets
    with behind.client() as client:
        client.send(
            h2.headers(
                1,
                h2.block(*h2.fields(b"/ws", b"CONNECT"), (b":protocol", b"websocket")),
                h2.END_HEADERS,
            )
        )
        client.until(lambda: client.stream(1).body == b"hello")
        assert client.stream(1).status == 200
        client.send(h2.data(1, b"abc", 0))
        [(line, asked)] = behind.server.asked()
        assert behind.server.until(lambda: asked.body == b"abc")
        line.send(h2.rst_stream(asked.stream))
        client.until(lambda: client.decided(1))
        assert client.stream(1).ended or client.stream(1).reset is not None


def test_websocket_is_refused(behind: Behind) -> None:
    behind.server.on_request = None
    behind.server.on_head = refuses
    with upgrade(behind) as sock:
        answer = read_http1(sock, seconds=3)
    assert answer.status == 403
    assert answer.body == b"no"


@pytest.mark.parametrize("kind", ASKERS)
def test_websocket_is_not_offered(behind: Behind, kind: str) -> None:
    """By an upstream that speaks HTTP/2 only: 502."""
    behind.clear()
    if kind == "http1":
        with upgrade(behind) as sock:
            assert read_http1(sock, seconds=3).status == 502
    else:
        with behind.client() as client:
            block = h2.block(*h2.fields(b"/ws", b"CONNECT"), (b":protocol", b"websocket"))
            client.send(h2.headers(1, block, h2.END_HEADERS))
            assert read_http2(client, 1).status == 502
    assert behind.server.count() == 0
    assert behind.ask(kind).outcome == "200"


def test_websockets_meet_no_settings(behind: Behind) -> None:
    """The connection ends before it has said whether it takes them."""
    behind.server.hello = b""
    behind.server.on_open = lambda line: line.close()
    with upgrade(behind) as one, upgrade(behind) as two:
        assert read_http1(one, seconds=4).status == 502
        assert read_http1(two, seconds=4).status == 502


# ---- TLS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKERS)
def test_over_tls(secured: Behind, kind: str) -> None:
    secured.clear()
    answer = secured.ask(kind, method="POST", body=bytes(100_000))
    assert answer.outcome == "200"
    [(line, asked)] = secured.server.asked()
    assert line.protocol == "h2"
    assert len(asked.body) == 100_000
    assert asked.fields[b":scheme"] == b"https"
    secured.check()


def http1(line: Line) -> None:
    """One answer in HTTP/1.1, and the end."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += line.sock.recv(4096) or b"\r\n\r\n"
    websocket = b"websocket" in head
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nold!"
    if websocket:
        said = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nold!"
    line.sock.sendall(said)


def test_websocket_falls_back_to_http1(secured: Behind) -> None:
    """`auto`: a server whose HTTP/2 takes no WebSockets is asked in HTTP/1.1."""
    secured.clear()
    assert secured.ask("http1").outcome == "200"
    secured.server.on_http1 = http1
    with upgrade(secured) as sock:
        answer = read_http1(sock, seconds=4)
    spoken = [line.protocol for line in secured.server.lines]
    if "http/1.1" in spoken:
        assert (answer.status, answer.body) == (403, b"old!")
    else:
        assert answer.status == 502  # protocol = "http2"
    assert secured.ask("http2").body == b"ok"
    secured.check()


def test_speaks_http1_from_now_on(secured: Behind) -> None:
    """It was changed: who waits for its connection gets one of HTTP/1.1 each."""
    secured.clear()
    assert secured.ask("http1").outcome == "200"
    context = secured.server.tls
    assert context
    try:
        context.set_alpn_protocols(["http/1.1"])
        secured.clear()
        secured.server.on_http1 = http1
        answers = [one.result(10) for one in secured.asking(ASKERS * 4)]
    finally:
        context.set_alpn_protocols(["h2", "http/1.1"])
    assert {(one.outcome, one.body) for one in answers if one.outcome == "200"} <= {
        ("200", b"old!")
    }
    assert {one.outcome for one in answers} <= {"200", "502"}
    assert len({one.outcome for one in answers}) == 1
    secured.clear()
    assert secured.ask("http2").body == b"ok"
    secured.check()


def test_no_certificate_that_is_believed(pair: tuple[str, str]) -> None:
    """All who wait are told so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2"])
    with Behind(tls=context, upstream={"protocol": "http2"}) as behind:
        answers = [one.result(10) for one in behind.asking(ASKERS * 4)]
        assert {one.outcome for one in answers} == {"502"}
        assert all(b"certificate" in one.body for one in answers)
    assert threading.active_count() < 200
