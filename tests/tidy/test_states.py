"""The lives of connections and exchanges: every pair of states, against the compiled tables.

The legal moves are written here a second time, in words, because the table is the design: whoever
changes it has to say so twice. That every state can be reached and left is worked out, not told.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from types import ModuleType

import pytest

from fastproxy import _probe
from tests.tidy.source import PACKAGE, ROOT, code, functions, tree

CONNECTION = {
    "FREE": "IDLE HANDSHAKE CONNECTING",
    "IDLE": "HEAD RUNNING CARRIER FREE",
    "HEAD": "RUNNING CARRIER FREE",
    "RUNNING": "IDLE DRAINING CLOSING TUNNEL FREE",
    "DRAINING": "IDLE FREE",
    "CLOSING": "LINGERING FREE",
    "LINGERING": "FREE",
    "TUNNEL": "CLOSING FREE",
    "HANDSHAKE": "IDLE CARRIER FREE",
    "CONNECTING": "BUSY CARRIER FREE",
    "BUSY": "PARKED TUNNEL FREE",
    "PARKED": "BUSY FREE",
    "CARRIER": "FREE",
}
EXCHANGE = {
    "FREE": "ROUTED",
    "ROUTED": "JUDGED PARKED FINISHED",
    "JUDGED": "DIALING FINISHED",
    "PARKED": "FINISHED",
    "QUEUED": "DIALING FINISHED",
    "DIALING": "QUEUED WAITING FINISHED",
    "WAITING": "DIALING RECEIVING TUNNEL FINISHED",
    "RECEIVING": "FINISHED",
    "TUNNEL": "FINISHED",
    "FINISHED": "FREE",
}
LIVES = {
    "connection": (_probe.peer_states(), _probe.peer_move, CONNECTION),
    "exchange": (_probe.exchange_states(), _probe.exchange_move, EXCHANGE),
}
# Beyond the tables: no number may be taken for a state.
BEYOND = 40


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """ci/draw_states.py."""
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "ci/draw_states.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("life", LIVES)
def test_every_pair(life: str) -> None:
    names, may, legal = LIVES[life]
    assert names == list(legal)
    for source in range(len(names) + BEYOND):
        for target in range(len(names) + BEYOND):
            known = source < len(names) and target < len(names)
            allowed = known and names[target] in legal[names[source]].split()
            assert may(source, target) is allowed, (source, target)


@pytest.mark.parametrize("life", LIVES)
def test_absurd_numbers_are_no_states(life: str) -> None:
    _, may, _ = LIVES[life]
    for odd in (32, 33, 255, 256, 1 << 31, (1 << 32) - 1):
        assert not may(odd, 1)
        assert not may(1, odd)


@pytest.mark.parametrize("life", LIVES)
def test_every_state_is_reached_and_left(life: str) -> None:
    names, may, _ = LIVES[life]

    def reached(start: int, *, back: bool) -> set[int]:
        seen = {start}
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for there in range(len(names)):
                moves = may(there, here) if back else may(here, there)
                if moves and there not in seen:
                    seen.add(there)
                    waiting.append(there)
        return seen

    everything = set(range(len(names)))
    assert reached(0, back=False) == everything
    assert reached(0, back=True) == everything


@pytest.mark.parametrize("life", LIVES)
def test_no_state_moves_to_itself(life: str) -> None:
    names, may, _ = LIVES[life]
    assert [name for number, name in enumerate(names) if may(number, number)] == []


def test_the_drawing_reads_what_the_compiler_sees(drawing: ModuleType) -> None:
    for name, life in drawing.read_lives().items():
        names, may, _ = LIVES[name]
        assert [state.name for state in life.states] == names
        for source, targets in life.moves.items():
            numbers = {number for number in range(len(names)) if may(names.index(source), number)}
            assert {names.index(target) for target in targets} == numbers
        assert all(len(state.holds) > 5 for state in life.states)


def test_the_pictures_are_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "ci/draw_states.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_an_old_picture_is_noticed(drawing: ModuleType) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert drawing.page(text) == text
    broken = text.replace("    CLOSING --> LINGERING\n", "", 1)
    assert broken != text
    assert drawing.page(broken) == text


def test_only_the_movers_write_a_state() -> None:
    """Else the tables would be words."""
    bad = []
    for path in tree(".pxi", under="fastproxy/engine"):
        movers = [one for one in functions(path) if re.fullmatch(r"\w+_move", one.name)]
        inside = {number for one in movers for number in range(one.line, one.line + one.length)}
        for number, line in enumerate(code(path).splitlines(), 1):
            writes = re.search(r"\b(?:conn|client|upstream|source|target|x)\.state\s*=(?!=)", line)
            if writes and number not in inside:
                bad.append(f"{path.name}:{number}: {line.strip()}")
    assert bad == []


def test_every_state_is_used_by_the_engine() -> None:
    """A state nobody moves to is a state nobody understands."""
    text = "".join(code(path) for path in tree(".pxi", under="fastproxy/engine"))
    moved = set(re.findall(r"_move\(\s*\w+,\s*((?:PEER|EXCHANGE)_\w+)\)", text))
    names = {f"PEER_{name}" for name in CONNECTION} | {f"EXCHANGE_{name}" for name in EXCHANGE}
    # FREE is entered by giving the object back to its pool.
    assert names - moved == {"EXCHANGE_FREE"}
    assert (PACKAGE / "engine/lifecycle.pxd").exists()
