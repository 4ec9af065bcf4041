# SPDX-License-Identifier: MIT
"""Where does a key stand? Lines of keys and list items, for messages.

The parsers of TOML and JSON keep no positions, so this reads the text a second time, and only when
a problem is to be shown. It is given texts that the real parser has accepted; on anything else it
may raise ValueError or IndexError, and the message then goes without a line.
"""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from types import ModuleType
from typing import Any

Where = tuple[str | int, ...]

TOML_BARE = re.compile(r"[A-Za-z0-9_-]+")
TOML_SCALAR = re.compile(r"[^\s,\]}#][^,\]}#\n]*")
TOML_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
TOML_LITERAL = re.compile(r"'[^']*'")
TOML_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"(?!"""))?"?', re.DOTALL)
TOML_LONG_LITERAL = re.compile(r"'''.*?'''(?:'(?!'''))?'?", re.DOTALL)
JSON_SCALAR = re.compile(r"[^\s,\]}]+")


def index(kind: str, text: str) -> dict[Where, int]:
    """Line (from 1) of every key and list item of a TOML, YAML or JSON text."""
    if kind == "yaml":
        return _yaml_index(text)
    scanner: _Scanner = _Toml(text) if kind == "toml" else _Json(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("\ufeff")
        self.at = 0
        self.lines: dict[Where, int] = {}
        self._line = 1
        self._line_at = 0

    def scan(self) -> None:
        raise NotImplementedError

    def mark(self, where: Where) -> None:
        """The first mention of a path counts."""
        self._line += self.text.count("\n", self._line_at, self.at)
        self._line_at = self.at
        self.lines.setdefault(where, self._line)

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"unexpected text at {self.at}")
        self.at = match.end()
        return match[0]

    def skip(self, chars: str, comments: bool = False) -> None:
        text, end = self.text, len(self.text)
        while self.at < end:
            if text[self.at] in chars:
                self.at += 1
            elif comments and text[self.at] == "#":
                newline = text.find("\n", self.at)
                self.at = end if newline < 0 else newline
            else:
                return


class _Toml(_Scanner):
    def scan(self) -> None:
        prefix: Where = ()
        counts: dict[Where, int] = {}
        while True:
            self.skip(" \t\r\n", comments=True)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                double = self.text.startswith("[[", self.at)
                start = self.at
                self.at += 2 if double else 1
                keys = self._keys()
                self.at += 2 if double else 1
                end, self.at = self.at, start
                prefix = ()
                for depth, key in enumerate(keys):
                    prefix = (*prefix, key)
                    self.mark(prefix)
                    if double and depth == len(keys) - 1:
                        counts[prefix] = counts.get(prefix, -1) + 1
                        # tables below belong to the new item: their own counts begin anew
                        counts = {k: v for k, v in counts.items() if k[: len(prefix)] != prefix
                                  or k == prefix}  # fmt: skip
                    if prefix in counts:
                        prefix = (*prefix, counts[prefix])
                        self.mark(prefix)
                self.at = end
            else:
                self._pair(prefix)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self.skip(" \t")
            char = self.text[self.at]
            if char == '"':
                keys.append(str(tomllib.loads("k = " + self.take(TOML_BASIC))["k"]))
            elif char == "'":
                keys.append(self.take(TOML_LITERAL)[1:-1])
            else:
                keys.append(self.take(TOML_BARE))
            self.skip(" \t")
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _pair(self, prefix: Where) -> None:
        start = self.at
        keys = self._keys()
        end, self.at = self.at, start
        for key in keys:
            prefix = (*prefix, key)
            self.mark(prefix)
        self.at = end + 1  # the equals sign
        self._value(prefix)

    def _value(self, where: Where) -> None:
        self.skip(" \t")
        text, at = self.text, self.at
        if text.startswith('"""', at):
            self.take(TOML_LONG_BASIC)
        elif text.startswith("'''", at):
            self.take(TOML_LONG_LITERAL)
        elif text[at] == '"':
            self.take(TOML_BASIC)
        elif text[at] == "'":
            self.take(TOML_LITERAL)
        elif text[at] == "[":
            self._array(where)
        elif text[at] == "{":
            self._inline(where)
        else:
            self.take(TOML_SCALAR)

    def _array(self, where: Where) -> None:
        self.at += 1
        number = 0
        while True:
            self.skip(" \t\r\n,", comments=True)
            if self.text[self.at] == "]":
                self.at += 1
                return
            self.mark((*where, number))
            self._value((*where, number))
            number += 1

    def _inline(self, where: Where) -> None:
        self.at += 1
        while True:
            self.skip(" \t\r\n,", comments=True)
            if self.text[self.at] == "}":
                self.at += 1
                return
            self._pair(where)


class _Json(_Scanner):
    def scan(self) -> None:
        self.skip(" \t\r\n")
        self._value(())

    def _value(self, where: Where) -> None:
        char = self.text[self.at]
        if char == '"':
            self.take(TOML_BASIC)
        elif char == "{":
            self._items(where, "}")
        elif char == "[":
            self._items(where, "]")
        else:
            self.take(JSON_SCALAR)

    def _items(self, where: Where, close: str) -> None:
        self.at += 1
        number = 0
        while True:
            self.skip(" \t\r\n,")
            if self.text[self.at] == close:
                self.at += 1
                return
            part: str | int = number
            start = self.at
            if close == "}":
                part = str(json.loads(self.take(TOML_BASIC)))
                self.skip(" \t\r\n:")
            end, self.at = self.at, start
            self.mark((*where, part))
            self.at = end
            self._value((*where, part))
            number += 1


def yaml_loader(yaml: ModuleType) -> Any:
    """A SafeLoader with the scalars of YAML 1.2: `off`, `no`, `1:30` and dates stay text, and a
    key that stands twice is an error."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else None)
            return super().construct_mapping(node, deep)

    plain = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"}
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in plain]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    booleans = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
    integers = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", booleans, list("tTfF"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", integers, list("-+0123456789"))
    return Loader


def _yaml_index(text: str) -> dict[Where, int]:
    yaml = importlib.import_module("yaml")
    lines: dict[Where, int] = {}
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    stack: list[tuple[Where, Any]] = [((), root)]
    while stack and len(lines) < 1_000_000:
        where, node = stack.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                path = (*where, str(key.value))
                lines.setdefault(path, key.start_mark.line + 1)
                stack.append((path, value))
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                lines.setdefault((*where, number), item.start_mark.line + 1)
                stack.append(((*where, number), item))
    return lines
