"""The slow and obvious twin of routing: every route is asked, the best is taken; no table, no tree.

It reads settings, not a plan, and knows nothing of how the compiled matcher works. Sorting keys say
the documented precedence in one place (`Match.rank`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from fastproxy.route.settings import Condition, Route

Fields = Sequence[tuple[bytes, bytes]]


@dataclass
class Request:
    host: str
    path: str
    query: str = ""
    method: str = "GET"
    headers: Fields = ()
    listener: str = ":80"


@dataclass
class Answer:
    why: str
    route: int = -1
    params: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset()


def answer(routes: Sequence[Route], request: Request) -> Answer:
    mine = [
        (index, route) for index, route in enumerate(routes)
        if route.listener in (None, request.listener)
    ]  # fmt: skip
    chosen = _virtual_host({h for _, r in mine for h in (r.hosts or ["*"])}, request.host)
    if chosen is None:
        return Answer("no_host")
    found = []
    order: dict[str, int] = {}
    for index, route in mine:
        if chosen not in (route.hosts or ["*"]):
            continue
        order.setdefault(route.path, index)  # a regex stands where it is first written
        matched = _path(route.path, request.path)
        if matched is not None and _conditions(route, request):
            specific, params = matched
            if route.path.startswith("~"):
                specific = [(2, order[route.path])]
            asked = len(route.headers) + len(route.query) + len(route.cookies)
            found.append((specific, -asked - bool(route.methods), index, params))
    found.sort()
    allow: set[str] = set()
    for _, _, index, params in found:
        methods = _methods(routes[index])
        if not methods or request.method in methods:
            return Answer("hit", index, params)
        allow |= methods
    return Answer("no_method", allow=frozenset(allow)) if allow else Answer("no_path")


def _methods(route: Route) -> set[str]:
    return set(route.methods) | ({"HEAD"} if "GET" in route.methods else set())


def _virtual_host(hosts: set[str], asked: str) -> str | None:
    if asked in hosts and asked != "*":
        return asked
    below = [h for h in hosts if h.startswith("*.") and len(asked) > len(h) - 1
             and asked.endswith(h[1:])]  # fmt: skip
    if below:
        return max(below, key=len)
    return "*" if "*" in hosts else None


# How specific a match is, as a list that sorts best first: one entry per segment of the pattern
# (literal 0, param 1), then where it ends. Regexes and the root come behind all of these.
EXACT, BELOW, PREFIX = (0, 0), (1, 1), (1, 2)
Rank = list[tuple[int, int]]


def _path(pattern: str, path: str) -> tuple[Rank, tuple[str, ...]] | None:
    if pattern.startswith("~"):
        found = re.search(pattern[1:].strip(), path)
        return None if found is None else ([(2, 0)], tuple(g or "" for g in found.groups()))
    exact = pattern.startswith("=")
    pattern = pattern.lstrip("= ")
    if not path.startswith("/"):
        return None
    # As a regular expression: the shortest way to say what a pattern means.
    source, rank = "", []
    parts = pattern.split("/")[1:]
    for part in parts[:-1]:
        source += "/" + ("([^/]+)" if part.startswith("{") else re.escape(part))
        rank.append((0, 1) if part.startswith("{") else (0, 0))
    last = parts[-1]
    end = EXACT
    if last.endswith("...}"):
        source, end = source + "/(.*)", BELOW
    elif last == "" and not exact:
        source, end = source + "/.*", BELOW
    elif last.startswith("{"):
        source += "/([^/]+)"
        rank.append((0, 1))
    else:
        source += "/" + re.escape(last)
        rank.append((0, 0))
        if not exact and "{" not in pattern:
            source, end = source + "(?:/.*)?", PREFIX
    found = re.fullmatch(source, path, re.S)
    if found is None:
        return None
    if end is BELOW and not rank:
        return [(3, 0)], found.groups()
    return [*rank, end], found.groups()


def _conditions(route: Route, request: Request) -> bool:
    return (
        all(_header(n, c, request.headers) for n, c in route.headers.items())
        and all(_query(n, c, request.query) for n, c in route.query.items())
        and all(_cookie(n, c, request.headers) for n, c in route.cookies.items())
    )


def _holds(condition: Condition, values: Sequence[bytes]) -> bool:
    if isinstance(condition, bool):
        return bool(values) is condition
    if condition.startswith("~"):
        return any(re.search(condition[1:].strip().encode(), value) for value in values)
    return condition.encode() in values


def _header(name: str, condition: Condition, fields: Fields) -> bool:
    values = [v for n, v in fields if n.decode("latin-1").lower() == name.lower()]
    joined = [b", ".join(values)] if len(values) > 1 else []
    return _holds(condition, values + joined)


def _query(name: str, condition: Condition, query: str) -> bool:
    values = []
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if pair and unquote_to_bytes(key.replace("+", " ")) == name.encode():
            values.append(unquote_to_bytes(value.replace("+", " ")))
    return _holds(condition, values)


def _cookie(name: str, condition: Condition, fields: Fields) -> bool:
    values = []
    for field, line in fields:
        if field.lower() == b"cookie":
            for pair in line.split(b";"):
                key, equals, value = pair.strip(b" \t").partition(b"=")
                if equals and key == name.encode():
                    values.append(value)
    return _holds(condition, values)
