"""Fenced blocks of a Markdown file, and what each kind promises.

    sh       run, line after line, each must end with 0 (or with `# exit code N`)
    output   what the sh block before it printed; `...` stands for any text
    toml     must pass `fastproxy check`; what is missing to be whole is added for it
    python, yaml, json    files: their first line names them
    console  cannot be run by a test (sudo, network, this very test suite): only ALLOWED ones
    text     pictures and formats: nothing is promised

A block whose first line is `# name.ext` (or `// name.ext`) is also written to that file, so that
later commands find it, as a reader's would.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = {"sh", "output", "toml", "python", "yaml", "json", "console", "text"}
ALLOWED = ("sudo ", "git clone ", "make test", "make bench", "make build", "pip install ")
"""How lines of console blocks may begin."""
FENCE = re.compile(r"^```(.*)$")
NAME = re.compile(r"^(?:#|//) ([\w./-]+\.(?:toml|yaml|json|py|service))$")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    file: str
    line: int
    """Of the fence."""
    language: str
    text: str

    @property
    def name(self) -> str:
        """The file it shall be written to; "" if none."""
        found = NAME.match(self.text.split("\n", 1)[0])
        return found[1] if found else ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def commands(self) -> list[str]:
        """Its lines; those that a backslash continues are one."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return [one for one in joined.split("\n") if one.strip() and not one.startswith("#")]


def blocks(path: Path) -> list[Block]:
    """All blocks of a file. ValueError for a fence that is not closed or has no known language."""
    found: list[Block] = []
    language: str | None = None
    lines: list[str] = []
    start = 0
    for number, line in enumerate(path.read_text().split("\n"), 1):
        fence = FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif language is None:
            language, start, lines = fence[1].strip(), number, []
            if language not in LANGUAGES:
                raise ValueError(f"{path.name}:{number}: a block in {language or 'no language'}")
        else:
            found.append(Block(path.name, start, language, "\n".join(lines)))
            language = None
    if language is not None:
        raise ValueError(f"{path.name}:{start}: this block has no end")
    return found
