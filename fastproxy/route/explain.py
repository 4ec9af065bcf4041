# SPDX-License-Identifier: MIT
"""Why a request went where it went: each route's reason, in plain words, from the settings.

The answer itself comes from the compiled plan (`_core.explain`); here is only told why the others
were not it. Slow and simple: for people, not for traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from fastproxy import _core
from fastproxy.errors import Problem
from fastproxy.regex.build import RegexList
from fastproxy.route.build import name_routes
from fastproxy.route.conditions import route_methods
from fastproxy.route.host import ANY, HostError, parse_host
from fastproxy.route.path import Kind, PathPattern, parse_path
from fastproxy.route.settings import Condition, Route

Fields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Asked:
    """A request in the form that the engine hands to routing."""

    method: str
    host: str
    path: str
    query: str = ""
    headers: Fields = field(default_factory=list)
    listener: str = ""


@dataclass(frozen=True)
class Reason:
    """One route and why it does not take the request."""

    route: int
    name: str
    text: str


def explain_others(
    routes: Sequence[Route], asked: Asked, answer: Mapping[str, Any]
) -> list[Reason]:
    """A reason for each route but the one that `answer` (of `_core.explain`) names."""
    names = name_routes(routes, [])
    taken = answer["route"] if answer["why"] == "hit" else None
    chosen = _virtual_host(routes, asked)
    return [
        Reason(index, names[index], _reason(routes, index, asked, chosen, taken))
        for index in range(len(routes))
        if index != taken
    ]


def _reason(
    routes: Sequence[Route], index: int, asked: Asked, chosen: str | None, taken: int | None
) -> str:
    route = routes[index]
    for text in _failures(route, asked, chosen):
        return text
    if taken is None:
        return "it matches"  # not reached: somebody would have taken the request
    return f"it matches too, but {names_why(routes[taken], route, taken)}"


def names_why(winner: Route, loser: Route, taken: int) -> str:
    """Why one of two matching routes comes first."""
    first, second = _pattern(winner), _pattern(loser)
    where = f"routes[{taken}]"
    if second is not None and first is not None and first != second:
        if second.is_root:
            return f'{where} comes before "/"'
        if first.kind is Kind.REGEX and second.kind is Kind.REGEX:
            return f"the regex of {where} stands earlier in the file"
        if second.kind is Kind.REGEX:
            return f"the path of {where} comes before any regex"
        if (first.kind, first.segments) != (second.kind, second.segments):
            return f"the path {winner.path!r} of {where} is more specific"
    if _count(winner) > _count(loser):
        return f"{where} has more conditions"
    return f"{where} stands earlier in the file"


def _count(route: Route) -> int:
    return len(route.headers) + len(route.query) + len(route.cookies) + bool(route.methods)


def _pattern(route: Route) -> PathPattern | None:
    told: list[Problem] = []
    return parse_path("", route.path, RegexList(), told)


def _hosts(route: Route) -> list[str]:
    found = []
    for text in route.hosts:
        try:
            found.append(parse_host(text))
        except HostError:
            continue
    return found or [ANY]


def _virtual_host(routes: Sequence[Route], asked: Asked) -> str | None:
    """The virtual host of the request, None if there is none."""
    known = {
        host for route in routes if route.listener in (None, asked.listener)
        for host in _hosts(route)
    }  # fmt: skip
    if asked.host and asked.host in known:
        return asked.host
    labels = asked.host.split(".")
    for at in range(1, len(labels)):
        suffix = "*." + ".".join(labels[at:])
        if suffix in known and any(labels[:at]):
            return suffix
    return ANY if ANY in known else None


def _failures(route: Route, asked: Asked, chosen: str | None) -> Iterator[str]:
    """What does not fit, the most telling first."""
    if route.listener not in (None, asked.listener):
        yield f"it is for the listener {route.listener} only"
    hosts = _hosts(route)
    if chosen is None:
        yield f"it is for the host {', '.join(hosts)}"
    elif chosen not in hosts and hosts == [ANY]:
        yield f"the host {chosen} has routes of its own, so routes without `host` are not asked"
    elif chosen not in hosts:
        better = f", and {chosen} fits better" if chosen != ANY else ""
        yield f"it is for the host {', '.join(hosts)}{better}"
    pattern = _pattern(route)
    if pattern is None or not path_takes(pattern, asked.path):
        yield f"its path {route.path!r} does not take {asked.path!r}"
    yield from _header_failures(route, asked)
    for name, condition in route.query.items():
        yield from _failure("query parameter", name, condition, _query_values(asked.query, name))
    for name, condition in route.cookies.items():
        yield from _failure("cookie", name, condition, _cookie_values(asked.headers, name))
    methods = route_methods(route)
    if methods is not None and asked.method not in methods:
        yield f"it takes only {', '.join(sorted(methods))}, not {asked.method}"


def _header_failures(route: Route, asked: Asked) -> Iterator[str]:
    for name, condition in route.headers.items():
        values = [v for n, v in asked.headers if n.lower() == name.lower().encode("latin-1")]
        if len(values) > 1:
            values.append(b", ".join(values))
        yield from _failure("header", name, condition, values)


def _failure(what: str, name: str, condition: Condition, values: list[bytes]) -> Iterator[str]:
    if _holds(condition, values):
        return
    shown = values[0].decode("utf-8", "backslashreplace") if values else ""
    if condition is False:
        yield f"{what} {name} must be absent"
    elif not values:
        yield f"{what} {name} is missing"
    else:
        yield f"{what} {name} is {shown!r}, wanted {condition!r}"


def _holds(condition: Condition, values: list[bytes]) -> bool:
    if isinstance(condition, bool):
        return bool(values) is condition
    if condition.startswith("~"):
        pattern = condition[1:].strip().encode(errors="surrogateescape")
        return any(_core.regex_search(pattern, value) for value in values)
    return condition.encode() in values


def _query_values(query: str, name: str) -> list[bytes]:
    values = []
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if pair and unquote_to_bytes(key.replace("+", " ")) == name.encode():
            values.append(unquote_to_bytes(value.replace("+", " ")))
    return values


def _cookie_values(fields: Fields, name: str) -> list[bytes]:
    values = []
    for key, line in fields:
        for pair in line.split(b";") if key.lower() == b"cookie" else ():
            cookie, equals, value = pair.strip(b" \t").partition(b"=")
            if equals and cookie == name.encode():
                values.append(value)
    return values


def path_takes(pattern: PathPattern, path: str) -> bool:
    """Whether a pattern takes a normalised path; what the compiled tree answers with a walk."""
    if pattern.kind is Kind.REGEX:
        return _core.regex_search(pattern.text[1:].strip().encode(), path.encode())
    segments = path.encode().split(b"/")[1:]
    if not path.startswith("/"):
        return False
    head = segments[: len(pattern.segments)]
    if len(head) < len(pattern.segments):
        return False
    for wanted, got in zip(pattern.segments, head, strict=True):
        if (not got) if wanted is None else wanted != got:
            return False
    below = len(segments) > len(pattern.segments)
    if pattern.kind is Kind.EXACT:
        return not below
    return below if pattern.kind is Kind.BELOW else True
