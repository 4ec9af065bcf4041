"""The queue before a full upstream: who leaves it, what stops, what changes meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.flow.counting import Counting
from tests.flow.origin import BLOCK, pattern_hash
from tests.flow.peers import Gateway, Origin, free_port, get
from tests.flow.queueing import Asked, Capped, queued, until_queued
from tests.flow.wire import Line, head_of
from tests.nameserver import Responder
from tests.running import Proxy, wait_until

# ---- clients that leave, bodies, stops ----------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_who_leaves_the_line_is_forgotten(
    capped: Capped, counting: Counting, how: str, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = capped(
        1, {"length": 2}, access_log=str(log), log_format="{status} {end_state} {target}"
    )
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


def test_a_client_that_leaves_in_the_middle_of_its_upload(
    capped: Capped, counting: Counting
) -> None:
    proxy = capped(1)
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


def test_a_stop_serves_those_who_wait(capped: Capped, counting: Counting) -> None:
    proxy = capped(1)
    asked = [Asked(proxy, "/hold?ms=100") for _ in range(8)]
    until_queued(proxy, 7)
    assert proxy.stop() == 0
    assert {one.answer.status for one in asked} == {200}
    assert counting.worst == 1


def test_a_stop_that_is_over_ends_those_who_wait(
    capped: Capped, counting: Counting, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    proxy = capped(
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


def test_a_member_that_goes_down_while_they_wait(capped: Capped, counting: Counting) -> None:
    """The line is for places at members that live: when the last of them is gone they are told."""
    proxy = capped(1, {"timeout": "20s"})
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


def test_one_that_may_not_go_everywhere_holds_nobody_up(counting: Counting) -> None:
    """A member has refused it, the other is full: it waits, and others go where it may not."""
    port = free_port()
    second = Counting(port)
    upstream = {
        "backends": [{"url": counting.url, "max_connections": 1}, f"http://127.0.0.1:{port}"],
        "queue": {"timeout": "10s"},
    }
    settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
    with Gateway(settings=settings, workers=2) as proxy:
        held = Asked(proxy, "/hold?ms=3000")
        wait_until(lambda: counting.log())
        refused = Asked(proxy, "/hold", "X-Ledger: refused")
        until_queued(proxy, 1)
        with second:
            asked = [Asked(proxy, "/hold") for _ in range(12)]
            assert {one.answer.status for one in asked} == {200}
            assert max(one.seconds for one in asked) < 1
            assert queued(proxy) == 1
            assert len(second.log()) == 12
        assert (held.answer.status, refused.answer.status) == (200, 200)
        assert [name for _, name, _ in counting.log()][1] == "refused"


def test_subsets_wait_for_their_own_members(counting: Counting) -> None:
    """Each for those it may go to, in its order, whoever waits for others."""
    with Counting() as second:
        backends = [
            {"url": one.url, "max_connections": 1, "labels": {"v": label}}
            for one, label in ((counting, "1"), (second, "2"))
        ]
        upstream = {
            "backends": backends,
            "subset": {"label": "v", "value": "{header:x-v}", "strict": True},
        }
        settings = {"upstreams": {"a": upstream}, "routes": [{"path": "/", "upstream": "a"}]}
        with Gateway(settings=settings, workers=2) as proxy:
            held = Asked(proxy, "/hold?ms=1200", "X-V: 1")
            wait_until(lambda: counting.log())
            ones = [Asked(proxy, "/hold?ms=5", "X-V: 1") for _ in range(4)]
            until_queued(proxy, 4)
            twos = [Asked(proxy, "/hold?ms=20", "X-V: 2") for _ in range(10)]
            assert {one.answer.status for one in twos} == {200}
            assert max(one.seconds for one in twos) < 1
            assert {one.answer.status for one in (held, *ones)} == {200}
            assert max(one.seconds for one in ones) < 3
            assert counting.worst == second.worst == 1
            assert (len(counting.log()), len(second.log())) == (5, 10)


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
            assert second.worst > 2
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
