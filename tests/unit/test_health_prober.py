"""The prober on a real scoreboard, asking real servers: who is up, when, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from tests.unit.healthy import answer, check_of, member_at, run, serving

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BAD = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
QUICK = {"interval": "40ms", "transition": "20ms", "jitter": 0, "timeout": "200ms"}


class Heard:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = info


@pytest.fixture
def board() -> Board:
    return Board(segment.create(2))


class House:
    """One upstream "web" with members at these ports, one row each."""

    def __init__(self, board: Board, ports: list[int], **values: Any) -> None:
        self.board = board
        self.log = Heard()
        self.prober = Prober(board, ["web"], {"web": check_of(**{**QUICK, **values})}, self.log)
        self.members = [member_at(port) for port in ports]
        self.rows = {("web", one.name): row for row, one in enumerate(self.members)}
        self.generations = dict.fromkeys(range(len(ports)), 1)
        for row, one in enumerate(self.members):
            if not segment.backend(board, row)["generation"]:
                segment.set_backend(board, row, one.name, percent=100, weight=1, generation=1)

    def update(self) -> None:
        self.prober.update(self.members, self.rows, self.generations)

    def words(self, row: int = 0) -> dict[str, Any]:
        return segment.backend(self.board, row)

    def health(self) -> list[Word]:
        return [Word(self.words(row)["health"]) for row in range(len(self.members))]


async def until(what: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.002)


class Server:
    """Answers as `now` says, and counts."""

    def __init__(self) -> None:
        self.now = GOOD
        self.times: list[float] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(time.monotonic())
        await answer(self.now)(reader, writer)


def housed(board: Board, test: Callable[[House, Server], Awaitable[None]], **values: Any) -> Heard:
    """Run a test with one server, watched."""

    async def main() -> Heard:
        server = Server()
        async with serving(server.talk) as port:
            house = House(board, [port], **values)
            house.update()
            await test(house, server)
            house.prober.close()
        return house.log

    return run(main())


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


def test_other_upstreams_are_left_alone(board: Board) -> None:
    async def main() -> None:
        prober = Prober(board, ["web", "api"], {}, Heard())
        prober.update([member_at(1)], {}, {})
        assert not prober.watched

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


# ---- agents -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def agent(words: list[bytes]) -> AsyncIterator[int]:
    """Says the last of `words` to whoever comes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words[-1])

    async with serving(talk) as port:
        yield port


def test_what_an_agent_says_holds_and_an_operator_is_not_undone(board: Board) -> None:
    async def main() -> list[str]:
        words = [b"75% maxconn:30\n"]
        server = Server()
        async with serving(server.talk) as port, agent(words) as agents:
            house = House(board, [port], agent={"port": agents, "interval": "20ms"})

            def admin() -> Admin:
                return Admin.of(house.words()["admin"])

            house.update()
            await until(lambda: house.words()["percent"] == 75)
            assert house.words()["max_connections"] == 30
            words.append(b"drain\n")
            await until(lambda: admin().agent == Word.DRAIN)
            assert (house.words()["percent"], house.health()) == (75, [Word.UP])
            words.append(b"maint\n")
            await until(lambda: admin().agent == Word.MAINT)
            told = admin()._replace(operator=Word.DRAIN)
            segment.set_backend(board, 0, admin=told.word)
            words.append(b"up 100% maxconn:0\n")
            await until(lambda: admin().agent == Word.UP)
            assert admin().operator == Word.DRAIN
            assert (house.words()["percent"], house.words()["max_connections"]) == (100, 0)
            words.append(b"down # out of memory\n")
            await until(lambda: house.health() == [Word.DOWN])
            assert admin() == Admin(operator=Word.DRAIN)
            words.append(b"what?\n")
            await until(lambda: any("unknown words: what?" in one for one in house.log.lines))
            assert house.health() == [Word.DOWN]
            words.append(b"up\n")
            await until(lambda: house.health() == [Word.UP])
            house.prober.close()
            return house.log.lines

    said = [one.partition("its agent says ")[2] for one in run(main())]
    assert said == [
        "75% maxconn:30", "drain 75% maxconn:30", "maint 75% maxconn:30", "up 100% maxconn:0",
        "down 100% maxconn:0", "unknown words: what?", "up 100% maxconn:0",
    ]  # fmt: skip


def test_a_silent_agent_changes_nothing_and_is_told_once(board: Board) -> None:
    async def main() -> None:
        words = [b"drain 20%\n"]
        async with agent(words) as agents:
            house = House(board, [1], kind="off", agent={"port": agents, "interval": "20ms"})
            house.update()
            await until(lambda: house.words()["percent"] == 20)
            words.append(b"")
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.1)
        assert (house.words()["percent"], house.health()) == (20, [Word.UP])
        assert Admin.of(house.words()["admin"]).agent == Word.DRAIN
        silent = [one for one in house.log.lines if "does not answer" in one]
        assert len(silent) == 2  # an empty line, then no connection
        # A successor knows what was said, and takes it back only when the agent does.
        house.prober.close()
        heir = House(board, [1], kind="off", agent={"port": agents, "interval": "20ms"})
        heir.update()
        await asyncio.sleep(0.1)
        assert Admin.of(heir.words()["admin"]).agent == Word.DRAIN
        heir.prober.close()

    run(main())


def test_an_agent_in_the_answer(board: Board) -> None:
    async def test(house: House, server: Server) -> None:
        server.now = b"HTTP/1.1 200 OK\r\nX-Agent: 40%\r\n\r\n"
        await until(lambda: house.words()["percent"] == 40)
        server.now = b"HTTP/1.1 500 No\r\nX-Agent: drain\r\n\r\n"
        await until(lambda: Admin.of(house.words()["admin"]).agent == Word.DRAIN)
        await until(lambda: house.health() == [Word.DOWN])
        server.now = b"HTTP/1.1 200 OK\r\n\r\n"
        await until(lambda: house.health() == [Word.UP])
        assert Admin.of(house.words()["admin"]).agent == Word.DRAIN

    housed(board, test, agent={"header": "X-Agent"})


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
