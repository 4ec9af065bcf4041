"""Imports point one way: the tree of folders is the way of a request, and nobody looks back.

`LAYERS` is the order of design.md section 6, as it is today. A file may import from earlier
layers and from its own room, never from a sibling on its layer or from a later one.

Two things are not what their folder says. A `door.pxi` is a piece of `_core` and a `probe.pxi` one
of `_probe`, wherever they lie: that is where they are included. And for Python (the builders, which
ask the compiled rooms for offsets, hashes, words) `_core` is the floor everything stands on: it
imports nothing of ours but the Python half of its own engine.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.source import PACKAGE, ROOT, code, label, tree

LAYERS = [
    ["clib"],
    ["memory", "errors", "addresses"],
    ["schema"],
    ["scoreboard"],
    ["http1", "websocket"],
    ["regex"],
    ["template"],
    ["grpcweb"],
    ["route", "policy", "cache", "balance", "rewrite"],
    ["engine"],
    ["_core"],
    ["_probe"],
    ["tls", "http2", "static", "compress", "health", "discovery", "telemetry"],
    ["_tls", "_http2"],
    ["config"],
    ["admin"],
    ["process"],
    ["flags", "start", "view", "demo", "explaining"],
    ["renew", "shown"],
    ["instance", "certs"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
CIMPORT = re.compile(r"^\s*(?:from\s+fastproxy\.([\w.]+)\s+cimport|cimport\s+fastproxy\.([\w.]+))")
FROM_PACKAGE = re.compile(r"^\s*from\s+fastproxy(?:\.(\w+))?\s+cimport\s+(\w+)")
BY_NAME = re.compile(r"""import_module\(\s*["']fastproxy\.([\w.]+)["']""")


def room_of(path: Path) -> str:
    """Where a file stands in LAYERS."""
    if path.name == "door.pxi":
        return "_core"
    if path.name in {"probe.pxi", "timing.pxi"}:
        return "_probe"
    first = path.relative_to(PACKAGE).parts[0]
    return first.partition(".")[0]


def python_imports(text: str) -> list[str]:
    """Names under `fastproxy` that Python code imports, anywhere in it; "" is the package."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                found += ["a relative import"]
            elif module == "fastproxy":
                found += ["" if name.name == "__version__" else name.name for name in node.names]
            elif module.startswith("fastproxy."):
                found.append(module.removeprefix("fastproxy."))
        elif isinstance(node, ast.Import):
            found += [
                name.name.removeprefix("fastproxy").removeprefix(".")
                for name in node.names
                if name.name.split(".")[0] == "fastproxy"
            ]
    return found + BY_NAME.findall(text)


def cython_imports(path: Path) -> list[str]:
    """Names under `fastproxy` that a Cython file cimports, and modules it asks for by name."""
    found = []
    for line in code(path).splitlines():
        if match := CIMPORT.match(line):
            found.append(match[1] or match[2])
        elif match := FROM_PACKAGE.match(line):
            found.append(match[2])
    return found + BY_NAME.findall(path.read_text())


def wrong(room: str, imported: list[str], *, python: bool) -> list[str]:
    """Which of these imports point the wrong way."""
    bad = []
    for name in imported:
        target = name.partition(".")[0]
        if target in ("", room) or (python and target == "_core"):
            continue
        if target not in LEVEL:
            bad.append(f"{name} (in no layer)")
        elif LEVEL[target] >= LEVEL[room] or target == "_probe":
            bad.append(name)
    return bad


PYTHON = [path for path in tree(".py", ".pyi", under="fastproxy") if path.stem != "__init__"]
CYTHON = tree(".pyx", ".pxd", ".pxi", under="fastproxy")


def test_every_room_stands_in_a_layer() -> None:
    rooms = {room_of(path) for path in [*PYTHON, *CYTHON]}
    assert rooms - LEVEL.keys() == set()
    assert len(rooms) > 15


def test_no_room_is_named_twice() -> None:
    assert len(LEVEL) == sum(len(rooms) for rooms in LAYERS)


def test_python_imports_point_one_way() -> None:
    bad = [
        f"{label(path)}: {name}"
        for path in PYTHON
        for name in wrong(room_of(path), python_imports(path.read_text()), python=True)
    ]
    assert bad == []


def test_cimports_point_one_way() -> None:
    bad = []
    for path in CYTHON:
        names = cython_imports(path)
        if path.suffix == ".pxi" and room_of(path) == "engine":
            # The one name it may ask for at run time: its own Python half.
            names = [name for name in names if name != "engine.doorway"]
        bad += [f"{label(path)}: {name}" for name in wrong(room_of(path), names, python=False)]
    assert bad == []


def test_packages_import_nothing() -> None:
    """Importing a room must not drag others in behind the reader's back."""
    bad = [
        label(path)
        for path in tree(".py", under="fastproxy")
        if path.stem == "__init__" and python_imports(path.read_text())
    ]
    assert bad == []


def test_no_circle_inside_a_room() -> None:
    """Files of one room may use each other, in one direction. (Cython refuses circles itself.)"""
    edges: dict[str, set[str]] = {}
    for path in PYTHON:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        edges[name] = set()
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                base = node.module.removeprefix("fastproxy").removeprefix(".")
                edges[name] |= {base, *(f"{base}.{one.name}" for one in node.names)}
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in leaves:
            del edges[name]
    assert sorted(edges) == []


def test_the_program_can_do_without_tests() -> None:
    """Nothing of the package needs tests, bench or ci."""
    pattern = re.compile(r"^\s*(?:from|import)\s+(?:tests|bench|ci)\b", re.MULTILINE)
    assert [label(path) for path in PYTHON if pattern.search(path.read_text())] == []


def test_layers_are_written_down() -> None:
    """ARCHITECTURE.md tells the same order."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text[text.index("\nclib <") :].partition("```")[0]
    told = [set(re.findall(r"\w+", part)) for part in block.split("<")]
    assert told == [set(rooms) for rooms in LAYERS if rooms not in (["_probe"], ["__main__"])]


@pytest.mark.parametrize(
    ("room", "text", "bad"),
    [
        ("route", "from fastproxy.balance.build import x", ["balance.build"]),
        ("route", "from fastproxy import config", ["config"]),
        ("route", "def f():\n    import fastproxy.process.master", ["process.master"]),
        ("route", "import importlib\nimportlib.import_module('fastproxy.cli')", ["cli"]),
        ("route", "from fastproxy import _probe", ["_probe"]),
        ("process", "from fastproxy import _probe", ["_probe"]),
        ("route", "from fastproxy.somewhere import x", ["somewhere (in no layer)"]),
        ("route", "from . import x", ["a relative import (in no layer)"]),
        ("route", "from fastproxy import _core, __version__", []),
        ("route", "from fastproxy.memory import pack", []),
        ("process", "from fastproxy.route.build import x", []),
    ],
)
def test_planted_imports_are_found(room: str, text: str, bad: list[str]) -> None:
    assert wrong(room, python_imports(text), python=True) == bad
