"""The line before an upstream whose members are all at their max_connections."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.flow.counting import Counting
from tests.flow.origin import BLOCK, pattern_hash
from tests.flow.peers import Gateway, Origin, get
from tests.flow.wire import Answered, Line, head_of
from tests.nameserver import Responder
from tests.running import Proxy, wait_until

Start = Callable[..., Gateway]


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as one:
        yield one


@pytest.fixture
def start(counting: Counting) -> Iterator[Start]:
    """start(most, queue={...}, workers=2, ...): `counting` behind a gateway, with `most` places."""
    with ExitStack() as stack:

        def begin(
            most: int,
            queue: dict[str, Any] | None = None,
            workers: int = 2,
            **more: Any,
        ) -> Gateway:
            settings = {
                "upstreams": {
                    "a": {
                        "backends": [{"url": counting.url, "max_connections": most}],
                        "queue": queue or {},
                    }
                },
                "routes": [{"path": "/", "upstream": "a"}],
                **more,
            }
            return stack.enter_context(Gateway(settings=settings, workers=workers))

        yield begin


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


# ---- order --------------------------------------------------------------------------------------


def test_first_come_first_served_over_all_workers(start: Start, counting: Counting) -> None:
    proxy = start(1)
    asked = [Asked(proxy, "/hold?ms=500", "X-Ledger: first")]
    wait_until(lambda: counting.log())
    for number in range(24):
        asked.append(Asked(proxy, "/hold?ms=5", f"X-Ledger: {number}"))
        until_queued(proxy, number + 1)
    waiting = [worker["queued"] for worker in proxy.status()["workers"]]
    assert sum(waiting) == 24
    assert min(waiting) > 0, "all went to one worker"
    assert {one.answer.status for one in asked} == {200}
    assert [name for _, name, _ in counting.log()] == ["first", *map(str, range(24))]
    assert counting.worst == 1
    assert queued(proxy) == 0


def test_a_lower_class_goes_first(start: Start, counting: Counting) -> None:
    """Over all workers: class, then who came first. What is no class is 4."""
    proxy = start(1, {"priority": "{header:x-class}"})
    asked = [Asked(proxy, "/hold?ms=600", "X-Ledger: first")]
    wait_until(lambda: counting.log())
    classes = ["7", "", "0", "3", "4", "0", "nonsense", "9", "7", "00", "1", "3"]
    for number, word in enumerate(classes):
        asked.append(Asked(proxy, "/hold?ms=5", f"X-Ledger: {number}", f"X-Class: {word}"))
        until_queued(proxy, number + 1)
    assert {one.answer.status for one in asked} == {200}
    means = [int(word) if word in tuple("01234567") else 4 for word in classes]
    wanted = sorted(range(len(classes)), key=lambda number: (means[number], number))
    assert [name for _, name, _ in counting.log()] == ["first", *map(str, wanted)]


def test_a_place_that_comes_free_is_taken_at_once(start: Start, counting: Counting) -> None:
    """Not by the next tick (25 ms), whichever worker has it and whichever waits."""
    proxy = start(1)
    asked = [Asked(proxy, "/hold?ms=2") for _ in range(200)]
    assert {one.answer.status for one in asked} == {200}
    times = sorted(at for at, _, _ in counting.log())
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    assert gaps[len(gaps) // 2] < 0.012, "the tick wakes them, not the bell"
    assert counting.worst == 1


# ---- limits -------------------------------------------------------------------------------------


def test_who_waits_too_long_gets_503(start: Start, counting: Counting, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    proxy = start(
        1,
        {"timeout": "300ms"},
        access_log=str(log),
        log_format="{status} {end_state} {retries} {backend}",
    )
    first = Asked(proxy, "/hold?ms=1000")
    wait_until(lambda: counting.log())
    second = Asked(proxy, "/hold")
    assert second.answer.status == 503
    assert "none was free in time" in second.answer.text
    assert 0.29 < second.seconds < 0.6
    assert queued(proxy) == 0
    assert first.answer.status == 200
    totals = proxy.totals()
    assert (totals["queue_timeouts"], totals["queue_refused"], totals["queued"]) == (1, 0, 0)
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == 2 and found)
    assert lines[0] == "503 sW 0 -"
    assert len(counting.log()) == 1


@pytest.mark.parametrize("length", [0, 1, 5])
def test_more_than_may_wait_get_503_at_once(
    start: Start, counting: Counting, length: int, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = start(2, {"length": length}, access_log=str(log), log_format="{status} {end_state}")
    asked = [Asked(proxy, "/hold?ms=700") for _ in range(2)]
    wait_until(lambda: len(counting.log()) == 2)
    for number in range(length):
        asked.append(Asked(proxy, "/hold"))
        until_queued(proxy, number + 1)
    for _ in range(6):
        refused = get(proxy, "/hold")
        assert refused.status == 503
        assert "too many requests wait" in refused.text
    assert {one.answer.status for one in asked} == {200}
    assert proxy.totals()["queue_refused"] == 6
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == length + 8 and found)
    assert lines.count("503 PW") == 6
    assert counting.worst == 2


def test_the_routes_own_timeout_still_counts(start: Start, counting: Counting) -> None:
    short = {
        "path": "/short/",
        "strip_prefix": "/short",
        "upstream": "a",
        "request_timeout": "300ms",
    }
    proxy = start(1, routes=[short, {"path": "/", "upstream": "a"}])
    first = Asked(proxy, "/hold?ms=1000")
    wait_until(lambda: counting.log())
    second = Asked(proxy, "/short/hold")
    assert second.answer.status == 504
    assert 0.29 < second.seconds < 0.6
    assert queued(proxy) == 0
    assert first.answer.status == 200
    proxy.settle()
    assert proxy.totals()["queue_timeouts"] == 0
    assert proxy.backends()[counting.url]["timeouts"] == 0
    assert len(counting.log()) == 1


# ---- clients that leave, bodies, stops ----------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_who_leaves_the_line_is_forgotten(
    start: Start, counting: Counting, how: str, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = start(1, {"length": 2}, access_log=str(log), log_format="{status} {end_state} {target}")
    first = Asked(proxy, "/hold?ms=800")
    wait_until(lambda: counting.log())
    leaving = Line(proxy.port)
    leaving.sock.sendall(head_of("GET", "/hold?leaving"))
    until_queued(proxy, 1)
    staying = Asked(proxy, "/hold?staying")
    until_queued(proxy, 2)
    assert get(proxy, "/hold").status == 503
    if how == "reset":
        leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        leaving.sock.shutdown(socket.SHUT_WR)
    else:
        leaving.sock.close()
    until_queued(proxy, 1)
    third = Asked(proxy, "/hold?third")  # the place in the line is free again
    until_queued(proxy, 2)
    assert {one.answer.status for one in (first, staying, third)} == {200}
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == 5 and found)
    assert "499 CW /hold?leaving" in lines
    assert len(counting.log()) == 3
    leaving.sock.close()


def test_a_client_that_leaves_in_the_middle_of_its_upload(start: Start, counting: Counting) -> None:
    proxy = start(1)
    first = Asked(proxy, "/hold?ms=500")
    wait_until(lambda: counting.log())
    with Line(proxy.port) as line:
        line.sock.sendall(head_of("POST", "/hold", "Content-Length: 100000") + bytes(1000))
        until_queued(proxy, 1)
    until_queued(proxy, 0)
    assert first.answer.status == 200
    proxy.settle()
    assert len(counting.log()) == 1


def test_a_body_is_not_read_while_its_request_waits() -> None:
    """It stays with the client (but for the kernel's buffers), and comes whole when it may."""
    size = 64_000_000
    with Origin() as origin:
        upstream = {"backends": [{"url": origin.url, "max_connections": 1}]}
        settings = {
            "upstreams": {"a": upstream},
            "routes": [{"path": "/", "upstream": "a"}],
        }
        with Gateway(settings=settings, workers=2) as proxy, Line(proxy.port) as line:
            first = Asked(proxy, "/slow?ms=1000")
            wait_until(lambda: proxy.inflight() == 1)
            line.sock.sendall(head_of("POST", "/hash", f"Content-Length: {size}"))
            until_queued(proxy, 1)
            line.sock.setblocking(False)
            view = memoryview((BLOCK * (size // len(BLOCK) + 1))[:size])
            sent = 0
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                try:
                    sent += line.sock.send(view[sent : sent + 262144])
                except BlockingIOError:
                    time.sleep(0.01)
            assert sent < size // 4, "somebody takes the body"
            assert proxy.totals()["kept_bytes"] < 1_000_000
            line.sock.settimeout(30)
            line.sock.sendall(view[sent:])
            assert line.answer().text == f"{size} {pattern_hash(size)}"
            assert first.answer.status == 200


def test_a_stop_serves_those_who_wait(start: Start, counting: Counting) -> None:
    proxy = start(1)
    asked = [Asked(proxy, "/hold?ms=100") for _ in range(8)]
    until_queued(proxy, 7)
    assert proxy.stop() == 0
    assert {one.answer.status for one in asked} == {200}
    assert counting.worst == 1


def test_a_stop_that_is_over_ends_those_who_wait(
    start: Start, counting: Counting, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = start(
        1,
        {"timeout": "off"},
        workers=1,  # else who waits at the other may get the place that the first one's end frees
        timeouts={"drain": "400ms"},
        access_log=str(log),
        log_format="{status} {end_state}",
    )
    lines = [Line(proxy.port) for _ in range(3)]
    for line in lines:
        line.sock.sendall(head_of("GET", "/hold?ms=20000"))
    until_queued(proxy, 2)
    began = time.monotonic()
    assert proxy.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3
    assert sorted(log.read_text().split("\n")) == ["", "503 KH", "503 KW", "503 KW"]
    for line in lines:
        line.sock.close()


# ---- what changes meanwhile ---------------------------------------------------------------------


def test_a_member_that_goes_down_while_they_wait(start: Start, counting: Counting) -> None:
    """The line is for places at members that live: when the last of them is gone they are told."""
    proxy = start(1, {"timeout": "20s"})
    with Line(proxy.port) as line:
        line.sock.sendall(head_of("GET", "/hold?ms=30000"))
        wait_until(lambda: counting.log())
        asked = [Asked(proxy, "/hold") for _ in range(3)]
        until_queued(proxy, 3)
        counting.kill()
        assert line.answer().status == 502
        assert {one.answer.status for one in asked} == {502}
    assert max(one.seconds for one in asked) < 10


def test_a_new_roster_is_looked_at_by_those_who_wait() -> None:
    """The name gets another address while the member at the old one is full."""
    with (
        Counting(host="127.0.0.2") as counting,
        Counting(port=counting.port) as second,
        Responder() as server,
    ):
        server.say("api.test", "A", "127.0.0.2", ttl=1)
        backend = {"url": f"http://api.test:{counting.port}", "max_connections": 1}
        settings = {
            "dns": {"servers": [server.address], "ipv6": "off"},
            "upstreams": {"a": {"backends": [backend]}},
            "routes": [{"path": "/", "upstream": "a"}],
        }
        with Gateway(settings=settings, workers=2) as gateway:
            held = [Asked(gateway, "/hold?ms=4000")]
            wait_until(lambda: counting.log())
            waiting = [Asked(gateway, "/hold?ms=50") for _ in range(4)]
            server.say("api.test", "A", "127.0.0.1")
            assert {one.answer.status for one in waiting} == {200}
            assert max(one.seconds for one in waiting) < 3.5, "they waited for the old one"
            assert len(second.log()) == 4
            assert second.worst == 1
            assert held[0].answer.status == 200


def test_two_members_take_as_many_as_they_may(counting: Counting) -> None:
    """Full ones are left out, the one without a limit takes the rest, and nobody waits."""
    with Counting() as second:
        upstream = {
            "backends": [{"url": counting.url, "max_connections": 2}, second.url],
            "balance": "round_robin",
        }
        settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
        with Gateway(settings=settings, workers=3) as proxy:
            asked = [Asked(proxy, "/hold?ms=300") for _ in range(30)]
            assert {one.answer.status for one in asked} == {200}
            assert counting.worst == 2
            assert second.worst >= 20
            found = proxy.status()
            assert found["totals"]["queue_timeouts"] == found["totals"]["queue_refused"] == 0


def test_the_priority_must_be_a_template(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    upstream = {"backends": ["http://127.0.0.1:9"], "queue": {"priority": "{nonsense}"}}
    path.write_text(
        json.dumps(
            {
                "listeners": ["127.0.0.1:0"],
                "upstreams": {"a": upstream},
                "routes": [{"path": "/", "upstream": "a"}],
            }
        )
    )
    proxy = Proxy(config=path)
    process = proxy.spawn()
    assert process.wait(20) != 0
    assert "upstreams.a.queue.priority" in proxy.log()
    proxy.close()
