"""The tree as text: which files are ours, what is code in them, which functions they hold.

Works on Python and on Cython alike: both are read by Python's own tokenizer, which takes Cython's
`&`, `*`, `<casts>` and `c'x'` for operators, names and strings.
"""

from __future__ import annotations

import functools
import io
import os
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "fastproxy"
NOT_OURS = {"build", "dist", "__pycache__", "corpus"}
GENERATED = {"_layout.pxi", "_core.c", "_probe.c", "_http2.c", "_tls.c"}
CYTHON = {".pyx", ".pxd", ".pxi"}
TEXT = {
    ".py",
    ".pyi",
    ".h",
    ".c",
    ".toml",
    ".md",
    ".sh",
    ".yml",
    ".yaml",
    ".cfg",
    ".txt",
    ".in",
    ".typed",
}


@functools.cache
def tree(*suffixes: str, under: str = "") -> list[Path]:
    """Our files, sorted. Without `suffixes`: all that are text by name, and those without a dot."""
    found = []
    for folder, folders, names in os.walk(ROOT / under):
        folders[:] = sorted(
            name
            for name in folders
            if name not in NOT_OURS
            and not name.endswith(".egg-info")
            and (name == ".ci" or not name.startswith("."))
        )
        for name in sorted(names):
            path = Path(folder, name)
            kinds = set(suffixes) or TEXT | CYTHON | {""}
            if path.suffix in kinds and name not in GENERATED and name != ".git":
                found.append(path)
    return found


def label(path: Path) -> str:
    """The path as people write it."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def code(path: Path) -> str:
    """The text with every comment and string blanked out; lines and columns stay."""
    text = path.read_text()
    lines = [list(line) for line in text.splitlines(keepends=True)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.STRING, tokenize.COMMENT):
            continue
        (first, start), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            line = lines[number - 1]
            stop = end if number == last else len(line)
            for column in range(start if number == first else 0, stop):
                if line[column] != "\n":
                    line[column] = " "
    return "".join("".join(line) for line in lines)


@dataclass(frozen=True)
class Function:
    """One `def` or `cdef` with a body."""

    path: Path
    name: str
    head: str
    line: int
    length: int

    @property
    def label(self) -> str:
        return f"{label(self.path)}:{self.name}"


HEAD = re.compile(r"^( *)(?:(?:async )?def|cdef|cpdef)\b(?!\s+(?:extern|struct|class|enum|union))")


@functools.cache
def functions(path: Path) -> list[Function]:
    """Every function with a body, nested ones too, in order."""
    lines = code(path).splitlines()
    full = path.read_text().splitlines()
    found = []
    for at, line in enumerate(lines):
        match = HEAD.match(line)
        if not match:
            continue
        end = at
        depth = 0
        while end < len(lines):
            depth += lines[end].count("(") + lines[end].count("[")
            depth -= lines[end].count(")") + lines[end].count("]")
            if depth == 0:
                break
            end += 1
        head = " ".join(part.strip() for part in lines[at : end + 1])
        if "(" not in head or not head.endswith(":"):
            continue
        last = end
        for number in range(end + 1, len(lines)):
            text = lines[number]
            if text.strip() and len(text) - len(text.lstrip()) <= len(match[1]):
                break
            if full[number].strip():
                last = number
        name = re.findall(r"(\w+)\s*\(", head)[0]
        found.append(Function(path, name, head, at + 1, last - at + 1))
    return found
