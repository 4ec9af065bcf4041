# SPDX-License-Identifier: MIT
"""Upstreams -> roster: the flat table of who may serve, with the wheel each pick walks along.

The order of work: `resolve` each URL to socket addresses (the only step that may wait on DNS),
`members` names every address, `assign_rows` gives each a scoreboard row that stays its own as long
as it exists, `build_roster` writes the table. The last three are pure, and deterministic.
Used by the starting process and by control; never by a worker.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastproxy.balance import session as sessions
from fastproxy.balance.settings import PRIORITY_MAX, Backend, Upstream
from fastproxy.balance.tables import name_hashes, pick_tables
from fastproxy.memory import pack
from fastproxy.schema import UpstreamUrl, status_ranges

ROSTER_MAGIC = 0x524F5046
ROSTER_VERSION = 2
ALGORITHMS = {"round_robin": 0, "random": 1, "p2c": 2, "least_conn": 3, "ewma": 4, "hash": 5}
UNPROVEN = 1  # a flag
HASH_METHODS = {"ring": 0, "maglev": 1, "rendezvous": 2}
BACKENDS_PER_UPSTREAM_MAX = 1024
BACKENDS_MAX = 4096
NAME_MAX = 143  # BackendRow.name, with its NUL


@dataclass(frozen=True)
class Endpoint:
    """An address with what came along with it: what an SRV record says."""

    address: bytes
    weight: int | None = None
    """None: as configured."""
    priority: int | None = None
    """Counted from the configured one."""
    name: str = ""
    """host:port for `host = "upstream"`; empty: as configured."""


Place = bytes | Endpoint
"""Where a backend is: a socket address, or that with more."""


@dataclass(frozen=True)
class Member:
    """One address of one backend."""

    upstream: str
    name: str
    """As shown: the URL; with "#address" behind it where the URL names a host."""
    backend: Backend
    """What was configured: weight, priority, labels..."""
    address: bytes
    """sockaddr_in, sockaddr_in6 or sockaddr_un."""
    endpoint: Endpoint | None = None

    @property
    def authority(self) -> str:
        return (self.endpoint and self.endpoint.name) or self.backend.url.authority

    @property
    def weight(self) -> int:
        """As configured; else as the record says, unless it is configured to get nothing."""
        said = self.endpoint.weight if self.endpoint else None
        return self.backend.weight if said is None or not self.backend.weight else said

    @property
    def priority(self) -> int:
        said = self.endpoint.priority if self.endpoint else None
        return min(PRIORITY_MAX, self.backend.priority + (said or 0))


def address_of(place: Place) -> bytes:
    """Its socket address."""
    return place.address if isinstance(place, Endpoint) else place


def sockaddr_inet(host: str, port: int) -> bytes:
    """The C struct for a numeric address; v4-mapped ones become plain IPv4."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address):
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, address.packed)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, address.packed, 0)


def sockaddr_unix(path: str) -> bytes:
    """The C struct for a path, its NUL included."""
    raw = path.encode(errors="surrogateescape")
    if len(raw) > 107 or b"\0" in raw:
        raise ValueError(f"{path!r} does not fit a unix socket address")
    return struct.pack("=H", socket.AF_UNIX) + raw + b"\0"


def resolve(url: UpstreamUrl | str) -> list[bytes]:
    """Socket addresses of a backend, sorted, without doubles. Waits on DNS for names only.

    OSError (socket.gaierror) if the name is not known or cannot be asked for now.
    """
    url = url if isinstance(url, UpstreamUrl) else UpstreamUrl.parse(url)
    if url.is_unix:
        return [sockaddr_unix(url.path)]
    if is_numeric(url):
        return [sockaddr_inet(url.host, url.port)]
    found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    addresses = {
        sockaddr_inet(str(where[0]), url.port)
        for family, _, _, _, where in found
        if family in (socket.AF_INET, socket.AF_INET6) and "%" not in str(where[0])
    }
    return sorted(addresses)


@functools.lru_cache(BACKENDS_MAX)
def is_numeric(url: UpstreamUrl) -> bool:
    """Needs no resolver."""
    if url.is_unix:
        return True
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        return False
    return True


def address_text(address: bytes, port: bool = False) -> str:
    """A socket address as people write it: "10.0.0.1", "::1", "/run/x.sock"; with its port if
    asked: "10.0.0.1:80", "[::1]:80"."""
    family = int.from_bytes(address[:2], sys.byteorder)
    number = f":{int.from_bytes(address[2:4])}" if port else ""
    if family == socket.AF_INET:
        return f"{ipaddress.IPv4Address(address[4:8])}{number}"
    if family == socket.AF_INET6:
        text = str(ipaddress.IPv6Address(address[8:24]))
        return f"[{text}]{number}" if port else text
    return address[2:].rstrip(b"\0").decode(errors="replace")


def members(
    upstreams: Mapping[str, Upstream], addresses: Mapping[str, Iterable[Place]]
) -> list[Member]:
    """Every address of every backend, in order of configuration.

    A URL that `addresses` does not know has no member now (its name did not resolve); control
    adds it when it does. One address reached by two URLs of an upstream is two members: weights
    stay as written.
    """
    found = []
    for name, upstream in upstreams.items():
        for backend in upstream.members():
            found += _members_of(name, backend, addresses.get(str(backend.url), ()))
    return found


def _members_of(upstream: str, backend: Backend, places: Iterable[Place]) -> list[Member]:
    url = backend.url
    plain = is_numeric(url)
    found = []
    for place in places:
        endpoint = place if isinstance(place, Endpoint) else None
        address = address_of(place)
        shown = address_text(address, port=url.is_srv)
        name = str(url) if plain else f"{url}#{shown}"
        found.append(Member(upstream, name, backend, address, endpoint))
    return found


def assign_rows(
    found: Iterable[Member], taken: Mapping[tuple[str, str], int] | None = None
) -> dict[tuple[str, str], int]:
    """A scoreboard row for each (upstream, member name): its old one from `taken`, else the lowest
    that nobody in `taken` holds (a row is not given on while its counters may still be read).

    ValueError when the table is full. Two equal URLs in one upstream share a row.
    """
    taken = taken or {}
    used = set(taken.values())
    rows: dict[tuple[str, str], int] = {}
    free = (row for row in range(BACKENDS_MAX) if row not in used)
    for member in found:
        key = (member.upstream, member.name)
        if key in rows:
            continue
        row = taken.get(key)
        if row is None:
            row = next(free, None)
        if row is None:
            raise ValueError(f"table full: there is room for {BACKENDS_MAX} backends")
        rows[key] = row
    return rows


def tiers_of(group: list[Member], zone: str) -> tuple[list[int], int, int]:
    """(each member's tier, how many tiers, how many of them are backups).

    Lower priorities come first; within one, members of our own zone before the others if there are
    any; backups behind all.
    """

    def place(member: Member) -> tuple[int, int, int]:
        backend = member.backend
        if backend.backup:
            return (1, 0, 0)
        return (0, member.priority, int(bool(zone) and backend.zone != zone))

    places = [place(member) for member in group]
    order = sorted(set(places))
    return [order.index(one) for one in places], len(order), sum(one[0] for one in order)


def build_roster(
    upstreams: Mapping[str, Upstream],
    addresses: Mapping[str, Iterable[Place]],
    rows: Mapping[tuple[str, str], int],
    epoch: int,
    generations: Mapping[int, int] | None = None,
    zone: str = "",
    *,
    changes: str = "",
    session_key: bytes = b"",
    found: Iterable[Member] | None = None,
) -> bytes:
    """The roster. Upstreams stand in the order of the mapping, which is the plan's order too.

    `addresses`: URL -> where it is, `rows`: (upstream, member name) -> scoreboard row,
    `generations`: row -> its generation (1 where absent), `zone`: where this proxy stands,
    `changes`: kept for whoever reads the roster next (`read_changes`), `session_key`: for session
    cookies without a `secret`, `found`: the members, where they are not just what `members` makes
    of the first two. ValueError with a clear text if something does not fit.
    """
    groups: dict[str, list[Member]] = {name: [] for name in upstreams}
    for member in members(upstreams, addresses) if found is None else found:
        groups[member.upstream].append(member)
    _refuse_too_many(groups)
    blob = pack.Blob(pack.size("RosterHeader"))
    backend_rows: list[dict[str, Any]] = []
    upstream_rows: list[dict[str, Any]] = []
    for name, group in groups.items():
        tiers, tier_count, backups = tiers_of(group, zone)
        hashes = name_hashes([member.name for member in group])
        own = []
        for member, name_hash, tier in zip(group, hashes, tiers, strict=True):
            row = rows[(name, member.name)]
            generation = (generations or {}).get(row, 1)
            own.append(_backend_row(blob, member, name_hash, row, generation, tier))
            own[-1]["flags"] = UNPROVEN if upstreams[name].proven_first else 0
        one = _upstream_row(blob, upstreams[name], hashes, [m.weight for m in group])
        one |= sessions.sticky_tables(blob, upstreams[name], group, own, session_key)
        one |= {"queue_row": len(upstream_rows), "tiers": tier_count, "backups": backups}
        one["backends"] = (len(backend_rows), len(group))
        upstream_rows.append(one)
        backend_rows += own
    base, count = blob.rows("RosterBackend", backend_rows)
    for one in upstream_rows:
        first, size = one["backends"]
        one["backends"] = (base + first * pack.size("RosterBackend"), size)
    return blob.finish(
        "RosterHeader",
        {
            "magic": ROSTER_MAGIC,
            "version": ROSTER_VERSION,
            "epoch": epoch,
            "upstreams": blob.rows("RosterUpstream", list(upstream_rows)),
            "backends": (base, count),
            "changes": blob.text(changes),
        },
    )


def _refuse_too_many(groups: Mapping[str, list[Member]]) -> None:
    for name, group in groups.items():
        if len(group) > BACKENDS_PER_UPSTREAM_MAX:
            raise ValueError(
                f"upstream {name!r} has {len(group)} addresses, "
                f"at most {BACKENDS_PER_UPSTREAM_MAX} are possible"
            )
    total = sum(map(len, groups.values()))
    if total > BACKENDS_MAX:
        raise ValueError(f"{total} backends, at most {BACKENDS_MAX} are possible")


def _upstream_row(
    blob: pack.Blob, upstream: Upstream, hashes: list[int], weights: list[int]
) -> dict[str, Any]:
    """What the settings say, and the tables that the algorithm walks along."""
    slow, queue, outlier = upstream.slow_start, upstream.queue, upstream.outlier
    return {
        **pick_tables(blob, upstream, hashes, weights),
        "algorithm": ALGORITHMS[upstream.balance],
        "fallback": ALGORITHMS[upstream.hash.fallback],
        "hash_method": HASH_METHODS[upstream.hash.method],
        "draws": upstream.draws,
        "bound_percent": round(upstream.hash.bound * 100) if upstream.balance == "hash" else 0,
        "panic_percent": upstream.panic_threshold,
        "overprovision_percent": round(upstream.overprovision * 100),
        "slow_start_ms": slow.window.ms,
        "slow_start_aggression": round(slow.aggression * 100),
        "slow_start_percent": slow.least,
        "queue_length": queue.length,
        "queue_ms": queue.timeout.ms,
        "outlier": {
            "consecutive": outlier.consecutive,
            "consecutive_gateway": outlier.consecutive_gateway,
            "base_ms": outlier.ejection.ms,
            "longest_ms": outlier.longest.ms,
            "most_percent": outlier.most,
            "failures": outlier.failures,
            "window_ms": outlier.window.ms,
            "failing": _failing(outlier.status),
        },
    }


def _failing(text: str) -> list[int]:
    """Outlier.failing, a bit for each status."""
    bits = sum(1 << (status - 400) for low, high in status_ranges(text)
               for status in range(low, high + 1))  # fmt: skip
    return [bits >> at & 0xFFFFFFFF for at in range(0, 7 * 32, 32)]


def _backend_row(
    blob: pack.Blob, member: Member, name_hash: int, row: int, generation: int, tier: int
) -> dict[str, Any]:
    backend = member.backend
    return {
        "row": row,
        "tier": tier,
        "hash": name_hash,
        "max_connections": backend.max_connections,
        "generation": generation,
        "weight": member.weight,
        "address_len": len(member.address),
        "address": member.address,
        "name": blob.text(member.name),
        "authority": blob.text(member.authority),
    }


def read_changes(data: bytes | memoryview) -> str:
    """What `build_roster` was given as `changes`."""
    offset, length = pack.read("RosterHeader", data)["changes"]
    return bytes(data[offset : offset + length]).decode()


def read_roster(data: bytes | memoryview) -> list[dict[str, Any]]:
    """Every backend of a roster, for control and `status`: upstream (index), row, generation,
    weight, tier, name, authority, address (bytes)."""
    header = pack.read("RosterHeader", data)
    found = []
    upstream_size, backend_size = pack.size("RosterUpstream"), pack.size("RosterBackend")
    for index in range(header["upstreams"][1]):
        upstream = pack.read("RosterUpstream", data, header["upstreams"][0] + index * upstream_size)
        for at in range(upstream["backends"][1]):
            row = pack.read("RosterBackend", data, upstream["backends"][0] + at * backend_size)
            texts = {key: row[key] for key in ("name", "authority")}
            found.append(
                {
                    "upstream": index,
                    "row": row["row"],
                    "generation": row["generation"],
                    "weight": row["weight"],
                    "tier": row["tier"],
                    **{
                        key: bytes(data[offset : offset + length]).decode(errors="replace")
                        for key, (offset, length) in texts.items()
                    },
                    "address": bytes(row["address"][: row["address_len"]]),
                }
            )
    return found
