# SPDX-License-Identifier: MIT
"""What a route does with a request: exactly one of upstream, split, redirect, reply, responder."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob
from fastproxy.route.settings import Redirect, Reply, Route
from fastproxy.template.build import (
    Escape,
    TemplateError,
    fixed_length,
    pack_template,
    parse_key,
    parse_template,
)
from fastproxy.template.variables import VARIABLES

UPSTREAM, SPLIT, REDIRECT, REPLY, RESPONDER = range(5)  # cdef enum ActionKind
ACTIONS = ("upstream", "split", "redirect", "reply", "responder")
# Statuses without a body (RFC 9110 15.3.5, 15.4.5), and those that need a field to make sense.
BODYLESS = (204, 205, 304)
IS_PATH = {VARIABLES[name].number for name in ("path", "target", "param")}
Parts = list[dict[str, Any]]


def build_action(
    blob: Blob,
    path: str,
    route: Route,
    params: Sequence[str],
    upstreams: Sequence[str],
    responders: list[str],
    problems: list[Problem],
) -> Mapping[str, Any]:
    """The fields of RouteRow that say what is done."""
    chosen = [name for name in ACTIONS if getattr(route, name) not in (None, [])]
    if len(chosen) != 1:
        wrong = f"both {' and '.join(chosen)}" if chosen else "nothing to do"
        problems.append(Problem(path, wrong, f"write exactly one of {', '.join(ACTIONS)}"))
    if route.split_by and not route.split:
        problems.append(Problem(f"{path}.split_by", "is about a split, and there is none"))
    if route.upstream is not None:
        target = _upstream(f"{path}.upstream", route.upstream, upstreams, problems)
        return {"action": UPSTREAM, "target": target}
    if route.split:
        return _split(blob, path, route, params, upstreams, problems)
    if route.redirection is not None:
        return _redirect(blob, f"{path}.redirect", route.redirection, params, problems)
    if route.reply is not None:
        return _reply(blob, f"{path}.reply", route.reply, params, problems)
    if route.responder is not None:
        if route.responder not in responders:
            responders.append(route.responder)
        return {"action": RESPONDER, "target": responders.index(route.responder)}
    return {}


def _upstream(path: str, name: str, upstreams: Sequence[str], problems: list[Problem]) -> int:
    if name and name in upstreams:
        return upstreams.index(name)
    names = [one for one in upstreams if one]
    close = difflib.get_close_matches(name, names, n=1)
    known = f"there are: {', '.join(names)}" if names else "there is none"
    hint = f"did you mean {close[0]!r}?" if close else known
    problems.append(Problem(path, f"no upstream {name!r}", hint))
    return 0


def _split(
    blob: Blob,
    path: str,
    route: Route,
    params: Sequence[str],
    upstreams: Sequence[str],
    problems: list[Problem],
) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = []
    total = 0
    for index, part in enumerate(route.split):
        place = f"{path}.split[{index}]"
        target = _upstream(f"{place}.upstream", part.upstream, upstreams, problems)
        if part.weight:
            total += part.weight
            rows.append({"upper": total, "upstream": target})
    if not total:
        problems.append(Problem(f"{path}.split", "all weights are 0"))
    if total >= 1 << 32:
        problems.append(Problem(f"{path}.split", "the weights add up to 2^32 or more"))
        return {}
    return {
        "action": SPLIT, "split": blob.rows("SplitRow", rows), "split_total": total,
        **_split_key(blob, f"{path}.split_by", route.split_by, params, problems),
    }  # fmt: skip


def _split_key(
    blob: Blob, path: str, text: str, params: Sequence[str], problems: list[Problem]
) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        parts = parse_key(text, params)
    except TemplateError as error:
        problems.append(Problem(path, str(error), error.hint))
        return {}
    return {"value": pack_template(blob, parts), "split_fixed": fixed_length(parts)}


def _redirect(
    blob: Blob, path: str, redirect: Redirect, params: Sequence[str], problems: list[Problem]
) -> Mapping[str, Any]:
    if not redirect.to:
        problems.append(Problem(f"{path}.to", "an empty address"))
    parts = _template(f"{path}.to", redirect.to, Escape.TARGET, params, problems)
    if _leads_anywhere(parts):
        parts = parse_template("{scheme}://{authority}", Escape.TARGET) + parts
    return {
        "action": REDIRECT, "status": redirect.status, "value": pack_template(blob, parts),
    }  # fmt: skip


def _leads_anywhere(parts: Parts) -> bool:
    """Whether a Location could come out as "//other.host": a path-like variable at the front, or
    behind nothing but a slash. (A header or query at the front is the operator's express wish.)"""
    if not parts:
        return False
    first = parts[0]
    if first["variable"] in IS_PATH:
        return True
    return first["variable"] == 0 and first["text"] == b"/" and len(parts) > 1


def _reply(
    blob: Blob, path: str, reply: Reply, params: Sequence[str], problems: list[Problem]
) -> Mapping[str, Any]:
    if reply.body and reply.status in BODYLESS:
        problems.append(Problem(f"{path}.body", f"{reply.status} has no body"))
    kinds = [v.lower() for k, v in reply.headers.items() if k.lower() == "content-type"]
    escape = reply_escape(kinds[0] if kinds else "text/plain")
    parts = _template(f"{path}.body", reply.body, escape, params, problems, lines=True)
    return {
        "action": REPLY, "status": reply.status, "value": pack_template(blob, parts),
    }  # fmt: skip


def reply_escape(content_type: str) -> Escape:
    """How a variable must be written in a body of that type."""
    if "json" in content_type:
        return Escape.JSON
    if "html" in content_type or "xml" in content_type or "svg" in content_type:
        return Escape.HTML
    return Escape.HEADER


def _template(
    path: str,
    text: str,
    escape: Escape,
    params: Sequence[str],
    problems: list[Problem],
    lines: bool = False,
) -> Parts:
    try:
        return parse_template(text, escape, params, lines=lines)
    except TemplateError as error:
        problems.append(Problem(path, str(error), error.hint))
        return []
