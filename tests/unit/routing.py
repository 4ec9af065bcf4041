"""Routes -> a compiled plan under the probe, as config and engine do it. For tests and benches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fastproxy import _core, _probe, schema
from fastproxy.errors import ConfigError, Problem
from fastproxy.memory.pack import Blob, pack, size
from fastproxy.regex.build import RegexList
from fastproxy.rewrite.build import build_rewrites
from fastproxy.route.build import build_routes, name_routes
from fastproxy.route.path import path_params
from fastproxy.route.settings import Route
from fastproxy.template.build import Escape, compile_template

IDS = _core.field_ids()
ROUTES_AT = 0
REWRITES_AT = (size("RouteTables") + 7) // 8 * 8
HEADER = (REWRITES_AT + size("RewriteTables") + 7) // 8 * 8
HIT, NO_HOST, NO_PATH, NO_METHOD = range(4)


def routes_of(*rows: dict[str, Any]) -> list[Route]:
    return msgspec.convert(list(rows), list[Route], dec_hook=schema.dec_hook)


def compile_routes(
    routes: Sequence[Route],
    listeners: Sequence[str] = (":80",),
    upstreams: Sequence[str] = ("a", "b"),
    max_body: int = 0,
) -> tuple[bytes, list[int], list[Problem], list[Problem]]:
    """(plan, rewrite row of each route, problems, warnings)"""
    blob = Blob(HEADER)
    regexes = RegexList()
    problems: list[Problem] = []
    warnings: list[Problem] = []
    params = path_params([route.path for route in routes], regexes)
    rewrites = build_rewrites(blob, regexes, routes, params, problems)
    tables = build_routes(
        blob, regexes, routes, listeners, upstreams, [], rewrites.rows, rewrites.replies,
        problems, warnings, max_body,
    )  # fmt: skip
    head = pack("RouteTables", tables).ljust(REWRITES_AT, b"\0")
    head += pack("RewriteTables", rewrites.tables)
    blob.data[: len(head)] = head
    return bytes(blob.data), rewrites.rows, problems, warnings


class Plan:
    """Compiled routes, ready to be asked. Raises ConfigError."""

    def __init__(self, *rows: dict[str, Any], **more: Any) -> None:
        self.routes = routes_of(*({"upstream": "a", **row} if not ACTIONS & row.keys() else row
                                  for row in rows))  # fmt: skip
        self.blob, self.rewrites, problems, self.warnings = compile_routes(self.routes, **more)
        if problems:
            raise ConfigError(problems)
        self.names = name_routes(self.routes, [])
        self.probe = _probe.ProbePlan(self.blob, ROUTES_AT, REWRITES_AT, IDS)
        assert self.probe.check() == (0, 0, 0)
        assert self.probe.make() == 0

    def ask(self, path: str = "/", **query: Any) -> tuple[int, int, int, list[bytes]]:
        """(why, route, allow, params)"""
        given = {k: v.encode("latin-1") if isinstance(v, str) else v for k, v in query.items()}
        return self.probe.match(path=path.encode("latin-1"), **given)

    def route(self, path: str = "/", **query: Any) -> int | str:
        """The route's index, or why there is none."""
        why, route, _, _ = self.ask(path, **query)
        return route if why == HIT else ("hit", "no_host", "no_path", "no_method")[why]


ACTIONS = {"upstream", "split", "redirect", "reply", "responder"}


def problems_of(*rows: dict[str, Any], **more: Any) -> list[Problem]:
    filled = [{"upstream": "a", **row} if not ACTIONS & row.keys() else row for row in rows]
    return compile_routes(routes_of(*filled), **more)[2]


def compiled(text: str, escape: Escape = Escape.HEADER, params: Sequence[str] = ()) -> bytes:
    """A plan that holds one template, its row at 0."""
    blob = Blob(size("Template"))
    template = compile_template(blob, text, escape, params)
    blob.data[: size("Template")] = pack("Template", template)
    return bytes(blob.data)


def rendered(
    text: str, escape: Escape = Escape.HEADER, names: Sequence[str] = (), **scene: Any
) -> bytes:
    """Compile and render. `names`: the route's params; `params`: their values."""
    got, full = _probe.render_template(compiled(text, escape, names), 0, _probe.scene_of(**scene))
    assert not full
    return got
