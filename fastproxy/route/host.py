# SPDX-License-Identifier: MIT
"""The `host` of a route -> the name that requests are compared with.

Requests come with the host in lower case, without port and trailing dot; IPv6 in brackets. A name
outside of ASCII is turned into its IDNA form. A port is not part of a virtual host: use `listener`.
"""

from __future__ import annotations

import ipaddress
import re

LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
ANY = ""


class HostError(ValueError):
    """A host that cannot match, with a hint."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def parse_host(text: str) -> str:
    """ "api.example.com", "*.example.com", or ANY. Raises HostError."""
    name = text.strip().lower()
    if name == "*":
        return ANY
    if name.startswith("["):
        return _address(name)
    wildcard = name.startswith("*.")
    plain = name[2:] if wildcard else name
    plain = plain.removesuffix(".")
    if re.search(r":\d+\Z", plain):
        raise HostError(f"{text!r} has a port", "a host has none; use `listener`")
    if ":" in plain:
        raise HostError(f"{text!r} is no host name", "write an IPv6 address in brackets")
    if "*" in plain or plain.startswith("~"):
        raise HostError(f"{text!r}: a wildcard is the whole first label", 'write "*.example.com"')
    try:
        plain = plain.encode("idna").decode()
    except UnicodeError:
        raise HostError(f"{text!r} is no host name") from None
    if len(plain) > 253 or not all(LABEL.match(label) for label in plain.split(".")):
        raise HostError(f"{text!r} is no host name")
    return f"*.{plain}" if wildcard else plain


def _address(name: str) -> str:
    inner, bracket, port = name[1:].partition("]")
    if port:
        raise HostError(f"{name!r} has a port", "a host has none; use `listener`")
    try:
        if not bracket or "%" in inner:
            raise ValueError
        return f"[{ipaddress.IPv6Address(inner)}]"
    except ValueError:
        raise HostError(f"{name!r} is no IPv6 address") from None
