"""Session cookies and learned sessions, slow and plain: what the compiled rooms must agree with."""

from __future__ import annotations

import hashlib
import hmac
import re

HEX = re.compile(rb"[0-9A-Fa-f]{32}")
UNIT_MS = 256
WAYS = 8


def cookie(lines: list[bytes], name: bytes) -> bytes | None:
    """The value of the first cookie of that name in Cookie fields (RFC 6265 4.2.1), or None."""
    for line in lines:
        for part in line.split(b";"):
            found, equals, value = part.strip(b" \t").partition(b"=")
            if equals and found == name:
                return value
    return None


def session(value: bytes) -> bytes | None:
    """What 32 hexadecimal digits say, perhaps in quotes."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = value[1:-1]
    return bytes.fromhex(value.decode()) if HEX.fullmatch(value) else None


def session_id(key: bytes, upstream: str, member: str) -> bytes:
    return hmac.new(key, f"{upstream}\0{member}".encode(), hashlib.sha256).digest()[:16]


class Learned:
    """One set of the table: at most WAYS sessions, the one that ends first gives way."""

    def __init__(self, idle_ms: int) -> None:
        self.idle_ms = idle_ms
        self.known: dict[int, tuple[int, int, int]] = {}
        """key -> row, generation, end in units"""

    def find(self, key: int, now_ms: int) -> tuple[int, int] | None:
        found = self.known.get(key)
        if found is None or found[2] <= now_ms // UNIT_MS:
            return None
        self.known[key] = (*found[:2], (now_ms + self.idle_ms) // UNIT_MS)
        return found[:2]

    def learn(self, key: int, row: int, generation: int, now_ms: int) -> None:
        entry = (row, generation, (now_ms + self.idle_ms) // UNIT_MS)
        if key not in self.known and len(self.known) == WAYS:
            dead = [old for old, value in self.known.items() if value[2] <= now_ms // UNIT_MS]
            first = dead or sorted(self.known, key=lambda old: self.known[old][2])
            del self.known[first[0]]
        self.known[key] = entry
