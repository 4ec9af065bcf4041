"""Every file says what it is, and none tells where it was written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.source import CYTHON, ROOT, label, tree

SPDX = "SPDX-License-Identifier: MIT"
# Paths of the machines we work on, and package indexes that are not the public one.
PLACES = re.compile(
    r"(?<![\w.}])/(?:root|work|Users)/\w"
    r"|/home/(?!user\b|you\b)\w"
    r"|/tmp/(?:bash|claude)\w*"
    r"|--(?:extra-)?index-url|--trusted-host|PIP_INDEX_URL|index-url\s*="
    r"|https?://(?!pypi\.org/)[\w.-]*(?:pypi|artifactory|nexus|jfrog|devpi)[\w.-]*",
)
PACKAGE_FILES = tree(".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", under="fastproxy")


def opening(path: Path) -> str:
    """The prose a file opens with, the licence line left out."""
    text = path.read_text()
    if path.suffix in {".py", ".pyi"}:
        said = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix in CYTHON and '"""' in text.partition("\n\n")[0]:
        said = text.partition('"""')[2].partition('"""')[0]
    else:
        head = re.match(r"(?:#.*\n)+|/\*(?:.|\n)*?\*/", text)
        said = re.sub(r"^[#/* ]+", "", head[0] if head else "", flags=re.MULTILINE)
    return said.replace(SPDX, "").strip().strip("*/").strip()


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=label)
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    assert len(opening(path)) >= 20


def test_a_file_names_its_licence_first() -> None:
    bad = [
        label(path)
        for path in PACKAGE_FILES
        if path.suffix != ".pyi" and SPDX not in path.read_text().partition("\n")[0]
    ]
    assert bad == []


def test_every_room_is_a_package() -> None:
    """Without `__init__.py` a folder works here and is left out of a wheel."""
    rooms = {path.parent for path in PACKAGE_FILES}
    assert [label(room) for room in sorted(rooms) if not (room / "__init__.py").exists()] == []


def test_no_file_tells_where_it_was_written() -> None:
    own = Path(__file__).resolve()
    bad = []
    for path in tree():
        if path == own:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if PLACES.search(line):
                bad.append(f"{label(path)}:{number}: {line.strip()[:80]}")
    assert bad == []


@pytest.mark.parametrize(
    ("line", "tells"),
    [
        ("see /root/x", True),
        ("/home/me/fastproxy", True),
        ("pip --index-url x", True),
        ("https://pypi.example.net/simple", True),
        ("https://pypi.org/project/uvloop", False),
        ("cd /home/you/fastproxy", False),
        ("location /works", False),
    ],
)
def test_planted_places_are_found(line: str, tells: bool) -> None:
    assert bool(PLACES.search(line)) is tells


def test_text_ends_in_a_newline_and_has_no_tabs_or_blanks_at_line_ends() -> None:
    bad = []
    for path in tree():
        text = path.read_text()
        if not text:
            continue
        if not text.endswith("\n") or text.endswith("\n\n"):
            bad.append(f"{label(path)}: last line")
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip() or ("\t" in line and path.name != "Makefile"):
                bad.append(f"{label(path)}:{number}")
    assert bad == []


def test_the_pages_are_there() -> None:
    """One page each: the shape of the tree is told in files people look for."""
    for name in ("README", "ARCHITECTURE", "STYLE", "CONTRIBUTING", "CHANGELOG"):
        text = (ROOT / f"{name}.md").read_text()
        assert text.startswith("# "), name


def test_links_between_pages_lead_somewhere() -> None:
    bad = []
    for path in tree(".md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                bad.append(f"{label(path)}: {target}")
    assert bad == []


def test_paths_named_in_pages_exist() -> None:
    """`like/this.py` in the pages about the code is a file, or was."""
    bad = []
    pages = [ROOT / "ARCHITECTURE.md", ROOT / "STYLE.md", ROOT / "CONTRIBUTING.md"]
    for path in pages:
        for name in re.findall(r"`([\w./-]+\.(?:py|pyx|pxd|pxi|h|toml|md))`", path.read_text()):
            places = [ROOT / name, ROOT / "fastproxy" / name]
            if "/" in name and not any(place.exists() for place in places):
                bad.append(f"{path.name}: {name}")
    assert bad == []
