"""A scoreboard as a worker has it, and several processes that race on one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from fastproxy._probe import BoardProbe

FORK = multiprocessing.get_context("fork")


def probe_of(fd: int) -> Any:
    """The board in this memfd, mapped once more."""
    return BoardProbe(fd, os.fstat(fd).st_size)


def race(parties: Sequence[Callable[[], Any]]) -> list[Any]:
    """All of them at the same time, each in a process of its own; what they returned."""

    def run(work: Callable[[], Any], end: Connection) -> None:
        end.send(work())

    pairs = [FORK.Pipe(False) for _ in parties]
    processes = [
        FORK.Process(target=run, args=(work, pair[1]))
        for work, pair in zip(parties, pairs, strict=True)
    ]
    for one in processes:
        one.start()
    found = []
    for pair in pairs:
        assert pair[0].poll(60), "a party of the race hangs"
        found.append(pair[0].recv())
    for one in processes:
        one.join(10)
        assert one.exitcode == 0
    return found
