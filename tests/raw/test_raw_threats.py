"""THREAT_MODEL.md keeps its word: every line of the list is there, every test it names exists."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
PAGE = (ROOT / "THREAT_MODEL.md").read_text()


def test_every_line_of_the_list_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \| (same|`[^|]+) \|$", PAGE, re.MULTILINE)
    numbers = [int(number) for number, _ in rows]
    assert numbers == sorted(set(numbers))
    assert {*range(1, 28), 30, 31, 44} <= set(numbers)


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (ROOT / file if "/" in file else FOLDER / file).read_text()
    ]
    assert missing == []
