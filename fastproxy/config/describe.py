# SPDX-License-Identifier: MIT
"""What the settings classes say about themselves: texts, types, defaults, ranges.

One reader for the three who tell it on: the JSON Schema (`fastproxy schema`), the reference
(docs/configuration.md) and hints. A field's text is the string below it in its class, or a
"name: text" line in the docstring of the class.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from fastproxy import schema
from fastproxy.config.convert import hints

DOC_LINE = re.compile(r"^([a-z_]+): (.*)$")


@cache
def texts(kind: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """(what the class is, {field: what it means})."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    intro: list[str] = []
    found: dict[str, str] = {}
    last = ""
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        match = DOC_LINE.match(line)
        if match and match[1] in names:
            last = match[1]
            found[last] = match[2]
        elif last and line.strip():
            found[last] += " " + line.strip()
        elif not last:
            intro.append(line)
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            found.update(_below(base))
    return "\n".join(intro).strip(), found


def _below(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Strings that stand right below a field."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # shipped without sources
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = " ".join(text.value.value.split())
    return found


def split(kind: Any) -> tuple[Any, list[msgspec.Meta]]:
    """(type without Annotated, its Metas)."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        return inner, [meta for meta in metas if isinstance(meta, msgspec.Meta)]
    return kind, []


def members(kind: Any) -> list[Any]:
    """The types of a union, without None; else the type itself."""
    if get_origin(kind) in (Union, types.UnionType):
        return [member for member in get_args(kind) if member is not type(None)]
    return [kind]


def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Every settings class that an annotation mentions."""
    inner, _ = split(kind)
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        yield inner
    else:
        for argument in get_args(inner):
            if argument is not Ellipsis and not isinstance(argument, (str, int)):
                yield from structs(argument)


def default(field: FieldInfo) -> Any:
    """The default as one would write it; msgspec.NODEFAULT if the key is required."""
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return msgspec.NODEFAULT
    if isinstance(value, msgspec.Struct):
        return {}
    return str(value) if isinstance(value, schema.WORDS) else value


def bounds(metas: list[msgspec.Meta]) -> tuple[Any, Any]:
    """(lowest, highest) or None."""
    low: Any = None
    high: Any = None
    for meta in metas:
        extra = meta.extra or {}
        low, high = extra.get("ge", meta.ge if low is None else low), extra.get("le", meta.le)
    return low, high


def json_schema(root: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema 2020-12 of a settings class and all it mentions."""
    definitions: dict[str, Any] = {}
    todo = [root]
    while todo:
        kind = todo.pop()
        if kind.__name__ in definitions:
            continue
        definitions[kind.__name__] = _struct_schema(kind)
        for annotation in hints(kind).values():
            todo += list(structs(annotation))
    own = definitions.pop(root.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fastproxy configuration",
        **own,
        "$defs": dict(sorted(definitions.items())),
    }


def _struct_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    intro, about = texts(kind)
    annotations = hints(kind)
    properties = {}
    for field in msgspec.structs.fields(kind):
        shown = _schema(annotations[field.name])
        if about.get(field.name):
            shown = {**shown, "description": about[field.name]}
        value = default(field)
        if value is not msgspec.NODEFAULT and value is not None:
            shown["default"] = value
        properties[field.encode_name] = shown
    required = [f.encode_name for f in msgspec.structs.fields(kind) if f.required]
    result: dict[str, Any] = {"type": "object", "description": intro, "properties": properties}
    if required:
        result["required"] = required
    return {**result, "additionalProperties": False}


def _schema(kind: Any) -> dict[str, Any]:
    inner, metas = split(kind)
    found = _plain_schema(inner)
    low, high = bounds(metas)
    word = isinstance(inner, type) and issubclass(inner, schema.WORDS)
    if low is not None and inner in (int, float):
        found["minimum"] = low
    if high is not None and inner in (int, float):
        found["maximum"] = high
    if word and (low is not None or high is not None):
        found["description"] = f"From {inner(low or 0)} to {inner(high)}."
    for meta in metas:
        for key, value in (
            ("pattern", meta.pattern and meta.pattern.replace(r"\Z", "$")),
            ("minLength" if inner is str else "minItems", meta.min_length),
            ("maxLength" if inner is str else "maxItems", meta.max_length),
        ):
            if value is not None:
                found[key] = value
    return found


def _plain_schema(kind: Any) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(member) for member in members(kind)]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, schema.WORDS):
        return schema.word_schema(kind)
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[kind]} if kind in names else {}
