"""The scoreboard: layout, counting from several real processes, taking back what the dead held."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.memory import pack
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Ring, WorkerState
from tests.unit.boards import probe_of

TABLE = Path(segment.__file__).with_name("table.pxd").read_text()
HEADER = pack.size("BoardHeader")


@pytest.fixture
def fd() -> int:
    return segment.create(workers=3, backends=64, routes=32)


@pytest.fixture
def board(fd: int) -> Board:
    return Board(fd)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; its pid. It exits 0 if `work` did not raise."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitpid(pid, 0)[1] == 0


def numbers_of(prefix: str) -> dict[str, int]:
    found = re.findall(rf"^    {prefix}(\w+) = (\d+)", TABLE, re.MULTILINE)
    return {name: int(value) for name, value in found}


def test_python_numbers_are_those_of_the_table() -> None:
    assert {state.name: state.value for state in WorkerState} == numbers_of("WORKER_")
    assert {ring.name: ring.value for ring in Ring} == numbers_of("RING_")
    assert numbers_of("HISTOGRAM_")["SUB_BITS"] == segment.SUB_BUCKETS.bit_length() - 1
    assert numbers_of("HISTOGRAM_")["BUCKETS"] == segment.WORDS["buckets"]


def test_every_array_lies_apart_and_inside(fd: int, board: Board) -> None:
    head = segment.header(board)
    sizes = {
        "workers_off": 3 * pack.size("WorkerRow"),
        "backends_off": 64 * pack.size("BackendRow"),
        "inflight_off": 3 * 64 * 4,
        "backend_counts_off": 3 * 64 * pack.size("BackendCount"),
        "route_counts_off": 3 * 32 * pack.size("RouteCount"),
        "client_ips_off": segment.WORDS["client_ip_slots"] * 8,
        "client_ip_held_off": 3 * segment.WORDS["client_ip_slots"] * 2,
    }
    regions = sorted((head[name], head[name] + size) for name, size in sizes.items())
    assert regions[0][0] >= HEADER
    assert regions[-1][1] <= head["length"] == os.fstat(fd).st_size
    for (_, end), (start, _) in pairwise(regions):
        assert end <= start


def test_untouched_capacity_costs_no_memory() -> None:
    fd = segment.create(workers=128)
    assert os.fstat(fd).st_size > 1 << 30
    assert os.fstat(fd).st_blocks * 512 < 1 << 16


def test_the_size_is_sealed(fd: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1 << 30)


@pytest.mark.parametrize("field", ["magic", "version", "layout_hash", "length", "workers"])
def test_a_board_of_another_build_is_refused(fd: int, field: str) -> None:
    offset, length, _ = pack.LAYOUT["BoardHeader"][1][field]
    old = int.from_bytes(os.pread(fd, length, offset), "little")
    os.pwrite(fd, (old + 1 if field != "workers" else 0).to_bytes(length, "little"), offset)
    with pytest.raises(ValueError, match="another build"):
        Board(fd)


@pytest.mark.parametrize(
    "field",
    [name for name in pack.LAYOUT["BoardHeader"][1] if name.endswith("_off")],
)
@pytest.mark.parametrize("value", [0, 64, 2**64 - 64, "end", "odd"])
def test_an_offset_outside_is_refused(fd: int, field: str, value: int | str) -> None:
    offset, length, _ = pack.LAYOUT["BoardHeader"][1][field]
    size = os.fstat(fd).st_size
    bad = {"end": size - 64, "odd": 4100}.get(value) if isinstance(value, str) else value
    assert bad is not None
    os.pwrite(fd, bad.to_bytes(length, "little"), offset)
    probe = probe_of(fd)
    assert not probe.check(size, _core.layout_hash())


def test_no_board_at_all_is_refused() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(ValueError, match="no scoreboard"):
        Board(fd)
    os.ftruncate(fd, 1 << 20)
    with pytest.raises(ValueError, match="another build"):
        Board(fd)


@pytest.mark.parametrize(
    "sizes",
    [
        {"workers": 0},
        {"workers": 129},
        {"workers": 1, "routes": 1 << 20},
        {"workers": 1, "sessions": (1 << 24) + 1},
    ],
)
def test_capacities_have_bounds(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not within"):
        segment.create(**sizes)


@pytest.mark.parametrize(("wanted", "made"), [(8, 8), (9, 16), (1 << 24, 1 << 24)])
def test_sessions_are_a_power_of_two(wanted: int, made: int) -> None:
    fd = segment.create(1, 1, 1, sessions=wanted)
    board = Board(fd)
    os.close(fd)
    assert segment.header(board)["sessions"] == made


def test_a_slot_outside_is_an_index_error(board: Board) -> None:
    for call in (board.state, board.take, board.beat, board.reclaim, board.pid):
        with pytest.raises(IndexError):
            call(3)
    with pytest.raises(IndexError):
        board.inflight(64)


def test_two_processes_count_at_once_and_nothing_is_lost(fd: int, board: Board) -> None:
    times = 20_000

    def count(worker: int) -> Callable[[], None]:
        def work() -> None:
            probe = probe_of(fd)
            for _ in range(times):
                probe.request(worker, 5, 7, 2 + worker, 1000 * (worker + 1))

        return work

    pids = [in_child(count(0)), in_child(count(1))]
    assert all(ended_well(pid) for pid in pids)
    route = segment.counts(board, "route", 7, 3)
    assert route["requests"] == 2 * times
    assert route["status"] == [0, 0, times, times, 0, 0]
    assert sum(route["buckets"]) == 2 * times
    backend = segment.counts(board, "backend", 5, 3)
    assert backend["requests"] == 2 * times
    assert segment.workers_sum(board, 3)["requests"] == 2 * times
    assert segment.counts(board, "route", 6, 3)["requests"] == 0


def test_inflight_is_the_sum_of_columns(fd: int, board: Board) -> None:
    probe = probe_of(fd)
    probe.inflight(0, 9, 3)
    probe.inflight(1, 9, 4)
    probe.inflight(1, 9, -1)
    probe.inflight(2, 8, 1)
    assert board.inflight(9) == probe.inflight_total(9) == 6
    assert board.inflight(8) == 1


def test_reclaim_gives_back_only_what_the_dead_held(fd: int, board: Board) -> None:
    probe = probe_of(fd)

    def die() -> None:
        mine = probe_of(fd)
        mine.inflight(0, 9, 3)
        mine.request(0, 9, 1, 2, 50)
        for _ in range(5):
            assert mine.client_ip_enter(0, 1 << 40, 10) >= 0
        assert mine.claim(2, 0)
        os.kill(os.getpid(), 9)

    probe.inflight(1, 9, 2)
    slot = probe.client_ip_enter(1, 1 << 40, 10)
    assert os.waitpid(in_child(die), 0)[1] == 9
    board.ring(0, Ring.DRAIN)
    assert board.inflight(9) == 5
    assert not probe.claim(2, 1)  # the dead one still holds the claim

    assert board.reclaim(0) == 5
    assert board.inflight(9) == 2
    assert board.state(0) == WorkerState.GONE
    assert board.take(0) == 0
    assert probe.claim(2, 1)
    assert segment.counts(board, "backend", 9, 3)["requests"] == 1  # counters live on
    assert [probe.client_ip_enter(1, 1 << 40, 3) for _ in range(3)] == [slot, slot, -1]
    assert board.reclaim(0) == 0  # twice takes nothing twice
    assert probe.client_ip_enter(1, 1 << 40, 3) == -1


def test_one_adopter_at_a_time(fd: int) -> None:
    probe = probe_of(fd)
    assert probe.claim(0, 1)
    assert probe.claim(0, 1)
    assert not probe.claim(0, 2)
    probe.release(0, 2)  # not its claim to give up
    assert not probe.claim(0, 2)
    probe.release(0, 1)
    assert probe.claim(0, 2)


def test_doorbell_reasons_add_up_and_are_taken_once(board: Board) -> None:
    board.ring(1, Ring.PLAN)
    board.ring(1, Ring.ADOPT)
    board.ring(2, Ring.STOP)
    assert board.take(1) == Ring.PLAN | Ring.ADOPT
    assert board.take(1) == 0
    assert board.take(2) == Ring.STOP


def test_a_beat_has_an_age(board: Board) -> None:
    board.beat(1)
    assert board.beat_age_ms(1) < 1000
    assert board.beat_age_ms(0) > 1000  # never


def test_backend_rows_and_ejection(fd: int, board: Board) -> None:
    probe = probe_of(fd)
    assert segment.backends_used(board) == []
    segment.set_backend(board, 9, "http://10.0.0.1:80", upstream=2, weight=5, generation=1)
    segment.set_backend(board, 63, "x" * 200, generation=4)
    row = segment.backend(board, 9)
    assert (row["name"], row["upstream"], row["weight"]) == ("http://10.0.0.1:80", 2, 5)
    assert segment.backend(board, 63)["name"] == "x" * 143  # its NUL stays
    assert segment.backends_used(board) == [9, 63]
    assert probe.is_serving(9)
    segment.set_backend(board, 9, health=1)
    assert not probe.is_serving(9)
    segment.set_backend(board, 9, health=0, admin=2)
    assert not probe.is_serving(9)
    probe.eject(9, 5000)
    assert probe.is_ejected(9, 4999)
    assert not probe.is_ejected(9, 5000)
    assert not probe.is_ejected(10, 0)


def test_a_worker_cannot_lead_the_master_astray(fd: int, board: Board) -> None:
    """Whatever is written over the header later, a board goes on with what it checked."""
    probe_of(fd).inflight(1, 9, 2)
    for name in pack.LAYOUT["BoardHeader"][1]:
        if name.endswith("_off") or name in ("workers", "backends", "routes", "length"):
            offset, length, _ = pack.LAYOUT["BoardHeader"][1][name]
            os.pwrite(fd, (2**31 - 1).to_bytes(length, "little"), offset)
    assert board.workers == 3
    assert board.inflight(9) == 2
    assert board.reclaim(1) == 0
    assert board.inflight(9) == 0
    assert segment.backends_used(board) == []
    with pytest.raises(IndexError):
        board.state(3)


def test_header_words_are_written_alone(board: Board) -> None:
    before = segment.header(board)
    segment.set_header(board, plan_generation=7, control_pid=99)
    after = segment.header(board)
    assert (after.pop("plan_generation"), after.pop("control_pid")) == (7, 99)
    assert {name: value for name, value in before.items() if name in after} == after
