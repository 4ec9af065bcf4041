"""Passive ejection: the rules against their plain twin, and races of several processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from fastproxy._probe import failure_race
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import _core
from fastproxy.balance.settings import Outlier
from fastproxy.memory import pack
from fastproxy.schema import Duration
from fastproxy.scoreboard import segment
from tests.oracle import outlier
from tests.unit import boards
from tests.unit.balancing import Table, pool_of


def table_of(weights: list[int], **rules: Any) -> Table:
    return Table({"a": pool_of(weights, outlier=Outlier(**rules))})


def row_of(table: Table, member: int) -> dict[str, Any]:
    return segment.backend(table.board, table.members[member]["row"])


def decisions(table: Table, upstream: int = 0) -> int:
    at = segment.header(table.board)["upstreams_off"] + upstream * pack.size("UpstreamBoard")
    return int(pack.read("UpstreamBoard", memoryview(table.board), at)["ejections"])


def able(picker: Any, now_ms: int) -> set[int]:
    tiers, _ = picker.live(now_ms)
    return set().union(*tiers)


# ---- the rules ----------------------------------------------------------------------------------


def test_the_fifth_failure_in_a_row_ejects_for_thirty_seconds() -> None:
    table = table_of([1, 1, 1])
    picker = table.picker()
    assert able(picker, 1000) == {0, 1, 2}
    assert [picker.failure(1, False, 1000) for _ in range(4)] == [False] * 4
    assert able(picker, 1000) == {0, 1, 2}
    assert picker.failure(1, False, 1000)
    assert able(picker, 1000) == {0, 2}
    assert able(picker, 30_999) == {0, 2}
    assert able(picker, 31_000) == {0, 1, 2}
    row = row_of(table, 1)
    assert (row["ejection"] >> 16, row["ejection"] & 0xFFFF) == (31_000, 1)
    assert (row["failures"], row["ejections"]) == (0, 1)


def test_a_success_in_between_begins_anew() -> None:
    picker = table_of([1, 1]).picker()
    for _ in range(10):
        assert not any(picker.failure(0) for _ in range(4))
        picker.success(0)
    assert not any(picker.failure(0) for _ in range(4))
    assert picker.failure(0)


def test_gateway_failures_have_a_threshold_of_their_own() -> None:
    picker = table_of([1, 1], consecutive=0, consecutive_gateway=2).picker()
    assert not any(picker.failure(0, False) for _ in range(20))
    assert not picker.failure(0, True)
    assert not picker.failure(0, False)  # an answer of its own, however bad
    assert not picker.failure(0, True)
    assert picker.failure(0, True)


def test_failures_within_a_window_whatever_is_between_them() -> None:
    """As nginx's max_fails and fail_timeout."""
    picker = table_of([1, 1], consecutive=0, failures=3, window=Duration("10s")).picker()
    for now_ms in (1000, 5000):
        assert not picker.failure(0, False, now_ms)
        picker.success(0)
    assert not picker.failure(0, False, 11_000)  # of the next window
    picker.success(0)
    assert not picker.failure(0, False, 20_000)
    picker.success(0)
    assert picker.failure(0, False, 20_999)
    assert not picker.failure(0, False, 60_000)  # counted from nothing again


def test_one_failure_is_enough_if_so_wanted() -> None:
    assert table_of([1, 1], consecutive=0, failures=1).picker().failure(0)


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        ("500-599", set(range(500, 600))),
        ("429, 500-504,599", {429, *range(500, 505), 599}),
        ("400", {400}),
        ("400-599", set(range(400, 600))),
    ],
)
def test_what_status_is_a_failure(text: str, failing: set[int]) -> None:
    picker = table_of([1], status=text).picker()
    found = {status for status in range(1000) if picker.is_failing(status)}
    assert found == failing | set(range(600, 1000))


def test_nothing_is_ejected_when_it_is_switched_off() -> None:
    picker = table_of([1, 1], consecutive=0).picker()
    assert not any(picker.failure(0, gateway) for gateway in (True, False) * 50)


def test_each_ejection_lasts_longer_up_to_the_longest() -> None:
    table = table_of([1, 1], longest=Duration("100s"))
    picker = table.picker()
    now, lasted = 1000, []
    for _ in range(5):
        assert picker.eject(0, now)
        until = row_of(table, 0)["ejection"] >> 16
        lasted.append(until - now)
        now = until
    assert lasted == [30_000, 60_000, 90_000, 100_000, 100_000]


def test_forgiven_one_at_a_time_but_not_while_it_lasts() -> None:
    table = table_of([1, 1])
    picker = table.picker()
    assert picker.eject(0, 1000)
    assert picker.forgive(0, 30_999) == 1
    assert picker.eject(0, 31_000)
    assert [picker.forgive(0, 200_000) for _ in range(3)] == [1, 0, 0]
    assert picker.eject(0, 200_000)
    assert row_of(table, 0)["ejection"] >> 16 == 230_000


def test_the_last_able_one_is_never_ejected() -> None:
    table = table_of([1, 1, 1], most=100)
    picker = table.picker()
    assert picker.eject(0)
    table.say(1, health=1)
    assert not picker.eject(2)
    table.say(1, health=0)
    assert picker.eject(2)
    assert not picker.eject(1)
    assert not table_of([1]).picker().eject(0)


def test_a_tenth_may_be_ejected_and_one_always_may() -> None:
    picker = table_of([1] * 30).picker()
    assert [picker.eject(at) for at in range(6)] == [True] * 3 + [False] * 3
    assert not picker.eject(0)  # it is already
    assert able(picker, 1) == set(range(3, 30))
    alone = table_of([1] * 3, most=0).picker()
    assert [alone.eject(at) for at in range(3)] == [True, False, False]


def test_who_is_not_able_anyway_is_not_ejected() -> None:
    table = table_of([1, 1, 1, 0])
    picker = table.picker()
    table.say(0, health=1)
    table.say(1, admin=2)
    assert not any(picker.eject(at) for at in (0, 1, 3))


def test_a_good_check_brings_it_back_at_once() -> None:
    picker = table_of([1, 1]).picker()
    assert picker.eject(0, 1000)
    assert able(picker, 1500) == {1}
    assert picker.uneject(0, 2000)
    assert able(picker, 2000) == {0, 1}
    assert not picker.uneject(0, 2000)


def test_a_row_of_another_owner_is_left_alone() -> None:
    table = table_of([1, 1])
    picker = table.picker()
    table.say(0, generation=2)
    assert not any(picker.failure(0) for _ in range(20))
    assert row_of(table, 0)["failures"] == 0


# ---- against the twin ---------------------------------------------------------------------------

MOVES = st.one_of(
    st.tuples(st.just("failure"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("failure"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("success"), st.integers(0, 5)),
    st.tuples(st.just("eject"), st.integers(0, 5)),
    st.tuples(st.just("uneject"), st.integers(0, 5)),
    st.tuples(st.just("forgive"), st.integers(0, 5)),
    st.tuples(st.just("up"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("wanted"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("time"), st.integers(1, 40_000)),
)


@given(
    weights=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    rules=st.fixed_dictionaries(
        {
            "consecutive": st.integers(0, 3),
            "consecutive_gateway": st.integers(0, 3),
            "failures": st.integers(0, 4),
            "most": st.sampled_from([0, 10, 34, 50, 100]),
        }
    ),
    moves=st.lists(MOVES, max_size=60),
)
def test_it_is_as_its_twin_says(
    weights: list[int], rules: dict[str, int], moves: list[tuple[Any, ...]]
) -> None:
    table = table_of(weights, **rules)
    picker = table.picker()
    recent = {"recent": rules.pop("failures")}
    twin = outlier.Group([outlier.Member(weight) for weight in weights], **rules, **recent)
    now_ms = 1
    for name, *rest in moves:
        at = rest[0]
        if name == "time":
            now_ms += at
            continue
        if at >= len(weights):
            continue
        if name == "up":
            table.say(at, health=int(not rest[1]))
            twin.members[at].up = rest[1]
        elif name == "wanted":
            table.say(at, admin=int(not rest[1]))
            twin.members[at].wanted = rest[1]
        elif name == "success":
            picker.success(at)
            twin.success(at)
        elif name == "failure":
            assert picker.failure(at, rest[1], now_ms) == twin.failure(at, rest[1], now_ms)
        else:
            assert getattr(picker, name)(at, now_ms) == getattr(twin, name)(at, now_ms)
        row, member = row_of(table, at), twin.members[at]
        assert row["ejection"] == member.until_ms << 16 | member.times
        assert (row["failures"], row["gateway_failures"]) == (member.failures, member.gateways)
        assert row["window"] == member.window[0] << 16 | member.window[1]
        assert row["ejections"] == member.ejections
        assert decisions(table) == twin.decisions


# ---- races --------------------------------------------------------------------------------------

ROUNDS = 150


def race(table: Table, members: list[int], failures: int) -> list[list[int]]:
    """A process for each of these members (the same one twice: two processes), all at once in each
    upstream. For each process, the upstreams in which its call ejected."""
    roster, probe, parties = table.roster, table.probe, len(members)
    return boards.race(
        [partial(failure_race, roster, probe, one, failures, parties) for one in members]
    )


@pytest.mark.parametrize("rules", [{}, {"consecutive": 0, "failures": 5}])
def test_two_workers_that_see_the_same_make_one_decision(rules: dict[str, int]) -> None:
    pool = pool_of([1] * 4, outlier=Outlier(**rules))
    table = Table({f"u{at}": pool for at in range(ROUNDS)})
    first, second = race(table, [2, 2], failures=5)
    assert sorted(first + second) == list(range(ROUNDS))
    for at in range(ROUNDS):
        row = row_of(table, at * 4 + 2)
        assert (row["ejections"], row["ejection"] & 0xFFFF) == (1, 1)
        assert decisions(table, at) == 1


@pytest.mark.parametrize(("most", "allowed"), [(10, 1), (50, 2), (100, 3)])
def test_workers_that_eject_different_ones_keep_the_limit(most: int, allowed: int) -> None:
    """Also the one that none may eject is left by all together: the last."""
    pool = pool_of([1] * 4, outlier=Outlier(most=most))
    table = Table({f"u{at}": pool for at in range(ROUNDS)})
    found = race(table, [0, 1, 2, 3], failures=40)
    counts = [sum(at in one for one in found) for at in range(ROUNDS)]
    assert set(counts) == {allowed}
    now_ms = 1
    for at in range(ROUNDS):
        out = [row_of(table, at * 4 + member)["ejection"] >> 16 > now_ms for member in range(4)]
        assert sum(out) == allowed


# ---- control's door -----------------------------------------------------------------------------


def test_control_ejects_by_the_same_rules() -> None:
    table = table_of([1, 1, 1])
    row = table.members[1]["row"]
    assert _core.eject(table.board, table.roster, 0, 1)
    assert not _core.eject(table.board, table.roster, 0, 0)
    assert row_of(table, 1)["ejections"] == 1
    assert _core.forgive(table.board, row) == 1
    assert _core.uneject(table.board, row, 0)
    assert not _core.uneject(table.board, row, 0)
    assert _core.forgive(table.board, row) == 0


def test_control_is_told_what_is_wrong() -> None:
    table = table_of([1, 1])
    for upstream, member in ((1, 0), (0, 2)):
        with pytest.raises(IndexError):
            _core.eject(table.board, table.roster, upstream, member)
    with pytest.raises(ValueError, match="no roster"):
        _core.eject(table.board, b"x" * 500, 0, 0)
    with pytest.raises(IndexError):
        _core.uneject(table.board, 1 << 20, 0)
    with pytest.raises(IndexError):
        _core.uneject(table.board, 0, 1 << 20)
    with pytest.raises(IndexError):
        _core.forgive(table.board, 1 << 20)
