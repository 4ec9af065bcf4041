"""Programs that people really use on both sides: curl, httpx, websockets, wrk; nginx, granian."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.flow.origin import pattern, pattern_hash
from tests.flow.peers import SMALL, Gateway, Nginx, wrk
from tests.running import FOREIGN, wait_until

MIB = 1 << 20
BACKENDS = ("granian", "origin")


def curl(*args: str, data: bytes | None = None) -> str:
    command = ["curl", "-sS", "--max-time", "30", *args]
    done = subprocess.run(command, input=data, capture_output=True, env=FOREIGN)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


# ---- curl -------------------------------------------------------------------------------------


def test_curl_gets(gateway: Gateway) -> None:
    assert curl(f"{gateway.url}/nginx/small") == SMALL
    assert curl(f"{gateway.url}/granian/hello") == "hello\n"


def test_curl_keeps_its_connection(gateway: Gateway) -> None:
    urls = [f"{gateway.url}/nginx/small"] * 20
    out = curl("-w", "%{num_connects}", "-o", "/dev/null", *urls[:1],
               *[arg for url in urls[1:] for arg in ("-o", "/dev/null", url)])  # fmt: skip
    assert out == "1" + "0" * 19


def test_curl_head_has_no_body(gateway: Gateway) -> None:
    out = curl("-I", f"{gateway.url}/nginx/small")
    assert "200 OK" in out
    assert "Content-Length: 100" in out


def test_curl_http10(gateway: Gateway) -> None:
    """granian's answer is chunked; HTTP/1.0 cannot read that, it gets the end by close."""
    out = curl("-0", "-i", f"{gateway.url}/granian/hello")
    head, _, body = out.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    assert "chunked" not in head.lower()
    assert body == "hello\n"
    size = curl("-0", "-w", "%{size_download}", "-o", "/dev/null",
                f"{gateway.url}/origin/bytes?n=300000&framing=chunked")  # fmt: skip
    assert size == "300000"


def test_curl_expects_100(gateway: Gateway, tmp_path: Path) -> None:
    """curl sends Expect with large bodies and waits for the 100 that the backend gives."""
    body = tmp_path / "body"
    body.write_bytes(b"".join(pattern(3 * MIB, MIB)))
    started = time.monotonic()
    out = curl("-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", str(body),
               f"{gateway.url}/origin/hash")  # fmt: skip
    assert out == f"{3 * MIB} {pattern_hash(3 * MIB)}"
    assert time.monotonic() - started < 15  # it did not wait for its own time-out


def test_curl_uploads_chunked_from_a_pipe(gateway: Gateway) -> None:
    data = b"".join(bytes(part) for part in pattern(2 * MIB + 17, MIB))
    for backend in BACKENDS:
        out = curl("-T", "-", "-X", "POST", f"{gateway.url}/{backend}/hash", data=data)
        assert out == f"{len(data)} {pattern_hash(len(data))}"


def test_curl_puts_a_file_that_nginx_keeps(gateway: Gateway, nginx: Nginx, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(os.urandom(5 * MIB))
    curl("-f", "-T", str(body), f"{gateway.url}/nginx/put/kept.bin")
    assert (nginx.www / "kept.bin").read_bytes() == body.read_bytes()
    fetched = tmp_path / "fetched"
    curl("-f", "-o", str(fetched), f"{gateway.url}/nginx/kept.bin")
    assert fetched.read_bytes() == body.read_bytes()
    part = curl("-r", "100-199", "-w", "%{http_code} %{size_download}", "-o", str(fetched),
                f"{gateway.url}/nginx/kept.bin")  # fmt: skip
    assert part == "206 100"
    assert fetched.read_bytes() == body.read_bytes()[100:200]


def test_curl_sees_early_hints(gateway: Gateway) -> None:
    out = curl("-i", f"{gateway.url}/origin/hints")
    first, second = out.split("HTTP/1.1 ")[1:3]
    assert first.startswith("103 ")
    assert "</a.css>" in first
    assert second.startswith("200 ")


# ---- httpx ------------------------------------------------------------------------------------


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as one:
        yield one


def test_httpx_keeps_alive(gateway: Gateway, client: httpx.Client) -> None:
    before = gateway.totals()["accepted"]
    for number in range(50):
        assert client.get(f"/origin/id?{number}").status_code == 200
    assert gateway.totals()["accepted"] == before + 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_httpx_streams_up_and_down(client: httpx.Client, backend: str) -> None:
    size = 8 * MIB + 3

    def body() -> Iterator[bytes]:
        for part in pattern(size, 100_003):
            yield bytes(part)

    sized = client.post(f"/{backend}/hash", content=body(), headers={"Content-Length": str(size)})
    assert sized.text == f"{size} {pattern_hash(size)}"
    assert client.post(f"/{backend}/hash", content=body()).text == sized.text  # chunked
    found, got = hashlib.sha256(), 0
    with client.stream("GET", f"/{backend}/bytes?n={size}") as answer:
        for part in answer.iter_raw():
            found.update(part)
            got += len(part)
    assert (got, found.hexdigest()) == (size, pattern_hash(size))


def test_httpx_reads_events_as_they_come(client: httpx.Client) -> None:
    """Server-sent events must not wait for each other in the proxy."""
    came = []
    with client.stream("GET", "/granian/stream?n=5&ms=200") as answer:
        for part in answer.iter_text():
            came.append((time.monotonic(), part))
    assert "".join(part for _, part in came) == "".join(f"data: {n}\n\n" for n in range(5))
    assert came[-1][0] - came[0][0] > 0.5


def test_httpx_bodies_on_any_method(client: httpx.Client) -> None:
    for method in ("GET", "DELETE", "OPTIONS", "PATCH", "PUT", "POST"):
        answer = client.request(method, "/origin/hash", content=b"abc" * 1000)
        assert answer.text == f"3000 {hashlib.sha256(b'abc' * 1000).hexdigest()}", method


def test_what_the_backend_reads(gateway: Gateway, client: httpx.Client) -> None:
    """Hop-by-hop fields end here; who asked is said anew; the rest passes."""
    answer = client.get(
        "/granian/headers",
        headers={
            "X-Forwarded-For": "6.6.6.6",
            "Connection": "keep-alive, X-Private",
            "X-Private": "1",
            "X_User": "root",
            "X-Kept": "yes",
        },
    )
    fields: dict[str, list[str]] = {}
    for name, value in answer.json():
        fields.setdefault(name, []).append(value)
    assert fields["x-forwarded-for"] == ["127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["http"]
    assert fields["x-forwarded-host"] == [f"127.0.0.1:{gateway.port}"]
    assert fields["host"] == [f"127.0.0.1:{gateway.port}"]
    assert fields["x-kept"] == ["yes"]
    assert not {"x-private", "x_user", "keep-alive"} & set(fields)


def test_sixty_httpx_tasks_at_once(gateway: Gateway) -> None:
    """Each gets its own answers, on connections that they share."""

    async def work() -> None:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=30, trust_env=False) as client:

            async def one(number: int) -> None:
                for turn in range(4):
                    name = f"httpx-{number}-{turn}"
                    answer = await client.get("/origin/id", headers={"X-Ledger": name})
                    assert answer.text.split()[1] == name

            await asyncio.gather(*(one(number) for number in range(60)))

    asyncio.run(work())


# ---- websockets -------------------------------------------------------------------------------


def socket_url(gateway: Gateway) -> str:
    return f"ws://127.0.0.1:{gateway.port}/granian/ws"


def test_websocket_echo_and_subprotocol(gateway: Gateway) -> None:
    async def work() -> None:
        wanted: Any = ["x", "chat"]
        async with connect(socket_url(gateway), subprotocols=wanted, proxy=None) as line:
            assert line.subprotocol == "chat"
            for text in ("hello", "", "ü" * 1000):
                await line.send(text)
                assert await line.recv() == text

    asyncio.run(work())


def test_websocket_large_messages_both_kinds(gateway: Gateway) -> None:
    async def work() -> None:
        plain: Any = {"max_size": None, "proxy": None, "compression": None}
        async with connect(socket_url(gateway), **plain) as line:
            data = b"".join(bytes(part) for part in pattern(4 * MIB, MIB))
            for _ in range(2):
                await line.send(data)
                assert await line.recv() == data
            await line.send("x" * MIB)
            assert len(await line.recv()) == MIB

    asyncio.run(work())


def test_websocket_pings_are_answered(gateway: Gateway) -> None:
    async def work() -> None:
        async with connect(socket_url(gateway), proxy=None) as line:
            for _ in range(10):
                assert await asyncio.wait_for(await line.ping(), 10) < 10

    asyncio.run(work())


def test_websocket_server_pushes(gateway: Gateway) -> None:
    async def work() -> None:
        async with connect(socket_url(gateway), proxy=None) as line:
            await line.send("push 2000")
            for number in range(2000):
                assert await line.recv() == str(number)

    asyncio.run(work())


def test_websocket_closing_handshake_from_both_ends(gateway: Gateway) -> None:
    async def work() -> None:
        async with connect(socket_url(gateway), proxy=None) as line:
            await line.send("bye 4001")
            with pytest.raises(websockets.ConnectionClosed):
                await line.recv()
            assert (line.close_code, line.close_reason) == (4001, "as asked")
        line = await connect(socket_url(gateway), proxy=None)
        await line.close(4002, "enough")
        assert line.close_code == 4002

    asyncio.run(work())


@pytest.mark.parametrize(
    ("path", "status"), [("/nginx/small", 200), ("/granian/hello", 403), ("/nowhere", 404)]
)
def test_a_refused_upgrade_is_an_ordinary_answer(gateway: Gateway, path: str, status: int) -> None:
    async def work() -> None:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{gateway.port}{path}", proxy=None):
                pass
        assert caught.value.response.status_code == status

    asyncio.run(work())


def test_a_hundred_websockets_at_once(gateway: Gateway) -> None:
    async def one(number: int) -> None:
        async with connect(socket_url(gateway), proxy=None, open_timeout=30) as line:
            for turn in range(5):
                await line.send(f"{number} {turn}")
                assert await line.recv() == f"{number} {turn}"

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(100)))

    asyncio.run(work())
    wait_until(lambda: gateway.totals()["connections"] == 0)
    assert gateway.inflight() == 0


def test_the_other_direction_of_a_websocket_dies(gateway: Gateway) -> None:
    """A client that vanishes without a closing handshake leaves nothing behind."""

    async def work() -> None:
        for _ in range(10):
            line = await connect(socket_url(gateway), proxy=None)
            line.transport.abort()

    asyncio.run(work())
    wait_until(lambda: gateway.totals()["connections"] == 0 and gateway.inflight() == 0)


# ---- wrk --------------------------------------------------------------------------------------

# Connections, and so many workers that the pool of each (256 idle at most) holds what comes to it.
# With more clients than that in one worker upstream connections come and go, as is meant.
LOADS = [(64, 2), (512, 4)]
RETIRED_AFTER = 10_000
"""`limits.upstream_requests` and `limits.requests_per_connection`."""


@pytest.mark.parametrize(("connections", "workers"), LOADS)
def test_wrk(nginx: Nginx, connections: int, workers: int) -> None:
    load_and_look(nginx, connections, workers, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("connections", "workers"), LOADS)
def test_wrk_30_seconds(nginx: Nginx, connections: int, workers: int) -> None:
    load_and_look(nginx, connections, workers, 30)


def load_and_look(nginx: Nginx, connections: int, workers: int, seconds: int) -> None:
    """No error at wrk, none counted, and upstream connections are kept: never more than clients
    were there at once, but for those that are old and retired (ours to the client too: its next
    one may come to another worker, whose pool has none to spare)."""
    with Gateway(upstreams=[nginx.url], workers=workers) as proxy:
        load = wrk(f"{proxy.url}/small", connections, seconds)
        assert load.clean, load
        proxy.settle()
        totals = proxy.totals()
        status = proxy.status()["status"]
    print(f"\nwrk {connections}: {load.requests / load.seconds:.0f} requests/s, no errors, "
          f"{totals['upstream_connects']} upstream connections")  # fmt: skip
    # wrk does not count what was under way when it stopped.
    assert load.requests <= totals["requests"] <= load.requests + 2 * connections
    assert status["5xx"] == status["4xx"] == 0
    retired = 2 * totals["requests"] // RETIRED_AFTER
    assert totals["upstream_connects"] <= connections + retired
    assert totals["upstream_connects"] + totals["upstream_reused"] == totals["requests"]
