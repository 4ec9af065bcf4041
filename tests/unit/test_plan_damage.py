"""A worker takes a plan or a roster only if every offset in it is sound; else the old one stays."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fastproxy import _core
from fastproxy.balance import build
from fastproxy.config import plan
from fastproxy.config.check import sound
from fastproxy.config.load import from_data
from fastproxy.memory import pack
from fastproxy.process.handover import sealed
from fastproxy.scoreboard import segment

CONFIG: dict[str, Any] = {
    "listeners": ["127.0.0.1:8080"],
    "upstreams": {
        "a": {
            "backends": [{"url": "http://127.0.0.1:1", "labels": {"v": "1"}}],
            "session": {"cookie": "fp"},
            "subset": {"label": "v", "value": "{header:x-v}"},
            "balance": "hash",
            "hash": {"key": "{header:x-user}"},
        },
        "b": {"backends": ["http://[::1]:1"], "session": {"learn": "header:X-Session"}},
    },
    "routes": [
        {"path": "/up", "upstream": "a", "request_headers": {"set": {"X": "{client_ip}"}}},
        {"path": "/split", "split": [{"upstream": "a"}, {"upstream": "b", "weight": 3}]},
        {"path": "/reply", "reply": {"body": "{path}", "headers": {"X-A": "b"}}},
        {"path": "/python", "responder": "status"},
        {"path": "~ ^/re(.*)", "upstream": "b", "rewrite_path": "/{param:1}"},
    ],
}
UP, SPLIT, REPLY, PYTHON = range(4)
FAR = 0xFFFFFF00


@pytest.fixture(scope="module")
def good() -> bytes:
    config, _ = sound(from_data(CONFIG))
    return plan.compile_plan(config, 1)


@pytest.fixture
def engine() -> _core.WorkerEngine:
    return _core.WorkerEngine(0, segment.create(1))


def given(engine: _core.WorkerEngine, data: bytes, what: str = "plan") -> int:
    fd = sealed("test", bytes(data))
    try:
        return engine.plan(fd) if what == "plan" else engine.roster(fd)
    finally:
        os.close(fd)


def at(*names: str) -> int:
    """Where a field lies: struct, field, or struct, field, its struct, field..."""
    return sum(
        pack.LAYOUT[struct][1][field][0]
        for struct, field in zip(names[::2], names[1::2], strict=True)
    )


def row(table: tuple[int, int], struct: str, index: int, field: str) -> int:
    return table[0] + index * pack.size(struct) + at(struct, field)


def damaged(good: bytes, where: int, value: int, size: int = 4) -> bytes:
    data = bytearray(good)
    data[where : where + size] = value.to_bytes(size, "little")
    return bytes(data)


HEADER = "PlanHeader"
FIELDS = {
    "magic": (at(HEADER, "magic"), 1, "not a plan"),
    "version": (at(HEADER, "version"), 9, "not a plan"),
    "layout": (at(HEADER, "layout_hash"), 1, "made by another build"),
    "length": (at(HEADER, "length"), 64, "of another length"),
    "table": (at(HEADER, "upstreams"), FAR, "a table lies outside"),
    "trusted": (at(HEADER, "settings", "Settings", "trusted") + 4, FAR, "a table lies outside"),
    "via": (at(HEADER, "settings", "Settings", "via_name"), FAR, "a table lies outside"),
    "no listeners": (at(HEADER, "listeners") + 4, 0, "no listeners"),
    "log": (at(HEADER, "settings", "Settings", "log_line", "Template", "parts"), FAR, "log line"),
    "rewrites": (at(HEADER, "rewrites", "RewriteTables", "rows") + 4, FAR, "the rewrites are"),
    "routes": (at(HEADER, "routes", "RouteTables", "rows") + 4, FAR, "the routes are damaged"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_damaged_header(engine: _core.WorkerEngine, good: bytes, name: str) -> None:
    where, value, why = FIELDS[name]
    with pytest.raises(ValueError, match=f"this plan cannot be used: .*{why}"):
        given(engine, damaged(good, where, value))


ROWS = [
    ("listeners", "ListenerRow", 0, "name", FAR, "a listener's name lies outside"),
    ("upstreams", "UpstreamRow", 1, "name", FAR, "an upstream's name lies outside"),
    ("upstreams", "UpstreamRow", 0, "host", FAR, "an upstream's name lies outside"),
    ("upstreams", "UpstreamRow", 0, "key", FAR, "an upstream's key is damaged"),
    ("upstreams", "UpstreamRow", 0, "subset", FAR, "an upstream's session or subset is damaged"),
    ("responders", "Text", 0, "off", FAR, "a responder's name lies outside"),
    ("routes", "RouteRow", UP, "target", 2, "names an upstream that does not exist"),
    ("routes", "RouteRow", UP, "counter", 16384, "names a row that does not exist"),
    ("routes", "RouteRow", UP, "rewrite", 1000, "names a row that does not exist"),
    ("routes", "RouteRow", PYTHON, "target", 1, "names a responder that does not exist"),
    ("routes", "RouteRow", SPLIT, "split_total", 0, "the routes are damaged"),
    ("routes", "RouteRow", REPLY, "reply_headers", FAR, "a reply's headers are damaged"),
]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case[0]}-{case[3]}")
def test_a_damaged_row(engine: _core.WorkerEngine, good: bytes, case: tuple[Any, ...]) -> None:
    table, struct, index, field, value, why = case
    header = pack.read(HEADER, good)
    place = header["routes"]["rows"] if table == "routes" else header[table]
    with pytest.raises(ValueError, match=why):
        given(engine, damaged(good, row(place, struct, index, field), value))


def test_a_split_that_leads_nowhere(engine: _core.WorkerEngine, good: bytes) -> None:
    header = pack.read(HEADER, good)
    rows = header["routes"]["rows"]
    split = pack.read("RouteRow", good, rows[0] + SPLIT * pack.size("RouteRow"))["split"]
    with pytest.raises(ValueError, match="a split names an upstream that does not exist"):
        given(engine, damaged(good, row(split, "SplitRow", 1, "upstream"), 7))


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_plan_that_is_cut_off(engine: _core.WorkerEngine, good: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="cannot be mapped"):
        given(engine, good[:size])


def test_every_single_damaged_word_is_survived(engine: _core.WorkerEngine, good: bytes) -> None:
    """Refused, or harmless to take; never a crash. The old one stays in force either way."""
    refused = 0
    assert given(engine, good) == 1
    for where in range(0, len(good) - 4, 4):
        for value in (FAR, 0x7FFFFFFF):
            try:
                given(engine, damaged(good, where, value))
            except ValueError:
                refused += 1
    assert refused > 100
    assert given(engine, good) == 1


def test_a_new_plan_takes_the_place_of_the_old(engine: _core.WorkerEngine) -> None:
    config, _ = sound(from_data(CONFIG))
    for generation in (1, 2, 7):
        assert given(engine, plan.compile_plan(config, generation)) == generation
    with pytest.raises(ValueError, match="not a plan"):
        given(engine, bytes(1 << 16))
    assert given(engine, plan.compile_plan(config, 8)) == 8


def roster(epoch: int) -> bytes:
    config, _ = sound(from_data(CONFIG))
    addresses = {
        "http://127.0.0.1:1": [build.sockaddr_inet("127.0.0.1", 1)],
        "http://[::1]:1": [build.sockaddr_inet("::1", 1)],
    }
    rows = build.assign_rows(build.members(config.upstreams, addresses))
    return build.build_roster(config.upstreams, addresses, rows, epoch)


@pytest.mark.parametrize(
    ("field", "size", "value"),
    [("name", 4, FAR), ("before", 4, FAR), ("after", 4, FAR), ("kind", 1, 4), ("field_id", 1, 99)],
)
def test_a_damaged_session(
    engine: _core.WorkerEngine, good: bytes, field: str, size: int, value: int
) -> None:
    table = pack.read(HEADER, good)["upstreams"]
    where = row(table, "UpstreamRow", 0, "session") + at("SessionPlan", field)
    with pytest.raises(ValueError, match="an upstream's session or subset is damaged"):
        given(engine, damaged(good, where, value, size))


def test_rosters_likewise(engine: _core.WorkerEngine) -> None:
    assert given(engine, roster(1), "roster") == 1
    assert given(engine, roster(5), "roster") == 5
    for data, why in ((b"", "cannot be mapped"), (bytes(1 << 16), "damaged, or made by another")):
        with pytest.raises(ValueError, match=f"this roster cannot be used: {why}"):
            given(engine, data, "roster")


def test_sockets_come_after_both(engine: _core.WorkerEngine, good: bytes) -> None:
    with pytest.raises(ValueError, match="a plan and a roster come before"):
        engine.listen(0, 0, 0)
    given(engine, good)
    with pytest.raises(ValueError, match="a plan and a roster come before"):
        engine.listen(0, 0, 0)


def test_a_board_that_is_none() -> None:
    board = os.memfd_create("test")
    os.truncate(board, 1 << 20)
    with pytest.raises(ValueError, match="made by another build"):
        _core.WorkerEngine(0, board)
    with pytest.raises(ValueError, match="slot 3 is not on the scoreboard"):
        _core.WorkerEngine(3, segment.create(1))
