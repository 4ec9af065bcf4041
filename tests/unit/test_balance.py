"""The roster and the walk along it, against a slow twin."""

from __future__ import annotations

import random
import socket
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import _probe
from fastproxy.balance import build, tables
from fastproxy.balance.settings import Balance, Upstream
from fastproxy.memory import pack
from fastproxy.schema import UpstreamUrl
from tests.oracle import pick as oracle
from tests.unit.balancing import ALGORITHMS, Table, pool_of, roster_of


def pool(weights: list[int]) -> Upstream:
    return pool_of(weights, balance="round_robin", panic_threshold=0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_wheel_is_nginx_smooth_weighted_round_robin(weights: list[int]) -> None:
    assert list(array("H", tables.wheel(weights))) == oracle.smooth_wheel(weights)


def test_one_cycle_gives_each_exactly_its_weight() -> None:
    weights = [5, 1, 0, 3, 7]
    worker = Table({"a": pool(weights)}).picker()
    seen = Counter(worker.pick() for _ in range(3 * sum(weights)))
    assert seen == {0: 15, 1: 3, 3: 9, 4: 21}


def test_heavy_backends_do_not_come_in_bursts() -> None:
    order = list(array("H", tables.wheel([5, 1, 1])))
    assert order == [0, 0, 1, 0, 2, 0, 0]


def test_weights_are_reduced_and_huge_sums_scaled() -> None:
    assert len(tables.wheel([256, 256])) == 2 * 2
    large = array("H", tables.wheel([256 - (i % 7) for i in range(1024)]))
    assert len(large) <= tables.WHEEL_MAX
    counts = Counter(large)
    assert len(counts) == 1024
    assert max(counts.values()) <= 65


def test_wheel_of_extreme_weights_keeps_everybody() -> None:
    weights = [256] * 500 + [1] * 524
    counts = Counter(array("H", tables.wheel(weights)))
    assert set(counts) == set(range(1024))
    assert tables.wheel([0, 0]) == b""


@given(
    weights=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    seed=st.integers(0, 2**32),
    start=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_walk_equals_the_twin(weights: list[int], seed: int, start: int) -> None:
    chance = random.Random(seed)
    table = Table({"a": pool(weights)})
    twin = oracle.RoundRobin(weights, start % max(1, len(oracle.smooth_wheel(weights))))
    worker = table.picker(at=twin.at)
    for _ in range(30):
        down = {i for i in range(len(weights)) if chance.random() < 0.3}
        for index in range(len(weights)):
            table.say(index, health=chance.randint(1, 3) if index in down else 0)
        tried: set[int] = set()
        twin_tried: set[int] = set()
        while True:
            index = worker.pick(tried)
            assert index == twin.pick(down, twin_tried)
            assert worker.at == twin.at
            assert tried == twin_tried
            if index < 0:
                break
        able = {i for i, w in enumerate(weights) if w} - down
        assert tried == able


def test_nobody_left_leaves_the_cursor() -> None:
    worker = Table({"a": pool([1, 1, 1])}).picker(at=2)
    assert (worker.pick({0, 1, 2}), worker.at) == (-1, 2)
    worker = Table({"a": pool([0])}).picker(at=7)
    assert (worker.pick(), worker.at) == (-1, 7)


def test_a_cursor_from_a_larger_roster_still_works() -> None:
    assert Table({"a": pool([1, 1, 1])}).picker(at=4_000_000_000).pick() in (0, 1, 2)


def test_workers_start_out_of_step() -> None:
    roster = roster_of({"a": pool([1, 1, 1, 1])})
    assert [_probe.pick_begin(roster, 0, slot, 4) for slot in range(5)] == [0, 1, 2, 3, 0]
    assert _probe.pick_begin(roster, 0, 3, 0) == 0


@pytest.mark.parametrize("balance", ALGORITHMS)
def test_1024_backends_are_all_reached_in_one_exchange(balance: Balance) -> None:
    worker = Table({"a": pool_of([1] * 1024, balance)}).picker()
    tried: set[int] = set()
    for count in range(1, 1025):
        assert worker.pick(tried) >= 0
        assert len(tried) == count
    assert worker.pick(tried) == -1


def test_addresses() -> None:
    v4 = build.resolve("http://127.0.0.1:9001")[0]
    assert v4 == b"\x02\x00" + (9001).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    v6 = build.resolve("http://[::1]:80")[0]
    assert len(v6) == 28
    assert v6[8:24] == bytes(15) + b"\x01"
    assert build.resolve("http://[::ffff:1.2.3.4]:80") == build.resolve("http://1.2.3.4:80")
    assert build.resolve("http+unix:/run/x.sock")[0] == b"\x01\x00/run/x.sock\x00"
    assert build.address_text(build.resolve("http+unix:/run/x.sock")[0]) == "/run/x.sock"
    assert build.resolve("http://localhost:80")[0][:2] in (b"\x02\x00", b"\x0a\x00")
    with pytest.raises(socket.gaierror):
        build.resolve("http://no-such-host.invalid:80")


def test_a_resolved_address_can_be_connected_to(tmp_path: object) -> None:
    """The bytes are what the kernel takes: compared with a real socket's own address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        address = build.resolve(f"http://127.0.0.1:{port}")[0]
        assert int.from_bytes(address[2:4], "big") == port


def test_names_give_one_member_for_each_address() -> None:
    upstreams = {"a": Upstream(backends=[UpstreamUrl.parse("http://app.internal:80")])}
    two = [build.sockaddr_inet("10.0.0.1", 80), build.sockaddr_inet("10.0.0.2", 80)]
    found = build.members(upstreams, {"http://app.internal:80": two})
    assert [m.name for m in found] == [
        "http://app.internal:80#10.0.0.1",
        "http://app.internal:80#10.0.0.2",
    ]
    assert {m.authority for m in found} == {"app.internal:80"}
    assert build.members(upstreams, {}) == []


def test_rows_stay_with_their_backend() -> None:
    upstreams = {"a": pool([1, 1]), "b": pool([1])}
    addresses = {str(b.url): build.resolve(b.url) for b in upstreams["a"].members()}
    first = build.assign_rows(build.members(upstreams, addresses))
    assert sorted(first.values()) == [0, 1, 2]
    smaller = {"b": upstreams["b"], "a": Upstream(backends=upstreams["a"].backends[1:])}
    second = build.assign_rows(build.members(smaller, addresses), first)
    assert second[("b", "http://10.0.0.0:80")] == first[("b", "http://10.0.0.0:80")]
    assert second[("a", "http://10.0.0.1:80")] == first[("a", "http://10.0.0.1:80")]
    more = {"c": pool([1])}
    third = build.assign_rows(build.members(more, addresses), first)
    assert third == {("c", "http://10.0.0.0:80"): 3}
    full = {("x", str(i)): i for i in range(build.BACKENDS_MAX)}
    with pytest.raises(ValueError, match="table full"):
        build.assign_rows(build.members(more, addresses), full)


def test_roster_reads_back_and_is_deterministic() -> None:
    upstreams = {"a": pool([2, 1]), "none": Upstream(backends=[]), "b": pool([1])}
    roster = roster_of(upstreams, epoch=7)
    assert roster == roster_of(upstreams, epoch=7)
    assert pack.read("RosterHeader", roster)["epoch"] == 7
    rows = build.read_roster(roster)
    assert [(r["upstream"], r["name"], r["weight"]) for r in rows] == [
        (0, "http://10.0.0.0:80", 2),
        (0, "http://10.0.0.1:80", 1),
        (2, "http://10.0.0.0:80", 1),
    ]
    assert len({r["row"] for r in rows}) == 3
    assert rows[0]["address"] == build.resolve("http://10.0.0.0:80")[0]


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2, 1), (3, 1, 5, 2)])
def test_a_roster_of_several_upstreams_is_sound(sizes: tuple[int, ...]) -> None:
    """A row of 140 bytes: those of the second upstream need not begin at a multiple of 8."""
    upstreams = {f"u{at}": pool([1] * count) for at, count in enumerate(sizes)}
    assert _probe.roster_check(roster_of(upstreams)) == 0


def test_too_many_members_are_refused() -> None:
    upstreams = {"a": pool([1] * 1025)}
    with pytest.raises(ValueError, match="1025 addresses, at most 1024"):
        roster_of(upstreams)


def test_every_damage_to_a_roster_is_harmless_or_refused() -> None:
    """Any 4 bytes replaced by extremes: roster_check never lets an offset outside pass (ASan sees
    the reads), and header damage is always refused."""
    roster = roster_of({"a": pool([2, 1]), "b": pool([1])})
    assert _probe.roster_check(roster) == 0
    header = pack.LAYOUT["RosterHeader"][1]
    for name in ("magic", "layout_hash", "version"):
        offset, _, _ = header[name]
        broken = bytearray(roster)
        broken[offset] ^= 1
        assert _probe.roster_check(bytes(broken)) == 1, name
    for cut in range(len(roster)):
        assert _probe.roster_check(roster[:cut]) == 1
    for at in range(0, len(roster) - 3, 4):
        for value in (0xFFFFFFFF, len(roster), len(roster) - 1, 0x7FFFFFFF):
            broken = bytearray(roster)
            broken[at : at + 4] = value.to_bytes(4, "little")
            _probe.roster_check(bytes(broken))


@pytest.mark.parametrize(
    ("struct", "field", "value", "part"),
    [
        ("RosterHeader", "length", 1 << 20, 1),
        ("RosterHeader", "upstreams", (8, 1 << 30), 1),
        ("RosterHeader", "upstreams", (3, 1), 1),
        ("RosterUpstream", "backends", (0, 1025), 2),
        ("RosterUpstream", "wheel", (1, 1), 2),
        ("RosterUpstream", "wheel", (0, 1 << 16), 2),
        ("RosterUpstream", "algorithm", 99, 2),
        ("RosterBackend", "row", 4096, 3),
        ("RosterBackend", "address_len", 113, 3),
        ("RosterBackend", "address_len", 1, 3),
        ("RosterBackend", "name", (0, 1 << 20), 3),
        ("RosterBackend", "authority", (1 << 31, 0), 3),
    ],
)
def test_each_unsound_field_is_found(struct: str, field: str, value: object, part: int) -> None:
    roster = bytearray(roster_of({"a": pool([2, 1])}))
    header = pack.read("RosterHeader", bytes(roster))
    base = {
        "RosterHeader": 0,
        "RosterUpstream": header["upstreams"][0],
        "RosterBackend": header["backends"][0],
    }[struct]
    row = {**pack.read(struct, bytes(roster), base), field: value}
    if struct == "RosterBackend":
        row["address"] = bytes(row["address"])
    roster[base : base + pack.size(struct)] = pack.pack(struct, row)
    assert _probe.roster_check(bytes(roster)) == part


def test_a_wheel_index_outside_its_upstream_is_found() -> None:
    roster = bytearray(roster_of({"a": pool([2, 1])}))
    header = pack.read("RosterHeader", bytes(roster))
    upstream = pack.read("RosterUpstream", bytes(roster), header["upstreams"][0])
    roster[upstream["wheel"][0]] = 2
    assert _probe.roster_check(bytes(roster)) == 2
