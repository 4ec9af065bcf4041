"""An ASGI application for granian: what frameworks do to a proxy, without the framework.

/hello  /hash (body -> "LENGTH SHA256")  /bytes?n=  /stream?n=&ms= (server-sent events)
/headers (JSON of what came in)  /echo (body comes back as it arrives)
/ws (echo, chat protocol)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from tests.flow.origin import pattern

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)


async def start(send: Send, kind: bytes = b"text/plain", **more: bytes) -> None:
    headers = [(b"content-type", kind), *((name.encode(), more[name]) for name in more)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def piece(send: Send, body: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    asked = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    if path == "/hash":
        found, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            found.update(message.get("body", b""))
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await start(send)
        await piece(send, f"{size} {found.hexdigest()}".encode())
    elif path == "/bytes":
        await start(send, b"application/octet-stream")
        for part in pattern(int(asked["n"]), 1 << 18):
            await piece(send, bytes(part), True)
        await piece(send, b"")
    elif path == "/stream":
        await start(send, b"text/event-stream")
        for number in range(int(asked["n"])):
            await piece(send, b"data: %d\n\n" % number, True)
            await asyncio.sleep(int(asked["ms"]) / 1000)
        await piece(send, b"")
    elif path == "/headers":
        await start(send, b"application/json")
        fields = [(k.decode(), v.decode("latin-1")) for k, v in scope["headers"]]
        await piece(send, json.dumps(fields).encode())
    elif path == "/echo":
        await start(send)
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await piece(send, message.get("body", b""), True)
        await piece(send, b"")
    else:
        await start(send)
        await piece(send, b"hello\n")


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo; "push N" sends N messages unasked; "bye CODE" closes from this side."""
    await receive()
    if scope["path"] != "/ws":
        await send({"type": "websocket.close"})  # before it is accepted: 403
        return
    chosen = "chat" if "chat" in scope.get("subprotocols", []) else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text and text.startswith("push "):
            for number in range(int(text[5:])):
                await send({"type": "websocket.send", "text": str(number)})
        elif text and text.startswith("bye "):
            await send({"type": "websocket.close", "code": int(text[4:]), "reason": "as asked"})
            return
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
