"""WebSockets through TLS (wss://), with the `websockets` library at both ends.

The rows: TLS to the proxy alone; to the backend as well; and two proxies, between which a WebSocket
is a stream of HTTP/2 in TLS (RFC 8441), so that each side of that is ours once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from tests.flow.websockets_end import EchoServer
from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.running import wait_until
from tests.tls.certs import Authority
from tests.tls.files import PAIR, Filed
from tests.tls.origin import context_of
from tests.tls.secure import trusting

AUTHORITY = Authority()
SITE = AUTHORITY.sign("a.test", "127.0.0.1")
ROWS = ["tls-plain", "tls-tls", "tls-h2-tls"]
MIB = 1 << 20
SECONDS = 60


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with EchoServer(compression=None) as one:
        yield one


@pytest.fixture(scope="module")
def secured() -> Iterator[EchoServer]:
    """The same behind TLS."""
    with EchoServer(ssl=context_of(SITE, alpn=("http/1.1",)), compression=None) as one:
        yield one


def before(url: str, protocol: str = "auto", **more: Any) -> Filed:
    """A proxy with a TLS listener; it believes backends by the same authority."""
    upstream: dict[str, Any] = {"backends": [url]}
    if url.startswith("https:"):
        upstream |= {"protocol": protocol, "tls": {"ca": "ca.pem", "server_name": "a.test"}}
    settings = {"upstreams": {"default": upstream}, **more}
    return Filed(SITE, url, [{"tls": PAIR}], {"ca.pem": AUTHORITY.pem}, settings, workers=1)


def row(stack: ExitStack, kind: str, echo: EchoServer, secured: EchoServer, **more: Any) -> Filed:
    """The proxy that clients come to. `more`: settings of all in the row."""
    if kind == "tls-plain":
        return stack.enter_context(before(echo.url, **more))
    last = stack.enter_context(before(secured.url.replace("http:", "https:"), **more))
    if kind == "tls-tls":
        return last
    return stack.enter_context(before(f"https://127.0.0.1:{last.port}", "http2", **more))


@pytest.fixture(scope="module", params=ROWS)
def proxy(echo: EchoServer, secured: EchoServer, request: pytest.FixtureRequest) -> Iterator[Filed]:
    with ExitStack() as stack:
        yield row(stack, request.param, echo, secured)


def endings(echo: EchoServer, secured: EchoServer) -> list[int | None]:
    """Of the backend's connections; empty now, and there is none."""
    wait_until(lambda: not echo.open and not secured.open)
    echo.endings.clear()
    secured.endings = echo.endings
    return echo.endings


def talk(proxy: Filed, work: Callable[[ClientConnection], Awaitable[Any]], **options: Any) -> None:
    async def whole() -> None:
        url = f"wss://127.0.0.1:{proxy.port}/"
        context = trusting(AUTHORITY)
        options.setdefault("max_size", 1 << 25)
        async with connect(
            url, proxy=None, ssl=context, server_hostname="a.test", compression=None, **options
        ) as line:
            await asyncio.wait_for(work(line), SECONDS)

    asyncio.run(whole())


async def comes_back(line: ClientConnection, message: str | bytes) -> None:
    await line.send(message)
    assert await line.recv() == message


def test_text_and_bytes(proxy: Filed) -> None:
    """Sizes around what fits into a record, too."""

    async def work(line: ClientConnection) -> None:
        for size in (0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536):
            await comes_back(line, "é" * (size // 2))
            await comes_back(line, os.urandom(size))

    talk(proxy, work)


def test_1_mib(proxy: Filed) -> None:
    async def work(line: ClientConnection) -> None:
        for _ in range(3):
            await comes_back(line, os.urandom(MIB))
            await comes_back(line, "0123456789abcdef" * (MIB // 16))

    talk(proxy, work)


def test_1_mib_both_ways_at_once(proxy: Filed) -> None:
    """Neither direction waits for the other to be read."""

    async def work(line: ClientConnection) -> None:
        messages = [os.urandom(MIB) for _ in range(6)]

        async def send() -> None:
            for one in messages:
                await line.send(one)

        sending = asyncio.ensure_future(send())
        for one in messages:
            assert await line.recv() == one
        await sending

    talk(proxy, work)


def test_pings_and_fragments(proxy: Filed) -> None:
    async def work(line: ClientConnection) -> None:
        assert await (await line.ping(b"x" * 125)) < 5
        await line.send("ping")
        assert await line.recv() == "pong"
        await line.send([b"a" * 70_000, b"", b"b"])
        assert await line.recv() == b"a" * 70_000 + b"b"

    talk(proxy, work)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4999])
@pytest.mark.parametrize("who", ["client", "server"])
def test_close_codes(
    proxy: Filed, echo: EchoServer, secured: EchoServer, code: int, who: str
) -> None:
    ended = endings(echo, secured)

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
    wait_until(lambda: ended == [code])


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_cut_is_passed_on(proxy: Filed, echo: EchoServer, secured: EchoServer, who: str) -> None:
    """Without a close frame, and without TLS's own end: nobody sees a polite one."""
    ended = endings(echo, secured)

    async def work(line: ClientConnection) -> None:
        await comes_back(line, "hello")
        if who == "client":
            line.transport.abort()
        else:
            [other] = echo.open | secured.open
            loop = (echo if echo.open else secured).loop
            loop.call_soon_threadsafe(other.transport.abort)
            with pytest.raises(websockets.ConnectionClosedError):
                await line.recv()
            assert line.close_code == 1006

    talk(proxy, work)
    wait_until(lambda: ended == [1006])


def test_many_at_once_each_its_own(proxy: Filed) -> None:
    async def one(number: int) -> None:
        async with connect(
            f"wss://127.0.0.1:{proxy.port}/", proxy=None, ssl=context, server_hostname="a.test"
        ) as line:
            for at in range(10):
                await comes_back(line, f"{number} {at}")

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(40)))

    context = trusting(AUTHORITY)
    asyncio.run(work())


@pytest.mark.parametrize("kind", ROWS)
def test_silence_ends_politely(echo: EchoServer, secured: EchoServer, kind: str) -> None:
    """1001 comes through TLS, to both ends."""

    async def listens(line: ClientConnection) -> None:
        with pytest.raises(websockets.ConnectionClosedOK):
            await line.recv()
        assert line.close_code == 1001

    with ExitStack() as stack:
        proxy = row(stack, kind, echo, secured, timeouts={"tunnel_idle": "300ms"})
        ended = endings(echo, secured)
        talk(proxy, listens)
        wait_until(lambda: ended == [1001])


# ---- a client that speaks HTTP/2 --------------------------------------------------------------


def frame(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


def test_a_client_by_http2_in_tls(proxy: Filed) -> None:
    """Extended CONNECT; beside it, on the same connection, another one and a plain request."""
    with Client(("127.0.0.1", proxy.port), tls=True) as client:
        client.send(h2.window_update(0, 1 << 20))
        asked = (*h2.fields(b"/", b"CONNECT", scheme=b"https"), (b":protocol", b"websocket"))
        more = ((b"sec-websocket-version", b"13"),)
        for stream in (1, 3):
            client.send(h2.headers(stream, h2.block(*asked, *more), h2.END_HEADERS))
        for stream in (1, 3):
            assert client.until(lambda stream=stream: client.stream(stream).status == 200)
        client.send(h2.get(5))
        assert client.outcome(5) == "426"  # what a server of WebSockets says to that
        said = os.urandom(50_000)
        for at, stream in enumerate((1, 3)):
            data = frame(Opcode.BINARY, said[at:])
            for start in range(0, len(data), 16384):
                client.send(h2.data(stream, data[start : start + 16384], 0))
                assert client.sync()
        for at, stream in enumerate((1, 3)):
            back = Frame(Opcode.BINARY, said[at:]).serialize(mask=False)
            got = client.stream(stream)
            assert client.until(lambda got=got, back=back: got.body == back)
            client.send(h2.data(stream, frame(Opcode.PING, b"there?"), 0))
            pong = Frame(Opcode.PONG, b"there?").serialize(mask=False)
            assert client.until(lambda got=got, back=back, pong=pong: got.body == back + pong)
            close = (1000).to_bytes(2)
            client.send(h2.data(stream, frame(Opcode.CLOSE, close), 0))
            assert client.until(lambda got=got: got.ended or got.reset is not None)
            assert got.body == back + pong + Frame(Opcode.CLOSE, close).serialize(mask=False)
