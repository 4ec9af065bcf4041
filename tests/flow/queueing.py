"""Requests that wait in the queue, for tests of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.flow.peers import Gateway, get
from tests.flow.wire import Answered
from tests.running import wait_until

Capped = Callable[..., Gateway]
"""Of the fixture `capped` (conftest.py)."""


class Asked(threading.Thread):
    """One request on a connection of its own, beside the test."""

    def __init__(self, proxy: Gateway, target: str, *lines: str) -> None:
        super().__init__(daemon=True)
        self.proxy, self.target, self.lines = proxy, target, lines
        self.answered: Answered | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        began = time.monotonic()
        self.answered = get(self.proxy, self.target, *self.lines)
        self.seconds = time.monotonic() - began

    @property
    def answer(self) -> Answered:
        self.join(30)
        assert self.answered, "no answer"
        return self.answered


def queued(proxy: Gateway) -> int:
    return int(proxy.status()["upstreams"][0]["queued"])


def until_queued(proxy: Gateway, count: int) -> None:
    wait_until(lambda: queued(proxy) == count)
