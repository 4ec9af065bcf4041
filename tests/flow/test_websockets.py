"""WebSockets with the `websockets` library at both ends, by HTTP/1.1 and through HTTP/2 (RFC 8441).

Of HTTP/2 one proxy is the client and the next one the server, so that all four pairs are here:
h1 to h1, and in a row of them h1 to h2, h2 to h2, h2 to h1.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.flow.peers import Gateway
from tests.flow.websockets_end import EchoServer
from tests.running import wait_until

BIG = 16 << 20
SECONDS = 60


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with EchoServer() as one:
        yield one


def through(url: str, **more: Any) -> Gateway:
    """A proxy that understands HTTP/2 as well, in plain text."""
    settings = {
        "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
        "upstreams": {"a": {"backends": [url]}},
        "routes": [{"path": "/", "upstream": "a"}],
        **more,
    }
    return Gateway(settings=settings, workers=1)


def row(stack: ExitStack, echo: EchoServer, hops: int, **more: Any) -> Gateway:
    """The first of so many proxies in a row; between them is HTTP/2. `more`: for all of them."""
    url = echo.url
    for _ in range(hops):
        one = stack.enter_context(through(url, **more))
        url = f"h2c://127.0.0.1:{one.port}"
    return one


@pytest.fixture(scope="module", params=[1, 2, 3], ids=["h1", "h1-h2-h1", "h1-h2-h2-h1"])
def proxy(echo: EchoServer, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with ExitStack() as stack:
        yield row(stack, echo, request.param)


def talk(
    proxy: Gateway, work: Callable[[ClientConnection], Awaitable[Any]], **options: Any
) -> None:
    async def whole() -> None:
        url = f"ws://127.0.0.1:{proxy.port}/"
        async with connect(url, proxy=None, max_size=1 << 25, **options) as line:
            await asyncio.wait_for(work(line), SECONDS)

    asyncio.run(whole())


async def comes_back(line: ClientConnection, message: str | bytes) -> None:
    await line.send(message)
    assert await line.recv() == message


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_text_and_bytes(proxy: Gateway, compression: str | None) -> None:
    """permessage-deflate is the two ends' business: its bits and extension fields pass."""

    async def work(line: ClientConnection) -> None:
        accepted = line.response and line.response.headers.get("Sec-WebSocket-Extensions", "")
        assert ("permessage-deflate" in str(accepted)) == (compression is not None)
        for size in (0, 1, 125, 126, 65535, 65536, 100_000):
            await comes_back(line, "é" * (size // 2))
            await comes_back(line, os.urandom(size))

    talk(proxy, work, compression=compression)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_16_mib_at_once(proxy: Gateway, compression: str | None) -> None:
    async def work(line: ClientConnection) -> None:
        await comes_back(line, os.urandom(BIG))
        await comes_back(line, "0123456789abcdef" * (BIG // 16))

    talk(proxy, work, compression=compression)


def test_fragments_both_ways(proxy: Gateway) -> None:
    async def work(line: ClientConnection) -> None:
        await line.send([b"a" * 70_000, b"", b"b"])
        assert await line.recv() == b"a" * 70_000 + b"b"
        await line.send("fragments")
        parts = [part async for part in line.recv_streaming()]
        assert [part for part in parts if part] == ["one ", "two ", "three"]

    talk(proxy, work)


def test_pings_both_ways(proxy: Gateway) -> None:
    async def work(line: ClientConnection) -> None:
        for payload in (b"", b"x" * 125):
            assert await (await line.ping(payload)) < 5
        await line.send("ping")
        assert await line.recv() == "pong"

    talk(proxy, work)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
@pytest.mark.parametrize("who", ["client", "server"])
def test_close_codes(proxy: Gateway, echo: EchoServer, code: int, who: str) -> None:
    wait_until(lambda: not echo.open)  # those of the test before
    echo.endings.clear()

    async def work(line: ClientConnection) -> None:
        if who == "client":
            await line.close(code, "as I like")
        else:
            await line.send(f"bye {code}")
            with pytest.raises(websockets.ConnectionClosed):
                await line.recv()
            assert line.close_reason == "as asked"
        assert line.close_code == code

    talk(proxy, work)
    wait_until(lambda: echo.endings == [code])


def test_many_at_once_each_its_own(proxy: Gateway) -> None:
    async def one(number: int) -> None:
        async with connect(f"ws://127.0.0.1:{proxy.port}/", proxy=None) as line:
            for at in range(20):
                await comes_back(line, f"{number} {at}")

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(100)))

    asyncio.run(work())


def ends(proxy: Gateway, work: Callable[[ClientConnection], Awaitable[Any]]) -> float:
    """When the proxy says goodbye to a client that does `work` until then."""
    began = time.monotonic()

    async def until(line: ClientConnection) -> None:
        with pytest.raises(websockets.ConnectionClosedOK):
            while True:
                await work(line)
        assert line.close_code == 1001

    talk(proxy, until)
    return time.monotonic() - began


async def chats(line: ClientConnection) -> None:
    await comes_back(line, "x")
    await asyncio.sleep(0.05)


async def listens(line: ClientConnection) -> None:
    await line.recv()


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_silence_and_age_end_politely(echo: EchoServer, hops: int) -> None:
    wait_until(lambda: not echo.open)  # those of the test before
    echo.endings.clear()
    times = {"tunnel_idle": "400ms", "tunnel_age": "1200ms"}
    with ExitStack() as stack:
        one = row(stack, echo, hops, timeouts=times)
        assert 0.35 < ends(one, listens) < 1.1
        assert 1.15 < ends(one, chats) < 2.5
    wait_until(lambda: len(echo.endings) == 2)
    assert echo.endings == [1001, 1001]
