"""THREAT_MODEL.md keeps its word: every line of the list is there, every test it names exists."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = (FOLDER.parent.parent / "THREAT_MODEL.md").read_text()


def test_every_line_of_the_list_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \| (same|`[^|]+) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 28))


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`(test_raw_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (FOLDER / file).read_text()
    ]
    assert missing == []
