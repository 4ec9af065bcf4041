"""What agents say reaches the scoreboard, and undoes nobody else's word."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin
from fastproxy.scoreboard.segment import Health as Word
from tests.unit.healthy import run, serving
from tests.unit.watched import House, Server, housed, until


@pytest.fixture
def board() -> Board:
    return Board(segment.create(2))


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
        assert len(silent) >= 2  # an empty line, then no connection: each is told, not each time
        assert all(one != other for one, other in itertools.pairwise(silent))
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


def test_an_heir_believes_an_agent_that_takes_its_down_back(board: Board) -> None:
    """Nobody is asked but the agent, so nobody but it can have said that."""

    async def main() -> None:
        words = [b"down\n"]
        async with agent(words) as agents:
            asked = {"kind": "off", "agent": {"port": agents, "interval": "20ms"}}
            house = House(board, [1], **asked)
            house.update()
            await until(lambda: house.health() == [Word.DOWN])
            house.prober.close()
            words.append(b"50%\n")
            heir = House(board, [1], **asked)
            heir.update()
            await until(lambda: heir.words()["percent"] == 50)
            assert heir.health() == [Word.DOWN]
            words.append(b"up\n")
            await until(lambda: heir.health() == [Word.UP])
            heir.prober.close()

    run(main())
