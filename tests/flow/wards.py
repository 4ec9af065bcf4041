"""Backends whose health is what a test says, behind a real proxy.

with wards(3, {"fall": 2}, panic_threshold=0) as (house, proxy):
    house[0].status = 500
    wait_until(lambda: state(proxy, house[0].url) == "down")
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.flow.peers import Gateway, get
from tests.running import Backend

QUICK = {"path": "/health", "interval": "100ms", "transition": "40ms", "timeout": "500ms"}


class Ward(Backend):
    """An origin whose health is what the test says. `/health` is the check; anything else counts
    as a request, and says who answered whom. Its agent's words stand in X-Agent."""

    class Handler(Backend.Handler):
        def do_GET(self) -> None:  # noqa: N802
            ward: Ward = self.server.ward  # type: ignore[attr-defined]
            if self.path == "/health":
                ward.checks += 1
                self.reply(ward.status, b"checked")
            else:
                ward.requests += 1
                self.reply(200, f"{ward.url} {self.headers['X-Ledger']}".encode())

        def reply(self, status: int, body: bytes) -> None:
            words = self.server.ward.words  # type: ignore[attr-defined]
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
            head += f"X-Agent: {words}\r\n" if words else ""
            with contextlib.suppress(OSError):
                self.wfile.write(head.encode() + b"\r\n" + body)

    def __init__(self) -> None:
        super().__init__()
        self.server.ward = self  # type: ignore[attr-defined]
        self.status = 200
        self.words = ""
        self.checks = 0
        self.requests = 0


@contextlib.contextmanager
def wards(
    count: int, health: dict[str, Any] | None = None, **upstream: Any
) -> Iterator[tuple[list[Ward], Gateway]]:
    """So many wards behind two workers, taken in turn."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(Ward()) for _ in range(count)]
        table = {"backends": [one.url for one in made], "health": {**QUICK, **(health or {})}}
        settings = {
            "workers": 2,
            "routes": [{"path": "/", "upstream": "web"}],
            "upstreams": {"web": {"balance": "round_robin", **table, **upstream}},
        }
        yield made, stack.enter_context(Gateway(settings=settings, workers=2))


def spread(proxy: Gateway, count: int) -> Counter[str]:
    """Who answered so many requests, each on a connection of its own (both workers get some); what
    was not answered by a backend counts as its status."""
    answers = (get(proxy, "/") for _ in range(count))
    return Counter(one.text.split()[0] if one.status == 200 else str(one.status) for one in answers)


def state(proxy: Gateway, url: str) -> str:
    return str(proxy.backends()[url]["state"])


def check(proxy: Gateway, url: str) -> dict[str, Any]:
    return dict(proxy.backends()[url]["check"])
