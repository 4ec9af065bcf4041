"""A prober on a real scoreboard, and servers for it to ask, for the tests of both.

async def test(house: House, server: Server) -> None: ...
housed(board, test, fall=1)         # one server, watched; what was logged
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastproxy._core import Board
from fastproxy.health.prober import Prober
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Health as Word
from tests.unit.healthy import answer, check_of, member_at, run, serving

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BAD = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
QUICK = {"interval": "40ms", "transition": "20ms", "jitter": 0, "timeout": "200ms"}


class Heard:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = error = info


class House:
    """One upstream "web" with members at these ports, one row each."""

    def __init__(self, board: Board, ports: list[int], **values: Any) -> None:
        self.board = board
        self.log = Heard()
        self.prober = Prober(board, ["web"], {"web": check_of(**{**QUICK, **values})}, self.log)
        self.members = [member_at(port) for port in ports]
        self.rows = {("web", one.name): row for row, one in enumerate(self.members)}
        self.generations = dict.fromkeys(range(len(ports)), 1)
        for row, one in enumerate(self.members):
            if not segment.backend(board, row)["generation"]:
                segment.set_backend(board, row, one.name, percent=100, weight=1, generation=1)

    def update(self) -> None:
        self.prober.update(self.members, self.rows, self.generations)

    def words(self, row: int = 0) -> dict[str, Any]:
        return segment.backend(self.board, row)

    def health(self) -> list[Word]:
        return [Word(self.words(row)["health"]) for row in range(len(self.members))]


async def until(what: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.002)


class Server:
    """Answers as `now` says, and counts."""

    def __init__(self) -> None:
        self.now = GOOD
        self.times: list[float] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(time.monotonic())
        await answer(self.now)(reader, writer)


def housed(board: Board, test: Callable[[House, Server], Awaitable[None]], **values: Any) -> Heard:
    """Run a test with one server, watched."""

    async def main() -> Heard:
        server = Server()
        async with serving(server.talk) as port:
            house = House(board, [port], **values)
            house.update()
            await test(house, server)
            house.prober.close()
        return house.log

    return run(main())
