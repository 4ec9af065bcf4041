"""Servers for the tests of health checks: real sockets on free ports, answering as told.

async with serving(talk) as port:       # talk(reader, writer) for each connection
async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as port:
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from fastproxy.balance.build import Member, resolve, sockaddr_inet
from fastproxy.balance.settings import Backend
from fastproxy.health.build import Check, build_check
from fastproxy.health.probe import Seen, Target, ask
from fastproxy.health.prober import PROBES
from fastproxy.health.settings import Health
from fastproxy.schema import UpstreamUrl, dec_hook

run = uvloop.run
"""As in control."""
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def settings(**values: Any) -> Health:
    """As from a file."""
    return msgspec.convert(values, Health, dec_hook=dec_hook)


def check_of(**values: Any) -> Check:
    return build_check(settings(**{"timeout": "400ms", **values}))


@contextlib.asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Somebody on a free port. Connections that are left are cut at the end."""
    left: set[asyncio.StreamWriter] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left.add(writer)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            left.discard(writer)
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(left):
            writer.transport.abort()
        await asyncio.sleep(0)


def answer(data: bytes, piece: int = 0, pause: float = 0.0, stay: bool = False) -> Talk:
    """Reads a head, sends these bytes (in pieces), closes, or stays until the other side goes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(data), piece or max(1, len(data))):
            writer.write(data[at : at + (piece or len(data))])
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if stay:
            await reader.read()

    return talk


async def asked(check: Check, port: int, name: str = "127.0.0.1") -> Seen:
    """One check of a server on that port, the URL's host being `name`."""
    target = Target.of(sockaddr_inet("127.0.0.1", port), UpstreamUrl.parse(f"http://{name}:{port}"))
    return await ask(PROBES[check.kind], check, target, check.settings.port, check.tls)


def seen(talk: Talk, context: ssl.SSLContext | None = None, /, **values: Any) -> Seen:
    """One check with these settings of somebody who talks so."""

    async def main() -> Seen:
        async with serving(talk, context) as port:
            return await asked(check_of(**values), port)

    return run(main())


def member_at(port: int, upstream: str = "web", **values: Any) -> Member:
    url = UpstreamUrl.parse(f"http://127.0.0.1:{port}")
    return Member(upstream, str(url), Backend(url=url, **values), resolve(url)[0])


def certificate(directory: Path, name: str, ca: str = "", extra: str = "") -> None:
    """NAME.pem and NAME.key, made with openssl: self-signed, or signed by the CA of that name."""
    subject = ["-subj", f"/CN={name}", "-addext", extra or f"subjectAltName=DNS:{name}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    signed = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key"] if ca else []
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, *signed,
         "-keyout", f"{name}.key", "-out", f"{name}.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
