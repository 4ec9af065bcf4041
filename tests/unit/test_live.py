"""Who may be chosen: health, ejections, tiers, panic, slow start, and when it is looked at anew."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fastproxy.balance.settings import SlowStart
from fastproxy.schema import Duration
from tests.unit.balancing import ALGORITHMS, Table, group_of, pool_of

UP, DOWN, DRAIN, MAINT = range(4)


def able(table: Table, now_ms: int = 1, upstream: int = 0) -> list[set[int]]:
    tiers, _ = table.picker(upstream).live(now_ms)
    return [set(tier) for tier in tiers]


def shares(table: Table) -> list[int]:
    found: list[int] = table.picker().live()[1]
    return found


@pytest.mark.parametrize(
    ("words", "in_panic"),
    [
        ({"health": DOWN}, True),
        ({"admin": DRAIN}, False),
        ({"admin": MAINT}, False),
        ({"percent": 0}, False),
        ({"admin": DRAIN, "health": DOWN}, False),
    ],
)
def test_each_word_takes_a_member_out(words: dict[str, int], in_panic: bool) -> None:
    table = Table({"a": pool_of([1, 1, 1])})
    assert able(table) == [{0, 1, 2}]
    table.say(1, **words)
    assert able(table) == [{0, 2}]
    table.say(0, **words)
    table.say(2, **words)
    assert able(table) == [{0, 1, 2} if in_panic else set()]


def test_weight_0_never_serves() -> None:
    table = Table({"a": pool_of([0, 1])})
    assert able(table) == [{1}]
    table.say(1, health=DOWN)
    assert able(table) == [{1}]


def test_an_ejection_ends_by_itself_at_its_time() -> None:
    table = Table({"a": pool_of([1, 1, 1])})
    worker = table.picker()
    assert set(worker.live(100)[0][0]) == {0, 1, 2}
    table.eject(1, until_ms=500)
    assert set(worker.live(499)[0][0]) == {0, 2}
    assert set(worker.live(500)[0][0]) == {0, 1, 2}


def test_a_row_that_is_not_written_yet_says_nothing() -> None:
    table = Table({"a": pool_of([1, 1])})
    table.say(0, health=DOWN, generation=0)
    assert able(table) == [{0, 1}]


def test_whose_row_is_another_backends_by_now_is_none_any_more() -> None:
    table = Table({"a": pool_of([1, 1])})
    table.say(0, generation=2)
    assert able(table) == [{1}]


def test_the_list_is_kept_until_somebody_says_so() -> None:
    """A change that nobody announced is not seen: a pick does not look at all members."""
    table = Table({"a": pool_of([1, 1, 1])})
    worker = table.picker()
    assert set(worker.live()[0][0]) == {0, 1, 2}
    table.probe.eject(table.members[0]["row"], 10_000)
    assert set(worker.live()[0][0]) == {0, 1, 2}
    table.board.touch(0)
    assert set(worker.live()[0][0]) == {1, 2}


def test_another_upstreams_change_is_none_of_ours() -> None:
    table = Table({"a": pool_of([1, 1, 1]), "b": pool_of([1, 1, 1])})
    worker = table.picker(0)
    worker.live()
    table.probe.eject(table.members[0]["row"], 10_000)
    table.say(3, health=DOWN)
    assert set(worker.live()[0][0]) == {0, 1, 2}
    assert able(table, upstream=1) == [{1, 2}]


# ---- tiers ------------------------------------------------------------------------------------


def test_priorities_keep_all_while_enough_are_able() -> None:
    table = Table({"a": group_of(*[{}] * 4, *[{"priority": 1}] * 4)})
    assert able(table) == [{0, 1, 2, 3}, {4, 5, 6, 7}]
    assert shares(table) == [100, 0]
    table.say(0, health=DOWN)
    assert shares(table) == [100, 0]  # 75% x 1.4 is more than all
    table.say(1, health=DOWN)
    assert shares(table) == [70, 30]
    table.say(2, health=DOWN)
    assert shares(table) == [35, 65]


def test_what_tiers_lack_together_is_scaled_up() -> None:
    table = Table({"a": group_of(*[{}] * 4, *[{"priority": 5}] * 4)})
    for down in (0, 1, 2, 4, 5, 6):
        table.say(down, health=DOWN)
    assert shares(table) == [50, 50]


def test_spill_over_is_what_requests_get() -> None:
    table = Table({"a": group_of(*[{}] * 4, *[{"priority": 1}] * 4)})
    table.say(0, health=DOWN)
    table.say(1, health=DOWN)
    worker = table.picker()
    seen = Counter(worker.pick() // 4 for _ in range(20_000))
    assert 0.28 < seen[1] / 20_000 < 0.32


@pytest.mark.parametrize("balance", ["round_robin", "least_conn"])
def test_turns_of_one_tier_are_none_of_anothers(balance: Any) -> None:
    """However the picks of two tiers are mixed, each goes round in its own."""
    table = Table(
        {"a": group_of(*[{}] * 3, *[{"priority": 1}] * 3, balance=balance, overprovision=1)}
    )
    table.say(0, health=DOWN)  # two thirds and a third
    worker = table.picker()
    picks = [worker.pick() for _ in range(3000)]
    low = Counter(at for at in picks if at < 3)
    high = Counter(at for at in picks if at >= 3)
    assert set(low) == {1, 2}
    assert set(high) == {3, 4, 5}
    for seen in (low, high):
        assert max(seen.values()) - min(seen.values()) <= 1


def test_backups_serve_only_when_no_other_can() -> None:
    table = Table({"a": group_of({}, {"priority": 1}, {"backup": True})})
    assert shares(table) == [100, 0, 0]
    table.say(0, health=DOWN)
    assert shares(table) == [0, 100, 0]
    table.say(1, admin=DRAIN)
    assert shares(table) == [0, 0, 100]
    worker = table.picker()
    assert {worker.pick() for _ in range(50)} == {2}


def test_a_backup_is_tried_when_all_others_were() -> None:
    worker = Table({"a": group_of({}, {}, {"backup": True})}).picker()
    tried: set[int] = set()
    assert {worker.pick(tried), worker.pick(tried)} == {0, 1}
    assert worker.pick(tried) == 2
    assert worker.pick(tried) == -1


def test_the_own_zone_comes_first() -> None:
    members = [{"zone": "a"}, {"zone": "b"}, {"zone": "a"}, {}]
    table = Table({"a": group_of(*members)}, zone="a")
    assert able(table) == [{0, 2}, {1, 3}]
    assert shares(table) == [100, 0]
    table.say(0, health=DOWN)
    assert shares(table) == [70, 30]
    assert able(Table({"a": group_of(*members)})) == [{0, 1, 2, 3}]  # we stand nowhere
    assert able(Table({"a": group_of(*members)}, zone="c")) == [{0, 1, 2, 3}]


# ---- panic ------------------------------------------------------------------------------------


def test_below_the_threshold_all_are_used_but_those_an_operator_took_out() -> None:
    table = Table({"a": pool_of([1] * 5)})
    table.say(0, admin=MAINT)
    table.say(1, health=DOWN)
    table.say(2, health=DOWN)
    assert able(table) == [{3, 4}]  # 2 of 4
    table.eject(3, until_ms=1000)
    assert able(table) == [{1, 2, 3, 4}]
    assert able(table, now_ms=1000) == [{3, 4}]


def test_without_panic_nobody_is_nobody() -> None:
    table = Table({"a": pool_of([1, 1], panic_threshold=0)})
    table.say(0, health=DOWN)
    table.say(1, health=DOWN)
    assert able(table) == [set()]
    assert table.picker().pick() == -1


def test_a_tier_in_panic_does_not_take_what_the_next_can_serve() -> None:
    table = Table({"a": group_of({}, {}, {"priority": 1}, {"priority": 1})})
    table.say(0, health=DOWN)
    table.say(1, health=DOWN)
    assert shares(table) == [0, 100]
    assert able(table) == [set(), {2, 3}]
    table.say(2, health=DOWN)
    table.say(3, health=DOWN)
    assert shares(table) == [100, 0]
    assert able(table) == [{0, 1}, {2, 3}]


def test_there_is_no_panic_while_the_other_tiers_take_the_rest() -> None:
    """As in Envoy: the down ones of a priority get nothing while all of it has a place to go."""
    table = Table({"a": group_of(*[{}] * 3, *[{"priority": 1}] * 3)})
    table.say(0, health=DOWN)
    table.say(1, health=DOWN)
    assert shares(table) == [47, 53]
    assert able(table) == [{2}, {3, 4, 5}]
    table.say(3, health=DOWN)  # 47% and 93%
    assert able(table) == [{2}, {4, 5}]
    table.say(4, health=DOWN)  # 47% and 47%
    assert able(table) == [{0, 1, 2}, {3, 4, 5}]


def test_just_enough_is_enough() -> None:
    table = Table({"a": group_of(*[{}] * 7, *[{"priority": 1}] * 7)})
    for down in (*range(4), *range(7, 11)):  # 3/7 and 3/7 by 1.4 are 120%
        table.say(down, health=DOWN)
    assert able(table) == [{4, 5, 6}, {11, 12, 13}]
    table.say(11, health=DOWN)  # 3/7 and 2/7 by 1.4 are 100%
    assert able(table) == [{4, 5, 6}, {12, 13}]
    table.say(12, health=DOWN)
    assert able(table) == [set(range(7)), set(range(7, 14))]


def test_there_is_no_panic_while_a_backup_stands_by() -> None:
    """And who is left of the others takes all of it: a backup serves only when nobody else can."""
    table = Table({"a": group_of(*[{}] * 3, {"backup": True})})
    table.say(0, health=DOWN)
    table.say(1, health=DOWN)
    assert shares(table) == [100, 0]
    assert able(table) == [{2}, {3}]
    table.say(3, health=DOWN)
    assert able(table) == [{0, 1, 2}, {3}]


def test_a_high_threshold_of_a_single_tier_is_kept() -> None:
    table = Table({"a": pool_of([1] * 4, panic_threshold=80)})
    table.say(0, health=DOWN)
    assert able(table) == [{0, 1, 2, 3}]


# ---- parts of a weight ------------------------------------------------------------------------


def slow(**knobs: Any) -> dict[str, Any]:
    return {"slow_start": SlowStart(window=Duration("10s"), **knobs)}


def parts(table: Table, now_ms: int) -> dict[int, int]:
    return {k: v for tier in table.picker().live(now_ms)[0] for k, v in tier.items()}


def test_slow_start_rises_in_a_straight_line_from_a_tenth() -> None:
    table = Table({"a": pool_of([1, 1], **slow())})
    assert parts(table, 5000) == {0: 256, 1: 256}  # never at the proxy's own start
    table.say(0, up_since_ms=100_000)
    for after, part in [(0, 25), (500, 25), (2500, 64), (5000, 128), (9000, 230), (10_000, 256)]:
        assert parts(table, 100_000 + after) == {0: part, 1: 256}, after


def test_aggression_bends_the_line() -> None:
    table = Table({"a": pool_of([1, 1], **slow(aggression=2.0, least=1))})
    table.say(0, up_since_ms=100_000)
    assert parts(table, 102_500)[0] == 128
    table = Table({"a": pool_of([1, 1], **slow(aggression=0.5, least=1))})
    table.say(0, up_since_ms=100_000)
    assert parts(table, 105_000)[0] == 64


def test_slow_start_follows_an_ejection_and_is_looked_at_again() -> None:
    table = Table({"a": pool_of([1, 1, 1], **slow())})
    worker = table.picker()
    table.eject(0, until_ms=100_000)
    assert 0 not in worker.live(99_999)[0][0]
    assert worker.live(100_000)[0][0][0] == 25
    assert worker.live(105_000)[0][0][0] == 128  # by the clock alone
    assert worker.live(110_100)[0][0][0] == 256


def test_no_slow_start_for_hashes() -> None:
    table = Table({"a": pool_of([1, 1], "hash", **slow())})
    table.say(0, up_since_ms=100_000)
    assert parts(table, 100_000) == {0: 256, 1: 256}


@pytest.mark.parametrize("balance", [one for one in ALGORITHMS if one != "hash"])
def test_an_agents_percentage_is_what_a_member_gets(balance: Any) -> None:
    """least_conn and ewma look at loads, which are none here: any spread would do for them."""
    table = Table({"a": pool_of([1, 1], balance)})
    table.say(0, percent=50)
    assert parts(table, 1) == {0: 128, 1: 256}
    worker = table.picker()
    seen = Counter(worker.pick() for _ in range(20_000))
    if balance in ("round_robin", "random"):
        assert 0.32 < seen[0] / 20_000 < 0.35


@pytest.mark.parametrize("balance", ["random", "p2c"])
def test_draws_follow_weights(balance: Any) -> None:
    """Idle members: p2c compares (0 + 1) / weight, so it is more than fair to the heavy ones."""
    table = Table({"a": pool_of([1, 2, 5], balance)})
    worker = table.picker()
    seen = Counter(worker.pick() for _ in range(40_000))
    if balance == "random":
        assert abs(seen[0] / 40_000 - 1 / 8) < 0.01
        assert abs(seen[1] / 40_000 - 2 / 8) < 0.01
    assert seen[0] < seen[1] < seen[2]


def test_p2c_takes_the_less_busy_over_all_workers() -> None:
    table = Table({"a": pool_of([1, 1])}, workers=3)
    worker = table.picker()
    table.busy(0, 2, worker=1)
    table.busy(1, 1, worker=2)
    assert {worker.pick() for _ in range(20)} == {1}
    table.busy(1, 3, worker=0)
    assert {worker.pick() for _ in range(20)} == {0}


def test_p2c_counts_weights() -> None:
    table = Table({"a": pool_of([4, 1])})
    worker = table.picker()
    first = Counter(worker.pick() for _ in range(5_000))
    assert first[0] == pytest.approx(4_000, abs=200)  # nobody is busy: shares by weight
    table.busy(0, 3)
    table.busy(1, 1)
    assert {worker.pick() for _ in range(20)} == {0}  # 3 / 4 is less than 1 / 1
    table.busy(0, 2)
    assert {worker.pick() for _ in range(20)} == {1}
