# SPDX-License-Identifier: MIT
"""The resolver that knows TTLs: /etc/hosts and DNS through c-ares; A, AAAA and SRV.

IPv4 and IPv6 are asked for apart. Where one of them fails (rather than saying that there is
nothing) its addresses of the last answer stay: a broken AAAA must not take A with it, nor come and
go with each timeout. Answers that do not fit a datagram come by TCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from socket import AddressFamily

from fastproxy.balance.build import Endpoint, Place, address_of, sockaddr_inet
from fastproxy.discovery import hosts
from fastproxy.discovery.answer import Answer, UnresolvedError, answer_of, family_of
from fastproxy.discovery.cares import Channel
from fastproxy.discovery.settings import Dns, families, server_text
from fastproxy.discovery.srv import Service, shares
from fastproxy.schema import UpstreamUrl

ASKED_AT_ONCE = 64
"""Answers waited for at the same time: what a resolver beside us takes without dropping any."""
HOSTS_TTL = 5.0
"""How soon an edit of /etc/hosts is seen."""
CARRIED_TTL = 1.0
"""A half answer is asked for again soon."""


class DnsResolver:
    """Used by control, and by the starting process for the first answers."""

    def __init__(self, dns: Dns) -> None:
        self.dns = dns
        self.servers = [server_text(one) for one in dns.servers]
        self.gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(self, url: UpstreamUrl, last: Sequence[Place] = ()) -> Answer:
        async with self.gate:
            try:
                async with asyncio.timeout(float(self.dns.timeout) + 1):  # c-ares is to be first
                    with Channel(self.servers, float(self.dns.timeout)) as channel:
                        question = _Question(channel, families(self.dns.ipv6))
                        if url.is_srv:
                            return await question.services(url.host, last)
                        places, ttl = await question.addresses(url.host, url.port, last)
                        return answer_of(places, ttl)
            except TimeoutError:
                raise UnresolvedError("no answer in time") from None


class _Question:
    def __init__(self, channel: Channel, wanted: list[AddressFamily]) -> None:
        self.channel = channel
        self.families = wanted

    async def addresses(
        self, host: str, port: int, last: Iterable[Place]
    ) -> tuple[list[bytes], float]:
        """(socket addresses, TTL) of a name; `last`: those it had."""
        local = [sockaddr_inet(text, port) for text in hosts.look_up(host)]
        if local:
            fitting = [one for one in local if family_of(one) in self.families]
            return fitting or local, HOSTS_TTL
        results = await asyncio.gather(
            *(self.channel.addresses(host, family) for family in self.families),
            return_exceptions=True,
        )
        found: list[bytes] = []
        ttls: list[float] = []
        faults: list[UnresolvedError] = []
        for family, result in zip(self.families, results, strict=True):
            if isinstance(result, UnresolvedError):
                faults.append(result)
                kept = [] if result.gone else _of_family(last, family)
                found += kept
                ttls += [CARRIED_TTL] if kept else []
            elif isinstance(result, BaseException):
                raise result
            else:
                found += [sockaddr_inet(text, port) for text, _ in result]
                ttls += [ttl for _, ttl in result]
        fresh = len(faults) < len(self.families)
        if not fresh or not found:
            faults.sort(key=lambda fault: fault.gone)  # what went wrong before what is not there
            raise faults[0] if faults else UnresolvedError("the name has no address", gone=True)
        return found, min(ttls)

    async def services(self, name: str, last: Sequence[Place]) -> Answer:
        """The targets of SRV records, each with its addresses."""
        records, ttl = await self._records(name)
        before: dict[str, list[Place]] = {}
        for place in last:
            before.setdefault(getattr(place, "name", ""), []).append(place)
        ranked = shares(records)
        results = await asyncio.gather(
            *(
                self.addresses(one.target, one.port, before.get(one.authority, ()))
                for one, _, _ in ranked
            ),
            return_exceptions=True,
        )
        places: list[Place] = []
        ttls = [ttl]
        fault = UnresolvedError("no target of its records has an address")
        for (record, weight, priority), result in zip(ranked, results, strict=True):
            if isinstance(result, UnresolvedError):
                fault = UnresolvedError(f"{record.target}: {result}")
                kept = [] if result.gone else before.get(record.authority, [])
                addresses, life = [address_of(place) for place in kept], CARRIED_TTL
            elif isinstance(result, BaseException):
                raise result
            else:
                addresses, life = result
            ttls.append(life)
            places += [Endpoint(one, weight, priority, record.authority) for one in addresses]
        if not places:
            raise fault
        return answer_of(places, min(ttls))

    async def _records(self, name: str) -> tuple[list[Service], float]:
        found = await self.channel.services(name)
        records = [
            Service(one.priority, one.weight, one.target.rstrip("."), one.port)
            for one, _ in found
            if one.port and one.target.rstrip(".")
        ]
        if not records:
            # A target of "." says that there is decidedly no such service.
            raise UnresolvedError("it has no SRV record with a target", gone=True)
        return records, min(ttl for _, ttl in found)


def _of_family(places: Iterable[Place], family: int) -> list[bytes]:
    known = [address_of(place) for place in places]
    return [one for one in known if family_of(one) == family]
