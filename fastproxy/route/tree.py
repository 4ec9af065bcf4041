# SPDX-License-Identifier: MIT
"""Places for routes, and the flat tables made of them.

One tree of path segments per virtual host; all trees share one array of nodes and one table of
edges. `Tree` only knows places and candidates; what a candidate asks is `build.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastproxy import _core
from fastproxy.memory.pack import Blob, pack
from fastproxy.route.path import Kind, PathPattern

EDGE_HEAD = 16
CACHE_LINE = 64


@dataclass
class Candidate:
    """A route at a place. `order`: the earlier one is tried first."""

    route: int
    order: tuple[int, int]
    row: Mapping[str, Any]
    rest: bool


@dataclass
class Node:
    param: int = 0
    places: dict[Kind, list[Candidate]] = field(
        default_factory=lambda: {Kind.EXACT: [], Kind.BELOW: [], Kind.PREFIX: []}
    )


@dataclass
class Site:
    """A virtual host."""

    name: str
    root: int
    patterns: dict[int, list[Candidate]] = field(default_factory=dict)


class Tree:
    """All virtual hosts' trees."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.edges: dict[tuple[int, bytes], int] = {}
        self.sites: list[Site] = []

    def site(self, name: str) -> int:
        """A new virtual host; its index."""
        self.nodes.append(Node())
        self.sites.append(Site(name, len(self.nodes) - 1))
        return len(self.sites) - 1

    def add(self, site: int, pattern: PathPattern, candidate: Candidate) -> None:
        """Put a candidate where its path belongs."""
        if pattern.kind is Kind.REGEX:
            self.sites[site].patterns.setdefault(pattern.regex, []).append(candidate)
            return
        at = self.sites[site].root
        for segment in pattern.segments:
            at = self._child(at, segment)
        self.nodes[at].places[pattern.kind].append(candidate)

    def find(self, site: int, segments: Sequence[bytes | None]) -> Iterator[Node]:
        """The nodes from the root down to where the tree ends on these segments."""
        at = self.sites[site].root
        yield self.nodes[at]
        for segment in segments:
            param = self.nodes[at].param - 1
            at = param if segment is None else self.edges.get((at, segment), -1)
            if at < 0:
                return
            yield self.nodes[at]

    def places(self) -> Iterator[list[Candidate]]:
        """The candidates of every place."""
        for node in self.nodes:
            yield from node.places.values()
        for site in self.sites:
            yield from site.patterns.values()

    def sort(self) -> None:
        for place in self.places():
            place.sort(key=lambda candidate: candidate.order)

    def pack(self, blob: Blob) -> dict[str, tuple[int, int]]:
        """sites, patterns, nodes, edges and candidates of RouteTables."""
        self.sort()
        candidates: list[Mapping[str, Any]] = []

        def span(place: list[Candidate]) -> tuple[int, int]:
            first = len(candidates)
            candidates.extend({**c.row, "route": c.route, "rest": c.rest} for c in place)
            return first, len(place)

        nodes: list[Mapping[str, Any]] = []
        for node in self.nodes:
            row: dict[str, int] = {"param": node.param}
            for kind, place in node.places.items():
                row[f"{kind.value}_first"], row[f"{kind.value}_count"] = span(place)
            nodes.append(row)
        sites: list[Mapping[str, Any]] = []
        patterns: list[Mapping[str, Any]] = []
        for site in self.sites:
            sites.append({
                "name": blob.text(site.name), "root": site.root,
                "pattern_first": len(patterns), "pattern_count": len(site.patterns),
            })  # fmt: skip
            for regex, place in site.patterns.items():
                first, count = span(place)
                patterns.append({"regex": regex, "first": first, "count": count})
        return {
            "sites": blob.rows("SiteRow", sites),
            "patterns": blob.rows("PatternRow", patterns),
            "nodes": aligned_rows(blob, "NodeRow", nodes),
            "edges": self._pack_edges(blob),
            "candidates": aligned_rows(blob, "CandidateRow", candidates),
        }

    def _child(self, parent: int, segment: bytes | None) -> int:
        if segment is None:
            if not self.nodes[parent].param:
                self.nodes.append(Node())
                self.nodes[parent].param = len(self.nodes)
            return self.nodes[parent].param - 1
        child = self.edges.get((parent, segment))
        if child is None:
            self.nodes.append(Node())
            child = self.edges[(parent, segment)] = len(self.nodes) - 1
        return child

    def _pack_edges(self, blob: Blob) -> tuple[int, int]:
        rows = []
        for (parent, segment), child in self.edges.items():
            hashed = _core.route_hash(parent, segment)
            rows.append((hashed, {
                "child": child + 1, "parent": parent, "text": blob.text(segment),
                "head": segment[:EDGE_HEAD],
            }))  # fmt: skip
        return aligned_rows(blob, "EdgeRow", hash_table(rows))


def aligned_rows(blob: Blob, struct: str, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Slice over rows that begin on a cache line: with 10,000 routes, misses are what costs."""
    packed = b"".join(pack(struct, row) for row in rows)
    return blob.raw(packed, align=CACHE_LINE), len(rows)


def hash_table(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Open addressing, linear probing, a power of two, at most half full; empty rows are zero."""
    if not rows:
        return []
    size = 2
    while size < 2 * len(rows):
        size *= 2
    table: list[Mapping[str, Any]] = [{}] * size
    for hashed, row in rows:
        slot = hashed & (size - 1)
        while table[slot]:
            slot = (slot + 1) & (size - 1)
        table[slot] = row
    return table
