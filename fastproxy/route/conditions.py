# SPDX-License-Identifier: MIT
"""Conditions beside host and path: methods, headers, query, cookies -> PredicateRow rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastproxy import _core
from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob
from fastproxy.regex.build import RegexList
from fastproxy.route.settings import Condition, Route
from fastproxy.template.build import FIELD_IDS, TOKEN

METHOD_IDS: Mapping[str, int] = _core.method_ids()
HEADER, QUERY, COOKIE = range(3)  # cdef enum PredicateKind
PRESENT, ABSENT, EQUAL, REGEX = range(4)  # cdef enum PredicateTest
NEVER_ROUTED = ("CONNECT", "TRACE")


@dataclass(frozen=True)
class Conditions:
    """What a route asks beside its path.

    count: how many conditions, for precedence. row: the fields of CandidateRow. methods: names
    asked for, None for any. tests: (kind, name, condition) of the rest.
    """

    count: int
    row: Mapping[str, Any]
    methods: frozenset[str] | None
    tests: frozenset[tuple[int, str, Condition]]

    def covers(self, other: Conditions) -> bool:
        """Whether all that `other` lets through passes here too."""
        if not self.tests <= other.tests:
            return False
        if self.methods is None:
            return True
        return other.methods is not None and other.methods <= self.methods


def route_methods(route: Route) -> frozenset[str] | None:
    """Methods that a route takes; None: all. GET includes HEAD."""
    if not route.methods:
        return None
    names = set(route.methods)
    return frozenset(names | {"HEAD"} if "GET" in names else names)


def build_conditions(
    blob: Blob,
    path: str,
    route: Route,
    regexes: RegexList,
    predicates: list[Mapping[str, Any]],
    methods: list[Mapping[str, Any]],
    problems: list[Problem],
) -> Conditions:
    """Rows are added to `predicates` and `methods`; the candidate's fields name them by index."""
    first = len(predicates)
    tests = set()
    for kind, field, wanted in (
        (HEADER, "headers", route.headers),
        (QUERY, "query", route.query),
        (COOKIE, "cookies", route.cookies),
    ):
        for name, condition in wanted.items():
            place = f"{path}.{field}.{name}"
            row = _predicate(blob, place, kind, name, condition, regexes, problems)
            if row is not None:
                predicates.append(row)
                tests.add((kind, name.lower() if kind == HEADER else name, condition))
    row = {
        "predicate_first": first,
        "predicate_count": len(predicates) - first,
        **_methods(blob, path, route, methods, problems),
    }
    asked = route_methods(route)
    return Conditions(len(tests) + (asked is not None), row, asked, frozenset(tests))


def _methods(
    blob: Blob,
    path: str,
    route: Route,
    methods: list[Mapping[str, Any]],
    problems: list[Problem],
) -> Mapping[str, Any]:
    asked = route_methods(route)
    if asked is None:
        return {"any_method": True}
    bits = 0
    first = len(methods)
    for index, name in enumerate(route.methods):
        place = f"{path}.methods[{index}]"
        if not TOKEN.match(name):
            problems.append(Problem(place, f"{name!r} is no method"))
        elif name != name.upper() and name.upper() in METHOD_IDS:
            problems.append(Problem(place, f"methods are case-sensitive: {name!r}",
                                    f"write {name.upper()!r}"))  # fmt: skip
        elif name in NEVER_ROUTED:
            problems.append(Problem(place, f"{name} is never proxied: it gets 405"))
    for name in sorted(asked):
        known = METHOD_IDS.get(name, 0)
        bits |= 1 << known
        if not known:
            methods.append({"name": blob.text(name)})
    return {"methods": bits, "method_first": first, "method_count": len(methods) - first}


def _predicate(
    blob: Blob,
    path: str,
    kind: int,
    name: str,
    condition: Condition,
    regexes: RegexList,
    problems: list[Problem],
) -> dict[str, Any] | None:
    if kind != QUERY and not TOKEN.match(name):
        what = "field" if kind == HEADER else "cookie"
        problems.append(Problem(path, f"{name!r} is no {what} name"))
        return None
    row: dict[str, Any] = {"kind": kind, "name": blob.text(name)}
    if kind == HEADER:
        row["id"] = FIELD_IDS.get(name.lower(), 0)
    if isinstance(condition, bool):
        return {**row, "test": PRESENT if condition else ABSENT}
    if condition.startswith("~"):
        regex = regexes.add(path, condition[1:].strip(), problems)
        return None if regex is None else {**row, "test": REGEX, "regex": regex}
    if any(c < " " or c == "\x7f" for c in condition):
        problems.append(Problem(path, "a value with a control character never matches"))
        return None
    return {**row, "test": EQUAL, "value": blob.text(condition)}
