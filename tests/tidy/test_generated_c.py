"""No Python is reached from the hot path in the C that Cython made.

Inside `noexcept nogil` code Cython turns a slip (an `assert`, an object that came in by accident, a
callee that may raise) into `PyGILState_Ensure` and `__Pyx_WriteUnraisable`: it compiles, it works,
and it takes the GIL in the middle of a request. So the generated C itself is read: nothing that
belongs to Python's API may be reached from a function of a room or of the engine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.source import PACKAGE, functions, label, tree

PYTHON = re.compile(r"\b(?:_?Py[A-Z]\w*|__Pyx_\w+)\b")
# Written by Cython around C that cannot fail.
HARMLESS = {"__Pyx_pretend_to_initialize"}
BODY = re.compile(r"^(?![\s#/*}])[^\n;]*?\b(\w+)\([^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"\b(__pyx_f_\w+)\b")


def bodies(text: str) -> dict[str, str]:
    """{function: its body} of a generated C file, comments (which quote the source) left out."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return {match[1]: match[2] for match in BODY.finditer(text)}


def leaks(text: str, roots: set[str]) -> list[str]:
    """What of Python's API is reached from `roots`, as "function: name" lines."""
    of = bodies(text)
    found = []
    seen: set[str] = set()
    waiting = sorted(roots & of.keys())
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found += [f"{name}: {word}" for word in set(PYTHON.findall(of[name])) - HARMLESS]
        waiting += sorted(set(CALL.findall(of[name])) & of.keys() - seen)
    return sorted(found)


def mangled(module: str, name: str) -> str:
    """The C name of a function of a module."""
    return "__pyx_f_" + "".join(f"{len(part)}{part}_" for part in module.split(".")) + name


def hot(extension: str) -> set[str]:
    """C names of every `noexcept nogil` function that may be part of this extension."""
    names = set()
    for path in tree(".pxd", ".pxi", under="fastproxy"):
        module = f"fastproxy.{extension}"
        if path.suffix == ".pxd":
            module = label(path).removesuffix(".pxd").replace("/", ".")
        for one in functions(path):
            if one.head.endswith("noexcept nogil:"):
                names.add(mangled(module, one.name))
    return names


@pytest.mark.parametrize(
    ("extension", "least"), [("_core", 400), ("_probe", 180), ("_http2", 90), ("_tls", 70)]
)
def test_the_hot_path_reaches_no_python(extension: str, least: int) -> None:
    file = PACKAGE / f"{extension}.c"
    assert file.exists(), "compile first: make build"
    text = file.read_text()
    roots = hot(extension) & bodies(text).keys()
    assert len(roots) >= least, "the reader no longer understands the generated C"
    assert leaks(text, roots) == []


def test_the_reader_knows_python_when_it_sees_it() -> None:
    """The face of the engine is full of it: were nothing found there, nothing would ever be."""
    text = (PACKAGE / "_core.c").read_text()
    face = {name for name in bodies(text) if re.match(r"__pyx_f_\w+WorkerEngine__", name)}
    assert len(face) >= 4
    assert len(leaks(text, face)) > 40


@pytest.mark.parametrize(
    ("body", "leaky"),
    [
        ("assert x > 0", True),
        ("with gil: print(x)", True),
        ("may_raise(x)", True),
        ("return x // y", True),
        ("return x + y", False),
    ],
)
def test_planted_leaks_are_found(tmp_path: Path, body: str, leaky: bool) -> None:
    """Each trap design.md names, compiled by the Cython that builds us."""
    source = tmp_path / "planted.pyx"
    source.write_text(
        "# cython: language_level=3\n"
        "cdef int may_raise(int x) except? -1 nogil:\n"
        "    return x\n"
        "cdef int outer(int x, int y) noexcept nogil:\n"
        "    return inner(x, y)\n"
        "cdef int inner(int x, int y) noexcept nogil:\n"
        f"    {body}\n"
    )
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", str(source)], check=True, capture_output=True
    )
    text = source.with_suffix(".c").read_text()
    assert bool(leaks(text, {mangled("planted", "outer")})) is leaky
