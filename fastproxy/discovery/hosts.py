# SPDX-License-Identifier: MIT
"""/etc/hosts, and `localhost`. A name that stands there is not asked for elsewhere."""

from __future__ import annotations

import ipaddress
from pathlib import Path

PATH = Path("/etc/hosts")
LOOPBACK = ["127.0.0.1", "::1"]


def look_up(name: str, path: Path = PATH) -> list[str]:
    """Addresses of a name in all lines that have it; `localhost` and what ends in `.localhost` are
    loopback (RFC 6761) where no line says otherwise. Empty: ask DNS."""
    wanted = name.rstrip(".").lower()
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if wanted in (one.lower() for one in names) and _is_address(address):
            found.append(address)
    if not found and (wanted == "localhost" or wanted.endswith(".localhost")):
        return LOOPBACK
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
