# SPDX-License-Identifier: MIT
"""Is this answer a good one? `[health.expect]`, compiled once, asked of every answer. Pure.

Each judge returns why the answer is bad, in words for a log, or "" if it is good. Regular
expressions are PCRE2 with the limits of the hot path: a pattern that takes for ever on some body is
a bad answer, not a control process that hangs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fastproxy import _core
from fastproxy.addresses import quote
from fastproxy.health.settings import Expect
from fastproxy.schema import status_ranges

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What `Expect` says, ready to be held against answers."""

    ranges: tuple[tuple[int, int], ...]
    headers: tuple[tuple[str, str], ...]
    """Lower-case name, pattern."""
    body: str
    fields: tuple[tuple[str, Any], ...]
    limit: int

    @classmethod
    def of(cls, expect: Expect) -> Expectation:
        return cls(
            ranges=status_ranges(expect.status),
            headers=tuple((name.lower(), text) for name, text in expect.headers.items()),
            body=expect.body,
            fields=tuple(expect.json.items()),
            limit=int(expect.limit),
        )

    @property
    def wants_body(self) -> bool:
        """Whether the head alone cannot decide."""
        return bool(self.body or self.fields)

    def head(self, status: int, headers: Mapping[str, str]) -> str:
        """Judge status and fields (lower-case names)."""
        if not any(low <= status <= high for low, high in self.ranges):
            return f"status {status}"
        for name, pattern in self.headers:
            value = headers.get(name)
            if value is None:
                return f"no field {name}"
            if pattern and not found(pattern, value.encode("latin-1", "replace")):
                return f"{name}: {quote(value)} is not what is expected"
        return ""

    def content(self, body: bytes, cut: bool = False) -> str:
        """Judge the body, or what was sent. `cut`: there was more than `limit`."""
        if self.body and not found(self.body, body):
            return "the body is not what is expected"
        if not self.fields:
            return ""
        document = parsed(body)
        if document is MISSING:
            return f"no JSON in the first {self.limit} bytes" if cut else "the body is no JSON"
        for path, wanted in self.fields:
            value = dig(document, path)
            if value is MISSING:
                return f"no JSON field {path}"
            if not same(value, wanted):
                return f"JSON field {path} is {quote(msgspec.json.encode(value).decode())}"
        return ""


def found(pattern: str, subject: bytes) -> bool:
    """Whether the pattern is found, within the limits."""
    return _core.regex_search(pattern.encode(), subject)


def parsed(body: bytes) -> Any:
    """The JSON document, or MISSING."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return MISSING


def dig(document: Any, path: str) -> Any:
    """What stands at "a.b.0" of a document, or MISSING."""
    for key in path.split("."):
        if isinstance(document, dict):
            document = document.get(key, MISSING)
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            return MISSING
    return document


def same(value: Any, wanted: Any) -> bool:
    """Equal, and `true` is not 1."""
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)
