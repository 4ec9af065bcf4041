"""A recording backend: what the proxy really forwarded, on which connection, in which order.

One thread, one asyncio loop, raw sockets. Every byte is kept per connection; requests are cut from
them by a small strict reader of its own (no code of fastproxy), so that anything but a well-formed
request shows up in `Seen.trouble` and fails the test that looks.

What is answered is a script: `recorder.on("/path", step, step, ...)` for a target's path, else a
built-in by its first segment (`BUILT_IN`), else 200 with a short body. Steps:

    bytes       send them                   BODY    read the request's body to its end first
    float       sleep                       CLOSE   close (FIN)      RESET   close with RST
    callable    step(seen) -> more steps    HANG    nothing more until the proxy goes away
                                            FINISH  shut our sending side down, read on

A script without BODY answers early: before the request's body is read. After the script the rest of
the body is read and the next request awaited.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import re
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

BODY, CLOSE, RESET, HANG, FINISH = "body", "close", "reset", "hang", "finish"
Step = bytes | float | str | Callable[["Seen"], "Sequence[Step]"]

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)")


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes that tell where they stand, so that loss or mixing is seen."""
    block = b"".join(b"%07d\n" % ((seed * 7919 + at) % 10_000_000) for at in range(size // 8 + 1))
    return block[:size]


def sized(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    """An answer with Content-Length."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Pieces as chunks, with the last chunk or without."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)
    return body + (b"0\r\n\r\n" if end else b"")


def coded(*pieces: bytes, more: bytes = b"", end: bool = True) -> bytes:
    """An answer in chunks."""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n" % more + chunked(
        *pieces, end=end
    )


@dataclass
class Seen:
    """One request as it came."""

    connection: int
    """Which connection, counted from the recorder's start."""
    place: int
    """The how-manieth request on that connection, from 0."""
    head: bytes
    """First byte to the empty line, as received."""
    method: str = ""
    target: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    framing: str = "none"
    """none, length or chunked."""
    body: bytes = b""
    """Decoded."""
    coded: bytes = b""
    """As received."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False
    trouble: str = ""
    """What is wrong with it; empty: well formed."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def all(self, name: str) -> list[str]:
        """Values of the fields of this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of a field that must be there once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in\n{self.head.decode('latin-1')}"
        return values[0]

    def names(self) -> set[str]:
        return {key.lower() for key, _ in self.fields}


@dataclass
class Line:
    """One connection."""

    index: int
    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    at: int = 0
    """How far `received` was cut into requests."""
    requests: int = 0
    ended: str = ""
    """fin or rst: how the proxy ended it; closed: we did."""
    hangs: bool = False
    """What comes now is no request any more (a tunnel, or nothing)."""


class Gone(Exception):
    """The proxy closed the connection."""


def built_in(seen: Seen) -> Sequence[Step]:
    """Answers by path: /len/N, /chunked/N/N/N, /status/N, /until-close/N, /echo (head and body),
    /back (the body), /slow/SECONDS. Sizes are at most 5 MB: fuzzers make their own numbers."""
    parts = seen.path.strip("/").split("/")
    numbers = [min(int(part[:9]), 5_000_000) for part in parts[1:] if re.fullmatch("[0-9]+", part)]
    if parts[0] == "len" and numbers:
        return [BODY, sized(pattern(numbers[0]))]
    if parts[0] == "chunked" and numbers:
        return [BODY, coded(*(pattern(size, at) for at, size in enumerate(numbers)))]
    if parts[0] == "status" and numbers and 200 <= numbers[0] < 600:
        if numbers[0] in (204, 304):
            return [BODY, b"HTTP/1.1 %d X\r\n\r\n" % numbers[0]]
        return [BODY, sized(b"status", b"%d X" % numbers[0])]
    if parts[0] == "until-close" and numbers:
        return [BODY, b"HTTP/1.1 200 OK\r\n\r\n" + pattern(numbers[0]), CLOSE]
    if parts[0] == "echo":
        return [BODY, lambda seen: [sized(seen.head + seen.body)]]
    if parts[0] == "back":
        return [BODY, lambda seen: [sized(seen.body)]]
    if parts[0] == "slow" and len(parts) == 2:
        return [BODY, float(parts[1]), sized(b"slow")]
    return [BODY, sized(b"ok")]


class Recorder:
    """See above. `with Recorder() as recorder: ... recorder.url`."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines: list[Line] = []
        self.requests: list[Seen] = []
        self.scripts: dict[str, Sequence[Step]] = {}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        for line in self.lines:
            line.sock.close()
        self.listener.close()

    # -- for tests ------------------------------------------------------------------------------

    def on(self, path: str, *steps: Step) -> None:
        """Answer requests for this path so, until `clear`."""
        self.scripts[path] = steps

    def clear(self) -> None:
        """Forget requests, bytes and scripts; connections stay."""
        self.settle()
        self.scripts.clear()
        self.requests.clear()
        for line in self.lines:
            over = line.hangs or line.ended
            del line.received[: len(line.received) if over else line.at]
            line.at = 0

    def settle(self, seconds: float = 5.0) -> None:
        """Wait until every byte the proxy has sent so far is read."""
        asyncio.run_coroutine_threadsafe(self._settle(seconds), self.loop).result(seconds + 5)

    def bytes(self) -> bytes:
        """All bytes since `clear`, of all connections."""
        return b"".join(bytes(line.received) for line in self.lines)

    def count(self, path: str) -> int:
        return sum(seen.path == path for seen in self.requests)

    def only(self, path: str) -> Seen:
        """The one request for this path; it must be well formed."""
        found = [seen for seen in self.requests if seen.path == path]
        assert len(found) == 1, f"{len(found)} requests for {path}"
        assert not found[0].trouble, found[0].trouble
        return found[0]

    def wait(self, what: Callable[[], object], seconds: float = 10.0) -> None:
        """Until `what()` is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.005)

    def send(self, index: int, data: bytes) -> None:
        """Out of turn: bytes nobody asked for, on a connection."""
        line = self.lines[index]
        asyncio.run_coroutine_threadsafe(self.loop.sock_sendall(line.sock, data), self.loop).result(
            5
        )

    def end(self, index: int, how: str = CLOSE) -> None:
        """Out of turn: close a connection."""

        async def work() -> None:
            self._close(self.lines[index], how)

        asyncio.run_coroutine_threadsafe(work(), self.loop).result(5)

    # -- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        accepting = self.loop.create_task(self._accept())
        self.loop.run_forever()
        accepting.cancel()
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def _accept(self) -> None:
        while True:
            sock, _ = await self.loop.sock_accept(self.listener)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(len(self.lines), sock)
            self.lines.append(line)
            task = self.loop.create_task(self._serve(line))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _settle(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            for _ in range(5):
                await asyncio.sleep(0)
            if not any(self._unread(line) for line in self.lines):
                return
            await asyncio.sleep(0.002)

    def _unread(self, line: Line) -> int:
        if line.ended or line.sock.fileno() < 0:
            return 0
        room = array.array("i", [0])
        fcntl.ioctl(line.sock.fileno(), termios.FIONREAD, room)
        return room[0]

    def _close(self, line: Line, how: str) -> None:
        if how == RESET:
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.loop.remove_reader(line.sock.fileno())
        self.loop.remove_writer(line.sock.fileno())
        line.sock.close()
        line.ended = line.ended or "closed"  # last: whoever waits for it may rely on the FIN

    async def _serve(self, line: Line) -> None:
        try:
            while True:
                await self._one(line)
        except (Gone, OSError, asyncio.CancelledError):
            line.ended = line.ended or "rst"
            if line.sock.fileno() >= 0 and line.ended:
                line.sock.close()
        except AssertionError as error:
            self.requests[-1].trouble = str(error) or "malformed"
            self._close(line, CLOSE)

    async def _read(self, line: Line) -> None:
        try:
            data = await self.loop.sock_recv(line.sock, 262144)
        except ConnectionError:
            line.ended = line.ended or "rst"
            raise Gone from None
        if not data:
            line.ended = line.ended or "fin"
            raise Gone
        line.received += data

    async def _until(self, line: Line, mark: bytes) -> bytes:
        """Bytes up to and with `mark`, taken."""
        while (found := line.received.find(mark, line.at)) < 0:
            await self._read(line)
        taken = bytes(line.received[line.at : found + len(mark)])
        line.at = found + len(mark)
        return taken

    async def _counted(self, line: Line, size: int, seen: Seen) -> None:
        """So many bytes of payload; `seen` has them as they come."""
        while size:
            if line.at == len(line.received):
                await self._read(line)
            piece = bytes(line.received[line.at : line.at + size])
            line.at += len(piece)
            seen.coded += piece
            seen.body += piece
            size -= len(piece)

    async def _one(self, line: Line) -> None:
        head = await self._until(line, b"\r\n\r\n")
        seen = Seen(line.index, line.requests, head)
        line.requests += 1
        self.requests.append(seen)
        self._parse(seen)
        body_read = False
        steps = list(self.scripts.get(seen.path) or built_in(seen))
        while steps:
            step = steps.pop(0)
            if callable(step):
                steps[:0] = step(seen)
            elif step == BODY:
                await self._body(line, seen)
                body_read = True
            elif step == HANG:
                line.hangs = True
                while True:
                    await self._read(line)
            elif step == FINISH:
                line.sock.shutdown(socket.SHUT_WR)
            elif isinstance(step, str):
                self._close(line, step)
                raise Gone
            elif isinstance(step, float | int):
                await asyncio.sleep(step)
            else:
                await self.loop.sock_sendall(line.sock, step)
        if not body_read:
            await self._body(line, seen)

    def _parse(self, seen: Seen) -> None:
        first, *rest = seen.head[:-4].split(b"\r\n")
        match = REQUEST_LINE.fullmatch(first)
        assert match, f"request line {first!r}"
        seen.method, seen.target = match[1].decode(), match[2].decode()
        for raw in rest:
            match = FIELD.fullmatch(raw)
            assert match, f"field {raw!r}"
            seen.fields.append((match[1].decode(), match[2].decode("latin-1")))
        lengths, codings = seen.all("content-length"), seen.all("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, f"framing {lengths} {codings}"
        assert len(seen.all("host")) == 1, f"Host {seen.all('host')}"
        if codings:
            assert codings == ["chunked"], f"coding {codings}"
            seen.framing = "chunked"
        elif lengths:
            assert re.fullmatch("[0-9]+", lengths[0]), f"length {lengths}"
            seen.framing = "length"

    async def _body(self, line: Line, seen: Seen) -> None:
        if seen.framing == "length":
            await self._counted(line, int(seen.one("content-length")), seen)
        while seen.framing == "chunked":
            header = await self._until(line, b"\r\n")
            seen.coded += header
            assert re.fullmatch(rb"[0-9a-f]{1,15}\r\n", header), f"chunk line {header!r}"
            size = int(header, 16)
            if size == 0:
                await self._trailers(line, seen)
                break
            await self._counted(line, size, seen)
            end = await self._until(line, b"\r\n")
            assert end == b"\r\n", f"chunk end {end!r}"
            seen.coded += end
        seen.complete = True

    async def _trailers(self, line: Line, seen: Seen) -> None:
        """Lines up to the empty one; `seen.trailers` has them."""
        while (field := await self._until(line, b"\r\n")) != b"\r\n":
            seen.coded += field
            match = FIELD.fullmatch(field[:-2])
            assert match, f"trailer {field!r}"
            seen.trailers.append((match[1].decode(), match[2].decode("latin-1")))
        seen.coded += field
