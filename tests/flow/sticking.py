"""What the tests of sessions and subsets share: apps behind two workers, and asking them.

with running(3, {"session": {"cookie": "fp"}}) as (proxy, apps):
    assert ask(proxy).app in "abc"
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from tests.flow.apps import Apps
from tests.flow.peers import Gateway
from tests.running import wait_until

SECRET = "sixteen letters or more"
COOKIE = re.compile(r"fp=([0-9a-f]{32})(; .*)")
DOWN, DRAIN, MAINT = 1, 2, 3


@dataclass
class Said:
    """One answer."""

    status: int
    app: str
    worker: str
    set_cookies: list[str]
    cookies: list[str]

    @property
    def cookie(self) -> str:
        """The value of the session cookie that was set."""
        (line,) = [one for one in self.set_cookies if one.startswith("fp=")]
        found = COOKIE.fullmatch(line)
        assert found, line
        return found[1]


def ask(proxy: Gateway, target: str = "/", *fields: tuple[str, str]) -> Said:
    """One GET on a connection of its own: either worker may get it."""
    line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        line.putrequest("GET", target)
        for name, value in (*fields, ("Connection", "close")):
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        body = answer.read()
    finally:
        line.close()
    said: dict[str, Any] = json.loads(body) if answer.status == 200 else {}
    return Said(
        answer.status,
        said.get("app", ""),
        answer.headers["X-Worker"],
        answer.headers.get_all("Set-Cookie", []),
        said.get("cookies", []),
    )


def with_cookie(value: str) -> tuple[str, str]:
    return ("Cookie", f"theme=dark; fp={value}; lang=en")


def settings_of(
    apps: Apps, *, upstream: dict[str, Any], most: int = 0, **more: Any
) -> dict[str, Any]:
    """`most`: max_connections of each backend."""
    backends = [{"url": url, "max_connections": most} for url in apps.urls]
    return {
        "upstreams": {"web": {"backends": backends, **upstream}},
        "routes": [{
            "path": "/", "upstream": "web",
            "response_headers": {"set": {"X-Worker": "{worker}"}},
        }],
        **more,
    }  # fmt: skip


@contextlib.contextmanager
def running(count: int, upstream: dict[str, Any], **more: Any) -> Iterator[tuple[Gateway, Apps]]:
    """Two workers before so many backends."""
    with (
        Apps(count) as apps,
        Gateway(settings=settings_of(apps, upstream=upstream, **more), workers=2) as proxy,
    ):
        yield proxy, apps


STICKY = {"session": {"cookie": "fp", "secret": SECRET}}


def board_of(proxy: Gateway) -> Board:
    """The scoreboard of a running proxy."""
    folder = Path(f"/proc/{proxy.pid}/fd")
    places = [one for one in folder.iterdir() if "fastproxy-scoreboard" in os.readlink(one)]
    fd = os.open(places[0], os.O_RDWR)
    try:
        return Board(fd)
    finally:
        os.close(fd)


def say(proxy: Gateway, url: str, **words: int) -> None:
    """Control's words of a backend."""
    board = board_of(proxy)
    for row in segment.backends_used(board):
        if segment.backend(board, row)["name"] == url:
            segment.set_backend(board, row, **words)


def ask_both(proxy: Gateway, *fields: tuple[str, str]) -> list[Said]:
    """Ask until each worker has answered a few times."""
    answers: list[Said] = []

    def enough() -> bool:
        answers.append(ask(proxy, "/", *fields))
        seen = Counter(answer.worker for answer in answers)
        return len(seen) == 2 and min(seen.values()) >= 8

    wait_until(enough, 20, 0)
    return answers
