"""At the limit: no descriptors left, too many connections, one client too greedy."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flow.ledger import Ledger
from tests.flow.origin import Closed
from tests.flow.peers import Gateway, Origin, cpu_seconds, open_fds
from tests.flow.wire import Line, head_of
from tests.running import wait_until

FEW = 64


@pytest.fixture
def cramped(origin: Origin) -> Iterator[Gateway]:
    """One worker that may have 64 descriptors, all of its own included; no limit of connections
    below that, so that accept really meets EMFILE."""
    flags = ["--max-connections=1000", "--client-header-timeout=1500ms"]
    with Gateway(*flags, upstreams=[origin.url], workers=1,
                 limits={resource.RLIMIT_NOFILE: FEW}) as one:  # fmt: skip
        yield one


def closed(line: Line) -> bool:
    """Has the other side closed it?"""
    line.sock.setblocking(False)
    try:
        return line.sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        line.sock.settimeout(60)


def slow(port: int, ms: int) -> str:
    with Line(port) as line:
        return line.ask("GET", f"/slow?ms={ms}", "Connection: close").text


def test_the_default_limit_leaves_room_for_upstreams(origin: Origin) -> None:
    """Half of the descriptors less a reserve: all clients that are in can be served."""
    with Gateway(upstreams=[origin.url], workers=1,
                 limits={resource.RLIMIT_NOFILE: 128}) as proxy:  # fmt: skip
        port = proxy.port
        with ThreadPoolExecutor(120) as pool:
            answers = list(pool.map(lambda _: slow(port, 150), range(240)))
        assert all(answers)
        status = proxy.status()
        assert status["status"]["2xx"] == 240
        assert status["totals"]["accept_paused"] > 0
        assert open_fds(proxy.worker_pids()[0]) < 128


def test_idle_ones_make_room(cramped: Gateway) -> None:
    """More come than there are descriptors: who idles longest is closed, nobody else."""
    lines: list[Line] = []
    try:
        for _ in range(100):
            line = Line(cramped.port)
            assert line.ask("GET", "/id").status == 200
            lines.append(line)
        assert not closed(lines[-1])
        gone = [closed(line) for line in lines]
        assert gone[0]
        assert gone == sorted(gone, reverse=True)  # the oldest first
        assert 20 < sum(gone) < 100
        assert lines[-1].ask("GET", "/id").status == 200
    finally:
        for line in lines:
            line.sock.close()


def test_nothing_spins_while_there_is_no_descriptor_and_it_goes_on_by_itself(
    cramped: Gateway,
) -> None:
    """All descriptors are in use by clients that ask for something slow; more wait in the queue."""
    pid = cramped.worker_pids()[0]
    lines = []
    for _ in range(150):
        line = Line(cramped.port)
        line.sock.sendall(b"GET /id HTTP/1.1\r\nHost: x\r\nX-Slow: ")  # a head that does not end
        lines.append(line)
    try:
        wait_until(lambda: cramped.totals()["accept_paused"] > 0)
        assert open_fds(pid) > FEW - 12
        before, turns = cpu_seconds(pid), cramped.totals()["turns"]
        time.sleep(1)
        spent, turned = cpu_seconds(pid) - before, cramped.totals()["turns"] - turns
        assert spent < 0.2, f"{spent} s of CPU in 1 s"
        assert turned < 1000, f"{turned} turns in 1 s"
        for line in lines[:75]:
            line.sock.close()
        with Line(cramped.port) as line:
            assert line.ask("GET", "/id").status in (200, 502, 503)
    finally:
        for line in lines:
            line.sock.close()
    wait_until(lambda: open_fds(pid) < 40)
    with Ledger(cramped.port, lines=8) as ledger:
        ledger.until(100)
    assert not ledger.failed
    assert cramped.worker_pids()[0] == pid


def test_accept_itself_runs_out(cramped: Gateway) -> None:
    """Clients and their upstreams together: accept4 says EMFILE. Everybody gets an answer."""
    port = cramped.port

    def ask(_: int) -> int:
        with Line(port) as line:
            return line.ask("GET", "/slow?ms=100", "Connection: close").status

    with ThreadPoolExecutor(100) as pool:
        found = Counter(pool.map(ask, range(200)))
    assert set(found) <= {200, 503}
    assert found[200] > 20
    assert cramped.totals()["accept_paused"] > 0
    cramped.settle()
    assert next(iter(cramped.backends().values()))["connect_errors"] == 0


def test_no_descriptor_for_the_upstream_is_said_and_not_blamed_on_it(cramped: Gateway) -> None:
    """Clients fill the table; who is in and asks gets 503 (or is served when one is free)."""
    lines = []
    for _ in range(150):
        line = Line(cramped.port)
        line.sock.sendall(b"GET /id HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        lines.append(line)
    try:
        wait_until(lambda: cramped.totals()["accept_paused"] > 0)
        lines[0].sock.sendall(b"1\r\n\r\n")
        assert lines[0].answer().status == 503
        assert next(iter(cramped.backends().values()))["connect_errors"] == 0
    finally:
        for line in lines:
            line.sock.close()


def test_the_connection_limit(origin: Origin) -> None:
    """10 at a time; the others wait in the kernel's queue and are all served."""
    with Gateway("--max-connections=10", upstreams=[origin.url], workers=1) as proxy:
        port, most = proxy.port, 0
        pid = proxy.worker_pids()[0]
        with ThreadPoolExecutor(60) as pool:
            waiting = [pool.submit(slow, port, 200) for _ in range(50)]
            before = cpu_seconds(pid)
            while not all(one.done() for one in waiting):
                most = max(most, proxy.totals()["connections"])
                time.sleep(0.02)
            spent = cpu_seconds(pid) - before
        assert all(one.result() for one in waiting)
        assert most == 10
        assert proxy.totals()["accept_paused"] > 0
        assert spent < 0.8


def test_an_idle_client_makes_way_at_the_limit(origin: Origin) -> None:
    with Gateway("--max-connections=3", upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port) as first, Line(proxy.port) as second, Line(proxy.port) as busy:
            assert first.ask("GET", "/id").status == 200
            assert second.ask("GET", "/id").status == 200
            busy.sock.sendall(head_of("GET", "/slow?ms=700"))
            wait_until(lambda: proxy.inflight() == 1)
            started = time.monotonic()
            with Line(proxy.port) as new:
                assert new.ask("GET", "/id").status == 200
            assert time.monotonic() - started < 0.6
            assert closed(first)
            assert not closed(second)
            assert busy.answer().status == 200


def test_who_still_reads_his_answer_is_not_idle(origin: Origin) -> None:
    """Its exchange is over, but the worker keeps bytes for it: it must not make way."""
    size = 6 << 20
    with Gateway("--max-connections=3", upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port, rcvbuf=4096) as reader:
            reader.sock.sendall(head_of("GET", f"/bytes?n={size}"))
            time.sleep(0.3)
            for _ in range(6):
                with Line(proxy.port) as new:
                    assert new.ask("GET", "/id").status == 200
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            assert reader.answer().size == size


def test_connections_of_one_client(origin: Origin) -> None:
    """Over the limit of its address a client is closed at once; others are not touched."""
    with Gateway("--max-connections-per-ip=8", upstreams=[origin.url], workers=2) as proxy:
        lines = [Line(proxy.port) for _ in range(20)]
        try:
            served = 0
            for line in lines:
                with contextlib.suppress(Closed, OSError):
                    served += line.ask("GET", "/id").status == 200
            assert served == 8
            other = socket.socket()
            other.settimeout(10)
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", proxy.port))
            other.sendall(head_of("GET", "/id", "Connection: close"))
            assert other.recv(100).startswith(b"HTTP/1.1 200")
            other.close()
            assert proxy.totals()["refused"] == 12
        finally:
            for line in lines:
                line.sock.close()
        proxy.settle()
        with Line(proxy.port) as line:  # their places are free again
            assert line.ask("GET", "/id").status == 200


def test_requests_of_one_connection(origin: Origin) -> None:
    with Gateway("--set=limits.requests_per_connection=5", upstreams=[origin.url]) as proxy:
        with Line(proxy.port) as line:
            for turn in range(5):
                answer = line.ask("GET", "/id")
                assert answer.fields.get("connection") == ("close" if turn == 4 else None)
            assert line.sock.recv(1) == b""
