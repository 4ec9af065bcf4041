# SPDX-License-Identifier: MIT
"""The knobs of name resolution."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import Duration

SERVER_PATTERN = r"^[0-9A-Fa-f.:\[\]]+\Z"
WANTED_SERVER = {"wanted": 'the address of a server such as "10.0.0.2", "10.0.0.2:53", "[::1]:53"'}
Server = Annotated[str, Meta(pattern=SERVER_PATTERN, extra=WANTED_SERVER)]


class Dns(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How names of backends are resolved. Each is asked for again when its answer's TTL is over,
    and sooner when connects to its addresses fail."""

    resolver: Literal["dns", "system"] = "dns"
    """`dns`: /etc/hosts, then the servers of /etc/resolv.conf with its search domains, with TTLs
    and SRV. `system`: what the C library knows (getaddrinfo: mDNS, LDAP...), without TTLs and
    SRV."""
    servers: list[Server] = []
    """DNS servers to ask instead of those in /etc/resolv.conf."""
    timeout: Annotated[Duration, Meta(extra={"ge": 0.1, "le": 60})] = Duration("5s")
    """For one answer, all tries and servers together."""
    min_ttl: Annotated[Duration, Meta(extra={"ge": 0.1, "le": 86400})] = Duration("1s")
    """Answers hold at least so long, whatever their TTL."""
    max_ttl: Annotated[Duration, Meta(extra={"ge": 0.1, "le": 86400})] = Duration("5m")
    """Answers hold at most so long, whatever their TTL."""
    interval: Annotated[Duration, Meta(extra={"ge": 0.1, "le": 86400})] = Duration("30s")
    """How long answers of `resolver = "system"` hold: they have no TTL."""
    ipv6: Literal["auto", "on", "off", "only"] = "auto"
    """Whether IPv6 addresses become backends. `auto`: if this host has one itself (beyond loopback
    and its link). `on`: both kinds. `off`: IPv4 only. `only`: IPv6 only."""
    stale: Literal["keep"] | Duration = "keep"
    """How long the last good answer is used when a name does not resolve any more. `keep`: until it
    resolves again."""

    def __post_init__(self) -> None:
        if self.min_ttl > self.max_ttl:
            raise ValueError(f"min_ttl ({self.min_ttl}) is above max_ttl ({self.max_ttl})")
        for server in self.servers:
            server_text(server)


def server_text(server: str) -> str:
    """An address with or without port as c-ares reads it. ValueError if it is none."""
    host, port = server, ""
    if server.startswith("["):
        host, _, port = server[1:].partition("]")
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f'servers: "{server}" is not an IP address') from None
    number = int(port.lstrip(":") or 53)
    if not 0 < number < 65536:
        raise ValueError(f'servers: "{server}": the port must be a number from 1 to 65535')
    return f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"


def families(ipv6: str) -> list[socket.AddressFamily]:
    """What to ask for, by `dns.ipv6`."""
    if ipv6 == "only":
        return [socket.AF_INET6]
    if ipv6 == "off" or (ipv6 == "auto" and not has_ipv6()):
        return [socket.AF_INET]
    return [socket.AF_INET, socket.AF_INET6]


def has_ipv6() -> bool:
    """Whether an interface of this host has an address of more than link scope."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[3] == "00" for line in lines)
