"""What the Cython compiler lets pass in `noexcept nogil` code and must not be there.

A failed `assert` is printed and ignored, `with gil` takes the lock in the middle of a request, a
function without `noexcept` makes its callers look for an exception under the GIL. So: words that
are banned, and what every function of a room has to say in its head.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.source import PACKAGE, code, functions, label, tree

# The files in which Python may be spoken: Python's face of the engine, doors and probes, and what
# makes contexts of a keyring.
FACES = re.compile(
    r"(?:^|/)(?:door|probe|timing|face)\.pxi$|/tls/(?:contexts|keys)\.pxi$|_core\.(?:pyx|pxd)$"
    r"|_probe\.pyx$"
)
EVERYWHERE = re.compile(r"\bassert\b|\bwith\s+gil\b|\bexcept\s*\+")
IN_ROOMS = re.compile(
    r"\b(?:raise|try|except|finally|lambda|yield|await|async|import|print|del|global|nonlocal|def"
    r"|object|list|dict|tuple|set|str|bytes|bytearray|Exception)\b"
)
ROOMS = [path for path in tree(".pxd", ".pxi", under="fastproxy") if not FACES.search(label(path))]
CYTHON = tree(".pyx", ".pxd", ".pxi", under="fastproxy")
# Verbatim C may hold constants, never state: a static exists once per extension.
STATE = re.compile(r"^\s*static\s+(?!inline\b|const\b)[^(\n]*[;=]", re.MULTILINE)


def words(path: Path, banned: re.Pattern[str]) -> list[str]:
    return [
        f"{label(path)}:{number}: {line.strip()}"
        for number, line in enumerate(code(path).splitlines(), 1)
        if banned.search(line)
    ]


def test_there_are_rooms() -> None:
    assert len(ROOMS) > 40
    assert PACKAGE / "http1/parse.pxd" in ROOMS
    assert PACKAGE / "engine/exchange.pxi" in ROOMS
    assert PACKAGE / "engine/face.pxi" not in ROOMS


def test_no_assert_and_no_gil_anywhere() -> None:
    assert [found for path in CYTHON for found in words(path, EVERYWHERE)] == []


def test_rooms_speak_no_python() -> None:
    assert [found for path in ROOMS for found in words(path, IN_ROOMS)] == []


def test_every_function_of_a_room_is_noexcept_nogil() -> None:
    bad = [
        f"{one.label}: {one.head}"
        for path in ROOMS
        for one in functions(path)
        if not one.head.endswith("noexcept nogil:")
    ]
    assert bad == []


def test_functions_of_header_rooms_are_inline() -> None:
    bad = [
        one.label
        for path in ROOMS
        if path.suffix == ".pxd"
        for one in functions(path)
        if not one.head.startswith("cdef inline ")
    ]
    assert bad == []


def test_external_functions_of_rooms_are_noexcept_nogil() -> None:
    """A `nogil` function declared without `noexcept` is checked for exceptions after each call."""
    bad = []
    for path in ROOMS:
        for block in re.split(r"^(?=\S)", code(path), flags=re.MULTILINE):
            if not block.startswith("cdef extern"):
                continue
            nogil = "nogil" in block.splitlines()[0]
            for declaration in re.findall(r"^    \w[^\n#]*\([^#:]*?\)[^\n]*$", block, re.MULTILINE):
                if re.match(r"\s*(?:ctypedef|struct|enum)\b", declaration):
                    continue
                said = declaration[declaration.rindex(")") :]
                if "noexcept" not in said or not (nogil or "nogil" in said):
                    bad.append(f"{label(path)}: {' '.join(declaration.split())}")
    assert bad == []


def test_no_state_hides_in_verbatim_c() -> None:
    bad = []
    for path in [*CYTHON, *tree(".h", under="fastproxy")]:
        text = path.read_text()
        for match in STATE.finditer(text):
            line = text.count("\n", 0, match.start() + 1) + 1
            bad.append(f"{label(path)}:{line}")
    assert bad == []


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("    static int count;", True),
        ("static char room[64] = {0};", True),
        ("    static const int TABLE[2] = {1, 2};", False),
        ("    static inline int one(void) { return 1; }", False),
        ("static void *run(void *arg)", False),
    ],
)
def test_planted_state_is_found(line: str, state: bool) -> None:
    assert bool(STATE.search(line)) is state


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("    assert x", True),
        ("    with  gil:", True),
        ("    # assert nothing", False),
        ('    """with gil"""', False),
        ("    assertion = 1", False),
    ],
)
def test_the_banned_words_are_found(tmp_path: Path, line: str, banned: bool) -> None:
    """The net has no hole: planted words are caught, and only as code."""
    file = tmp_path / "planted.pxd"
    file.write_text(f"cdef int f() noexcept nogil:\n{line}\n    return 1\n")
    assert bool(EVERYWHERE.search(code(file))) is banned
