"""Python responders for tests/flow/test_doorway.py, run inside a worker."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from fastproxy.engine.doorway import Fetch, Request, Response

opened: asyncio.Event | None = None
left: list[str] = []


def asked(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))


def gate() -> asyncio.Event:
    global opened
    if opened is None:
        opened = asyncio.Event()
    return opened


async def facts(request: Request, fetch: Fetch) -> Response:
    """What a handler is told, at once."""
    seen = {
        "method": request.method, "path": request.path, "query": request.query,
        "host": request.host, "client_ip": request.client_ip, "id": request.request_id,
        "params": request.params, "headers": request.headers, "x": request.header("x-one"),
    }  # fmt: skip
    return Response(200, json.dumps(seen).encode(), [("Content-Type", "application/json")])


async def wait(request: Request, fetch: Fetch) -> Response:
    """After ms milliseconds."""
    await asyncio.sleep(int(asked(request)["ms"]) / 1000)
    return Response(200, b"waited")


async def wait_at_gate(request: Request, fetch: Fetch) -> Response:
    """Until somebody asks for /open; says who it was for."""
    try:
        await gate().wait()
    finally:
        left.append(request.request_id)
    return Response(200, (request.header("x-ledger") or "").encode())


async def open_gate(request: Request, fetch: Fetch) -> Response:
    gate().set()
    return Response(200, b"open")


async def close_gate(request: Request, fetch: Fetch) -> Response:
    gate().clear()
    return Response(200, b"closed")


async def one(request: Request, fetch: Fetch) -> Response:
    """A subrequest to `u`; its status and body are the answer's."""
    wanted = asked(request)
    body = wanted.get("body", "").encode() * int(wanted.get("times", "1"))
    answer = await fetch(wanted.get("method", "GET"), wanted["u"], body=body,
                         headers=[("X-Sub", "1")])  # fmt: skip
    fields = [("X-Sub-Status", str(answer.status)), ("X-Sub-Fields", str(len(answer.headers)))]
    return Response(200, answer.body, fields)


async def fan(request: Request, fetch: Fetch) -> Response:
    """n subrequests at once."""
    wanted = asked(request)
    answers = await asyncio.gather(
        *(fetch("GET", f"{wanted['u']}") for _ in range(int(wanted["n"])))
    )
    return Response(200, b",".join(answer.body for answer in answers))


async def count(request: Request, fetch: Fetch) -> Response:
    """n subrequests at once: how many had which status."""
    wanted = asked(request)
    answers = await asyncio.gather(*(fetch("GET", wanted["u"]) for _ in range(int(wanted["n"]))))
    return Response(200, json.dumps(Counter(answer.status for answer in answers)).encode())


async def wrong(request: Request, fetch: Fetch) -> Any:
    """Everything a handler can do wrong."""
    kind = asked(request)["kind"]
    if kind == "raise":
        raise RuntimeError("on purpose")
    if kind == "fetch":
        await fetch("GET", asked(request)["u"], headers=[("X", asked(request).get("h", ""))])
        return Response(200, b"sent")
    return {
        "none": None,
        "text": Response(200, "text"),  # type: ignore[arg-type]
        "status": Response(1000, b""),
        "interim": Response(101, b""),
        "word": Response("200", b""),  # type: ignore[arg-type]
        "crlf": Response(200, b"", [("X", "a\r\nEvil: 1")]),
        "name": Response(200, b"", [("X: y\r\nZ", "a")]),
        "framing": Response(200, b"", [("Content-Length", "7")]),
        "wide": Response(200, b"", [("X", "\u20ac")]),
        "headers": Response(200, b"", [("X",)]),  # type: ignore[list-item]
    }[kind]
