# SPDX-License-Identifier: MIT
"""What can be wrong with a configuration, and how it is told.

One exception for all of it: whoever checks gathers every problem first and raises once, so that a
user repairs a file in one go. A traffic fault is never one of these (http1/faults).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do about it.

    `path` is the place in the configuration ("routes[3].upstream"); stages set `path`, `text` and
    `hint`, the loader adds `file` and `line` afterwards, because only it knows where things stood.
    """

    path: str
    text: str
    hint: str = ""
    file: str = ""
    line: int = 0
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{where}{self.text}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` is never empty."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
