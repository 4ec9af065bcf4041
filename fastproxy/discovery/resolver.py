# SPDX-License-Identifier: MIT
"""Which resolver: as `dns.resolver` says, and as this installation can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib.util import find_spec

from fastproxy.balance.build import Place
from fastproxy.discovery.answer import Resolver, UnresolvedError
from fastproxy.discovery.settings import Dns
from fastproxy.discovery.system import SystemResolver
from fastproxy.schema import UpstreamUrl


def lacks_dns(dns: Dns) -> bool:
    """DNS is wanted, but its library is not there: names are resolved by the system instead, every
    dns.interval."""
    return dns.resolver == "dns" and find_spec("pycares") is None


def resolver_of(dns: Dns) -> Resolver:
    """Inside a running loop."""
    if dns.resolver == "system" or lacks_dns(dns):
        return SystemResolver(dns)
    # Only who has names pays for loading c-ares.
    from fastproxy.discovery.dns import DnsResolver

    return DnsResolver(dns)


def first_answers(
    urls: Iterable[UpstreamUrl], dns: Dns, seconds: float
) -> tuple[dict[str, list[Place]], dict[str, str]]:
    """For the starting process: (URL -> answer, URL -> why there is none), asked for side by side
    and waited for at most so long. For a process that does nothing else meanwhile."""

    async def one(resolver: Resolver, url: UpstreamUrl) -> list[Place] | str:
        try:
            return (await resolver.ask(url)).places
        except UnresolvedError as error:
            return str(error)

    async def ask() -> list[list[Place] | str]:
        resolver = resolver_of(dns)
        tasks = [asyncio.create_task(one(resolver, url)) for url in wanted]
        await asyncio.wait(tasks, timeout=seconds)
        return [task.result() if task.done() else "no answer in time" for task in tasks]

    wanted = list(urls)
    found = asyncio.run(ask()) if wanted else []
    pairs = list(zip(wanted, found, strict=True))
    return (
        {str(url): answer for url, answer in pairs if not isinstance(answer, str)},
        {str(url): answer for url, answer in pairs if isinstance(answer, str)},
    )
