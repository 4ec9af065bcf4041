"""What compiles and what does not: asked of make itself, on a tree of links."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.tidy.source import PACKAGE, ROOT, label, tree


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A tree that looks built: sources are links, the stamps are new."""
    for name in ("Makefile", "pyproject.toml", "setup.py", "ci"):
        (tmp_path / name).symlink_to(ROOT / name)
    for path in tree(under="fastproxy"):
        place = tmp_path / label(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    (tmp_path / "fastproxy/_core.x.so").touch()
    for name in (".venv/.tools", ".venv/.tests", ".venv/.lint", "build/.built", "build/.strict"):
        stamp = tmp_path / name
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
    return tmp_path


def plan(folder: Path, *args: str) -> str:
    """What make would do."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    run = subprocess.run(
        ["make", "-n", *args], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return run.stdout


@pytest.mark.parametrize("target", ["build", "test", "demo"])
def test_nothing_changed_compiles_nothing(built: Path, target: str) -> None:
    assert "setup.py" not in plan(built, target)


def test_a_python_edit_compiles_nothing(built: Path) -> None:
    edits = [f"--what-if={label(path)}" for path in tree(".py", ".pyi", under="fastproxy")]
    assert len(edits) > 40
    assert "setup.py" not in plan(built, "build", *edits)


@pytest.mark.parametrize("kind", [".pyx", ".pxd", ".pxi", ".h"])
def test_an_edit_of_a_room_compiles(built: Path, kind: str) -> None:
    for path in tree(kind, under="fastproxy"):
        assert "setup.py" in plan(built, "build", f"--what-if={label(path)}"), path


def test_a_missing_extension_is_compiled(built: Path) -> None:
    (built / "fastproxy/_core.x.so").unlink()
    assert "setup.py" in plan(built, "build")


def test_tests_run_on_a_debug_build_and_build_goes_back(built: Path) -> None:
    (built / "build/mode").write_text("debug=True asan=False")
    assert "setup.py" not in plan(built, "test")
    room = "--what-if=fastproxy/http1/parse.pxd"
    assert re.search(r"FASTPROXY_DEBUG=1 \S+ setup\.py", plan(built, "test", room))
    back = plan(built, "build")
    assert "setup.py" in back
    assert "FASTPROXY_DEBUG" not in back


def test_every_target_is_explained(built: Path) -> None:
    text = (ROOT / "Makefile").read_text()
    help_text = subprocess.run(
        ["make", "help"], cwd=built, capture_output=True, text=True, check=True
    ).stdout
    told = {line.split()[0] for line in help_text.splitlines() if line.strip()}
    phony = set(" ".join(re.findall(r"^\.PHONY: ([a-z].*)$", text, re.MULTILINE)).split())
    assert phony - told == {"setup"}
    wanted = (
        "demo build test test-slow debug asan coverage fuzz bench bench-smoke lint wheel help clean"
    )
    assert set(wanted.split()) <= told


def test_every_room_is_a_source_of_make(built: Path) -> None:
    printed = subprocess.run(
        ["make", "-pn", "build"], cwd=built, capture_output=True, text=True, check=True
    ).stdout
    sources = set(re.findall(r"^SOURCES := (.*)$", printed, re.MULTILINE)[0].split())
    rooms = {label(path) for path in tree(".pyx", ".pxd", ".pxi", ".h", under="fastproxy")}
    assert sources == rooms | {"setup.py"}
    assert label(PACKAGE / "engine/lifecycle.pxd") in sources
