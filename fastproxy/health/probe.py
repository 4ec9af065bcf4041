# SPDX-License-Identifier: MIT
"""One question to one backend: what every kind of check has in common.

`ask` connects, lets the kind's protocol talk, and comes back with what was seen, within the time
that the check may take. Whatever a backend does is an answer: nothing here raises for it. A
connection is used once, so that a check sees what a new client would.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fastproxy.balance.build import address_text
from fastproxy.health.build import Check
from fastproxy.health.words import Speech
from fastproxy.schema import UpstreamUrl

if TYPE_CHECKING:
    from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a question."""

    fault: str = ""
    """Why the answer is a bad one; "" for a good one."""
    said: str = ""
    """What was answered, in a word: "200", "connected", "SERVING"."""
    speech: Speech | None = None
    """The agent's words in the answer, if there were any."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backend is asked, and under what name."""

    host: str
    """An IP address; empty for a unix socket."""
    port: int
    path: str
    """Of a unix socket."""
    authority: str
    """host[:port] of its URL."""
    name: str
    """The URL's host, for TLS."""

    @classmethod
    def of(cls, address: bytes, url: UpstreamUrl) -> Target:
        family = int.from_bytes(address[:2], sys.byteorder)
        if family == socket.AF_UNIX:
            return cls("", 0, address_text(address), url.authority, "localhost")
        (port,) = struct.unpack_from("!H", address, 2)
        return cls(address_text(address), port, "", url.authority, url.host)


class Probe(asyncio.Protocol, ABC):
    """One connection. A kind says in `question` what is sent and in `look` what the answer is
    worth; `look` is called whenever there is more, until it has called `say`."""

    def __init__(self, check: Check, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.check = check
        self.target = target
        self.seen: asyncio.Future[Seen] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()

    @abstractmethod
    def question(self) -> bytes:
        """What is sent once connected; empty: nothing."""

    @abstractmethod
    def look(self, ended: bool) -> None:
        """More has come, or (`ended`) nothing will."""

    def say(self, fault: str, said: str = "", speech: Speech | None = None) -> None:
        """The verdict. What comes later is not looked at."""
        if not self.seen.done():
            self.seen.set_result(Seen(fault, said, speech))
        if self.transport:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own classes are no asyncio.Transport, but do as one.
        self.transport = cast("asyncio.Transport", transport)
        question = self.question()
        if question:
            self.transport.write(question)

    def data_received(self, data: bytes) -> None:
        if not self.seen.done():
            self.data += data
            self.look(False)

    def eof_received(self) -> None:
        if not self.seen.done():
            self.look(True)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.seen.done():
            if exc is not None:
                self.say(f"the connection broke: {reason(exc)}")
            else:
                self.look(True)


def reason(error: BaseException) -> str:
    """An error in a few words."""
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "")  # of TLS
    if not text and isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
    return str(text or str(error) or type(error).__name__)[:200].lower().replace("\n", " ")


async def ask(
    kind: type[Probe], check: Check, target: Target, port: int, tls: SSLContext | None = None
) -> Seen:
    """Ask once. `port`: 0 is the backend's own (and a unix socket has none)."""
    loop = asyncio.get_running_loop()
    probe = kind(check, target, loop)
    try:
        async with asyncio.timeout(float(check.settings.timeout)):
            await _connect(loop, probe, port, tls)
            return await probe.seen
    except TimeoutError:
        what = "no connection" if probe.transport is None else "no answer"
        return Seen(f"{what} within {check.settings.timeout}")
    except OSError as error:
        return Seen(reason(error))
    except Exception as error:
        # What a peer sends must never end its checks, whatever some library makes of it.
        return Seen(f"{type(error).__name__}: {reason(error)}")
    finally:
        if probe.transport and not (probe.seen.done() and not probe.seen.cancelled()):
            probe.transport.abort()


async def _connect(
    loop: asyncio.AbstractEventLoop, probe: Probe, port: int, tls: SSLContext | None
) -> None:
    target, settings = probe.target, probe.check.settings
    options: dict[str, Any] = {}
    if tls:
        # A server that never says goodbye must not hold the connection for longer than a check.
        goodbye = float(settings.timeout)
        # Certificates have no dot at the end (tls/client.pxi: peer_expect).
        name = (settings.tls and settings.tls.server_name) or target.name.removesuffix(".")
        options = {"ssl": tls, "server_hostname": name, "ssl_shutdown_timeout": goodbye}
    if target.path:
        await loop.create_unix_connection(lambda: probe, target.path, **options)
    else:
        await loop.create_connection(lambda: probe, target.host, port or target.port, **options)
