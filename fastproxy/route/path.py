# SPDX-License-Identifier: MIT
"""The `path` of a route -> a place in the tree, or a regex.

    "/v1"              prefix: /v1, /v1/, /v1/x; not /v1x
    "/v1/"             below:  /v1/, /v1/x; not /v1
    "= /v1"            exact
    "/users/{id}"      exact, {id} is one segment, not empty
    "/users/{id}/"     below
    "/files/{rest...}" below, what follows the slash is captured; may be empty
    "~ ^/a/(?<x>.*)$"  regex

Requests are matched in their normalised form, so literals are brought into it here: %XX of an
unreserved character is decoded, characters outside of ASCII and blanks are percent-encoded as
UTF-8. Dot segments, "//", a query, a fragment and a backslash can never match: they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fastproxy.errors import Problem
from fastproxy.regex.build import RegexList

PARAMS_MAX = 16  # ROUTE_PARAMS_MAX
SEGMENTS_MAX = 64  # ROUTE_SEGMENTS_MAX
PARAM = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
PLAIN = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%|^\"<>`\[\]-]")  # a target may hold these bytes
ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")


class Kind(Enum):
    """How much of a request's path a pattern speaks of."""

    EXACT = "exact"
    BELOW = "below"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True)
class PathPattern:
    """A parsed `path`. `segments`: bytes of a literal, None for a {param}."""

    kind: Kind
    segments: tuple[bytes | None, ...] = ()
    params: tuple[str, ...] = ()
    rest: bool = False
    regex: int = -1
    text: str = ""

    @property
    def is_root(self) -> bool:
        """ "/" and "/{rest...}": tried after the regexes."""
        return self.kind is Kind.BELOW and not self.segments


class PathError(ValueError):
    """A path that cannot be compiled, with a hint."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def parse_path(
    path: str, text: str, regexes: RegexList, problems: list[Problem]
) -> PathPattern | None:
    """The pattern, or None with a Problem at the configuration path `path`."""
    try:
        if text.startswith("~"):
            return _regex(path, text, regexes, problems)
        exact = text.startswith("=")
        return _segments(text[1:].strip() if exact else text.strip(), exact)
    except PathError as error:
        problems.append(Problem(path, str(error), error.hint))
        return None


def _regex(path: str, text: str, regexes: RegexList, problems: list[Problem]) -> PathPattern | None:
    source = text[1:].strip()
    if not source:
        raise PathError("an empty regex")
    if text.startswith("~*"):
        raise PathError('"~*" is not known', "write ~ (?i)... to ignore case")
    index = regexes.add(path, source, problems)
    if index is None:
        return None
    count, names = regexes.groups(index)
    by_number = {number: name for name, number in names.items()}
    params = tuple(by_number.get(n, str(n)) for n in range(1, min(count, PARAMS_MAX) + 1))
    return PathPattern(Kind.REGEX, params=params, regex=index, text=text)


def _segments(text: str, exact: bool) -> PathPattern:
    if not text.startswith("/"):
        raise PathError("a path begins with a slash", f'write "/{text}"')
    *firsts, last = text[1:].split("/")
    segments: list[bytes | None] = []
    params: list[str] = []
    rest = False
    for at, segment in enumerate([*firsts, last]):
        if "" in firsts:
            raise PathError('"//" can never match', "requests are matched with single slashes")
        found = PARAM.fullmatch(segment)
        if found and found[2]:
            if at != len(firsts):
                raise PathError(f"{segment} must stand at the end")
            rest = True
        elif found:
            segments.append(None)
        else:
            segments.append(literal(segment))
            continue
        if found[1] in params:
            raise PathError(f"two params named {found[1]!r}")
        params.append(found[1])
    if len(params) > PARAMS_MAX:
        raise PathError(f"a path has at most {PARAMS_MAX} params")
    if len(segments) > SEGMENTS_MAX:
        raise PathError(f"a path has at most {SEGMENTS_MAX} segments")
    kind = Kind.EXACT
    if rest:
        kind = Kind.BELOW
    elif not exact and segments[-1] == b"":
        kind = Kind.BELOW
        segments.pop()
    elif not exact and not params:
        kind = Kind.PREFIX
    return PathPattern(kind, tuple(segments), tuple(params), rest, text=text)


def literal(segment: str) -> bytes:
    """One literal segment in the form requests are matched in. Raises PathError."""
    if "{" in segment or "}" in segment:
        raise PathError(
            f"{segment!r}: a {{param}} is a whole segment", "write ~ regex for parts of a segment"
        )
    for char, name in (("?", "a query"), ("#", "a fragment"), ("\\", "a backslash")):
        if char in segment:
            raise PathError(f"a path has no {name[2:]}", "conditions on the query go to `query`")
    raw = ESCAPED.sub(_decode_unreserved, segment)
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        raise PathError(f"{segment!r}: '%' is not followed by two hex digits", "write %25")
    if raw in (".", ".."):
        raise PathError("dot segments can never match", "requests are matched without them")
    if "%00" in raw:
        raise PathError("%00 can never match", "requests with it are refused")
    return b"".join(
        bytes([byte]) if PLAIN.match(bytes([byte])) else b"%%%02X" % byte for byte in raw.encode()
    )


def _decode_unreserved(match: re.Match[str]) -> str:
    byte = bytes.fromhex(match[1])
    return byte.decode() if UNRESERVED.match(byte) else match[0]


def path_params(texts: Sequence[str], regexes: RegexList) -> list[tuple[str, ...]]:
    """Names of each path's params, in the order of `Scene.params`; empty for a bad path, whose
    problem is told by `build_routes`."""
    told: list[Problem] = []
    found = [parse_path("", text, regexes, told) for text in texts]
    return [pattern.params if pattern else () for pattern in found]
