# SPDX-License-Identifier: MIT
"""Edits of headers and paths as written -> RewriteTables.

Row 0 changes nothing and is shared by all routes that change nothing. Refused, each with its place:
names that are no tokens, names that frame a message or belong to one connection, control
characters, one field named by edits that contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob
from fastproxy.regex.build import RegexList
from fastproxy.rewrite.settings import HeaderEdits, ReplyHeaders, Rewriting
from fastproxy.template.build import (
    EMPTY,
    FIELD_IDS,
    TOKEN,
    Escape,
    check_template,
    needs_request,
    pack_template,
)

SET, ADD, APPEND, REMOVE = range(4)  # cdef enum EditVerb
KEEP, STRIP, PREPEND, REGEX, TEMPLATE = range(5)  # cdef enum PathVerb
PREFIX_BYTES_MAX = 1024
HOP_BY_HOP = "it belongs to one connection and is made anew on each side"
REFUSED = {
    "content-length": "it frames the message, which is the proxy's own work",
    "transfer-encoding": "it frames the message, which is the proxy's own work",
    "connection": HOP_BY_HOP,
    "keep-alive": HOP_BY_HOP,
    "proxy-connection": HOP_BY_HOP,
    "upgrade": HOP_BY_HOP,
    "http2-settings": HOP_BY_HOP,
    "te": HOP_BY_HOP,
    "trailer": HOP_BY_HOP,
    "expect": "it steers how the body is sent",
    "host": "it is set by the upstream's host policy",
}
HINTS = {"host": 'write host = "pass", "upstream" or "fixed:name" at the upstream'}
PATH_EDITS = ("strip_prefix", "rewrite", "add_prefix")


class Edited(Rewriting, Protocol):
    """A route, as far as this stage reads it."""

    @property
    def reply(self) -> ReplyHeaders | None: ...


@dataclass(frozen=True)
class Rewrites:
    """tables: RewriteTables for `pack`. rows: the RewriteRow of each route. replies: the Slice of
    Edit rows of each route's fixed reply."""

    tables: dict[str, tuple[int, int]]
    rows: list[int]
    replies: list[tuple[int, int]]


def build_rewrites(
    blob: Blob,
    regexes: RegexList,
    routes: Sequence[Edited],
    params: Sequence[Sequence[str]],
    problems: list[Problem],
) -> Rewrites:
    """All routes' rewrites into the blob. params: names of each route's path params, in order."""
    rows: list[Mapping[str, Any]] = [{}]
    chosen: list[int] = []
    replies: list[tuple[int, int]] = []
    for index, (route, names) in enumerate(zip(routes, params, strict=True)):
        path = f"routes[{index}]"
        row = _row(blob, regexes, path, route, names, problems)
        chosen.append(len(rows) if row else 0)
        if row:
            rows.append(row)
        replies.append(_reply(blob, f"{path}.reply.headers", route.reply, names, problems))
    return Rewrites({"rows": blob.rows("RewriteRow", rows)}, chosen, replies)


def _row(
    blob: Blob,
    regexes: RegexList,
    path: str,
    route: Edited,
    params: Sequence[str],
    problems: list[Problem],
) -> Mapping[str, Any] | None:
    request = _edits(f"{path}.request_headers", route.request_headers, params, problems)
    response = _edits(f"{path}.response_headers", route.response_headers, params, problems)
    paths = _paths(blob, regexes, path, route, params, problems)
    if not (request or response or paths):
        return None
    return {
        "request": _list(blob, request),
        "response": _list(blob, response),
        "paths": blob.rows("PathEdit", paths) if paths else (0, 0),
        "needs_request": any(needs_request(edit["value"]) for edit in response),
    }


def _reply(
    blob: Blob,
    path: str,
    reply: ReplyHeaders | None,
    params: Sequence[str],
    problems: list[Problem],
) -> tuple[int, int]:
    if reply is None:
        return (0, 0)
    headers = dict(reply.headers)
    if not any(name.lower() == "content-type" for name in headers):
        headers = {"Content-Type": "text/plain; charset=utf-8", **headers}
    rows: list[dict[str, Any]] = []
    for name, value in headers.items():
        _edit(rows, path, name, ADD, value, params, problems)
    return _pack(blob, rows)


def _edits(
    path: str, edits: HeaderEdits, params: Sequence[str], problems: list[Problem]
) -> list[dict[str, Any]]:
    """Edits in the order in which they take effect, values as parsed parts."""
    rows: list[dict[str, Any]] = []
    for name in edits.remove:
        _edit(rows, f"{path}.remove", name, REMOVE, None, params, problems)
    for name, value in edits.set.items():
        _edit(rows, f"{path}.set", name, SET, value, params, problems)
    for name, value in edits.append.items():
        if name.lower() == "set-cookie":
            problems.append(Problem(f"{path}.append.{name}", "Set-Cookie lines cannot be joined",
                                    "use add"))  # fmt: skip
        _edit(rows, f"{path}.append", name, APPEND, value, params, problems)
    for name, values in edits.add.items():
        for value in [values] if isinstance(values, str) else values:
            _edit(rows, f"{path}.add", name, ADD, value, params, problems)
    _contradictions(path, edits, problems)
    return rows


def _contradictions(path: str, edits: HeaderEdits, problems: list[Problem]) -> None:
    """The original field can be dropped, replaced or joined: one of them."""
    seen: dict[str, str] = {}
    for verb, names in (("remove", edits.remove), ("set", edits.set), ("append", edits.append)):
        for name in names:
            other = seen.setdefault(name.lower(), verb)
            if other != verb:
                problems.append(Problem(f"{path}.{verb}.{name}", f"{other} names it too"))
        if len({name.lower() for name in names}) != len(names):
            problems.append(Problem(f"{path}.{verb}", "a field is named twice",
                                    "names compare without case"))  # fmt: skip


def _edit(
    rows: list[dict[str, Any]],
    path: str,
    name: str,
    verb: int,
    value: str | None,
    params: Sequence[str],
    problems: list[Problem],
) -> None:
    place = f"{path}.{name}"
    if not TOKEN.match(name):
        problems.append(Problem(place, f"{name!r} is no field name"))
        return
    refused = REFUSED.get(name.lower())
    if refused:
        problems.append(Problem(place, f"{name} cannot be changed here: {refused}",
                                HINTS.get(name.lower(), "")))  # fmt: skip
        return
    parts = []
    if value is not None:
        parts = check_template(place, value, Escape.HEADER, params, problems)
    rows.append({
        "verb": verb, "id": FIELD_IDS.get(name.lower(), 0), "name": name, "value": parts,
    })  # fmt: skip


def _list(blob: Blob, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """EditList: the rows and what is needed to pass over most fields at once."""
    ids = 0
    other = False
    for row in rows:
        if row["verb"] == ADD:
            continue
        if row["id"]:
            ids |= 1 << (row["id"] & 31)
        else:
            other = True
    return {"edits": _pack(blob, rows), "ids": ids, "touches_other": other}


def _pack(blob: Blob, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    if not rows:
        return (0, 0)
    packed: list[Mapping[str, Any]] = [
        {**row, "name": blob.text(row["name"]), "value": pack_template(blob, row["value"])}
        for row in rows
    ]
    return blob.rows("Edit", packed)


def _paths(
    blob: Blob,
    regexes: RegexList,
    path: str,
    route: Edited,
    params: Sequence[str],
    problems: list[Problem],
) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    if route.rewrite_path is not None:
        others = [name for name in PATH_EDITS if getattr(route, name) is not None]
        if others:
            problems.append(Problem(f"{path}.rewrite_path", f"excludes {' and '.join(others)}"))
        if not route.rewrite_path.startswith(("/", "{")):
            problems.append(Problem(f"{path}.rewrite_path", "a path begins with a slash"))
        parts = check_template(
            f"{path}.rewrite_path", route.rewrite_path, Escape.TARGET, params, problems
        )
        return [{"verb": TEMPLATE, "value": pack_template(blob, parts)}]
    if route.strip_prefix is not None:
        prefix = _prefix(f"{path}.strip_prefix", route.strip_prefix, problems)
        rows.append({"verb": STRIP, "prefix": blob.text(prefix)})
    if route.rewrite is not None:
        row = _regex(blob, regexes, path, route, params, problems)
        if row is not None:
            rows.append(row)
    if route.add_prefix is not None:
        prefix = _prefix(f"{path}.add_prefix", route.add_prefix, problems)
        rows.append({"verb": PREPEND, "prefix": blob.text(prefix)})
    return rows


def _regex(
    blob: Blob,
    regexes: RegexList,
    path: str,
    route: Edited,
    params: Sequence[str],
    problems: list[Problem],
) -> Mapping[str, Any] | None:
    if route.rewrite is None:
        return None
    index = regexes.add(f"{path}.rewrite.regex", route.rewrite.regex, problems)
    if index is None:
        return None
    count, names = regexes.groups(index)
    groups = {str(n): n for n in range(min(count, 16) + 1)} | dict(names)
    parts = check_template(
        f"{path}.rewrite.to", route.rewrite.to, Escape.TARGET, params, problems, groups
    )
    return {
        "verb": REGEX, "regex": index, "value": pack_template(blob, parts) if parts else EMPTY,
    }  # fmt: skip


def _prefix(path: str, text: str, problems: list[Problem]) -> bytes:
    """A prefix of whole segments, without trailing slash; "" for "/", which changes nothing."""
    raw = text.encode(errors="surrogateescape")
    segments = text.split("/")
    if not text.startswith("/"):
        problems.append(Problem(path, "a prefix begins with a slash", f'write "/{text}"'))
    elif "//" in text or any(s in (".", "..") for s in segments) or len(raw) > PREFIX_BYTES_MAX:
        problems.append(Problem(path, 'a prefix has no "//" and no dot segments'))
    elif any(not 0x20 < byte < 0x7F or byte in b"\\#?{}" for byte in raw):
        problems.append(Problem(path, "a prefix is visible ASCII without \\ # ? { }",
                                "percent-encode other bytes"))  # fmt: skip
    return raw.rstrip(b"/")
