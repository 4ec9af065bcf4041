"""Backends that are changed while the proxy runs: origins that watch, and how orders are given."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from typing import Any, Self

import click.testing

from fastproxy import cli
from fastproxy.process import client
from tests.running import Proxy


class Timed:
    """An origin for ledgers that writes down when each request came, and whose it was."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.seen: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                self.times.append(time.monotonic())
                if length := re.search(r"content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                found = re.search(r"x-ledger: (\S+)", head)
                name = found[1] if found else "-"
                self.seen[name] += 1
                body = f"timed {name}".encode()
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                writer.write(answer + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def __enter__(self) -> Self:
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.name}"
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


def order(proxy: Proxy, action: str, *backends: str, **more: Any) -> dict[str, Any]:
    given = {"action": action, "backends": list(backends), **more}
    return client.ask(proxy.control, "backend", given)


def rows(proxy: Proxy, upstream: str = "") -> dict[str, dict[str, Any]]:
    found = client.backends(proxy.control, upstream)["upstreams"]
    return {row["name"]: row for one in found for row in one["backends"]}


def states(proxy: Proxy) -> dict[str, tuple[str, int]]:
    return {name: (row["state"], row["weight"]) for name, row in rows(proxy).items()}


def call(proxy: Proxy, *args: str) -> click.testing.Result:
    """The command line, in this process."""
    place = ["--control-socket", proxy.control]
    return click.testing.CliRunner().invoke(cli.cli, [*args, *place], prog_name="fastproxy")
