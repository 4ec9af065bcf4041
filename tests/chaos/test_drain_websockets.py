"""A stop that drains while WebSockets are open: they live on until the drain time is nearly over,
and then are told to go, one after the other.

The `websockets` library is at both ends.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.flow.peers import Gateway
from tests.flow.websockets_end import EchoServer
from tests.running import wait_until


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as one:
        yield one


async def opened(port: int) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{port}/", proxy=None, close_timeout=5)


async def works(line: ClientConnection, text: str) -> None:
    await line.send(text)
    assert await asyncio.wait_for(line.recv(), 10) == text


def terminate(proxy: Gateway) -> float:
    """SIGTERM now; when that was."""
    assert proxy.process
    proxy.process.send_signal(signal.SIGTERM)
    return time.monotonic()


async def shut(port: int) -> None:
    """Until nobody is let in any more."""
    while True:
        with socket.socket() as sock:
            if await asyncio.to_thread(sock.connect_ex, ("127.0.0.1", port)):
                return
        await asyncio.sleep(0.01)


def test_websockets_live_until_the_drain_time_is_over(echo: EchoServer) -> None:
    """They work on after SIGTERM, new ones are refused, one that ends does so politely on both
    sides; at the end of the drain time the others are told to go, and the exit is a good one."""

    async def work(proxy: Gateway) -> None:
        lines = [await opened(proxy.port) for _ in range(6)]
        for line in lines:
            await works(line, "before")
        started = terminate(proxy)
        await shut(proxy.port)
        with pytest.raises(OSError):
            await opened(proxy.port)
        for line in lines:
            await works(line, "while it drains")
        await lines[0].close(4001, "enough")
        assert lines[0].close_code == 4001
        assert proxy.status()["state"] == "draining"
        for line in lines[1:]:
            await works(line, "still")
        assert time.monotonic() - started < 1.5, "too slow a machine to tell"
        for line in lines[1:]:
            with pytest.raises(websockets.ConnectionClosedOK):
                await asyncio.wait_for(line.recv(), 10)
            assert line.close_code == 1001
        assert 1.5 <= time.monotonic() - started < 2.5

    with Gateway("--drain-timeout=3s", upstreams=[echo.url], workers=2) as proxy:
        asyncio.run(work(proxy))
        assert proxy.process
        assert proxy.process.wait(3) == 0
        assert "drain time is over" not in proxy.log()
        assert "killing" not in proxy.log()
    wait_until(lambda: len(echo.endings) == 6)
    assert Counter(echo.endings) == {4001: 1, 1001: 5}


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_drain_ends_with_the_last_websocket(echo: EchoServer, who: str) -> None:
    """Polite ends, from either side, pass through; nothing is waited for after the last one."""

    async def work(proxy: Gateway) -> None:
        lines = [await opened(proxy.port) for _ in range(6)]
        terminate(proxy)
        await shut(proxy.port)
        for line in lines:
            await works(line, "while it drains")
        if who == "server":
            await asyncio.to_thread(echo.close_all, 1001)
            for line in lines:
                with pytest.raises(websockets.ConnectionClosedOK):
                    await asyncio.wait_for(line.recv(), 10)
        else:
            await asyncio.gather(*(line.close(1001, "going away") for line in lines))
        assert {line.close_code for line in lines} == {1001}

    with Gateway("--drain-timeout=20s", upstreams=[echo.url], workers=2) as proxy:
        asyncio.run(work(proxy))
        ended = time.monotonic()
        assert proxy.process
        assert proxy.process.wait(10) == 0
        assert time.monotonic() - ended < 2
        assert "drain time is over" not in proxy.log()
    wait_until(lambda: len(echo.endings) == 6)
    assert set(echo.endings) == {1001}


def test_an_upgrade_under_way_is_still_made(echo: EchoServer) -> None:
    """Asked before SIGTERM, granted after it: that is a request that was accepted."""
    echo.hold = 0.7

    async def work(proxy: Gateway) -> None:
        asking = asyncio.ensure_future(opened(proxy.port))
        while not await asyncio.to_thread(proxy.inflight):
            await asyncio.sleep(0.01)
        terminate(proxy)
        await shut(proxy.port)
        line = await asking
        await works(line, "made it")
        await line.close()

    with Gateway("--drain-timeout=20s", upstreams=[echo.url], workers=2) as proxy:
        asyncio.run(work(proxy))
        assert proxy.process
        assert proxy.process.wait(5) == 0
    wait_until(lambda: echo.endings == [1000])


def test_what_a_stop_cuts_is_logged_as_cut_by_us(echo: EchoServer, tmp_path: Path) -> None:
    """A tunnel, and a request that nobody answered: neither the client nor the backend ended it."""

    async def work(proxy: Gateway) -> None:
        line = await opened(proxy.port)
        await works(line, "hello")
        echo.hold = 1.5
        asking = asyncio.ensure_future(opened(proxy.port))
        while await asyncio.to_thread(proxy.inflight) != 2:
            await asyncio.sleep(0.01)
        terminate(proxy)
        with pytest.raises(websockets.ConnectionClosedOK):
            await asyncio.wait_for(line.recv(), 10)
        with pytest.raises(websockets.InvalidMessage):
            await asking

    log = tmp_path / "log"
    flags = ["--drain-timeout=300ms", f"--access-log={log}", "--log-format={status} {end_state}"]
    with Gateway(*flags, upstreams=[echo.url], workers=1) as proxy:
        asyncio.run(work(proxy))
        assert proxy.process
        assert proxy.process.wait(5) == 0
    assert sorted(log.read_text().splitlines()) == ["101 KT", "503 KH"]
