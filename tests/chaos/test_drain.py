"""A stop that drains: what every kind of client sees of it.

wrk, httpx and clients that keep a ledger are under way when SIGTERM comes: whatever was accepted is
answered, and then nobody is let in.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fastproxy.process.sockets import hush
from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Nginx, Origin, read_wrk
from tests.flow.wire import Line, head_of
from tests.running import FOREIGN, wait_until

CONNECTIONS = 64


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    with Nginx() as one:
        yield one


def terminate(proxy: Gateway) -> float:
    """SIGTERM now; when that was."""
    assert proxy.process
    proxy.process.send_signal(signal.SIGTERM)
    return time.monotonic()


# ---- clients that keep a ledger ---------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_drained_stop_under_load_loses_no_request(origin: Origin, number: signal.Signals) -> None:
    with Gateway(upstreams=[origin.url], workers=2) as proxy:
        port = proxy.port
        with (
            Ledger(port, lines=24) as kept,
            Ledger(port, lines=4, fresh=True) as fresh,
            Ledger(port, lines=4, target="/slow?ms=700") as slow,
        ):
            kept.until(200)
            fresh.until(20)
            wait_until(lambda: len(slow.entries) >= 4)
            assert proxy.process
            proxy.process.send_signal(number)
            assert proxy.process.wait(20) == 0
            assert refuses(port)
            for ledger in (kept, fresh, slow):
                ledger.stopping = True
    seen = origin.ask("/seen")
    for ledger in (kept, fresh, slow):
        assert {entry.outcome for entry in ledger.failed} <= {"refused"}, ledger.failed[:5]
        assert len(ledger.ok) == len([e for e in ledger.entries if e.outcome != "refused"])
        ledger.check_origin(seen)
    assert any(entry.closes for entry in kept.ok)  # they were told


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_drain_ends_bodies_and_then_idle_lines(origin: Origin) -> None:
    """An upload and a download that run longer than the stop takes to arrive are finished whole."""
    with Gateway(upstreams=[origin.url], workers=2) as proxy:
        port = proxy.port
        with Line(port) as down, Line(port) as up, Line(port) as idle:
            assert idle.ask("GET", "/id").status == 200
            down.sock.sendall(head_of("GET", "/bytes?n=1000000&piece=100000&pause=60"))
            up.sock.sendall(head_of("POST", "/hash", "Content-Length: 500000"))
            up.sock.sendall(bytes(1000))
            wait_until(lambda: proxy.inflight() == 2)
            assert proxy.process
            proxy.process.terminate()
            wait_until(lambda: refuses(port))
            time.sleep(0.3)
            up.sock.sendall(bytes(499_000))
            answer = up.answer()
            assert answer.text.split()[0] == "500000"
            assert answer.fields["connection"] == "close"
            assert down.answer().size == 1_000_000
            assert idle.sock.recv(1) == b""
        assert proxy.process.wait(10) == 0


def test_a_drain_that_takes_too_long_is_cut_off(origin: Origin) -> None:
    with (
        Gateway("--drain-timeout=700ms", upstreams=[origin.url], workers=2) as proxy,
        Line(proxy.port) as line,
    ):
        line.sock.sendall(head_of("GET", "/slow?ms=20000"))
        wait_until(lambda: proxy.inflight() == 1)
        started = time.monotonic()
        proxy.stop()
        assert 0.6 < time.monotonic() - started < 8
        assert line.sock.recv(1) == b""


def test_a_hushed_door_lets_in_who_is_there_and_nobody_new() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with Line(port) as before:
            hush(door.fileno())
            with socket.socket() as new:
                new.settimeout(0.4)
                with pytest.raises(TimeoutError):
                    new.connect(("127.0.0.1", port))
            peer, _ = door.accept()
            with peer:
                peer.sendall(b"still here")
                assert before.reader.more() == b"still here"
                before.sock.sendall(b"me too")
                assert peer.recv(10) == b"me too"


# ---- wrk and httpx ----------------------------------------------------------------------------


def listening(port: int) -> bool:
    """Without a connection of our own, which would be counted."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
               for line in lines)  # fmt: skip


COUNT_CLOSES = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) closes = 0 end
function response(status, headers, body)
  if headers["Connection"] == "close" then closes = closes + 1 end
end
function done(summary, latency, requests)
  local sum = 0
  for _, thread in ipairs(threads) do sum = sum + thread:get("closes") end
  io.write("Closes: " .. sum .. "\\n")
end
"""


def test_wrk_is_answered_to_the_last_request(nginx: Nginx, tmp_path: Path) -> None:
    """An answer that says `Connection: close` ends each connection that was accepted, and the only
    errors are those of connecting when the doors are shut.

    wrk opens a new connection for each that ends, again and again. On loopback it learns of the
    refusal when it writes, and counts that as a write error; a connection that we had accepted and
    cut would be one too, or a read error. So we count ourselves: as many as the proxy accepted
    ended with an answer that said so.
    """
    script, log = tmp_path / "closes.lua", tmp_path / "log"
    script.write_text(COUNT_CLOSES)
    flags = [f"--access-log={log}", "--log-format={method} {status} {end_state}"]
    with Gateway(*flags, upstreams=[nginx.url], workers=2) as proxy:
        port = proxy.port
        with Line(port) as slow:  # keeps the drain open until all has been counted
            slow.sock.sendall(head_of("PUT", "/put/slow", "Content-Length: 10"))
            wait_until(lambda: proxy.totals()["connections"] == 1)
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d2s", "--timeout=2s", "-s", str(script)]
            load = subprocess.Popen(
                [*command, f"{proxy.url}/small"], stdout=subprocess.PIPE, text=True, env=FOREIGN
            )
            wait_until(lambda: proxy.totals()["requests"] > 5000)
            terminate(proxy)
            wait_until(lambda: not listening(port))
            wait_until(lambda: proxy.totals()["connections"] == 1)
            accepted = proxy.totals()["accepted"]
            slow.sock.sendall(bytes(10))
            assert slow.answer().status == 201
        assert proxy.process
        assert proxy.process.wait(5) == 0
        seen, _ = load.communicate(timeout=30)
    assert load.returncode == 0
    found = read_wrk(seen)
    errors = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", found.socket_errors)}
    assert errors.pop("write") + errors.pop("connect") >= CONNECTIONS
    assert errors == {"read": 0, "timeout": 0}
    assert found.bad_status == 0
    closes = re.search(r"Closes: (\d+)", seen)
    assert closes
    # But for the slow one, and the one with which wrk tries the address before it begins.
    assert int(closes[1]) == accepted - 2 >= CONNECTIONS
    # Each request that reached us was answered, and each answer arrived.
    lines = Counter(log.read_text().splitlines())
    assert lines == {"GET 200 --": found.requests, "PUT 201 --": 1}


def test_httpx_is_answered_to_the_last_request(origin: Origin) -> None:
    """A pool of kept connections, GET and POST: a request is answered, or could not connect."""
    outcomes: Counter[str] = Counter()

    async def client(port: int, number: int, shared: httpx.AsyncClient) -> None:
        for turn in range(100_000):
            name = f"drain-{number}-{turn}"
            body = b"x" * 5000 if turn % 2 else None
            try:
                answer = await shared.request(
                    "POST" if body else "GET", "/id", headers={"X-Ledger": name}, content=body
                )
            except httpx.ConnectError:
                outcomes["refused"] += 1
                return
            right = answer.status_code == 200 and answer.text.split()[1] == name
            outcomes["ok" if right else "wrong"] += 1
            outcomes["told"] += answer.headers.get("connection") == "close"

    async def work(port: int) -> None:
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=address, limits=limits, timeout=20, trust_env=False
        ) as shared:
            await asyncio.gather(*(client(port, number, shared) for number in range(32)))

    with Gateway(upstreams=[origin.url], workers=2) as proxy:
        thread = threading.Thread(target=asyncio.run, args=(work(proxy.port),), daemon=True)
        thread.start()
        wait_until(lambda: outcomes["ok"] > 300)
        started = terminate(proxy)
        assert proxy.process
        assert proxy.process.wait(10) == 0
        assert time.monotonic() - started < 5
        thread.join(30)
        assert not thread.is_alive()
    assert outcomes["refused"] == 32
    assert outcomes["wrong"] == 0
    assert outcomes["told"] > 0
    seen = origin.ask("/seen")
    assert sum(count for name, count in seen.items() if name.startswith("drain-")) == outcomes["ok"]
