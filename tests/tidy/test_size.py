"""Small rooms: lines of 100, files near 400 lines, functions near 60.

What is longer has its length written in `longer.toml`. The lists are a ratchet: a length there may
only shrink, and an entry leaves when its file or function is short enough.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.tidy.source import ROOT, functions, label, tree

LINE, FILE, FUNCTION = 100, 400, 60
# An entry that promises too much room is lowered when this many lines are gone.
SLACK = 20
LONGER = tomllib.loads((Path(__file__).parent / "longer.toml").read_text())
CODE = tree(".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h")


def judge(what: str, length: int, limit: int, promised: int | None) -> str | None:
    """None if the length is fine, else what to do."""
    if promised is None:
        return f"{what} has {length} lines, more than {limit}: split it" if length > limit else None
    if length > promised:
        return f"{what} grew from {promised} to {length} lines: split it"
    if length <= limit:
        return f"{what} is short enough now ({length}): strike it from longer.toml"
    if length < promised - SLACK:
        return f"{what} shrank to {length} lines: write that down in longer.toml"
    return None


def test_lines() -> None:
    bad = []
    for path in tree():
        if path.suffix in {".toml", ".txt"} and "tests" in path.parts:
            continue
        if path.suffix == ".md":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > LINE:
                bad.append(f"{label(path)}:{number}: {len(line)}")
    assert bad == []


def test_files() -> None:
    lengths = {label(path): len(path.read_text().splitlines()) for path in CODE}
    promised = LONGER["files"]
    bad = [judge(name, length, FILE, promised.get(name)) for name, length in lengths.items()]
    bad += [f"{name} is gone: strike it" for name in promised.keys() - lengths.keys()]
    assert [one for one in bad if one] == []


def test_functions() -> None:
    lengths: dict[str, int] = {}
    for path in CODE:
        if path.suffix == ".h":
            continue
        for one in functions(path):
            lengths[one.label] = max(one.length, lengths.get(one.label, 0))
    assert len(lengths) > 1000
    promised = LONGER["functions"]
    bad = [judge(name, length, FUNCTION, promised.get(name)) for name, length in lengths.items()]
    bad += [f"{name} is gone: strike it" for name in promised.keys() - lengths.keys()]
    assert [one for one in bad if one] == []


@pytest.mark.parametrize(
    ("length", "promised", "fine"),
    [
        (400, None, True),
        (401, None, False),
        (500, 500, True),
        (501, 500, False),
        (479, 500, False),
        (490, 500, True),
        (399, 405, False),
    ],
)
def test_the_ratchet(length: int, promised: int | None, fine: bool) -> None:
    assert (judge("x", length, 400, promised) is None) is fine


def test_functions_are_measured_to_their_last_line(tmp_path: Path) -> None:
    file = tmp_path / "some.pxi"
    file.write_text(
        "cdef int first(int a,\n               int b) noexcept nogil:\n"
        '    """One."""\n\n    return a\n\n\n'
        "cdef extern from 'x.h':\n    int no_body(int a) noexcept\n\n"
        "def second():\n    if 1:\n\n        pass\n    # the end\n\nx = 1\n"
    )
    assert [(one.name, one.line, one.length) for one in functions(file)] == [
        ("first", 1, 5),
        ("second", 11, 5),
    ]


def test_the_root_is_the_root() -> None:
    assert (ROOT / "pyproject.toml").exists()
