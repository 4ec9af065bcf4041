# SPDX-License-Identifier: MIT
"""The scoreboard written by two processes at once, each its own rows of the same board.

It should cost what it costs alone: were two writers on one cache line, it would cost many times as
much.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.micro.rooms import board_probe
from fastproxy.scoreboard import segment

SECONDS_MAX = 30
"""The other one never writes for longer, whatever becomes of us."""


@contextmanager
def another_writer(board: int) -> Iterator[None]:
    """A process that writes rows of worker 1 as fast as it can."""
    ours, its = os.pipe()
    began, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(its)
        probe = board_probe(board)
        os.write(begun, b"x")
        until = 3000 * SECONDS_MAX
        while until and not select.select([ours], [], [], 0)[0]:  # until our end is closed
            probe.time_request(1, 1, 0, 10_000)
            until -= 1
        os._exit(0)
    os.close(ours)
    try:
        os.read(began, 1)
        yield
    finally:
        for fd in (its, began, begun):
            os.close(fd)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("processes", [1, 2])
def test_update(benchmark: Any, timing: Any, processes: int) -> None:
    benchmark.group = "scoreboard"
    board = segment.create(workers=2, backends=2, routes=1)
    probe = board_probe(board)
    run = lambda n: probe.time_request(0, 0, 0, n)  # noqa: E731
    if processes == 1:
        timing("scoreboard, 1 process", "ours", run, 0)
    else:
        with another_writer(board):
            timing("scoreboard, 2 processes", "ours", run, 0)
    os.close(board)
