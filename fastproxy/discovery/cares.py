# SPDX-License-Identifier: MIT
"""c-ares (pycares) on the running loop: one channel for the questions of one answer.

A channel lives for one answer only. That makes each one read /etc/resolv.conf as it is
now, ask from fresh ports, and go round c-ares' own cache of answers, which can neither be
switched off nor emptied from Python: a limit on TTLs, or asking again because connects fail, would
only ever see what is in it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pycares

from fastproxy.discovery.answer import UnresolvedError

TRIES = 2
NO_SORT = 1 << 7  # ARES_AI_NOSORT: else it would connect a socket to each address
TICK_SECONDS = 0.1
"""How exact timeouts are."""
GONE = (pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA)
REASONS = {
    pycares.errno.ARES_ENOTFOUND: "no such name",
    pycares.errno.ARES_ENODATA: "the name has no such record",
    pycares.errno.ARES_ESERVFAIL: "the server failed (SERVFAIL)",
    pycares.errno.ARES_EREFUSED: "the server refused",
    pycares.errno.ARES_ETIMEOUT: "no answer in time",
    pycares.errno.ARES_ECONNREFUSED: "no DNS server can be reached",
    pycares.errno.ARES_ECANCELLED: "no answer in time",
}


class Channel:
    """`with Channel(...) as channel: await channel.addresses(...)`. `servers`: as `server_text`
    gives them; none: those of /etc/resolv.conf."""

    def __init__(self, servers: Sequence[str], seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._reading: set[int] = set()
        self._writing: set[int] = set()
        self._open = True
        try:
            # A try takes twice as long as the one before. No `lookups`: pycares 5.2 hands c-ares a
            # text that is freed by then, and now and then it finds no "b" for DNS in there.
            self._channel = pycares.Channel(
                servers=servers or None,
                timeout=seconds / (2**TRIES - 1),
                tries=TRIES,
                sock_state_cb=self._on_socket,
            )
        except pycares.AresError as error:
            raise UnresolvedError(f"c-ares cannot be set up: {error}") from None
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._channel.cancel()
        self._open = False
        for fd in self._reading:
            self._loop.remove_reader(fd)
        for fd in self._writing:
            self._loop.remove_writer(fd)
        self._channel.close()  # frees it in a thread of its own, the same for all channels

    async def addresses(self, host: str, family: socket.AddressFamily) -> list[tuple[str, float]]:
        """(numeric address, TTL) of a name, aliases followed. Not of /etc/hosts."""
        found = await self._ask(
            lambda done: self._channel.getaddrinfo(
                host, None, family=family, type=socket.SOCK_STREAM, flags=NO_SORT, callback=done
            )
        )
        aliases = [alias.ttl for alias in found.cnames]
        return [(node.addr[0].decode(), min([node.ttl, *aliases])) for node in found.nodes]

    async def services(self, name: str) -> list[tuple[Any, float]]:
        """(SRV record, TTL) of a name: `priority`, `weight`, `port`, `target`."""
        kind = pycares.QUERY_TYPE_SRV
        found = await self._ask(lambda done: self._channel.search(name, kind, callback=done))
        aliases = [one.ttl for one in found.answer if one.type == pycares.QUERY_TYPE_CNAME]
        return [(one.data, min([one.ttl, *aliases])) for one in found.answer if one.type == kind]

    async def _ask(self, begin: Callable[[Callable[[Any, int | None], None]], None]) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any, fault: int | None) -> None:
            if future.done():
                return
            if fault is None:
                future.set_result(result)
            else:
                text = REASONS.get(fault) or str(pycares.errno.strerror(fault))
                future.set_exception(UnresolvedError(text, fault in GONE))

        try:
            begin(done)
        except pycares.AresError as error:
            raise UnresolvedError(str(error.args[-1])) from None
        return await future

    # -- c-ares' sockets and time ---------------------------------------------------------------

    def _on_socket(self, fd: int, readable: bool, writable: bool) -> None:
        """What it wants to know of a socket now. (Called from that other thread once we are
        closed: nothing is left to do then.)"""
        if not self._open:
            return
        if readable and fd not in self._reading:
            self._reading.add(fd)
            self._loop.add_reader(fd, self._process, fd, pycares.ARES_SOCKET_BAD)
        elif not readable and fd in self._reading:
            self._reading.discard(fd)
            self._loop.remove_reader(fd)
        if writable and fd not in self._writing:
            self._writing.add(fd)
            self._loop.add_writer(fd, self._process, pycares.ARES_SOCKET_BAD, fd)
        elif not writable and fd in self._writing:
            self._writing.discard(fd)
            self._loop.remove_writer(fd)

    def _process(self, readable: int, writable: int) -> None:
        self._channel.process_fd(readable, writable)

    def _tick(self) -> None:
        self._process(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
