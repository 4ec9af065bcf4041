# SPDX-License-Identifier: MIT
"""Routes that can never take a request, because others take all of theirs before.

A hint for people, so it only tells what is certain. Two cases:

- the same place (virtual host and path), and an earlier candidate asks nothing more;
- a regex that begins with literal segments under which a route without further conditions takes
  everything: prefixes come before regexes, unlike in nginx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastproxy.errors import Problem
from fastproxy.route.conditions import Conditions
from fastproxy.route.path import Kind, PathPattern
from fastproxy.route.tree import Candidate, Tree

LITERAL_HEAD = re.compile(r"\^((?:/[A-Za-z0-9_~-]+)+)/")
Read = Mapping[int, tuple[PathPattern, Conditions]]


def find_shadowed(tree: Tree, routes: Read) -> list[Problem]:
    """One Problem for each route that is shadowed wherever it stands. The tree must be sorted."""
    alive: set[int] = set()
    by: dict[int, int] = {}

    def look(place: list[Candidate], above: list[Candidate]) -> None:
        for at, candidate in enumerate(place):
            mine = routes[candidate.route][1]
            for earlier in [*above, *place[:at]] if at < 64 else place[:64]:
                if routes[earlier.route][1].covers(mine):
                    by.setdefault(candidate.route, earlier.route)
                    break
            else:
                alive.add(candidate.route)

    for node in tree.nodes:
        for place in node.places.values():
            look(place, [])
    for site, row in enumerate(tree.sites):
        for place in row.patterns.values():
            look(place, _above(tree, site, routes[place[0].route][0]))
    return [
        Problem(
            f"routes[{route}]",
            f"can never match: routes[{other}] takes all of its requests before",
            'regexes come after prefixes other than "/"'
            if routes[route][0].kind is Kind.REGEX and routes[other][0].kind is not Kind.REGEX
            else "",
        )
        for route, other in sorted(by.items())
        if route not in alive
    ]


def _above(tree: Tree, site: int, pattern: PathPattern) -> list[Candidate]:
    """Candidates that see everything a regex could match, before it."""
    source = pattern.text[1:].strip()
    head = LITERAL_HEAD.match(source)
    if head is None or "|" in source or "(?" in source[: head.end()]:
        return []
    segments = [segment.encode() for segment in head[1][1:].split("/")]
    found: list[Candidate] = []
    for depth, node in enumerate(tree.find(site, segments)):
        if depth:
            found += node.places[Kind.BELOW] + node.places[Kind.PREFIX]
    return found
