"""What can happen to a backend, made to happen: one that is deaf, and a relay in front of one that
fails in any way it is told to.

    with Origin() as origin, Relay(origin.port) as relay, Gateway(upstreams=[relay.url]) as proxy:
        relay.silence()
        ...
        relay.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

READ_BYTES = 1 << 16
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset."""


class Deaf:
    """A port whose backlog is full: SYNs are dropped, connecting never ends. `taken` fills it."""

    def __enter__(self) -> Self:
        self.door = socket.socket()
        self.door.bind(("127.0.0.1", 0))
        self.door.listen(0)
        self.port = self.door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.taken = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self.taken.append(one)
        time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self.taken, self.door):
            one.close()


class Relay:
    """TCP to a port on loopback, in a thread of its own. `port` stays the same for its whole life,
    whatever state it is in.

    heal     bytes go both ways
    delay    the same, each piece of an answer so much later
    silence  half-open: connections stand, new ones are taken, nothing goes either way
    refuse   connections are reset, new ones refused
    """

    def __init__(self, to: int) -> None:
        self.to = to
        self.late = 0.0
        self.silent = False
        self.accepted = 0
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: asyncio.Server | None = None
        self.lines: set[asyncio.StreamWriter] = set()
        self.flowing = asyncio.Event()

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        assert not self.thread.is_alive(), "the relay hangs"
        self.loop.close()

    def _do(self, what: Callable[[], object]) -> None:
        """In its own thread, and wait for it."""

        async def run() -> None:
            found = what()
            if asyncio.iscoroutine(found):
                await found

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    # -- what happens to it ---------------------------------------------------------------------

    def heal(self) -> None:
        self.late = 0.0
        self._do(self._open)

    def delay(self, seconds: float) -> None:
        self.late = seconds

    def silence(self) -> None:
        self.silent = True
        self._do(self.flowing.clear)

    def refuse(self) -> None:
        self._do(self._close)

    # -- in its thread --------------------------------------------------------------------------

    async def _open(self) -> None:
        self.silent = False
        self.flowing.set()
        if self.server is None:
            self.server = await asyncio.start_server(
                self._line, "127.0.0.1", self.port, backlog=1024, reuse_address=True
            )

    async def _close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for one in list(self.lines):
            sock = one.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.transport.abort()
        self.flowing.set()

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.lines.add(writer)
        try:
            await self.flowing.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
            self.lines.add(back)
            try:
                await asyncio.gather(
                    self._pass(reader, back, late=False), self._pass(there, writer, late=True)
                )
            finally:
                self.lines.discard(back)
                back.transport.abort()
        except OSError:
            pass
        finally:
            self.lines.discard(writer)
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: bool
    ) -> None:
        while data := await reader.read(READ_BYTES):
            await self.flowing.wait()
            if late and self.late:
                await asyncio.sleep(self.late)
            writer.write(data)
        writer.transport.abort()
