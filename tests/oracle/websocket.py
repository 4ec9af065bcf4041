"""WebSocket frames again (RFC 6455 5.2), slowly: the twin of websocket/frames.pxd."""

from __future__ import annotations


def frames_state(data: bytes) -> str:
    """Where a direction of a tunnel stands when these bytes have passed."""
    at = 0
    while at < len(data):
        if len(data) < at + 2:
            return "inside"
        close, masked, length = data[at] % 16 == 8, data[at + 1] >= 128, data[at + 1] % 128
        at += 2
        if wide := {126: 2, 127: 8}.get(length, 0):
            length = int.from_bytes(data[at : at + wide]) if len(data) >= at + wide else 1 << 64
        at += wide + 4 * masked + length
        if at > len(data):
            return "inside"
        if close:
            return "over"
    return "between"


def frame(payload: bytes, opcode: int = 2, *, final: bool = True, mask: bytes = b"") -> bytes:
    """One frame. `mask`: four bytes, or none."""
    size = len(payload)
    wide = 0 if size < 126 else 2 if size < 1 << 16 else 8
    short = {0: size, 2: 126, 8: 127}[wide]
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    first = bytes([final << 7 | opcode, bool(mask) << 7 | short])
    return first + (size.to_bytes(wide) if wide else b"") + mask + masked
