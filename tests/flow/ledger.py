"""Clients that write down the fate of every request, each with an id of its own.

    with Ledger(gateway.port, lines=32) as ledger:
        ...                     # do something to the proxy
    assert not ledger.failed

Every line (connection) asks again and again: GET and POST in turn, the id in X-Ledger. The origin
answers with the id and counts how often it has seen each. An entry ends in exactly one of:

    ok        the whole answer, and it is the one to this id
    cut       the connection ended after some bytes of the answer
    lost      the connection ended, or was reset, without a byte of it
    refused   no connection could be made
    wrong     an answer of another id, or another status than 200
    late      nothing for SILENCE_SECONDS
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SILENCE_SECONDS = 30.0


@dataclass
class Entry:
    """One request."""

    id: str
    method: str
    port: int
    """The client's port: names the connection."""
    first: bool
    """The first request of its connection?"""
    started: float
    outcome: str = "late"
    status: int = 0
    seconds: float = 0.0
    closes: bool = False
    """The answer said that the connection ends."""
    detail: str = ""


@dataclass
class Ledger:
    """`lines` connections, kept alive; `fresh`: a new connection for each request instead, `pause`
    seconds apart. `target` may be any of the origin's that answer with the id."""

    port: int
    lines: int = 16
    fresh: bool = False
    pause: float = 0.0
    target: str = "/id"
    methods: tuple[str, ...] = ("GET", "POST")
    name: str = field(default_factory=lambda: os.urandom(3).hex())

    def __post_init__(self) -> None:
        self.entries: list[Entry] = []
        self.stopping = False
        self.end_on_refusal = True

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No further requests; wait for the answers of those under way."""
        self.stopping = True
        self.thread.join(2 * SILENCE_SECONDS)
        assert not self.thread.is_alive(), "the ledger's clients hang"

    def until(self, count: int, seconds: float = 20.0) -> None:
        """Until that many more have ended well."""
        goal = len(self.ok) + count
        end = time.monotonic() + seconds
        while len(self.ok) < goal:
            assert time.monotonic() < end, f"{goal - len(self.ok)} answers too few"
            time.sleep(0.01)

    async def _run(self) -> None:
        await asyncio.gather(*(self._line(number) for number in range(self.lines)))

    async def _line(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                self._note_refusal(number, turn, error)
                turn += 1
                if self.end_on_refusal:
                    return
                await asyncio.sleep(0.01)
                continue
            local = writer.get_extra_info("sockname")[1]
            first = True
            try:
                while not self.stopping:
                    going = await self._ask(reader, writer, local, first, number, turn)
                    turn += 1
                    first = False
                    if self.pause:
                        await asyncio.sleep(self.pause)
                    if not going or self.fresh:
                        break
            finally:
                writer.transport.abort() if self.stopping is None else writer.close()

    def _note_refusal(self, number: int, turn: int, error: OSError) -> None:
        entry = Entry(f"{self.name}-{number}-{turn}", "GET", 0, True, time.monotonic())
        entry.outcome, entry.detail = "refused", repr(error)
        self.entries.append(entry)

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        local: int,
        first: bool,
        number: int,
        turn: int,
    ) -> bool:
        """One request and its answer; False: this connection is done."""
        method = self.methods[turn % len(self.methods)]
        entry = Entry(f"{self.name}-{number}-{turn}", method, local, first, time.monotonic())
        self.entries.append(entry)
        body = b"x" * 10 if method == "POST" else b""
        lines = [f"{method} {self.target} HTTP/1.1", "Host: ledger", f"X-Ledger: {entry.id}"]
        lines += [f"Content-Length: {len(body)}"] if body else []
        lines += ["Connection: close"] if self.fresh else []
        begun = False
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                begun = bool(first_line := await reader.readline())
                if not begun:
                    raise ConnectionResetError("end of file")
                text = await self._rest(reader, entry, first_line)
            entry.seconds = time.monotonic() - entry.started
            right = entry.status == 200 and text.split()[-1:] == [entry.id]
            entry.outcome = "ok" if right else "wrong"
            entry.detail = "" if right else text
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            entry.seconds = time.monotonic() - entry.started
            entry.outcome = "cut" if begun else "lost"
            if isinstance(error, TimeoutError):
                entry.outcome = "late"
            entry.detail = repr(error)
            return False
        return not entry.closes

    async def _rest(self, reader: asyncio.StreamReader, entry: Entry, first: bytes) -> str:
        entry.status = int(first.split()[1])
        length = -1
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "connection":
                entry.closes = value.strip() == "close"
        return (await reader.readexactly(length)).decode()

    # -- what it says ---------------------------------------------------------------------------

    @property
    def ok(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.outcome == "ok"]

    @property
    def failed(self) -> list[Entry]:
        """All that ended otherwise; while it runs also those under way."""
        return [entry for entry in self.entries if entry.outcome != "ok"]

    def count(self) -> Counter[str]:
        return Counter(entry.outcome for entry in self.entries)

    def check_origin(self, seen: dict[str, int]) -> None:
        """What the origin saw must fit: who was answered was seen (a GET at most twice, when its
        first try died with the worker's connection), no POST was seen twice."""
        for entry in self.entries:
            times = seen.get(entry.id, 0)
            if entry.outcome == "ok":
                assert times >= 1, f"answered, but the origin never saw it: {entry}"
            assert times <= (1 if entry.method == "POST" else 2), f"sent {times} times: {entry}"


def held_ports(pid: int, port: int) -> set[int]:
    """The client ports of the connections to `port` that this process holds right now."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].split(":")[1], 16) == port:
            found.add(int(fields[2].split(":")[1], 16))
    return found - {0}
