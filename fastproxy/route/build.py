# SPDX-License-Identifier: MIT
"""Routes as written -> RouteTables. Every problem of every route is told, not only the first.

What rewriting compiles (rows of edits) comes in as indices: stages of one level do not know each
other. The order of calls is

    params   = path_params([route.path for route in routes], regexes)
    rewrites = build_rewrites(blob, regexes, routes, params, problems)
    tables   = build_routes(blob, regexes, routes, listeners, upstreams, responders,
                            rewrites.rows, rewrites.replies, problems, warnings)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastproxy import _core
from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob
from fastproxy.regex.build import RegexList
from fastproxy.route.action import build_action
from fastproxy.route.conditions import Conditions, build_conditions
from fastproxy.route.host import ANY, HostError, parse_host
from fastproxy.route.path import PathPattern, parse_path
from fastproxy.route.settings import Route
from fastproxy.route.shadow import find_shadowed
from fastproxy.route.tree import Candidate, Tree, hash_table

ROUTES_MAX = 16384
NAME_BYTES_MAX = 128


@dataclass
class Prepared:
    """A route, read."""

    index: int
    hosts: list[str]
    pattern: PathPattern
    conditions: Conditions


def build_routes(
    blob: Blob,
    regexes: RegexList,
    routes: Sequence[Route],
    listeners: Sequence[str],
    upstreams: Sequence[str],
    responders: list[str],
    rewrites: Sequence[int],
    replies: Sequence[tuple[int, int]],
    problems: list[Problem],
    warnings: list[Problem],
    max_body: int = 0,
    request_timeout_ms: int = 0,
    grpc_web: Sequence[int] = (),
    counters: Callable[[Sequence[str], int], Sequence[int]] | None = None,
) -> dict[str, tuple[int, int]]:
    """RouteTables for `pack`, all rows in the blob. With problems they are of no use.

    listeners: their `bind` texts; RouteQuery.listener is an index into it. upstreams: names, by
    index; empty where none may be named. responders: names used are added to it. rewrites,
    replies: what `build_rewrites` gave for each route, grpc_web likewise. max_body,
    request_timeout_ms: for routes that do not say. counters: (names, how many rows there are) ->
    row of each route's counters; absent: in their order.
    """
    names, numbers = _named(routes, counters, problems)
    predicates: list[Mapping[str, Any]] = []
    methods: list[Mapping[str, Any]] = []
    rows: list[Mapping[str, Any]] = []
    prepared: list[Prepared] = []
    for index, route in enumerate(routes):
        path = f"routes[{index}]"
        pattern = parse_path(f"{path}.path", route.path, regexes, problems)
        params = pattern.params if pattern else ()
        rows.append({
            **build_action(blob, path, route, params, upstreams, responders, problems),
            "name": blob.text(names[index]),
            "counter": numbers[index],
            "log": route.access_log,
            "rewrite": rewrites[index],
            "reply_headers": replies[index],
            "grpc_web": grpc_web[index] if grpc_web else 0,
            **_bounds(route, max_body, request_timeout_ms),
        })  # fmt: skip
        conditions = build_conditions(blob, path, route, regexes, predicates, methods, problems)
        hosts = _hosts(path, route, problems)
        if pattern is not None:
            prepared.append(Prepared(index, hosts, pattern, conditions))
    tree = Tree()
    scopes = _scopes(blob, tree, routes, prepared, listeners, problems)
    tables = tree.pack(blob)
    if not problems:
        warnings += find_shadowed(tree, {p.index: (p.pattern, p.conditions) for p in prepared})
    return {
        **tables,
        "rows": blob.rows("RouteRow", rows),
        "regexes": regexes.rows(blob),
        "scopes": blob.rows("ScopeRow", scopes),
        "predicates": blob.rows("PredicateRow", predicates),
        "methods": blob.rows("MethodRow", methods),
    }


def _named(
    routes: Sequence[Route],
    counters: Callable[[Sequence[str], int], Sequence[int]] | None,
    problems: list[Problem],
) -> tuple[list[str], Sequence[int]]:
    """Each route's name, and the row of its counters."""
    names = name_routes(routes, problems)
    if len(names) > ROUTES_MAX:
        problems.append(Problem("routes", f"at most {ROUTES_MAX} routes, not {len(names)}"))
    elif counters is not None:
        return names, counters(names, ROUTES_MAX)
    return names, range(len(names))


def _bounds(route: Route, max_body: int, request_timeout_ms: int) -> dict[str, int]:
    """What a route says itself goes before what is said for all."""
    own = route.request_timeout
    return {
        "max_body": max_body if route.max_body is None else int(route.max_body),
        "request_timeout_ms": request_timeout_ms if own is None else own.ms,
    }


def name_routes(routes: Sequence[Route], problems: list[Problem]) -> list[str]:
    """Each route's name, its own or made of host and path; no two are the same."""
    given = [route.name for route in routes if route.name is not None]
    taken: set[str] = set()
    names = []
    for index, route in enumerate(routes):
        path = f"routes[{index}].name"
        name = route.name
        if name is None:
            name = (route.hosts[0] if route.hosts else "") + route.path.replace(" ", "")
            name = name.encode("ascii", "replace").decode()[:NAME_BYTES_MAX]
            base, number = name, 1
            while name in taken or name in given:
                number += 1
                name = f"{base}#{number}"
        elif name in taken:
            problems.append(Problem(path, f"two routes named {name!r}"))
        elif not name or not name.isprintable() or len(name.encode()) > NAME_BYTES_MAX:
            problems.append(Problem(path, f"a name is 1 to {NAME_BYTES_MAX} printable characters"))
        taken.add(name)
        names.append(name)
    return names


def _hosts(path: str, route: Route, problems: list[Problem]) -> list[str]:
    hosts: dict[str, None] = {}
    if route.host is not None and not route.hosts:
        problems.append(Problem(f"{path}.host", "an empty list", "leave it out for any host"))
    for index, text in enumerate(route.hosts):
        place = f"{path}.host[{index}]" if isinstance(route.host, list) else f"{path}.host"
        try:
            hosts[parse_host(text)] = None
        except HostError as error:
            problems.append(Problem(place, str(error), error.hint))
    return list(hosts) or [ANY]


def _scopes(
    blob: Blob,
    tree: Tree,
    routes: Sequence[Route],
    prepared: Sequence[Prepared],
    listeners: Sequence[str],
    problems: list[Problem],
) -> list[Mapping[str, Any]]:
    """One ScopeRow per listener; listeners with the same routes share everything."""
    for index, route in enumerate(routes):
        if route.listener is not None and route.listener not in listeners:
            close = difflib.get_close_matches(route.listener, listeners, n=1)
            problems.append(Problem(
                f"routes[{index}].listener", f"no listener {route.listener!r}",
                f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(listeners)}",
            ))  # fmt: skip
    made: dict[tuple[int, ...], Mapping[str, Any]] = {}
    rows = []
    for listener in listeners:
        mine = [p for p in prepared if routes[p.index].listener in (None, listener)]
        key = tuple(p.index for p in mine)
        if key not in made:
            made[key] = _scope(blob, tree, mine)
        rows.append(made[key])
    return rows


def _scope(blob: Blob, tree: Tree, prepared: Sequence[Prepared]) -> Mapping[str, Any]:
    sites: dict[str, int] = {}
    for route in prepared:
        for host in route.hosts:
            if host not in sites:
                sites[host] = tree.site(host)
            order = (-route.conditions.count, route.index)
            tree.add(sites[host], route.pattern, Candidate(
                route.index, order, route.conditions.row, route.pattern.rest,
            ))  # fmt: skip
    exact: list[tuple[int, Mapping[str, Any]]] = []
    suffixes: list[tuple[int, Mapping[str, Any]]] = []
    for host, site in sites.items():
        if host == ANY:
            continue
        name = host.removeprefix("*.")
        hashed = _core.route_hash(0, name.encode())
        row = (hashed, {"name": blob.text(name), "hash": hashed, "site": site + 1})
        (suffixes if host.startswith("*.") else exact).append(row)
    labels = [h.count(".") for h in sites if h.startswith("*.")]
    return {
        "hosts": blob.rows("HostRow", hash_table(exact)),
        "suffixes": blob.rows("HostRow", hash_table(suffixes)),
        "suffix_labels": max(labels, default=0),
        "fallback": sites[ANY] + 1 if ANY in sites else 0,
    }
