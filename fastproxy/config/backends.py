# SPDX-License-Identifier: MIT
"""Backends wherever they are listed: in the configuration, in a file of their own, by a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from fastproxy.balance.build import BACKENDS_PER_UPSTREAM_MAX, is_numeric
from fastproxy.balance.settings import Backend
from fastproxy.config.convert import BROKEN, Converter
from fastproxy.config.load import Where, load
from fastproxy.config.model import Config
from fastproxy.discovery.resolver import lacks_dns
from fastproxy.errors import ConfigError, Problem
from fastproxy.schema import UpstreamUrl


class BackendsFile(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What a `backends_file` holds."""

    backends: list[UpstreamUrl | Backend]


def long_form(backends: Sequence[UpstreamUrl | Backend]) -> list[Backend]:
    """Every one as a table."""
    return [one if isinstance(one, Backend) else Backend(url=one) for one in backends]


def faults(members: Sequence[Backend]) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """(where in it, what is wrong, hint) of a list of backends; with a hint it is only odd."""
    if len(members) > BACKENDS_PER_UPSTREAM_MAX:
        text = f"{len(members)} backends, at most {BACKENDS_PER_UPSTREAM_MAX} are possible"
        yield (), text, ""
    seen: dict[str, int] = {}
    scheme = members[0].url.scheme if members else ""
    for at, member in enumerate(members):
        if member.url.scheme != scheme:
            text = f"{member.url} among {scheme}:// backends: all of an upstream speak the same"
            yield (at,), text, ""
        if member.url.port == 0 and not (member.url.is_unix or member.url.is_srv):
            yield (at,), f"{member.url}: port 0 cannot be connected to", ""
        if member.url in seen:
            text = f"{member.url} is already backends[{seen[member.url]}]"
            yield (at,), text, "give one of them a weight instead"
        seen.setdefault(member.url, at)


def read_backends(path: str) -> list[Backend]:
    """What the file lists. ConfigError with every mistake in it, with its line."""
    document = load(path)
    problems: list[Problem] = []

    def report(where: Where, text: str, hint: str) -> None:
        problems.append(document.problem(where, text, hint))

    found: BackendsFile = Converter(report, document.is_text).convert(
        BackendsFile, document.data, ()
    )
    if not problems and found is not BROKEN:
        members = long_form(found.backends)
        for at, text, hint in faults(members):
            if not hint:
                report(("backends", *at), text, hint)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return members


def backends_path(path: str, config_path: str) -> str:
    """Relative to the configuration file, whose directory it mostly shares."""
    return os.path.abspath(os.path.join(os.path.dirname(config_path), path))


def listed_in_files(config: Config, config_path: str) -> dict[str, list[Backend]]:
    """Upstream -> what its backends_file lists now. ConfigError."""
    return {
        name: read_backends(backends_path(one.backends_file, config_path))
        for name, one in config.upstreams.items()
        if one is not None and one.backends_file
    }


def odd_schemes(
    config: Config, listed: Mapping[str, list[Backend]]
) -> Iterator[tuple[Where, str, str]]:
    """(where, what is wrong, hint) of lists that hold other URLs than their upstream has."""
    for name, members in listed.items():
        upstream = config.upstreams[name]
        if other := wrong_scheme(upstream.scheme, members):
            text = (
                f"{upstream.backends_file} lists {other}, the upstream's are {upstream.scheme}://"
            )
            hint = "write a backend of that kind here"
            if other.scheme == "https" and not upstream.backends:
                hint = f"write [upstreams.{name}.tls] above it, may it be empty"
            yield ("upstreams", name, "backends_file"), text, hint


def wrong_scheme(scheme: str, members: Sequence[Backend]) -> UpstreamUrl | None:
    """The first URL of another scheme."""
    return next((one.url for one in members if one.url.scheme != scheme), None)


def resolving(
    config: Config, listed: Mapping[str, list[Backend]]
) -> Iterator[tuple[Where, str, str, bool]]:
    """(where, what is wrong, hint, whether that is only a warning) of names and who resolves them.
    `listed`: as `listed_in_files` gives it."""
    names = False
    for name, upstream in config.upstreams.items():
        if upstream is None:
            continue
        where: Where = ("upstreams", name, "backends")
        members = [*upstream.members(), *listed.get(name, ())]
        for at, member in enumerate(members):
            names |= not is_numeric(member.url)
            if member.url.is_srv and config.dns is not None and config.dns.resolver == "system":
                text = f'{member.url}: SRV records need dns.resolver = "dns"'
                yield (*where, at) if at < len(upstream.backends) else where, text, "", False
    if names and config.dns is not None and lacks_dns(config.dns):
        text = (
            f"the package pycares is not installed: the system resolves names, every "
            f"{config.dns.interval} and without TTL or SRV"
        )
        yield ("dns",), text, "pip install pycares", True
