# SPDX-License-Identifier: MIT
"""The plan's list of regular expressions: each pattern once, checked by PCRE2 itself."""

from __future__ import annotations

from collections.abc import Mapping

from fastproxy import _core
from fastproxy.errors import Problem
from fastproxy.memory.pack import Blob

PATTERN_BYTES_MAX = 4096
PATTERNS_MAX = 65535


class RegexList:
    """Collects patterns; an index into it is what rows of other stages carry."""

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._groups: list[tuple[int, Mapping[str, int]]] = []

    def add(self, path: str, pattern: str, problems: list[Problem]) -> int | None:
        """The pattern's index, or None with a Problem at `path`."""
        raw = pattern.encode(errors="surrogateescape")
        found = self._index.get(raw)
        if found is not None:
            return found
        if len(raw) > PATTERN_BYTES_MAX or len(self._index) >= PATTERNS_MAX:
            problems.append(Problem(path, f"a regex has at most {PATTERN_BYTES_MAX} bytes, "
                                          f"a plan at most {PATTERNS_MAX} of them"))  # fmt: skip
            return None
        try:
            groups = _core.regex_inspect(raw)
        except ValueError as error:
            text, offset = error.args
            problems.append(Problem(
                path, f"bad regex at character {offset + 1}: {text}", "the dialect is PCRE2",
            ))  # fmt: skip
            return None
        self._groups.append(groups)
        self._index[raw] = len(self._index)
        return len(self._index) - 1

    def groups(self, index: int) -> tuple[int, Mapping[str, int]]:
        """(number of groups, {name: group})."""
        return self._groups[index]

    def rows(self, blob: Blob) -> tuple[int, int]:
        """All patterns into the blob: the Slice of RegexRow."""
        return blob.rows("RegexRow", [{"pattern": blob.text(raw)} for raw in self._index])
