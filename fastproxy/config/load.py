# SPDX-License-Identifier: MIT
"""Files -> one plain table, with the place of every key.

TOML, YAML and JSON by extension. `include` patterns are merged in, `${env:NAME}` and `${file:path}`
are filled in, and nothing is judged here: that is check.py's work. What it keeps for it: the place
(file, line) of any path, found only when a problem is to be shown, and which texts were filled in,
so that a secret is never printed.
"""

from __future__ import annotations

import glob
import importlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from fastproxy.addresses import printable, quote
from fastproxy.config import places
from fastproxy.errors import ConfigError, Problem

FILE_BYTES_MAX = 16 * 1024 * 1024
NODES_MAX = 1_000_000  # tables, lists and values: a YAML file of 1 KB can stand for billions
DEPTH_MAX = 32
INCLUDES_MAX = 1000
SECRET_BYTES_MAX = 1024 * 1024

REFERENCE = re.compile(r"\$(\$?)\{(env|file):([^{}]*)\}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
ENV_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.ASCII | re.DOTALL)
WORD = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
PATH_PART = re.compile(r'\[(\d{1,9})\]|\.?(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))', re.ASCII)

Where = tuple[str | int, ...]
"""A place in the merged table: ("routes", 3, "upstream")."""


def path_text(where: Where) -> str:
    """As users read it: routes[3].upstream, upstreams.api.backends[0]."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if WORD.fullmatch(part) else json.dumps(part)
            text += f".{shown}" if text else shown
    return text


def path_where(text: str) -> Where:
    """The reverse of `path_text`, for problems of the stages. What it cannot read ends it."""
    where: list[str | int] = []
    at = 0
    while match := PATH_PART.match(text, at):
        number, name, quoted = match.groups()
        where.append(int(number) if number else name or json.loads(quoted))
        at = match.end()
    return tuple(where)


@dataclass
class Source:
    """One file that was read."""

    name: str
    kind: str
    text: str
    _index: dict[Where, int] | None = None

    def index(self) -> dict[Where, int]:
        """Line of each key and list item. Made on demand: a sound configuration needs none."""
        if self._index is None:
            try:
                self._index = places.index(self.kind, self.text)
            except (ValueError, IndexError, RecursionError):
                self._index = {}
        return self._index


@dataclass
class Document:
    """The merged table and where it came from."""

    data: dict[str, Any]
    raw: dict[str, Any]
    """Before `${...}` was filled in: what may be shown."""
    sources: list[Source]
    segments: dict[Where, list[tuple[int, Source]]] = field(default_factory=dict)
    """For each merged list: the index where a file's items begin, in order."""
    filled: dict[Where, list[tuple[str, str]]] = field(default_factory=dict)
    """Texts that were filled in: path -> [(value, "${...}")]."""
    owners: dict[Where, Source] = field(default_factory=dict)
    flags: dict[Where, str] = field(default_factory=dict)
    """Keys that a flag has set: path -> the flag. Their values are text, like filled-in ones."""

    def place(self, where: Where) -> tuple[str, int]:
        """(file, line) of a path, or of the nearest thing around it; a flag has no line."""
        flag = self.flag(where)
        if flag:
            return flag, 0
        local, source = self._local(where)
        for candidate in [source] if source else self.sources:
            index = candidate.index()
            if local in index:
                return candidate.name, index[local]
        if where:
            return self.place(where[:-1])
        return (self.sources[0].name, 0) if self.sources else ("", 0)

    def _local(self, where: Where) -> tuple[Where, Source | None]:
        """The path inside the one file that wrote it, where lists were joined from several."""
        for depth, part in enumerate(where):
            parts = self.segments.get(where[:depth])
            if isinstance(part, int) and parts:
                start, source = max((s for s in parts if s[0] <= part), key=lambda s: s[0])
                return (*where[:depth], part - start, *where[depth + 1 :]), source
        for depth in range(len(where), 0, -1):
            if where[:depth] in self.owners:
                return where, self.owners[where[:depth]]
        return where, None

    def flag(self, where: Where) -> str:
        """The flag that set this, or something around it; else empty."""
        return next(
            (self.flags[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.flags), ""
        )

    def is_text(self, where: Where) -> bool:
        """Whether numbers and booleans can only be text there."""
        return where in self.filled or bool(self.flag(where))

    def problem(self, where: Where, text: str, hint: str = "", warning: bool = False) -> Problem:
        """A problem with its place; values that were filled in are shown as their `${...}`."""
        for filled, pairs in self.filled.items():
            if filled[: len(where)] == where or where[: len(filled)] == filled:
                for value, reference in sorted(pairs, key=lambda pair: -len(pair[0])):
                    if value:
                        text = text.replace(value, reference)
                        hint = hint.replace(value, reference)
        file, line = self.place(where)
        path = "" if self.flag(where) else path_text(where)
        return Problem(path, printable(text), printable(hint), file, line, warning)


def from_data(data: Mapping[str, Any]) -> Document:
    """A document that no file stands behind: made of flags."""
    return Document(dict(data), dict(data), [])


def load(path: str | Path, environ: Mapping[str, str] | None = None) -> Document:
    """Read, merge, fill in. ConfigError with every problem found on the way."""
    root = Path(path)
    document = Document({}, {}, [])
    problems: list[Problem] = []
    first = _read(str(path), root, problems)
    if first is None:
        raise ConfigError(problems)
    source, data = first
    document.sources.append(source)
    document.raw = {k: v for k, v in data.items() if k != "include"}
    _own(document, (), document.raw, source)
    for extra in _included(data.get("include", []), root, source, problems):
        found = _read(_shown(extra, root), extra, problems)
        if found is None:
            continue
        source, data = found
        document.sources.append(source)
        if "include" in data:
            line = source.index().get(("include",), 0)
            nested = "an included file may not include others"
            problems.append(Problem("include", nested, "", source.name, line))
        rest = {k: v for k, v in data.items() if k != "include"}
        _merge(document, (), document.raw, rest, source, problems)
    document.data = _fill(document, (), document.raw, environ, root.parent, problems)
    if problems:
        raise ConfigError(problems)
    return document


def _shown(extra: Path, root: Path) -> str:
    try:
        return str(root.parent / extra.relative_to(root.parent.absolute()))
    except ValueError:
        return str(extra)


def _included(patterns: Any, root: Path, source: Source, problems: list[Problem]) -> list[Path]:
    """Files of all patterns, in order; sorted by name within one pattern."""
    found: list[Path] = []
    if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
        line = source.index().get(("include",), 0)
        text = 'expected a list of file patterns such as ["conf.d/*.toml"]'
        problems.append(Problem("include", text, "", source.name, line))
        return []
    for at, pattern in enumerate(patterns):
        whole = str(root.parent.absolute() / pattern)
        try:
            matches = sorted(glob.glob(whole)) if "\0" not in pattern else []
        except (OSError, re.error, RecursionError):
            matches = []
        if not matches and not glob.has_magic(pattern):
            line = source.index().get(("include", at), source.index().get(("include",), 0))
            text = f"there is no file {pattern!r}"
            problems.append(Problem(f"include[{at}]", text, "", source.name, line))
        found += [Path(m) for m in matches if Path(m) not in found and not os.path.isdir(m)]
    return found[:INCLUDES_MAX]


def _read(shown: str, path: Path, problems: list[Problem]) -> tuple[Source, dict[str, Any]] | None:
    kinds = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        hint = "use .toml, .yaml, .yml or .json"
        problems.append(Problem("", f"unknown kind of file {path.suffix!r}", hint, shown))
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(Problem("", f"cannot be read: {reason}", "", shown))
        return None
    parsed = parse(content, kind, shown)
    if isinstance(parsed, Problem):
        problems.append(parsed)
        return None
    return parsed


def parse(content: bytes, kind: str, name: str) -> tuple[Source, dict[str, Any]] | Problem:
    """One file's content as a table, or what is wrong with its syntax."""
    if len(content) > FILE_BYTES_MAX:
        return Problem("", f"is larger than {FILE_BYTES_MAX >> 20} MiB", "", name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem("", "is not UTF-8 text", "", name, line)
    try:
        data = PARSERS[kind](text)
    except _SyntaxProblemError as error:
        return Problem("", error.text, error.hint, name, error.line)
    except RecursionError:
        return Problem("", "is nested too deeply", "", name)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        return Problem("", "must hold a table of settings at the top", "", name, 1)
    try:
        return Source(name, kind, text), _normal(data)
    except _TooLargeError:
        return Problem("", "is nested too deeply, or aliases make it too large", "", name)
    except ValueError as error:
        return Problem("", str(error), "", name)


class _SyntaxProblemError(Exception):
    def __init__(self, text: str, line: int, hint: str = "") -> None:
        self.text, self.line, self.hint = text, line, hint


def _parse_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        shown = str(error).replace(found[0] if found else " (at end of document)", "")
        raise _SyntaxProblemError(f"TOML: {shown}", line, _toml_hint(text, line)) from None
    except (ValueError, OverflowError) as error:  # a number of 5000 digits, a 32nd of May
        raise _SyntaxProblemError(f"TOML: {error}", 0) from None


def _toml_hint(text: str, line: int) -> str:
    lines = text.split("\n")
    shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    if re.match(r"[\w.-]+\s*:\s", shown):
        return 'TOML writes key = "value"'
    if re.match(r"[\w.-]+\s*=\s*[A-Za-z:/][^\"']*$", shown):
        return "text stands in quotes"
    return ""


def _parse_json(text: str) -> Any:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise _SyntaxProblemError(f"JSON: the key {double!r} stands twice in one object", 0)
        return result

    try:
        return json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise _SyntaxProblemError(f"JSON: {error.msg}", error.lineno) from None
    except ValueError as error:
        raise _SyntaxProblemError(f"JSON: {error}", 0) from None


def _yaml() -> ModuleType:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        text = "YAML needs the PyYAML package"
        raise _SyntaxProblemError(text, 0, "pip install 'fastproxy[yaml]', or use TOML") from None


def _parse_yaml(text: str) -> Any:
    yaml = _yaml()
    try:
        return yaml.load(text, Loader=places.yaml_loader(yaml))  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        shown = error.problem or error.context or "cannot be read"
        raise _SyntaxProblemError(f"YAML: {shown}", mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise _SyntaxProblemError(f"YAML: {str(error).splitlines()[0]}", 0) from None
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:
        raise _SyntaxProblemError(f"YAML: {error}", 0) from None


PARSERS = {"toml": _parse_toml, "json": _parse_json, "yaml": _parse_yaml}


class _TooLargeError(Exception):
    pass


def _whole(text: str) -> bool:
    """No half characters (lone surrogates), which JSON can spell and UTF-8 cannot."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _normal(data: Any) -> Any:
    """A copy with text keys only. Too large, too deep or a loop (YAML aliases make all three):
    _TooLargeError."""
    left = NODES_MAX

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEPTH_MAX:
            raise _TooLargeError
        if isinstance(value, dict):
            if not all(_whole(str(k)) for k in value):
                raise ValueError("a key is not Unicode text")
            return {str(k): copy(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [copy(v, depth + 1) for v in value]
        if isinstance(value, str) and not _whole(value):
            raise ValueError(f"{quote(value)} is not Unicode text")
        return value

    return copy(data, 0)


def _own(document: Document, where: Where, value: Any, source: Source) -> None:
    """Remember who wrote each table, and where each list of the first writer begins."""
    if isinstance(value, dict):
        for key, item in value.items():
            document.owners[(*where, key)] = source
            _own(document, (*where, key), item, source)
    elif isinstance(value, list):
        document.segments[where] = [(0, source)]


def _merge(
    document: Document,
    where: Where,
    into: dict[str, Any],
    data: dict[str, Any],
    source: Source,
    problems: list[Problem],
) -> None:
    """Tables are united, lists joined; anything else may be written once only."""
    for key, value in data.items():
        path = (*where, key)
        old = into.get(key)
        if key not in into:
            into[key] = value
            document.owners[path] = source
            _own(document, path, value, source)
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge(document, path, old, value, source, problems)
        elif isinstance(old, list) and isinstance(value, list):
            document.segments.setdefault(path, []).append((len(old), source))
            into[key] = old + value
        else:
            file, line = document.place(path)
            here = source.index().get(path, 0)
            text = f"is already set at {file}:{line}; a value can be set only once"
            problems.append(Problem(path_text(path), text, "", source.name, here))


def _fill(
    document: Document,
    where: Where,
    value: Any,
    environ: Mapping[str, str] | None,
    base: Path,
    problems: list[Problem],
) -> Any:
    """A copy with every `${env:...}` and `${file:...}` replaced."""
    if isinstance(value, dict):
        return {
            k: _fill(document, (*where, k), v, environ, base, problems) for k, v in value.items()
        }
    if isinstance(value, list):
        return [
            _fill(document, (*where, i), v, environ, base, problems) for i, v in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value
    env = os.environ if environ is None else environ

    def one(match: re.Match[str]) -> str:
        escaped, kind, body = match.groups()
        if escaped:
            return match[0][1:]
        try:
            text = _env(body, env) if kind == "env" else _file(body, base)
        except ValueError as error:
            problems.append(document.problem(where, str(error)))
            return ""
        document.filled.setdefault(where, []).append((text, match[0]))
        return text

    return REFERENCE.sub(one, value)


def _env(body: str, environ: Mapping[str, str]) -> str:
    """NAME, NAME:-default (also if empty), NAME:?message."""
    match = ENV_BODY.fullmatch(body)
    if match is None:
        raise ValueError(f"${{env:{body}}} is not understood; write ${{env:NAME:-default}}")
    name, verb, rest = match.groups()
    value = environ.get(name)
    if value is not None and not _whole(value):
        raise ValueError(f"the environment variable {name} is not UTF-8 text")
    if value is not None and (value or not verb):
        return value
    if verb == "-":
        return rest
    if verb == "?" and rest:
        raise ValueError(f"the environment variable {name} is needed: {rest}")
    raise ValueError(f"the environment variable {name} is not set; ${{env:{name}:-default}} helps")


def _file(body: str, base: Path) -> str:
    """The file's text without its last line break. Relative to the first configuration file."""
    try:
        with open(base / body, "rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
        if len(content) > SECRET_BYTES_MAX:
            raise ValueError(f"${{file:{body}}}: the file is larger than 1 MiB")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"${{file:{body}}} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ValueError(f"${{file:{body}}} is not UTF-8 text") from None
