"""The prober on a real scoreboard, asking real servers: who is up, when, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy._core import Board
from fastproxy.health.probe import Seen
from fastproxy.health.prober import Prober, Streak
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin
from fastproxy.scoreboard.segment import Health as Word
from tests.unit.healthy import answer, member_at, run, serving
from tests.unit.watched import BAD, GOOD, Heard, House, Server, housed, until


@pytest.fixture
def board() -> Board:
    return Board(segment.create(2))


# ---- how many answers decide ------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.lists(st.booleans(), max_size=60))
def test_a_streak_is_what_the_last_answers_say(
    rise: int, fall: int, up: bool, answers: list[bool]
) -> None:
    """The slow way: it turns where the last `rise` or `fall` answers all speak against it, and
    none of them has been used for a turn before."""
    streak = Streak(rise, fall, up)
    used = 0
    for count, good in enumerate(answers, 1):
        needed = fall if up else rise
        last = answers[max(used, count - needed) : count]
        turned = len(last) == needed and all(one is not up for one in last)
        assert streak.take(good) is turned
        if turned:
            up, used = not up, count
        assert streak.up is up


def test_falls_after_three_and_rises_after_two(board: Board) -> None:
    """Exactly: the answers are counted by the server."""

    async def test(house: House, server: Server) -> None:
        await until(lambda: len(server.times) >= 3)
        assert house.health() == [Word.UP]
        server.now = BAD
        seen = len(server.times)
        await until(lambda: house.health() == [Word.DOWN])
        assert 3 <= len(server.times) - seen <= 4  # one may have been on its way
        assert not house.words()["up_since_ms"]
        server.now = GOOD
        seen = len(server.times)
        await until(lambda: house.health() == [Word.UP])
        assert 2 <= len(server.times) - seen <= 3
        assert abs(house.words()["up_since_ms"] - time.monotonic() * 1000) < 500

    lines = housed(board, test).lines
    assert len(lines) == 2
    assert "is down (3 failed checks in a row, the last: status 500)" in lines[0]
    assert "is up (2 good checks in a row, the last: 200; 0." in lines[1]


def test_faster_in_transition_slower_when_down(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        await until(lambda: len(server.times) == 3)
        server.now = BAD
        await until(lambda: house.health() == [Word.DOWN])
        await until(lambda: len(server.times) == 8)
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert min(gaps[:2]) >= 0.095  # interval
        assert all(0.018 <= gap < 0.08 for gap in gaps[3:5])  # transition
        assert min(gaps[6:]) >= 0.19  # down

    housed(board, test, interval="100ms", transition="20ms", down="200ms")


def test_jitter_and_the_spread_of_first_checks(board: Board) -> None:
    """40 members of one server: first checks come evenly over the interval, later ones apart."""
    server = Server()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(serving(server.talk)) for _ in range(40)]
            house = House(board, ports, interval="400ms", jitter=50)
            house.update()
            began = time.monotonic()
            await until(lambda: len(server.times) >= 40)
            house.prober.close()
            firsts = sorted(at - began for at in server.times[:40])
            assert firsts[0] < 0.1
            assert 0.3 < firsts[-1] < 0.6
            assert max(b - a for a, b in itertools.pairwise(firsts)) < 0.15

    run(main())


def test_timeouts_count_and_a_refusal_too(board: Board) -> None:
    async def main() -> None:
        async with serving(answer(b"", stay=True)) as mute:
            house = House(board, [mute, 1], timeout="50ms", fall=1)
            house.update()
            await until(lambda: house.health() == [Word.DOWN, Word.DOWN])
            reports = [house.prober.report(row) for row in (0, 1)]
            house.prober.close()
        assert [one and one["last"] for one in reports] == [
            "no answer within 50ms", "connection refused",
        ]  # fmt: skip

    run(main())


# ---- who is watched ---------------------------------------------------------------------------


def test_members_come_and_go(board: Board) -> None:
    async def main() -> None:
        first, second = Server(), Server()
        async with serving(first.talk) as a, serving(second.talk) as b:
            house = House(board, [a, b])
            both = house.members
            house.members = both[:1]
            house.update()
            await until(lambda: len(first.times) > 2)
            assert not second.times
            house.members = both
            house.update()
            await until(lambda: len(second.times) > 2)
            house.members = both[1:]
            house.update()
            await asyncio.sleep(0.1)  # what was on its way
            seen = len(first.times), len(second.times)
            await asyncio.sleep(0.2)
            assert len(first.times) == seen[0]
            assert len(second.times) > seen[1]
            assert house.prober.report(0) is None
            house.prober.close()
            await asyncio.sleep(0.1)
            seen = len(first.times), len(second.times)
            await asyncio.sleep(0.2)
            assert (len(first.times), len(second.times)) == seen

    run(main())


def test_a_row_with_a_new_owner_begins_anew(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        server.now = BAD
        await until(lambda: house.health() == [Word.DOWN])
        server.now = GOOD
        house.generations[0] = 2
        segment.set_backend(board, 0, "http://other", health=Word.UP, generation=2)
        house.update()
        report = house.prober.report(0)
        assert report
        assert (report["up"], "last" in report) == (True, False)

    housed(board, test)


OF_CHECKS = {"health": Word.DOWN, "percent": 30, "max_connections": 4}


@pytest.mark.parametrize("broken", [(), ("web",)])
def test_words_of_checks_that_are_no_more(board: Board, broken: tuple[str, ...]) -> None:
    """After a reload nobody would ever take them back; of checks that only cannot be made now they
    stay. An operator's word is none of theirs."""
    said = Admin(operator=Word.DRAIN, agent=Word.MAINT).word
    member = member_at(1)
    segment.set_backend(board, 0, member.name, admin=said, weight=1, generation=1, **OF_CHECKS)

    async def main() -> None:
        prober = Prober(board, ["web", "api"], {}, Heard(), broken)
        prober.update([member], {("web", member.name): 0}, {0: 1})
        assert not prober.watched

    run(main())
    words = segment.backend(board, 0)
    if broken:
        assert (words["admin"], *(words[name] for name in OF_CHECKS)) == (said, *OF_CHECKS.values())
    else:
        assert words["admin"] == Admin(operator=Word.DRAIN).word
        assert [words[name] for name in OF_CHECKS] == [Word.UP, 100, 0]
        assert words["up_since_ms"]


def test_words_of_an_agent_that_is_no_more(board: Board) -> None:
    """The checks go on, and what they know stays."""

    async def main() -> None:
        house = House(board, [1], interval="1h")
        said = Admin(agent=Word.DRAIN).word
        segment.set_backend(board, 0, "", admin=said, **OF_CHECKS)
        house.update()
        words = house.words()
        assert [words["admin"], *(words[name] for name in OF_CHECKS)] == [0, Word.DOWN, 100, 0]
        house.prober.close()

    run(main())


def test_a_successor_takes_over(board: Board) -> None:
    """No flap: what was down stays so until `rise` answers were good."""

    async def test(house: House, server: Server) -> None:
        server.now = BAD
        await until(lambda: house.health() == [Word.DOWN])
        house.prober.close()
        server.now = GOOD
        heir = House(board, [int(house.members[0].name.rpartition(":")[2])], rise=3)
        server.times.clear()
        heir.update()
        await until(lambda: len(server.times) == 2)
        assert heir.health() == [Word.DOWN]
        await until(lambda: heir.health() == [Word.UP])
        assert 3 <= len(server.times) <= 4
        heir.prober.close()

    housed(board, test)


# ---- mandatory --------------------------------------------------------------------------------


def unproven(house: House) -> None:
    """As process/rosters.py enters such a member."""
    segment.set_backend(house.board, 0, "", health=Word.DOWN, admin=Admin(agent=Word.DOWN).word)


def test_mandatory_waits_for_its_proof(board: Board) -> None:
    async def main() -> None:
        server = Server()
        server.now = BAD
        async with serving(server.talk) as port:
            house = House(board, [port], mandatory=True)
            unproven(house)
            house.update()
            await until(lambda: len(server.times) > 5)
            assert Admin.of(house.words()["admin"]).agent == Word.DOWN
            house.prober.close()
            heir = House(board, [port], mandatory=True)  # a control that died meanwhile
            heir.update()
            server.now = GOOD
            await until(lambda: heir.health() == [Word.UP])
            assert heir.words()["admin"] == 0
            assert heir.words()["up_since_ms"] == 0  # at the start nobody starts slowly
            server.now = BAD
            await until(lambda: heir.health() == [Word.DOWN])
            assert heir.words()["admin"] == 0  # it has been proven: from now on it is like others
            heir.prober.close()

    run(main())


# ---- ejections --------------------------------------------------------------------------------


def test_a_good_check_ends_an_ejection(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        until_ms = int(time.monotonic() * 1000) + 60_000
        segment._set_words(board, "BackendRow", _row(board), {"ejection": until_ms << 16 | 2})
        await until(lambda: house.words()["ejection"] >> 16 < until_ms)
        assert house.words()["ejection"] & 0xFFFF == 2  # how often is not forgotten
        assert house.words()["ejection"] >> 16 <= time.monotonic() * 1000 + 1

    assert "is not ejected any more: a check was good" in housed(board, test).lines[0]


def test_a_bad_check_does_not(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        server.now = BAD
        word = (int(time.monotonic() * 1000) + 60_000) << 16 | 1
        segment._set_words(board, "BackendRow", _row(board), {"ejection": word})
        await until(lambda: house.health() == [Word.DOWN])
        assert house.words()["ejection"] == word

    housed(board, test)


def _row(board: Board) -> int:
    return segment._head(board, "backends_off")


def test_a_fault_of_ours_is_told_and_is_not_the_last_check(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        judge = house.prober.judge

        def broken(one: Any, seen: Seen) -> None:
            house.prober.judge = judge  # type: ignore[method-assign]
            raise KeyError("a fault")

        house.prober.judge = broken  # type: ignore[method-assign]
        await until(lambda: len(server.times) > 3)

    (line,) = housed(board, test).lines
    assert "a check ended by a fault of ours: KeyError('a fault')" in line


# ---- what is written and told ------------------------------------------------------------------


def test_only_what_changes_is_written(board: Board) -> None:
    """Workers look again at all members whenever `live` moves: not at every check."""

    def live() -> int:
        at = segment._head(board, "upstreams_off")
        return int(memoryview(board).cast("Q")[at // 8])

    async def test(house: House, server: Server) -> None:
        await until(lambda: len(server.times) > 2)
        before = live()
        await until(lambda: len(server.times) > 8)
        assert live() == before

    housed(board, test)


def test_the_report(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        await until(lambda: len(server.times) > 1)
        found = house.prober.report(0)
        assert found
        assert found["last"] == "200"
        assert 0 < found["last_ms"] < 1000
        assert abs(found["last_unix"] - time.time()) < 5
        assert (found["kind"], found["up"], found["against"]) == ("http", True, 0)
        house.prober.judge(house.prober.rows[0], Seen("status 500", "500"))
        found = house.prober.report(0)
        assert found
        assert (found["last"], found["against"], found["up"]) == ("status 500", 1, True)

    housed(board, test)
