# SPDX-License-Identifier: MIT
"""What Python does at the doorway: responders that answer requests, and subrequests they make.

A responder is an async function `(request: Request, fetch: Fetch) -> Response`, named in a route
(`responder = "status"`). Its exchange is parked in the engine meanwhile; other routes pay nothing.
`fetch` sends a request through the worker's own routes and awaits the answer: an exchange without
a client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

log = logging.getLogger("fastproxy.doorway")


@dataclass(slots=True)
class Request:
    """A parked request. Names and values are bytes decoded as latin-1, as they were on the wire."""

    method: str
    path: str
    query: str
    host: str
    client_ip: str
    request_id: str
    params: list[str]
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """The first field of that name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


@dataclass(slots=True)
class Response:
    """An answer. Framing fields (Content-Length, Connection, Date...) are the engine's and are
    refused here; a control character in a name or value is refused too (ValueError)."""

    status: int = 200
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> bytes:
        """The header lines as they go on the wire."""
        return b"".join(_line(name, value) for name, value in self.headers)

    def check(self) -> None:
        """ValueError or TypeError if this cannot be sent. Asked before the engine gets it."""
        if not isinstance(self.status, int) or not 200 <= self.status <= 599:
            raise ValueError(f"a final status is 200 to 599, not {self.status!r}")
        if not isinstance(self.body, bytes):
            raise TypeError(f"the body is bytes, not {type(self.body).__name__}")
        self.lines()


FRAMING = frozenset(
    {"content-length", "transfer-encoding", "connection", "date", "upgrade", "keep-alive", "te"}
)
TOKEN_MARKS = "!#$%&'*+-.^_`|~"
Fetch = Callable[..., Awaitable[Response]]
Responder = Callable[[Request, Fetch], Awaitable[Response]]


def _token(name: str) -> bool:
    return bool(name) and name.isascii() and all(c.isalnum() or c in TOKEN_MARKS for c in name)


def _line(name: str, value: str) -> bytes:
    if name.lower() in FRAMING or not _token(name):
        raise ValueError(f"a handler may not set the field {name!r}")
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
        raise ValueError(f"control character in the value of {name}")
    return f"{name}: {value}\r\n".encode("latin-1")


def request_bytes(method: str, target: str, host: str, headers: list[tuple[str, str]],
                  body: bytes) -> bytes:  # fmt: skip
    """A whole HTTP/1.1 request for `Engine.begin_subrequest`. ValueError if a part holds what would
    end it: a handler may make them of what a client said."""
    if not _token(method):
        raise ValueError(f"{method!r} is no method")
    for what, text in (("target", target), ("host", host)):
        if not text or any(not "!" <= c <= "~" for c in text):
            raise ValueError(f"the {what} of a subrequest is visible ASCII, not {text!r}")
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode("ascii")
    head += b"".join(_line(name, value) for name, value in headers)
    if body:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


def running_loop() -> asyncio.AbstractEventLoop:
    """The worker's event loop; the engine asks for it here to stay free of asyncio itself."""
    return asyncio.get_running_loop()


async def run_responder(handler: Responder, request: Request, fetch: Fetch) -> Response:
    """Whatever happens in a handler, the client gets an answer."""
    try:
        response = await handler(request, fetch)
        response.check()
        return response
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("responder failed for %s %s", request.method, request.path)
        return Response(500, b"the responder failed\n", [("Content-Type", "text/plain")])
