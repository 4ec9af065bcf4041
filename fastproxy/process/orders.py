# SPDX-License-Identifier: MIT
"""What operators order while it runs: who is meant, whether it can be, and what becomes of it.

An order names an upstream (which may be left out when there is only one) and backends, and is done
for all of them or not at all. A backend is named by

    http://app.internal:9001              its URL: all addresses of that name
    http://app.internal:9001#10.0.0.7     one address of it, as `fastproxy backends` shows it
    app.internal:9001, 10.0.0.7:9001      host or address and port; an error if several are meant
    /run/app.sock                         the path of a unix socket

OrderError says what is wrong in a line for the user. What is done is on the scoreboard at once, so
that nobody chooses a backend that is drained, disabled or removed; the roster that it makes is for
the caller to hand on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fastproxy.balance import build
from fastproxy.balance.build import Member, Place
from fastproxy.balance.settings import WEIGHT_MAX, Backend
from fastproxy.process import changes as changing
from fastproxy.process.rosters import Rosters, converted
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard.segment import Health

WORDS = {"drain": Health.DRAIN, "enable": Health.UP, "disable": Health.MAINT}
ACTIONS = ("add", "remove", *WORDS, "weight")
LISTED_MAX = 10
"""Backends that an error lists."""


class OrderError(ValueError):
    """It cannot be done; the text is for the user."""


class Order(msgspec.Struct):
    """As callers send it. Unknown keys are left alone."""

    action: str
    backends: list[str]
    upstream: str = ""
    weight: int | None = None
    settings: dict[str, Any] = {}
    """add: keys of a backend's table in the configuration, without `url`."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a word of an order means."""

    name: str
    """A URL, or one address of it: "URL#address"."""
    members: list[Member]
    """Its addresses; none while a host name does not resolve."""


@dataclass(frozen=True, slots=True)
class Done:
    """What has become of an order."""

    upstream: str
    members: list[Member]
    """Whom it was about; of `remove` those that were."""
    changed: list[str]
    """Names of those for whom it made a difference."""
    roster: bytes | None
    """The next one, if it takes one."""
    note: str = ""


def closest(word: str, known: Iterable[str]) -> str:
    """As in a configuration; imported late, because only control needs it."""
    from fastproxy.config import convert

    return convert.closest(word, known)


def upstream_meant(rosters: Rosters, name: str) -> str:
    """The upstream that an order is for."""
    known = list(rosters.current)
    if not known:
        raise OrderError("this instance has no upstream")
    if name in known:
        return name
    if name:
        hint = closest(name, known) or f"there are {', '.join(known)}"
        raise OrderError(f'no upstream "{name}"; {hint}')
    if len(known) > 1:
        raise OrderError(f"there are several upstreams, name one of them: {', '.join(known)}")
    return known[0]


def target(rosters: Rosters, upstream: str, text: str) -> Target:
    """Whom `text` means, among those that the upstream has now."""
    members = [one for one in rosters.members if one.upstream == upstream]
    urls = list(rosters.changes[upstream].sources(rosters.upstreams[upstream]))
    found = {name: _members_named(members, name) for name in _meant(members, urls, text)}
    if len(found) == 1:
        name, those = found.popitem()
        return Target(name, those)
    if found:
        raise OrderError(f'"{text}" may be {" or ".join(found)}: name one of them')
    names = list(dict.fromkeys([*urls, *(one.name for one in members)]))
    if not names:
        raise OrderError(f'upstream "{upstream}" has no backend at all')
    listed = f"it has {', '.join(names[:LISTED_MAX])}"
    listed += f" and {len(names) - LISTED_MAX} more" if len(names) > LISTED_MAX else ""
    hint = closest(text, [*names, *(name.partition("//")[2] for name in names)])
    hint += " " if hint else ""
    raise OrderError(f'upstream "{upstream}" has no backend "{text}"; {hint}{listed}')


def _meant(members: list[Member], urls: list[str], text: str) -> list[str]:
    """Names that `text` fits. What is written out in full means only itself."""
    if any(one.name == text for one in members) or text in urls:
        return [text]
    if "://" in text or text.startswith(("http+unix:", "https+unix:")):
        plain = _plain(text.removesuffix("/"))
        return [one for one in urls if _plain(one) == plain]
    found = [url for url in urls if text in _short(UpstreamUrl(url))]
    return [*found, *(one.name for one in members if text == _address(one))]


def _plain(url: str) -> str:
    """Without a port that need not be said."""
    return url.removesuffix(":443" if url.startswith("https:") else ":80")


def _short(url: UpstreamUrl) -> tuple[str, ...]:
    """Other ways to write a URL: host:port, the path of a unix socket."""
    if url.is_unix:
        return (url.path,)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return (url.authority, f"{host}:{url.port}")


def _address(member: Member) -> str:
    """address:port of a member; "" of a unix socket."""
    family = int.from_bytes(member.address[:2], "little")
    if family == socket.AF_UNIX:
        return ""
    host = build.address_text(member.address)
    port = int.from_bytes(member.address[2:4], "big")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _members_named(members: list[Member], name: str) -> list[Member]:
    if "#" in name:
        return [one for one in members if one.name == name]
    return [one for one in members if str(one.backend.url) == name]


def names_to_resolve(order: Order) -> list[UpstreamUrl]:
    """Host names among the backends that are to be added: the caller looks them up first."""
    if order.action != "add":
        return []
    urls = [_url(text) for text in order.backends if "#" not in text]
    return [url for url in urls if not build.is_numeric(url)]


def carry_out(rosters: Rosters, order: Order, answers: Mapping[str, list[Place]]) -> Done:
    """Do it; `answers`: addresses of `names_to_resolve`. OrderError: nothing was done."""
    if order.action not in ACTIONS:
        hint = closest(order.action, ACTIONS) or f"there are {', '.join(ACTIONS)}"
        raise OrderError(f'backends cannot be told to "{order.action}"; {hint}')
    if not order.backends:
        raise OrderError("name at least one backend")
    upstream = upstream_meant(rosters, order.upstream)
    try:
        if order.action == "add":
            return _add(rosters, upstream, order, answers)
        targets = [target(rosters, upstream, text) for text in dict.fromkeys(order.backends)]
        if order.action == "remove":
            return _remove(rosters, upstream, targets)
        if order.action == "weight":
            return _weight(rosters, upstream, targets, order.weight)
        return _say(rosters, upstream, targets, WORDS[order.action])
    except OrderError:
        raise
    except ValueError as error:
        raise OrderError(str(error)) from None


def _done(
    rosters: Rosters,
    upstream: str,
    members: list[Member],
    changed: Iterable[Member],
    roster: bytes | None,
) -> Done:
    """What was done, with what the operator should know about what is left."""
    left = [one for one in rosters.members if one.upstream == upstream]
    serving = any(
        one.weight and not rosters.said(rosters.rows[(upstream, one.name)]).word for one in left
    )
    note = ""
    if not left:
        note = f'upstream "{upstream}" has no backend any more: its requests get 503'
    elif not serving:
        note = f'no backend of upstream "{upstream}" takes new requests now: they get 503'
    return Done(upstream, members, [one.name for one in changed], roster, note)


def _now(rosters: Rosters, upstream: str, names: Iterable[str]) -> list[Member]:
    """The members that these names mean now, each once."""
    members = [one for one in rosters.members if one.upstream == upstream]
    found = [one for name in names for one in _members_named(members, name)]
    return list({one.name: one for one in found}.values())


def _add(rosters: Rosters, upstream: str, order: Order, answers: Mapping[str, list[Place]]) -> Done:
    change = changing.copied(rosters.changes[upstream])
    names = []
    for text in dict.fromkeys(order.backends):
        if text in change.removed and "#" in text:
            change.removed.remove(text)
            change.say(text, Health.UP)
            names.append(text)
            continue
        url = _url(text)
        if str(url) in change.sources(rosters.upstreams[upstream]):
            raise OrderError(f'{url} is in upstream "{upstream}" already')
        backend: Backend = converted(Backend, {**order.settings, "url": str(url)}, "backend")
        change.forget(str(url))
        # Back as it was configured, unless other settings are given.
        if order.settings or str(url) not in change.sources(rosters.upstreams[upstream]):
            change.added.append(backend)
        names.append(str(url))
    before = {one.name for one in rosters.members if one.upstream == upstream}
    roster = rosters.change(upstream, change, answers)
    members = _now(rosters, upstream, names)
    changed = [one for one in members if one.name not in before]
    return _done(rosters, upstream, members, changed, roster)


def _url(text: str) -> UpstreamUrl:
    try:
        url = UpstreamUrl.parse(text)
    except ValueError as error:
        raise OrderError(str(error)) from None
    if not url.is_unix and url.port == 0:
        raise OrderError(f"{url}: port 0 cannot be connected to")
    if len(url.encode()) > build.NAME_MAX:
        raise OrderError(f"a backend's URL has at most {build.NAME_MAX} bytes")
    return url


def _remove(rosters: Rosters, upstream: str, targets: list[Target]) -> Done:
    change = changing.copied(rosters.changes[upstream])
    members = _now(rosters, upstream, [one.name for one in targets])
    for one in targets:
        if "#" not in one.name:
            change.forget(one.name)
        change.removed.append(one.name)  # struck again if nobody else names it
    roster = rosters.change(upstream, change)
    return _done(rosters, upstream, members, members, roster)


def _weight(rosters: Rosters, upstream: str, targets: list[Target], weight: int | None) -> Done:
    if weight is None:
        raise OrderError(f"a weight is missing: 0 to {WEIGHT_MAX}")
    if not 0 <= weight <= WEIGHT_MAX:
        raise OrderError(f"weight {weight} is not within 0 to {WEIGHT_MAX}")
    change = changing.copied(rosters.changes[upstream])
    names = [one.name for one in targets]
    before = {one.name: one.weight for one in _now(rosters, upstream, names)}
    for name in names:
        change.weigh(name, weight)
    roster = rosters.change(upstream, change)
    members = _now(rosters, upstream, names)
    changed = [one for one in members if before[one.name] != one.weight]
    return _done(rosters, upstream, members, changed, roster)


def _say(rosters: Rosters, upstream: str, targets: list[Target], word: Health) -> Done:
    if nowhere := next((one.name for one in targets if not one.members), ""):
        raise OrderError(f"{nowhere} has no address: its name does not resolve")
    old = rosters.changes[upstream]
    change = changing.copied(old)
    for one in targets:
        change.say(one.name, word)
    members = _now(rosters, upstream, [one.name for one in targets])
    freed = set(rosters.unejected(members)) if word == Health.UP else set()
    changed = [one for one in members if old.word_of(one) != word or one.name in freed]
    return _done(rosters, upstream, members, changed, rosters.change(upstream, change))
