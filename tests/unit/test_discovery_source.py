"""Files that list backends, sources that are kept running, and suspects on the scoreboard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastproxy._core import Board
from fastproxy.discovery import file as filing
from fastproxy.discovery import source as sourcing
from fastproxy.discovery.file import FileSource
from fastproxy.discovery.source import Publish, Source, keep
from fastproxy.discovery.suspects import Suspects
from fastproxy.memory import pack
from fastproxy.scoreboard import segment


class Told:
    """What was published and said."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.lines: list[str] = []

    def publish(self, backends: Sequence[Any]) -> None:
        self.lists.append(list(backends))

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = error = info


def read(path: str) -> list[str]:
    """One word a line; "bad" is a mistake."""
    words = Path(path).read_text().split()
    if "bad" in words:
        raise ValueError(f"{path}:{words.index('bad') + 1}: bad\n{path}: really")
    return words


def watch(path: Path, work: Callable[[Told], Any]) -> None:
    async def run() -> None:
        told = Told()
        task = asyncio.create_task(FileSource(str(path), read, told).run(told.publish))
        try:
            await work(told)
        finally:
            task.cancel()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(sourcing, "PAUSE_SECONDS", (0.05, 0.2))


async def until(what: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.005)


def test_every_way_of_editing_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a")

    async def work(told: Told) -> None:
        await until(lambda: told.lists == [["a"]])
        path.write_text("a b")
        await until(lambda: told.lists[1:] == [["a", "b"]])
        (tmp_path / "new").write_text("c d")
        old = path.stat()
        os.utime(tmp_path / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
        (tmp_path / "new").rename(path)  # same size, same time of change
        await until(lambda: told.lists[2:] == [["c", "d"]])
        path.write_text("")
        await until(lambda: told.lists[3:] == [[]])
        await asyncio.sleep(0.3)
        assert len(told.lists) == 4

    watch(path, work)


def test_the_symlinks_of_kubernetes(tmp_path: Path) -> None:
    """A mounted ConfigMap: list -> ..data/list, ..data -> ..1; a change swaps ..data."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "list").write_text(f"v{number}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "list").symlink_to("..data/list")

    async def work(told: Told) -> None:
        await until(lambda: told.lists == [["v1"]])
        (tmp_path / "..tmp").symlink_to("..2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        await until(lambda: told.lists == [["v1"], ["v2"]])

    watch(tmp_path / "list", work)


def test_a_mistake_is_said_once_and_the_list_stays(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a")

    async def work(told: Told) -> None:
        await until(lambda: told.lists == [["a"]])
        path.write_text("a\nbad\n")
        await until(lambda: len(told.lines) == 3)
        await asyncio.sleep(0.3)
        assert told.lines[1:] == [
            f"{path}:2: bad (the list before stays)",
            f"{path}: really (the list before stays)",
        ]
        path.unlink()
        await until(lambda: len(told.lines) == 4)
        assert "No such file" in told.lines[3]
        assert told.lists == [["a"]]
        path.write_text("b")
        await until(lambda: told.lists == [["a"], ["b"]])

    watch(path, work)


def test_what_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a")

    async def work(told: Told) -> None:
        await until(lambda: told.lists == [["a"]])
        with path.open("w") as file:
            for number in range(40):
                file.write(f"{number} ")
                file.flush()
                await asyncio.sleep(0.01)
        await until(lambda: len(told.lists) == 2)
        assert len(told.lists[1]) == 40

    watch(path, work)


# ---- other sources ------------------------------------------------------------------------------


def test_a_source_that_ends_or_raises_is_started_again() -> None:
    told = Told()
    lives: list[int] = []

    class Weak(Source):
        async def run(self, publish: Publish) -> None:
            lives.append(len(lives))
            publish([f"http://h{len(lives)}"])
            if len(lives) == 2:
                raise RuntimeError("lost its server")
            if len(lives) == 3:
                raise ValueError

    async def run() -> None:
        task = asyncio.create_task(keep(Weak, told.publish, "upstream api", told))
        await until(lambda: len(lives) == 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(run())
    assert told.lists[:3] == [["http://h1"], ["http://h2"], ["http://h3"]]
    assert told.lines[:3] == [
        "upstream api: it ended; its last list stays, starting it again in 0.05 s",
        "upstream api: lost its server; its last list stays, starting it again in 0.1 s",
        "upstream api: ValueError; its last list stays, starting it again in 0.2 s",
    ]


def test_a_source_that_cannot_be_made_is_tried_again() -> None:
    told = Told()

    def make() -> Source:
        raise ImportError("no module named nowhere")

    async def run() -> None:
        task = asyncio.create_task(keep(make, told.publish, "upstream api", told))
        await until(lambda: len(told.lines) == 3)
        task.cancel()

    asyncio.run(run())
    assert "no module named nowhere" in told.lines[0]


# ---- suspects -----------------------------------------------------------------------------------


def test_connect_errors_of_any_worker_make_a_name_suspect() -> None:
    board = Board(segment.create(3))
    size, fields = pack.LAYOUT["BackendCount"]
    words = memoryview(board).cast("Q")

    def fail(slot: int, row: int) -> None:
        capacity = segment.header(board)["backends"]
        start = segment.header(board)["backend_counts_off"] + fields["connect_errors"][0]
        words[(start + (slot * capacity + row) * size) // 8] += 1

    rows = {3: "http://a", 4: "http://a", 9: "http://b"}
    fail(0, 3)
    suspects = Suspects(board)
    assert suspects.look(rows) == set()  # what was before is not news
    assert suspects.look(rows) == set()
    fail(2, 4)
    assert segment.connect_errors(board, rows) == {3: 1, 4: 1, 9: 0}
    assert suspects.look(rows) == {"http://a"}
    assert suspects.look(rows) == set()
    fail(1, 9)
    fail(1, 3)
    fail(1, 7)
    assert suspects.look(rows) == {"http://a", "http://b"}
    assert suspects.look({7: "http://c"}) == set()  # new here, so it is not known when it was
    fail(2, 7)
    assert suspects.look({7: "http://c"}) == {"http://c"}
