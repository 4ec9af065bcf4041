"""B3 19 to 21: upgrades. Nothing the client sent behind its request is forwarded before the 101 has
been checked; only WebSocket is tunnelled; everything else is served as plain HTTP/1.1."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, CLOSE, FINISH, HANG, RESET, pattern, sized
from tests.raw.talking import Running

KEY = base64.b64encode(b"0123456789abcdef")
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
ASK = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % KEY
)
YES = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT
)
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


def ended(proxy: Running, path: str = "/ws") -> str:
    line = proxy.recorder.lines[proxy.recorder.only(path).connection]
    proxy.recorder.wait(lambda: line.ended)
    return line.ended


def received(proxy: Running, size: int) -> bytes:
    """What came behind the upgrade request on its connection, once there are `size` bytes."""
    line = proxy.recorder.lines[proxy.recorder.only("/ws").connection]
    proxy.recorder.wait(lambda: len(line.received) - line.at >= size)
    return bytes(line.received[line.at :])


def test_a_tunnel_both_ways(proxy: Running) -> None:
    proxy.recorder.on("/ws", YES + b"first", HANG)
    with proxy.client() as client:
        client.send(ASK)
        answer = client.answer()
        assert answer.status == 101
        assert answer.one("upgrade").lower() == "websocket"
        assert answer.one("connection").lower() == "upgrade"
        assert answer.one("sec-websocket-accept") == ACCEPT.decode()
        assert client.exactly(5) == b"first"
        seen = proxy.recorder.only("/ws")
        assert seen.one("upgrade") == "websocket"
        assert seen.one("connection").lower() == "upgrade"
        assert seen.one("sec-websocket-key") == KEY.decode()
        for at in range(5):
            client.send(b"up%d" % at)
            assert received(proxy, 3 * at + 3)[-3:] == b"up%d" % at
            proxy.recorder.send(seen.connection, b"down%d" % at)
            assert client.exactly(5) == b"down%d" % at
    assert ended(proxy) in ("fin", "rst")


def test_bytes_behind_the_request_wait_for_the_101(proxy: Running) -> None:
    """Pingora 2026-2833, Envoy 73548."""
    proxy.recorder.on("/ws", 0.3, YES, HANG)
    with proxy.client() as client:
        client.send(ASK + b"early bytes")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        time.sleep(0.1)
        client.send(b" and more")
        time.sleep(0.1)
        proxy.recorder.settle()
        line = proxy.recorder.lines[proxy.recorder.only("/ws").connection]
        assert len(line.received) == line.at, "nothing before the 101"
        assert client.answer().status == 101
        assert received(proxy, 20) == b"early bytes and more"


def test_after_a_refusal_they_are_the_next_request(proxy: Running) -> None:
    """A final answer that is no 101: ordinary HTTP goes on (and the smuggled is just a request)."""
    proxy.recorder.on("/ws", sized(b"no", b"403 Forbidden"))
    answers = proxy.talk(ASK + GET % b"/next", "GET", "GET")
    assert [(one.status, one.body) for one in answers] == [(403, b"no"), (200, b"ok")]
    assert proxy.recorder.only("/next").complete


@pytest.mark.parametrize("answer", [
    YES.replace(ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    YES.replace(b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n", b""),
    YES.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT),
    YES.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    YES.replace(b"Upgrade: websocket\r\n", b""),
    YES.replace(b"Connection: Upgrade\r\n", b""),
    YES.replace(b"Connection: Upgrade", b"Connection: close"),
    YES.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    YES.replace(b"\r\n\r\n", b"\r\nContent-Length: x\r\n\r\n"),
], ids=["accept", "no-accept", "accept-twice", "other-protocol", "no-upgrade", "no-connection",
        "connection-close", "coded", "bad-length"])  # fmt: skip
def test_a_101_that_is_not_valid(proxy: Running, answer: bytes) -> None:
    """502; nothing the client sent behind reaches that backend."""
    proxy.recorder.on("/ws", answer, HANG)
    with proxy.client() as client:
        client.send(ASK + b"secret frames")
        reply = client.answer()
        assert reply.status == 502
    ended(proxy)
    proxy.recorder.settle()
    assert b"secret" not in proxy.recorder.bytes()


def test_a_101_that_nobody_asked_for(proxy: Running) -> None:
    proxy.recorder.on("/p", BODY, YES, HANG)
    assert proxy.ask(GET % b"/p").status == 502
    ended(proxy, "/p")


PLAIN = {
    "h2c": (
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    ),
    "h2c-hidden": b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
    "h2c-twice": b"Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
    "unknown": b"Upgrade: foo/1\r\nConnection: upgrade\r\n",
    "tls": b"Upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
    "not-nominated": b"Upgrade: websocket\r\nSec-WebSocket-Key: %b\r\n" % KEY,
    "no-key": b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    "two-keys": b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: %b\r\n"
    b"Sec-WebSocket-Key: %b\r\n" % (KEY, KEY),
}


@pytest.mark.parametrize("fields", PLAIN.values(), ids=PLAIN)
def test_other_upgrades_are_dropped(proxy: Running, fields: bytes) -> None:
    """B3 20, 21: served as HTTP/1.1, the backend sees no Upgrade; an answer of 101 is a 502."""
    proxy.recorder.on("/ok", BODY, sized(b"plain"))
    answers = proxy.talk(
        b"GET /ok HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + GET % b"/next", "GET", "GET"
    )
    assert [one.status for one in answers] == [200, 200]
    names = proxy.recorder.only("/ok").names()
    assert not names & {"upgrade", "connection", "http2-settings"}
    proxy.recorder.on("/bad", BODY, YES, HANG)
    assert proxy.ask(b"GET /bad HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n").status == 502


@pytest.mark.parametrize("head", [
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n%b\r\nhi",
    b"GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n%b\r\nhi",
    b"GET /p HTTP/1.0\r\nHost: a\r\n%b\r\n",
], ids=["post", "body", "http10"])  # fmt: skip
def test_only_a_bodiless_http11_get_upgrades(proxy: Running, head: bytes) -> None:
    fields = b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: %b\r\n" % KEY
    assert proxy.ask(head % fields).status == 200
    assert not proxy.recorder.only("/p").names() & {"upgrade", "connection"}


def test_the_http2_preface_is_no_way_in(proxy: Running) -> None:
    """h2c with prior knowledge on an HTTP/1.1 listener."""
    with proxy.client() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9)
        assert client.answer().status in (400, 505)
        assert client.end() == "fin"
    proxy.nothing_forwarded()


def test_a_tunnels_connection_is_never_pooled(proxy: Running) -> None:
    proxy.recorder.on("/ws", YES, FINISH, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        client.finish()
        assert client.end() == "fin"
    ended(proxy)
    assert proxy.ask(GET % b"/next").status == 200
    assert proxy.recorder.only("/next").connection != proxy.recorder.only("/ws").connection


def test_half_close_from_the_backend(proxy: Running) -> None:
    """Its FIN is passed on; the client may still send."""
    proxy.recorder.on("/ws", YES + b"bye", FINISH, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        assert client.exactly(3) == b"bye"
        assert client.end() == "fin"
        client.send(b"still here")
        assert received(proxy, 10) == b"still here"
        client.finish()
        assert ended(proxy) == "fin"


def test_half_close_from_the_client(proxy: Running) -> None:
    proxy.recorder.on("/ws", YES, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        client.send(b"last")
        client.finish()
        assert ended(proxy) == "fin"
        assert received(proxy, 4) == b"last"


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_backend_that_goes_away(proxy: Running, how: str) -> None:
    proxy.recorder.on("/ws", YES, 0.05, how)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        assert client.end() in ("fin", "rst")


def test_a_client_that_resets(proxy: Running) -> None:
    proxy.recorder.on("/ws", YES, HANG)
    client = proxy.client()
    client.send(ASK)
    assert client.answer().status == 101
    client.reset()
    ended(proxy)


def test_much_data_both_ways(proxy: Running) -> None:
    """Back-pressure: neither side is lost or mixed."""
    down = pattern(3_000_000, 5)
    proxy.recorder.on("/ws", YES + down, HANG)
    up = pattern(2_000_000, 9)
    with proxy.client() as client:
        client.send(ASK + up[:1000])
        assert client.answer().status == 101
        time.sleep(0.1)
        client.sock.setblocking(False)
        sent, got = 1000, client.held
        end = time.monotonic() + 30
        while sent < len(up) or len(got) < len(down):
            assert time.monotonic() < end
            busy = False
            try:
                if sent < len(up):
                    sent += client.sock.send(up[sent : sent + 100_000])
                    busy = True
            except BlockingIOError:
                pass
            try:
                got += client.sock.recv(262144)
                busy = True
            except BlockingIOError:
                pass
            if not busy:
                time.sleep(0.001)
        assert got == down
        assert received(proxy, len(up)) == up


@pytest.fixture(scope="module")
def short(start: StartProxy) -> Running:
    return start(timeouts='tunnel_idle = "300ms"', log="off")


def test_tunnel_idle(short: Running) -> None:
    """Both sides are closed; bytes either way start the time anew."""
    short.recorder.on("/ws", YES, HANG)
    with short.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        for _ in range(4):
            time.sleep(0.15)
            client.send(b"x")
        assert client.is_open(0.05)
        assert client.exactly(4) == b"\x88\x02\x03\xe9"  # 1001, going away
        assert client.end() in ("fin", "rst")
    ended(short)
