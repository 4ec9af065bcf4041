# SPDX-License-Identifier: MIT
"""Routes' `grpc_web` -> GrpcWebTables: a row for each route that has it, row 0 for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastproxy.errors import Problem
from fastproxy.grpcweb.settings import GrpcWeb
from fastproxy.memory.pack import Blob

ALLOWED = ("content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "authorization")
EXPOSED = ("grpc-status", "grpc-message", "grpc-status-details-bin", "x-grpc-web")
MAX_AGE_MAX = 0xFFFFFFFF


class Translating(Protocol):
    """A route, as far as this stage reads it."""

    @property
    def grpc_web(self) -> bool | GrpcWeb: ...


@dataclass(frozen=True)
class GrpcWebs:
    """tables: GrpcWebTables for `pack`. rows: the GrpcWebRow of each route."""

    tables: dict[str, tuple[int, int]]
    rows: list[int]


def build_grpc_web(blob: Blob, routes: Sequence[Translating], problems: list[Problem]) -> GrpcWebs:
    rows: list[Mapping[str, Any]] = [{}]
    chosen: list[int] = []
    for index, route in enumerate(routes):
        given = GrpcWeb() if route.grpc_web is True else route.grpc_web
        if not given:
            chosen.append(0)
            continue
        if given.credentials and "*" in given.origins:
            path = f"routes[{index}].grpc_web.credentials"
            hint = "name the origins that may send cookies"
            problems.append(Problem(path, 'cannot be with origins = ["*"]', hint))
        chosen.append(len(rows))
        rows.append(_row(blob, given))
    return GrpcWebs({"rows": blob.rows("GrpcWebRow", rows)}, chosen)


def _row(blob: Blob, given: GrpcWeb) -> Mapping[str, Any]:
    origins = [one for one in dict.fromkeys(given.origins) if one != "*"]
    return {
        "origins": blob.rows("OriginRow", [{"text": blob.text(one)} for one in origins]),
        "any_origin": "*" in given.origins,
        "credentials": given.credentials,
        "max_age": min(int(given.max_age), MAX_AGE_MAX),
        "allow": blob.text(_names(ALLOWED, given.allow_headers)),
        "expose": blob.text(_names(EXPOSED, given.expose_headers)),
    }


def _names(ours: Sequence[str], theirs: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys([*ours, *(name.lower() for name in theirs)]))
