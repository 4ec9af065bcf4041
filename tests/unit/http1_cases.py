"""What a case is. The cases themselves are in http1_cases_*.py.

Each case is fed whole, byte by byte, at every split in two and with junk after it, on every SIMD
path, and to the pure-Python twin; accepted ones also go to h11 and httptools, unless the case says
in words why those see it differently. `line` is the line of security.md B3 that asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    refused: tuple[int, str] | None = None
    """(status, reason) if it must be refused; else it must be accepted."""
    more: bool = False
    """It must be found unfinished."""
    want: dict[str, Any] = field(default_factory=dict)
    """Accepted: what the head or the framing must say. `fields`: [(name, value)]."""
    line: int = 0
    limits: tuple[int, int, int, int] = (8192, 8192, 32768, 128)
    method: str = "GET"
    """Response: the method of the request that it answers."""
    h11: str = ""
    """Why h11 sees an accepted case differently (it is not asked then)."""
    httptools: str = ""

    def __str__(self) -> str:
        return self.name


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    """A request with these field lines after a Host."""
    lines = [line, *([b"Host: a.example"] if host else []), *fields, b"", b""]
    return b"\r\n".join(lines)


def post(*fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return get(*fields, line=line)


def ok(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response head with these field lines."""
    return b"\r\n".join([line, *fields, b"", b""])
