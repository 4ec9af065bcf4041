"""gRPC-Web bodies again, whole and slowly: the twin of grpcweb/translate.pxd."""

from __future__ import annotations

import base64
import re

QUANTUM = re.compile(rb"[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==")


def text_in(data: bytes) -> bytes | None:
    """What a text request says; None: it is not base64 (joined pieces may each be padded)."""
    said = b""
    for at in range(0, len(data), 4):
        quantum = data[at : at + 4]
        if not QUANTUM.fullmatch(quantum):
            return None
        part = base64.b64decode(quantum)
        if base64.b64encode(part) != quantum:
            return None  # bits that nobody reads are not 0
        said += part
    return said


def messages(data: bytes) -> list[bytes]:
    """Cut behind each message; the last one may not be whole."""
    found = []
    while data:
        size = 5 + int.from_bytes(data[1:5]) if len(data) >= 5 else len(data)
        found.append(data[:size])
        data = data[size:]
    return found


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4) + message


def answer(data: bytes, trailers: bytes, *, text: bool) -> bytes:
    """What the browser gets for an answer's body and its trailer lines."""
    lower = re.sub(rb"(?m)^[^:\r\n]+:", lambda m: m[0].lower(), trailers)
    end = [frame(lower, 0x80)] if trailers else []
    if not text:
        return data + b"".join(end)
    return b"".join(map(base64.b64encode, [*messages(data), *end]))
