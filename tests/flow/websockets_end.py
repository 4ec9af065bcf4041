"""The `websockets` library as a backend, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import websockets
from websockets.asyncio.server import ServerConnection, serve


class EchoServer:
    """Echoes, and notes how each connection ended. What a client says may be an order:
    "push N" (N messages unasked), "bye CODE", "ping" (a ping, and its round trip as the answer),
    "fragments" (a message in three). `options`: of `serve`."""

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {"max_size": 1 << 25, **options}
        self.endings: list[int | None] = []
        self.open: set[ServerConnection] = set()
        self.hold = 0.0
        self.loop = asyncio.new_event_loop()
        self.up = threading.Event()

    async def _serve(self) -> None:
        async def slowly(line: ServerConnection, _: object) -> None:
            await asyncio.sleep(self.hold)

        options = {"process_request": slowly, **self.options}
        async with serve(self._talk, "127.0.0.1", 0, **options) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.over = asyncio.Event()
            self.up.set()
            await self.over.wait()

    async def _talk(self, line: ServerConnection) -> None:
        self.open.add(line)
        try:
            async for message in line:
                await self._answer(line, message)
        except websockets.ConnectionClosed:
            pass
        self.open.discard(line)
        self.endings.append(line.close_code)

    async def _answer(self, line: ServerConnection, message: str | bytes) -> None:
        order, _, given = message.partition(" ") if isinstance(message, str) else ("", "", "")
        if order == "push":
            for number in range(int(given)):
                await line.send(str(number))
        elif order == "bye":
            await line.close(int(given), "as asked")
        elif order == "ping":
            await (await line.ping(b"are you there"))
            await line.send("pong")
        elif order == "fragments":
            await line.send(["one ", "two ", "three"])
        else:
            await line.send(message)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close_all(self, code: int) -> None:
        """The server's own polite end."""

        async def work() -> None:
            await asyncio.gather(*(line.close(code, "going away") for line in list(self.open)))

        asyncio.run_coroutine_threadsafe(work(), self.loop).result(10)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(
            target=self.loop.run_until_complete, args=(self._serve(),), daemon=True
        )
        self.thread.start()
        assert self.up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(20)
