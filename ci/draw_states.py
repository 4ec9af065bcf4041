#!/usr/bin/env python3
"""Draws the tables of fastproxy/engine/lifecycle.pxd into ARCHITECTURE.md.

    ci/draw_states.py           write the pictures between their markers
    ci/draw_states.py --check   exit 1 if they are not what the tables say

The tables are read as text, so this runs without a build. tests/tidy/test_states.py holds what is
read here against what the compiler sees.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "fastproxy/engine/lifecycle.pxd"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- states: {} -->", "<!-- end of states -->"
# Where a life begins and ends; in the pictures it is the dot.
FREE = "FREE"


@dataclass(frozen=True)
class State:
    """One value of an enum: `holds` is its comment, `side` the comment line above its group."""

    name: str
    number: int
    holds: str
    side: str


@dataclass(frozen=True)
class Life:
    """One table: states by number, and for each the names it may move to."""

    states: list[State]
    moves: dict[str, list[str]]


def read_life(text: str, enum: str, prefix: str) -> Life:
    """The enum `enum` and the table `PREFIX_MOVES` of lifecycle.pxd."""
    block = re.search(rf"cdef enum {enum}:\n((?:    .*\n)+)", text)
    rows = re.search(rf"{prefix}_MOVES\[\d+\] = \{{\n(.*?)\}};", text, re.DOTALL)
    if not block or not rows:
        raise SystemExit(f"{TABLES.name}: no {enum} or no {prefix}_MOVES")
    states = []
    side = ""
    for line in block[1].splitlines():
        if match := re.match(rf"    {prefix}_(\w+) = (\d+)\s+# (.*)", line):
            states.append(State(match[1], int(match[2]), match[3], side))
        elif line.lstrip().startswith("#"):
            side = line.strip("# ").strip()
    names = [state.name for state in states]
    moves = {}
    for name, bits in re.findall(r"/\* (\w+) +\*/ (.*)", rows[1]):
        moves[name] = [names[int(number)] for number in re.findall(r"MAY\((\d+)\)", bits)]
    if list(moves) != names or [state.number for state in states] != list(range(len(names))):
        raise SystemExit(f"{TABLES.name}: {enum} and {prefix}_MOVES do not name the same states")
    return Life(states, moves)


def read_lives() -> dict[str, Life]:
    """{"connection": ..., "exchange": ...} as the file tells them."""
    text = TABLES.read_text()
    return {
        "connection": read_life(text, "PeerState", "PEER"),
        "exchange": read_life(text, "ExchangeState", "EXCHANGE"),
    }


def picture(life: Life, side: str) -> list[str]:
    """One mermaid diagram: the states of `side`, and those of others that they move to."""
    mine = [state.name for state in life.states if state.side == side and state.name != FREE]
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {name}" for name in life.moves[FREE] if name in mine]
    for name in mine:
        for target in life.moves[name]:
            lines.append(f"    {name} --> {'[*]' if target == FREE else target}")
    return [*lines, "```"]


def draw(life: Life) -> str:
    """Pictures, then what each state guarantees."""
    lines: list[str] = []
    sides = list(dict.fromkeys(state.side for state in life.states if state.name != FREE))
    for side in sides:
        if side:
            lines += [f"{side.capitalize()}:", ""]
        lines += [*picture(life, side), ""]
    lines += ["| state | what holds while it lasts |", "|---|---|"]
    lines += [f"| {state.name} | {state.holds} |" for state in life.states]
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with every picture as the tables say."""
    for name, life in read_lives().items():
        begin = BEGIN.format(name)
        if text.count(begin) != 1:
            raise SystemExit(f"{PAGE.name}: wants the line {begin!r} once")
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition(END)
        if not end:
            raise SystemExit(f"{PAGE.name}: no {END!r} after {begin!r}")
        text = f"{before}{begin}\n\n{draw(life)}\n\n{END}{after}"
    return text


def main() -> None:
    old = PAGE.read_text()
    new = page(old)
    if sys.argv[1:] == ["--check"]:
        if new != old:
            raise SystemExit(f"{PAGE.name}: the pictures are old; run ci/draw_states.py")
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    elif new != old:
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
