# SPDX-License-Identifier: MIT
"""What is asked for. A scenario is data: the load, and which variant of each peer takes part.

To add one: a line here; if it needs another configuration of the peers, a `tuning` they know
(peers.py); if it needs another answer, the origin (origin.c).
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Scenario:
    """One line of the report."""

    name: str
    text: str
    path: str
    """What is asked of the origin: a number is the size of the body."""
    connections: int = 64
    headers: tuple[tuple[str, str], ...] = ()
    """More fields of each request."""
    log: bool = False
    """Whether an access log (JSON) is written, by every proxy, to a file."""
    big_buffers: bool = False
    """Whether peers get buffers tuned for large answers instead of the shipped ones."""
    same_fields: bool = False
    """Whether peers write all the fields that fastproxy writes, not X-Forwarded-For alone."""
    target: float | None = None
    """What the ratio of CPU per request, ours to nginx, must not exceed."""

    @property
    def body_bytes(self) -> int:
        return int(self.path.lstrip("/"))

    @property
    def closes(self) -> bool:
        return ("Connection", "close") in self.headers


ALL = [
    Scenario("small", "100-byte answers, 64 kept connections", "/100", target=0.9),
    Scenario(
        "fields",
        "as small, and the peers write the same six fields as fastproxy",
        "/100",
        same_fields=True,
    ),
    Scenario("log-on", "as small, with a JSON access log to a file", "/100", log=True),
    Scenario(
        "close",
        "100-byte answers, a new connection for each request",
        "/100",
        headers=(("Connection", "close"),),
    ),
    Scenario("large", "1 MiB answers, buffers of the peers as shipped", f"/{MIB}", connections=16),
    Scenario(
        "large-tuned",
        "1 MiB answers, buffers of the peers tuned to 256 KiB",
        f"/{MIB}",
        connections=16,
        big_buffers=True,
    ),
]
BY_NAME = {one.name: one for one in ALL}
