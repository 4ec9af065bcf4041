"""The first moments of an HTTP/2 upstream: what it speaks is not known yet (`protocol = "auto"`),
it takes no streams at all, or nobody is there and many wait for one connection."""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.flow.peers import Gateway
from tests.flow.trouble import Deaf, Relay
from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Behind, read_http2
from tests.h2.client import Client
from tests.h2.server import Line, Request, Server
from tests.h2.subject import make_pair
from tests.running import wait_until

REFUSED = 7


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_pair(Path(tmp_path_factory.mktemp("pair")))


def context(pair: tuple[str, str], *protocols: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*pair)
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def auto(pair: tuple[str, str], *protocols: str, **more: Any) -> Behind:
    """A fresh instance: it knows nothing of its backend."""
    upstream = {"protocol": "auto", "tls": {"ca": pair[0], "server_name": "a.test"}, **more}
    return Behind(tls=context(pair, *protocols), upstream=upstream)


def http1(line: Line) -> None:
    """HTTP/1.1, until the connection ends."""
    with line.sock.makefile("rb") as reader:
        while head := reader.readline():
            while reader.readline() not in (b"\r\n", b""):
                pass
            if head:
                line.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def herd(behind: Behind, count: int) -> Counter[str]:
    """So many requests at once, in HTTP/2; their outcomes."""
    with behind.client() as one, behind.client() as two:
        for client in (one, two):
            client.send(b"".join(h2.get(1 + 2 * at) for at in range(count // 2)))
        return Counter(
            read_http2(client, 1 + 2 * at).outcome
            for client in (one, two)
            for at in range(count // 2)
        )


# ---- auto ---------------------------------------------------------------------------------------


def test_two_hundred_at_a_cold_start_of_http2(pair: tuple[str, str]) -> None:
    """They wait for the first connection: it may be one for all of them, and is."""
    with auto(pair, "h2", "http/1.1") as behind:
        behind.server.hello = h2.settings((h2.MAX_STREAMS, 100))
        assert herd(behind, 200) == {"200": 200}
        assert len(behind.server.lines) <= 3
        assert {one.protocol for one in behind.server.lines} == {"h2"}
        behind.check()


@pytest.mark.parametrize("protocols", [("http/1.1",), ()], ids=["http/1.1", "no ALPN"])
def test_two_hundred_at_a_cold_start_of_http1(
    pair: tuple[str, str], protocols: tuple[str, ...]
) -> None:
    """It is not: each gets its own, all at once."""
    with auto(pair, *protocols) as behind:
        behind.server.on_http1 = http1
        started = time.monotonic()
        assert herd(behind, 200) == {"200": 200}
        assert time.monotonic() - started < 5
        assert herd(behind, 20) == {"200": 20}
        behind.check()


def test_a_cold_start_of_websockets(pair: tuple[str, str]) -> None:
    """They are asked for on a connection of their own, and nobody waits for it."""
    with auto(pair, "http/1.1") as behind:
        behind.server.on_http1 = http1
        ask = (
            b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection(behind.address, 8) as line:
            line.sendall(ask)
            assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert herd(behind, 20) == {"200": 20}
        behind.check()


@pytest.mark.parametrize("protocols", [("h2", "http/1.1"), ("http/1.1",)], ids=["h2", "http/1.1"])
def test_it_goes_and_comes_back(pair: tuple[str, str], protocols: tuple[str, ...]) -> None:
    """What it speaks is not known any more then, and nobody waits for a connection that is gone."""
    with Relay(0) as relay:
        with auto(pair, *protocols, backends=[f"https://127.0.0.1:{relay.port}"]) as behind:
            relay.to = behind.server.port
            behind.server.on_http1 = http1
            for _ in range(3):
                assert behind.ask("http1").outcome == "200"
                assert herd(behind, 20) == {"200": 20}
                relay.refuse()
                wait_until(lambda: behind.gateway.totals()["upstream_open"] == 0)
                assert herd(behind, 20) == {"502": 20}
                relay.heal()
            assert behind.ask("http2").outcome == "200"
            assert herd(behind, 20) == {"200": 20}
            behind.check()


def test_it_changes_while_it_is_away(pair: tuple[str, str]) -> None:
    """HTTP/1.1, then HTTP/2: one connection for all again."""
    with auto(pair, "http/1.1") as behind:
        behind.server.on_http1 = http1
        assert herd(behind, 10) == {"200": 10}
        assert behind.server.tls
        behind.server.tls.set_alpn_protocols(["h2", "http/1.1"])
        behind.clear()
        assert behind.ask("http1").outcome == "200"
        assert herd(behind, 20) == {"200": 20}
        assert len(behind.server.lines) == 1
        behind.check()


# ---- no streams at all --------------------------------------------------------------------------


def test_no_streams_from_the_start(behind: Behind) -> None:
    """SETTINGS_MAX_CONCURRENT_STREAMS = 0 in its first frame. A request that was sent before that
    was read is answered here; one that was not is tried on three connections more. Nothing waits
    for what does not come, and no connection carries two."""
    behind.clear((h2.MAX_STREAMS, 0))
    started = time.monotonic()
    asking = behind.asking(["http1", "http2"] * 4)
    found = Counter(one.result(10).outcome for one in asking)
    assert time.monotonic() - started < 2.5  # the first byte of an answer is due in 3
    assert found["200"] + found["502"] == 8
    assert found["200"] == behind.server.count()
    assert len(behind.server.lines) <= 32
    assert all(len(line.requests) <= 1 for line in behind.server.lines)


@pytest.mark.parametrize("kind", ASKERS)
def test_no_streams_from_the_start_and_meant_so(behind: Behind, kind: str) -> None:
    """It refuses them: 502 after three times more, and no turning round and round."""
    behind.clear((h2.MAX_STREAMS, 0))

    def refuses(line: Line, asked: Request) -> None:
        line.send(h2.rst_stream(asked.stream, REFUSED))

    behind.server.on_request = refuses
    before = behind.cpu()
    asking = behind.asking([kind] * 5)
    assert Counter(one.result(10).outcome for one in asking) == {"502": 5}
    assert behind.server.count() <= 20
    assert len(behind.server.lines) <= 20
    assert behind.cpu() - before < 1


def test_no_streams_from_the_start_and_later_some(behind: Behind) -> None:
    """On the same connection, which was not given up for that."""
    behind.clear((h2.MAX_STREAMS, 0))
    assert behind.ask("http1").outcome in ("200", "502")
    line = behind.server.lines[-1]
    line.send(h2.settings((h2.MAX_STREAMS, 100)))
    assert behind.server.until(lambda: line.acks == 2)
    lines = len(behind.server.lines)
    assert herd(behind, 20) == {"200": 20}
    assert len(behind.server.lines) == lines
    assert len(line.requests) >= 20


# ---- nobody is there ----------------------------------------------------------------------------


def before(pair: tuple[str, str], scheme: str, *backends: str) -> Gateway:
    upstream: dict[str, Any] = {"backends": list(backends), "balance": "round_robin"}
    if scheme == "https":
        upstream["tls"] = {"ca": pair[0], "server_name": "a.test"}
    return Gateway(
        workers=1,
        settings={
            "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
            "upstreams": {"main": upstream},
            "routes": [{"path": "/", "upstream": "main"}],
            "timeouts": {"upstream_connect": "600ms"},
        },
    )


def outcomes(proxy: Gateway, count: int) -> Counter[str]:
    with Client(("127.0.0.1", proxy.port), tls=False) as client:
        client.send(b"".join(h2.get(1 + 2 * at) for at in range(count)))
        return Counter(client.outcome(1 + 2 * at) for at in range(count))


@pytest.mark.parametrize("scheme", ["h2c", "https"])
def test_many_wait_before_a_black_hole(pair: tuple[str, str], scheme: str) -> None:
    """For one connection, and for no longer than it is waited for: not one after the other."""
    with Deaf() as deaf, before(pair, scheme, f"{scheme}://127.0.0.1:{deaf.port}") as proxy:
        for turn in (1, 2):
            started = time.monotonic()
            assert outcomes(proxy, 50) == {"504": 50}
            assert 0.5 < time.monotonic() - started < 1.6
            totals = proxy.totals()
            assert totals["upstream_connects"] == turn
            wait_until(lambda: proxy.totals()["upstream_open"] == 0)
        assert proxy.inflight() == 0


@pytest.mark.parametrize("scheme", ["h2c", "https"])
def test_who_waited_before_a_black_hole_goes_elsewhere(pair: tuple[str, str], scheme: str) -> None:
    """And has lost one connect timeout."""
    tls = context(pair, "h2") if scheme == "https" else None
    with Deaf() as deaf, Server((h2.MAX_STREAMS, 100), tls=tls) as server:
        with before(pair, scheme, f"{scheme}://127.0.0.1:{deaf.port}", server.url) as proxy:
            started = time.monotonic()
            assert outcomes(proxy, 50) == {"200": 50}
            assert time.monotonic() - started < 1.6
            assert len(server.lines) == 1
            assert not server.breaches


@pytest.mark.parametrize("scheme", ["h2c", "https"])
def test_who_waits_and_leaves_takes_nobody_along(pair: tuple[str, str], scheme: str) -> None:
    """Even the one who began the connection."""
    with Deaf() as deaf, before(pair, scheme, f"{scheme}://127.0.0.1:{deaf.port}") as proxy:
        address = ("127.0.0.1", proxy.port)
        with Client(address, tls=False) as other:
            with Client(address, tls=False) as first:
                first.send(h2.get(1))
                wait_until(lambda: proxy.inflight() == 1)
                other.send(h2.get(1) + h2.get(3))
                wait_until(lambda: proxy.inflight() == 3)
                first.send(h2.rst_stream(1))
                wait_until(lambda: proxy.inflight() == 2)
            assert [other.outcome(one) for one in (1, 3)] == ["504", "504"]
        assert proxy.totals()["upstream_connects"] == 1
