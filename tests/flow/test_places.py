"""Backends and clients at other places: unix sockets, IPv6; what is told of them. A full disk."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.origin import pattern_hash
from tests.flow.peers import Gateway, Granian, Origin
from tests.flow.wire import Line, head_of
from tests.running import wait_until

SIZE = 3_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[Origin]:
    with Origin(f"unix:{folder}/origin.sock") as one:
        yield one


def test_a_backend_on_a_unix_socket(local: Origin) -> None:
    """Bodies both ways; its connections are kept like any other's."""
    with Gateway(upstreams=[local.url], workers=1) as proxy:
        for _ in range(20):
            with Line(proxy.port) as line:
                assert line.ask("GET", "/id").status == 200
                answer = line.ask("GET", f"/bytes?n={SIZE}&framing=chunked")
                assert (answer.size, answer.sha256) == (SIZE, pattern_hash(SIZE))
                line.sock.sendall(head_of("POST", "/hash", "Content-Length: 100000"))
                line.sock.sendall(bytes(100_000))
                assert line.answer().text.split()[0] == "100000"
        proxy.settle()
        totals = proxy.totals()
        assert totals["requests"] == 60
        assert totals["upstream_connects"] == 1
        assert totals["upstream_reused"] == 59


def test_a_unix_socket_that_is_not_there_is_a_backend_that_refuses(
    local: Origin, folder: Path
) -> None:
    """connect(2) fails at once there: the next one is tried; 502 if there is none."""
    missing = f"http+unix:{folder}/missing.sock"
    turns = "--balance=round_robin"
    both = [missing, local.url]
    with Gateway(turns, upstreams=both, workers=1) as proxy, Line(proxy.port) as line:
        for _ in range(10):
            assert line.ask("GET", "/id").status == 200
        assert proxy.backends()[missing]["connect_errors"] == 5
    with Gateway(upstreams=[missing], workers=1) as proxy, Line(proxy.port) as line:
        for _ in range(3):
            assert line.ask("GET", "/id").status == 502


@pytest.fixture(scope="module")
def everywhere(granian: Granian, folder: Path) -> Iterator[Gateway]:
    settings = {
        "listeners": ["127.0.0.1:0", "[::1]:0", f"unix:{folder}/web.sock"],
        "upstreams": {"app": {"backends": [granian.url]}},
        "routes": [{"upstream": "app"}],
        "forwarding": {"forwarded": True},
    }
    with Gateway(settings=settings, workers=1) as one:
        yield one


def told(everywhere: Gateway, which: int) -> dict[str, str]:
    """What the backend reads of a client that came by this listener."""
    name = everywhere.status()["listeners"][which]
    with socket.socket((socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)[which]) as sock:
        sock.settimeout(10)
        host, _, port = name.rpartition(":")
        sock.connect(name.removeprefix("unix:") if which == 2 else (host.strip("[]"), int(port)))
        sock.sendall(head_of("GET", "/headers", "Connection: close"))
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return dict(json.loads(answer.read()))


@pytest.mark.parametrize(
    ("which", "plain", "forwarded"),
    [
        (0, "127.0.0.1", "for=127.0.0.1"),
        (1, "::1", 'for="[::1]"'),
        (2, "unix", "for=unknown"),
    ],
)
def test_what_a_backend_is_told_of_the_client(
    everywhere: Gateway, which: int, plain: str, forwarded: str
) -> None:
    """RFC 7239: an IPv6 address is quoted in brackets; who has no address is unknown."""
    fields = told(everywhere, which)
    assert fields["x-forwarded-for"] == fields["x-real-ip"] == plain
    assert fields["forwarded"].startswith(forwarded)


def test_a_log_that_cannot_be_written_stops_nobody(local: Origin) -> None:
    """/dev/full: every line is dropped, and counted."""
    with Gateway("--access-log=/dev/full", upstreams=[local.url], workers=1) as proxy:
        with Line(proxy.port) as line:
            for _ in range(50):
                assert line.ask("GET", "/id").status == 200
        wait_until(lambda: proxy.totals()["log_dropped"] >= 50)
        assert proxy.totals()["log_dropped"] == 50
