# SPDX-License-Identifier: MIT
"""Text with variables -> TemplatePart rows.

`{name}` is a variable, `{header:X-Name}` one with an argument, `{{` and `}}` are braces. Nothing is
guessed: an unknown name, a lone brace, a control character in the text are Problems, each with the
place where it stands. A template never fails at run time; what is not there renders as nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from fastproxy import _core
from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob
from fastproxy.template.variables import ALIASES, CAPTURE, VARIABLES

Template = dict[str, tuple[int, int]]
EMPTY: Template = {"parts": (0, 0)}
LITERAL = 0
BEHIND = bytes(_core.literal_behind())
PARAM = VARIABLES["param"].number
FIELD_IDS: Mapping[str, int] = _core.field_ids()
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# RFC 3986: unreserved, reserved and "%"; a literal of a target must be made of these.
TARGET = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*\Z")
PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
CAPTURE_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}$]+|\$\$|\$(\d|\{\w+\})|\$", re.ASCII)


class Escape(IntEnum):
    """What becomes of a variable's bytes; `cdef enum Escape` of table.pxd."""

    HEADER = 0
    LOG = 1
    JSON = 2
    JSON_NUMBER = 3
    TARGET = 4
    HTML = 5


class TemplateError(ValueError):
    """A template that cannot be compiled: `str()` is the text, `hint` what to do about it."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


KEYS_UNKNOWN = (
    "response_header", "backend", "status", "bytes_in", "bytes_out", "time_total", "time_connect",
    "time_first_byte", "retries", "end_state",
)  # fmt: skip
"""Variables that say nothing yet when a backend is chosen."""


def parse_key(text: str, params: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The template of what decides by its hash, before a backend is chosen; as `parse_template`."""
    parts = parse_template(text, Escape.HEADER, params)
    late = {VARIABLES[one].number: one for one in KEYS_UNKNOWN}
    for part in parts:
        if part["variable"] in late:
            raise TemplateError(
                f"{{{late[part['variable']]}}} is not known before a backend is chosen"
            )
    if all(part["variable"] == LITERAL for part in parts):
        raise TemplateError("is the same for every request", "write {client_ip}")
    return parts


def fixed_length(parts: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of a key of which no variable says anything."""
    return sum(len(part["text"]) for part in parts if part["variable"] == LITERAL)


def parse_template(
    text: str,
    escape: Escape,
    params: Sequence[str] = (),
    captures: Mapping[str, int] | None = None,
    lines: bool = False,
) -> list[dict[str, Any]]:
    """Parts as dicts; a literal's and a name's `text` is bytes. Raises TemplateError.

    params: names of the route's path params, in order. captures: groups by number and name, if `$1`
    shall be one. lines: TAB, CR and LF may stand in the text (a body, never a field).
    """
    parts: list[dict[str, Any]] = []
    for match in (PIECE if captures is None else CAPTURE_PIECE).finditer(text):
        piece = match[0]
        if piece in ("{{", "}}"):
            _literal(parts, piece[0], escape, lines)
        elif match[1] is not None:
            parts.append(_variable(match[1], escape, params))
        elif piece in ("{", "}"):
            raise TemplateError(
                f"lone {piece!r} at character {match.start() + 1}",
                f"write {piece * 2} for a plain brace",
            )
        elif captures is not None and piece[0] == "$":
            _capture(parts, piece, escape, captures)
        else:
            _literal(parts, piece, escape, lines)
    return parts


def pack_template(blob: Blob, parts: Sequence[Mapping[str, Any]]) -> Template:
    """Parts into the blob; a Template for `pack`. A literal goes into the row of what it leads."""
    if not parts:
        return EMPTY
    rows: list[Mapping[str, Any]] = []
    lead = b""
    for part in parts:
        if part["variable"] == LITERAL and part is not parts[-1]:
            lead += part["text"]
            continue
        text = part.get("text", b"")
        if part["variable"] == LITERAL:
            lead, text = lead + text, b""
        # Copied in whole blocks: what is behind the last byte must be there to be read.
        at, _ = blob.text(lead + BEHIND)
        kind, where = _core.part_place(part["variable"], part.get("arg", 0))
        row = {**part, "kind": kind, "at": where}
        rows.append({**row, "lead": (at, len(lead)), "text": blob.text(text)})
        lead = b""
    return {"parts": blob.rows("TemplatePart", rows)}


def compile_template(
    blob: Blob, text: str, escape: Escape = Escape.HEADER, params: Sequence[str] = ()
) -> Template:
    """Text -> Template dict, its parts in the blob. Raises TemplateError (a ValueError)."""
    return pack_template(blob, parse_template(text, escape, params))


def check_template(
    path: str,
    text: str,
    escape: Escape,
    params: Sequence[str],
    problems: list[Problem],
    captures: Mapping[str, int] | None = None,
    lines: bool = False,
) -> list[dict[str, Any]]:
    """`parse_template` for builders: what is wrong is added to `problems`."""
    try:
        return parse_template(text, escape, params, captures, lines)
    except TemplateError as error:
        problems.append(Problem(path, str(error), error.hint))
        return []


def needs_request(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rendering reads the request's head."""
    wanted = {v.number for v in VARIABLES.values() if v.of_request}
    return any(part["variable"] in wanted for part in parts)


def _literal(parts: list[dict[str, Any]], text: str, escape: Escape, lines: bool = False) -> None:
    for char in text:
        if (char < " " or char == "\x7f") and not (lines and char in "\t\r\n"):
            raise TemplateError(f"control character {char!r} in the text")
    if escape is Escape.TARGET and not TARGET.match(text):
        bad = next(c for c in text if not TARGET.match(c))
        raise TemplateError(f"{bad!r} cannot stand in a URL", "percent-encode it")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise TemplateError("text that is not Unicode") from None
    if parts and parts[-1]["variable"] == LITERAL:
        parts[-1]["text"] += raw
    else:
        parts.append({"variable": LITERAL, "escape": int(escape), "text": raw})


def _variable(text: str, escape: Escape, params: Sequence[str]) -> dict[str, Any]:
    name, colon, argument = text.partition(":")
    name, argument = name.strip(), argument.strip()
    if colon and name in ALIASES:
        name = ALIASES[name]
    if not colon and name in params and name not in VARIABLES:
        name, colon, argument = "param", ":", name
    found = VARIABLES.get(name)
    if found is None:
        raise TemplateError(f"unknown variable {{{text}}}", _suggest(name, params))
    if found.takes_name and not argument:
        raise TemplateError(f"{{{name}}} needs a name", f"write {{{name}:NAME}}")
    if colon and not found.takes_name:
        raise TemplateError(f"{{{name}}} takes no argument", f"write {{{name}}}")
    part: dict[str, Any] = {"variable": found.number, "escape": int(escape), "text": b""}
    if escape is Escape.JSON and found.is_number:
        part["escape"] = int(Escape.JSON_NUMBER)
    if name == "param":
        part["arg"] = _param(argument, params)
    elif found.takes_name:
        if name in ("header", "response_header"):
            part["arg"] = FIELD_IDS.get(argument.lower(), 0)
            if not TOKEN.match(argument):
                raise TemplateError(f"{argument!r} is not a field name")
        elif not argument.isascii() or any(c <= " " or c == "\x7f" for c in argument):
            raise TemplateError(f"{argument!r} cannot be the name of a {name}")
        part["text"] = argument.encode()
    return part


def _param(name: str, params: Sequence[str]) -> int:
    if name in params:
        return list(params).index(name)
    if name.isdecimal() and 1 <= int(name) <= len(params):
        return int(name) - 1
    hint = f"it has: {', '.join(params)}" if params else "write {name} or a regex group in its path"
    raise TemplateError(f"the route's path has no param {name!r}", hint)


def _capture(
    parts: list[dict[str, Any]], piece: str, escape: Escape, captures: Mapping[str, int]
) -> None:
    """`$1`, `${name}` and `$$` of a replacement."""
    group = piece[1:].strip("{}")
    if piece == "$$":
        _literal(parts, "$", escape)
    elif piece == "$":
        raise TemplateError("lone '$'", "write $$ for a dollar sign, $1 for a group")
    elif group not in captures:
        raise TemplateError(f"the regex has no group {group}")
    else:
        parts.append({
            "variable": CAPTURE, "escape": int(escape), "arg": captures[group], "text": b"",
        })  # fmt: skip


def _suggest(name: str, params: Sequence[str]) -> str:
    names = [*VARIABLES, *params]
    close = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1)
    if close:
        return f"did you mean {{{close[0]}}}?"
    return f"known are: {', '.join(VARIABLES)}"
