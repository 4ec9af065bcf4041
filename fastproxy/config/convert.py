# SPDX-License-Identifier: MIT
"""Plain data -> settings, and every mistake on the way, not just the first.

msgspec's own `convert` stops at the first error; a user with five typos deserves five lines. This
walks the same annotations and reports each mistake at its own place. What is broken becomes None
in its parent list or table, so that checks of meaning can still look at the rest; a setting with a
broken field is broken as a whole.
"""

from __future__ import annotations

import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from fastproxy import schema
from fastproxy.addresses import quote
from fastproxy.config.load import Where

Report = Callable[[Where, str, str], None]
BROKEN: Any = type("Broken", (), {"__repr__": lambda self: "BROKEN"})()
SCALARS = (bool, int, float, str)
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def closest(word: str, known: Iterable[str]) -> str:
    """ "did you mean ...?" or nothing."""
    names = list(known)
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not found:
        plain = {name.replace("-", "_").lower(): name for name in names}
        found = [plain[key] for key in (word.replace("-", "_").lower(),) if key in plain]
    return f'did you mean "{found[0]}"?' if found else ""


@functools.cache
def hints(kind: type) -> dict[str, Any]:
    """Field name -> annotation, resolved."""
    return typing.get_type_hints(kind, include_extras=True)


@functools.cache
def fields_of(kind: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """Key as written -> field. Kept, because msgspec works it out anew at each call."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


class Converter:
    """One walk. `loose(where)` tells whether a text was filled in from the environment, where
    numbers and booleans can only be text."""

    def __init__(
        self, report: Report, loose: Callable[[Where], bool] = lambda where: False
    ) -> None:
        self.report = report
        self.loose = loose
        self.broken: set[str] = set()
        """Keys of the top level that hold some mistake: do not conclude from what they lack."""

    def convert(self, kind: Any, value: Any, where: Where, metas: tuple[Any, ...] = ()) -> Any:
        """The value as `kind`, or BROKEN after at least one report."""
        origin = get_origin(kind)
        if origin is Annotated:
            inner, *more = get_args(kind)
            return self.convert(inner, value, where, (*metas, *more))
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), value, where, metas)
        if origin is Literal:
            return self._literal(get_args(kind), value, where)
        if origin is list or kind is list:
            return self._list(get_args(kind), value, where, metas)
        if origin is dict or kind is dict:
            return self._table(get_args(kind), value, where)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, value, where)
        if kind is type(None) and value is None:
            return None
        if kind is Any:
            return value
        return self._leaf(kind, value, where, metas)

    def _wrong(self, where: Where, text: str, hint: str = "") -> Any:
        self.report(where, text, hint)
        return BROKEN

    def _struct(self, kind: type[msgspec.Struct], value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            return self._wrong(where, f"expected a table, got {_got(value)}", _table_hint(where))
        fields = fields_of(kind)
        annotations = hints(kind)
        done: dict[str, Any] = {}
        broken = False
        meant: set[str] = set()
        for key, item in value.items():
            if key not in fields:
                self._wrong((*where, key), "unknown key", self._key_hint(key, kind, fields))
                meant.update(difflib.get_close_matches(key, fields, n=1))
                broken = True
                continue
            name = fields[key].name
            done[name] = self.convert(annotations[name], item, (*where, key))
            broken = broken or done[name] is BROKEN
        for key, field in fields.items():
            if field.required and key not in value:
                broken = True
                if key in meant:
                    continue  # it is there, misspelt
                self._wrong(where, f'"{key}" is missing', _example(annotations[field.name], key))
        if where and broken:
            return BROKEN
        if not where:
            self.broken = {name for name, item in done.items() if item is BROKEN}
        try:
            return kind(**{k: v for k, v in done.items() if v is not BROKEN})
        except (ValueError, TypeError) as error:
            return self._wrong(where, str(error))

    def _key_hint(self, key: str, kind: type, fields: dict[str, Any]) -> str:
        hint = closest(key, fields)
        if hint:
            return hint
        for name, annotation in hints(kind).items():
            if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
                inner = hints(annotation)
                if key in inner:
                    return f"it belongs to [{name}]"
                found = closest(key, inner)
                if found:
                    return found.replace('mean "', f'mean "{name}.')
        return f"known are: {', '.join(fields)}"

    def _list(self, args: tuple[Any, ...], value: Any, where: Where, metas: tuple[Any, ...]) -> Any:
        if not isinstance(value, list):
            item = args[0] if args else Any
            structs = [m for m in _members(item) if _is_struct(m)]
            hint = ""
            if structs and isinstance(value, dict):
                hint = f"write [[{where[-1]}]] in TOML" if len(where) == 1 else "write [{ ... }]"
            elif not isinstance(value, (dict, type(None))):
                hint = f'write ["{value}"]' if isinstance(value, str) else f"write [{value}]"
            return self._wrong(where, f"expected a list, got {_got(value)}", hint)
        items = [
            self.convert(args[0] if args else Any, item, (*where, at))
            for at, item in enumerate(value)
        ]
        text = _length_fault(len(items), metas, "items")
        if text:
            return self._wrong(where, text)
        return self._holes(items, where)

    def _table(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        if not isinstance(value, dict):
            return self._wrong(where, f"expected a table, got {_got(value)}", _table_hint(where))
        items = {
            key: self.convert(args[1] if args else Any, item, (*where, key))
            for key, item in value.items()
        }
        return self._holes(items, where)

    def _holes(self, items: Any, where: Where) -> Any:
        """Sections of the file keep a None where something was broken; deeper lists break whole."""
        values = items.values() if isinstance(items, dict) else items
        if not any(value is BROKEN for value in values):
            return items
        if len(where) > 1:
            return BROKEN
        if isinstance(items, dict):
            return {k: None if v is BROKEN else v for k, v in items.items()}
        return [None if v is BROKEN else v for v in items]

    def _union(
        self, args: tuple[Any, ...], value: Any, where: Where, metas: tuple[Any, ...]
    ) -> Any:
        if value is None and type(None) in args:
            return None
        fitting = [kind for kind in args if _may_hold(kind, value, self.loose(where))]
        if len(fitting) == 1 and get_origin(fitting[0]) is not Literal:
            return self.convert(fitting[0], value, where, metas)
        quiet = Converter(lambda *fault: None, self.loose)
        for kind in fitting:
            done = quiet.convert(kind, value, where, metas)
            if done is not BROKEN:
                return done
        others = [kind for kind in fitting if get_origin(kind) is not Literal]
        if len(others) == 1:
            return self.convert(others[0], value, where, metas)
        literals = [a for kind in args for a in get_args(kind) if get_origin(kind) is Literal]
        hint = closest(value, literals) if isinstance(value, str) and literals else ""
        wanted = " or ".join(_describe(kind) for kind in args if kind is not type(None))
        return self._wrong(where, f"expected {wanted}, got {_got(value)}", hint)

    def _literal(self, known: tuple[Any, ...], value: Any, where: Where) -> Any:
        for choice in known:
            if value == choice and type(value) is type(choice):
                return choice
        wanted = _choices(known)
        hint = closest(value, [k for k in known if isinstance(k, str)]) if _is_text(value) else ""
        return self._wrong(where, f"expected {wanted}, got {_got(value)}", hint)

    def _leaf(self, kind: Any, value: Any, where: Where, metas: tuple[Any, ...]) -> Any:
        if isinstance(kind, type) and issubclass(kind, schema.WORDS):
            try:
                value = kind.parse(value)
            except ValueError as error:
                return self._wrong(where, str(error))
        elif kind in SCALARS:
            value = _scalar(kind, value, self.loose(where))
            if isinstance(value, _No):
                return self._wrong(where, f"expected {NAMES[kind]}, got {_got(value.value)}")
        else:
            try:
                value = msgspec.convert(value, kind, dec_hook=schema.dec_hook)
            except (msgspec.ValidationError, NotImplementedError, TypeError) as error:
                return self._wrong(where, str(error).partition(" - at `")[0])
        text = _range_fault(value, metas)
        return self._wrong(where, text) if text else value


class _No:
    def __init__(self, value: Any) -> None:
        self.value = value


def _scalar(kind: Any, value: Any, loose: bool) -> Any:
    if loose and isinstance(value, str) and kind is not str:
        text = value.strip()
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        pattern = r"[+-]?\d{1,18}" if kind is int else r"[+-]?\d{1,18}(\.\d+)?"
        if kind is not bool and re.fullmatch(pattern, text, re.ASCII):
            return kind(text)
    if kind is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    return value if type(value) is kind else _No(value)


def _range_fault(value: Any, metas: tuple[Any, ...]) -> str:
    for meta in metas:
        if not isinstance(meta, msgspec.Meta):
            continue
        low, high = meta.ge, meta.le
        if meta.extra:
            low, high = meta.extra.get("ge", low), meta.extra.get("le", high)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            cast: Callable[[Any], Any] = type(value) if isinstance(value, schema.WORDS) else int
            if (low is not None and value < low) or (high is not None and value > high):
                if high is None:
                    return f"must be at least {cast(low)}, got {value}"
                return f"must be from {cast(low or 0)} to {cast(high)}, got {value}"
        if isinstance(value, str):
            if meta.pattern is not None and not re.search(meta.pattern, value):
                wanted = (meta.extra or {}).get("wanted", f"text that matches {meta.pattern}")
                return f"{_got(value)} does not fit; expected {wanted}"
            fault = _length_fault(len(value), (meta,), "characters")
            if fault:
                return fault
    return ""


def _length_fault(length: int, metas: tuple[Any, ...], unit: str) -> str:
    for meta in metas:
        if isinstance(meta, msgspec.Meta):
            if meta.min_length is not None and length < meta.min_length:
                return f"must have at least {meta.min_length} {unit}, has {length}"
            if meta.max_length is not None and length > meta.max_length:
                return f"must have at most {meta.max_length} {unit}, has {length}"
    return ""


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _may_hold(kind: Any, value: Any, loose: bool) -> bool:
    """Whether a value of this Python type could become `kind`: picks the member of a union."""
    if get_origin(kind) is Annotated:
        return _may_hold(get_args(kind)[0], value, loose)
    if get_origin(kind) is Literal:
        return any(type(choice) is type(value) for choice in get_args(kind))
    if isinstance(value, dict):
        return get_origin(kind) is dict or kind is dict or _is_struct(kind)
    if isinstance(value, list):
        return get_origin(kind) is list or kind is list
    if kind is Any:
        return True
    if not isinstance(kind, type) or _is_struct(kind):
        return False
    if issubclass(kind, (schema.Duration, schema.ByteSize)):
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if issubclass(kind, schema.TextWord):
        return isinstance(value, str)
    return not isinstance(_scalar(kind, value, loose), _No)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _describe(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return _choices(get_args(kind))
    if get_origin(kind) is list:
        return "a list"
    if get_origin(kind) is dict or _is_struct(kind):
        return "a table"
    if isinstance(kind, type) and issubclass(kind, schema.WORDS):
        names: dict[Any, str] = {schema.Duration: "a duration", schema.ByteSize: "a size"}
        return names.get(kind, f'text such as "{kind.examples[0]}"' if kind.examples else "text")
    return NAMES.get(kind, str(kind))


def _choices(known: Iterable[Any]) -> str:
    return " or ".join(
        f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in known
    )


def _got(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    try:
        return quote(value)[1:-1]
    except ValueError:  # an int of more digits than Python prints
        return "a number that is far too long"


def _table_hint(where: Where) -> str:
    return f"write [{where[0]}] and its keys below" if len(where) == 1 else ""


def _example(kind: Any, key: str) -> str:
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, schema.WORDS) and member.examples:
            return f'write {key} = "{member.examples[0]}"'
    return ""
