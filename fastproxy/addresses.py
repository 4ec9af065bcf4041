# SPDX-License-Identifier: MIT
"""Texts of people, read and shown: addresses in parts, and what a message may quote."""

from __future__ import annotations

import ipaddress
import re

UNIX_PATH_MAX = 107  # sockaddr_un.sun_path holds 108 with its NUL
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?",
    re.ASCII,
)


def printable(text: str) -> str:
    """What a terminal may be given: control and half characters become \\xHH, \\uHHHH."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(value: object) -> str:
    """A value in a message: short, on one line."""
    text = str(value)
    return f'"{printable(text if len(text) <= 80 else text[:77] + "...")}"'


def check_unix_path(path: str, shown: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"{quote(shown)}: the socket's path must be absolute")
    if len(path.encode(errors="surrogateescape")) > UNIX_PATH_MAX:
        raise ValueError(f"{quote(shown)}: a socket's path has at most {UNIX_PATH_MAX} bytes")


def host_port(text: str, shown: str, port_optional: bool = False) -> tuple[str, int | None]:
    """(host without brackets, port). None only where the port may be missing."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f"{quote(shown)} lacks the closing bracket")
        if ":" not in host or not is_ip(host):
            raise ValueError(f"{quote(shown)}: {quote(host)} is no IPv6 address")
        if "%" in host:
            raise ValueError(f"{quote(shown)} has a scope id, which is not supported")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{quote(shown)} has text between the bracket and the port")
        port = rest[1:] if rest else None
    else:
        if text.count(":") > 1:
            raise ValueError(f"{quote(shown)}: write an IPv6 address in brackets, [::1]:8080")
        host, colon, after = text.partition(":")
        port = after if colon else None
        lone = port is None and not port_optional and host.isdecimal()
        if host and not lone and not _plain_host(host):
            raise ValueError(f"{quote(shown)}: {quote(host)} is neither an address nor a name")
    if port is None:
        if port_optional:
            return host, None
        if host.isascii() and host.isdecimal():
            raise ValueError(f'{quote(shown)} has no port; did you mean ":{host}"?')
        raise ValueError(f"{quote(shown)} has no port")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{quote(shown)}: the port must be a number from 0 to 65535")
    return host, int(port)


def _plain_host(host: str) -> bool:
    return is_ip(host) if re.fullmatch(r"[0-9.]+", host) else bool(HOST_NAME.fullmatch(host))


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
