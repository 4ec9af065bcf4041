"""Leaving politely under HTTP/2 load, and a worker that is killed: who is told, what is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import Behind, read_http2
from tests.h2.client import Client
from tests.h2.server import Line, Request
from tests.running import wait_until


def goaways(client: Client) -> list[int]:
    """The last streams that they named."""
    return [
        int.from_bytes(one.payload[:4], "big") for one in client.frames if one.kind == h2.GOAWAY
    ]


class Loaded:
    """A client that keeps `width` streams going, until it is told that they go, and notes the fate
    of each request."""

    def __init__(self, client: Client, name: str, width: int = 16) -> None:
        self.client, self.name, self.width = client, name, width
        self.fates: dict[str, str] = {}
        self.said: list[int] = []
        """The last streams that GOAWAY named."""
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def id(self, stream: int) -> str:
        return f"{self.name}-{stream}"

    def run(self) -> None:
        client, stream = self.client, 1
        open_streams: set[int] = set()
        while not self.over or open_streams:
            leaving = self.over or self.said
            while not leaving and len(open_streams) < self.width:
                fields = (b"x-ledger", self.id(stream).encode())
                open_streams.add(stream)
                client.send(h2.get(stream, fields))
                stream += 2
            going = client.more(0.05) or not client.ended
            self.said = goaways(client)
            for number in sorted(open_streams):
                got = client.streams.get(number)
                if got and (got.ended or got.reset is not None):
                    right = got.ended and got.body == self.id(number).encode()
                    self.fates[self.id(number)] = "ok" if right else "reset"
                    open_streams.discard(number)
                    client.streams.pop(number)
            if not going or (leaving and not open_streams):
                break
        for number in open_streams:
            self.fates[self.id(number)] = "lost"
        if self.said:
            client.until(lambda: client.ended)
            self.said = goaways(client)

    def stop(self) -> None:
        self.over = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def slowly(line: Line, asked: Request) -> None:
    """After a while, so that there are always some under way."""
    timer = threading.Timer(0.03, line.answer, (asked.stream, asked.id.encode()))
    timer.daemon = True
    timer.start()


def seen(behind: Behind) -> Counter[str]:
    return Counter(asked.id for _, asked in behind.server.all() if asked.id)


def test_stop_under_load() -> None:
    """GOAWAY in two steps; every request that was sent is answered, once; exit 0 in time."""
    with Behind(workers=2) as behind, contextlib.ExitStack() as stack:
        behind.server.on_request = slowly
        clients = [stack.enter_context(behind.client()) for _ in range(4)]
        loads = [Loaded(client, f"c{at}") for at, client in enumerate(clients)]
        wait_until(lambda: behind.server.count() > 300)
        started = time.monotonic()
        assert behind.gateway.stop() == 0
        assert time.monotonic() - started < 8
        for load in loads:
            load.thread.join(10)
            assert load.said[0] == h2.BIGGEST
            assert load.said[-1] < h2.BIGGEST
            assert set(load.fates.values()) == {"ok"}, Counter(load.fates.values())
        assert max(seen(behind).values()) == 1
        assert not behind.server.breaches


def test_second_step_comes_while_others_go_on() -> None:
    """A client that goes on sending after the notice is told the last stream all the same."""
    with Behind() as behind, behind.client() as client:
        behind.server.on_request = slowly
        client.send(h2.get(1))
        assert read_http2(client, 1).outcome == "200"
        os.kill(behind.gateway.pid, signal.SIGTERM)
        stream, answered = 3, 0
        until = time.monotonic() + 5
        while time.monotonic() < until and not client.ended:
            client.send(h2.get(stream))
            client.until(lambda stream=stream: client.stream(stream).ended, 0.1)
            answered += client.stream(stream).ended
            stream += 2
        said = goaways(client)
        assert said[0] == h2.BIGGEST
        assert 1 < said[1] < h2.BIGGEST
        assert answered == (said[1] - 1) // 2
        assert client.ended
        assert behind.gateway.process
        assert behind.gateway.process.wait(10) == 0


def test_worker_is_killed() -> None:
    """Only what that worker had under way fails; it is told by the end of the connection."""
    with Behind(workers=2) as behind, contextlib.ExitStack() as stack:
        behind.server.on_request = slowly
        clients = [stack.enter_context(behind.client()) for _ in range(8)]
        loads = [Loaded(client, f"k{at}", width=8) for at, client in enumerate(clients)]
        wait_until(lambda: behind.server.count() > 500)
        os.kill(behind.gateway.worker_pids()[0], signal.SIGKILL)
        time.sleep(1)
        for load in loads:
            load.stop()
        fates = [Counter(load.fates.values()) for load in loads]
        hit = [one for one in fates if one["lost"]]
        assert hit
        for one in fates:
            assert one["reset"] == 0
            assert one["lost"] <= 8
            assert one["ok"] > 10
        assert behind.ask("http2").outcome == "200"
        assert not behind.server.breaches


@pytest.mark.slow
def test_silence_is_asked_by_ping() -> None:
    """15 s without a word while streams are under way: PING. An answer is enough to go on; none in
    another 15 s, and the streams fail. What is asked meanwhile does not put that off."""
    with Behind(timeouts={"upstream_first_byte": "60s"}) as behind:
        assert behind.ask("http1").outcome == "200"
        [line] = behind.server.lines
        behind.server.on_request = None
        with behind.client() as client:
            client.send(h2.get(1, method=b"POST"))
            started = time.monotonic()
            assert behind.server.until(lambda: line.pings, 20)
            assert 13 < time.monotonic() - started < 18
            assert not client.decided(1)
            behind.server.answers_pings = False
            pinged = time.monotonic()
            stream = 3
            while not client.decided(1) and time.monotonic() - pinged < 45:
                client.send(h2.get(stream, method=b"POST"))
                stream += 2
                client.until(lambda: client.decided(1), 0.5)
            assert client.stream(1).status in (502, 504)
            assert 25 < time.monotonic() - pinged < 36
            assert len(line.pings) == 2
