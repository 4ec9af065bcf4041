"""A proxy with a configuration of the test's making, and what tests do with it."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence

from tests.raw.reading import Answer, Client
from tests.raw.recorder import Recorder
from tests.running import Proxy

FENCES = itertools.count(1)
CONFIG = """
listeners = [{listener}]
workers = 1
access_log = "{log}"
{top}
[timeouts]
lingering = "500ms"
{timeouts}
[limits]
{limits}
[forwarding]
{forwarding}
{routes}
[[routes]]
path = "/"
upstream = "main"

[upstreams.main]
backends = [{backends}]
balance = "round_robin"
{upstream}
"""


class Running(Proxy):
    """`fastproxy run -c` with a configuration of the test's making."""

    recorder: Recorder

    def command(self) -> list[str]:
        flags = ["--control-socket", self.control, "-c", str(self.config), *self.args]
        return [sys.executable, "-m", "fastproxy", "run", *flags]

    def children(self) -> list[int]:
        """Pids of workers and control: as long as they are the same, nobody crashed."""
        return self._family()

    @property
    def place(self) -> tuple[str, int]:
        if not hasattr(self, "_place"):
            self._place = ("127.0.0.1", self.port)
        return self._place

    def client(self, seconds: float = 15.0) -> Client:
        return Client(self.place, seconds)

    def talk(
        self,
        data: bytes,
        *methods: str,
        cuts: Sequence[int] | None = None,
        pause: float = 0.0,
    ) -> list[Answer]:
        """Send on a connection of its own, read one answer for each method named (GET if none)."""
        with self.client() as client:
            client.send(data, cuts, pause)
            return [client.answer(method) for method in methods or ("GET",)]

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        """One request, one answer."""
        return self.talk(data, method)[0]

    def refused(self, data: bytes, status: int | tuple[int, ...], bytewise: bool = False) -> Answer:
        """This must be answered so, with a real close, and nothing of it may be forwarded."""
        self.recorder.clear()
        with self.client() as client:
            if bytewise:
                client.send_bytewise(data)
            else:
                client.send(data)
            answer = client.answer()
            wanted = (status,) if isinstance(status, int) else status
            assert answer.status in wanted, answer
            assert answer.closes, answer
            assert client.end() == "fin"
        self.nothing_forwarded()
        return answer

    def nothing_forwarded(self) -> None:
        """A fence: a good request on a new connection is all that the backend has got."""
        path = f"/fence/{next(FENCES)}"
        answer = self.ask(b"GET %b HTTP/1.1\r\nHost: fence\r\n\r\n" % path.encode())
        assert answer.status == 200, answer
        self.recorder.settle()
        fence = self.recorder.only(path)
        assert self.recorder.bytes() == fence.head, self.recorder.bytes()


def in_time(started: float, least: float, most: float = 5.0) -> None:
    """Timers fire not before their time, and soon after; `most` allows for a loaded machine."""
    spent = time.monotonic() - started
    assert least <= spent < most, spent
