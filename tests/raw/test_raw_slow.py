"""Peers that stop reading: what is kept for them, what goes on beside them, when they are cut.

12 MiB are more than two kernels hold, so the worker must keep some, and wait.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, FINISH, HANG, RESET, pattern, sized
from tests.raw.talking import Running, in_time
from tests.raw.test_raw_upgrade import ASK, YES, ended, received
from tests.running import halt, wait_until

MUCH = pattern(12 << 20, 3)
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
GET_LAST = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        timeouts="""
client_write = "600ms"
client_body = "500ms"
tunnel_idle = "600ms"
upstream_keepalive = "300ms"
""",
    )


def keeps(proxy: Running) -> bool:
    return bool(proxy.status()["totals"]["kept_bytes"] > 0)


def all_gone(proxy: Running) -> bool:
    totals = proxy.status()["totals"]
    return totals["connections"] == totals["kept_bytes"] == 0


# ---- tunnels -------------------------------------------------------------------------------------


def test_a_fin_behind_what_is_kept_for_the_client(proxy: Running) -> None:
    """All of it arrives, then the FIN; the other direction still works."""
    proxy.recorder.on("/ws", YES, MUCH, FINISH, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        wait_until(lambda: keeps(proxy))
        assert client.exactly(len(MUCH)) == MUCH
        assert client.end() == "fin"
        client.send(b"thanks")
        assert received(proxy, 6) == b"thanks"
        client.finish()
        assert ended(proxy) == "fin"
    wait_until(lambda: all_gone(proxy))


def test_a_fin_behind_what_is_kept_for_the_backend(proxy: Running) -> None:
    """It reads nothing for a while; then it gets all, and the FIN."""
    proxy.recorder.on("/ws", YES, 0.5, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        client.send(MUCH)
        client.finish()
        assert ended(proxy) == "fin"
        assert received(proxy, len(MUCH)) == MUCH
    wait_until(lambda: all_gone(proxy))


def test_a_tunnel_whose_client_reads_nothing(proxy: Running) -> None:
    """`tunnel_idle` ends it, though the backend would go on for ever."""
    proxy.recorder.on("/ws", YES, MUCH, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        wait_until(lambda: keeps(proxy))
        started = time.monotonic()
        ended(proxy)
        in_time(started, 0.2)
    wait_until(lambda: all_gone(proxy))


def test_a_tunnel_whose_backend_reads_nothing(proxy: Running) -> None:
    proxy.recorder.on("/ws", YES, 3.0, HANG)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        started = time.monotonic()
        client.send(MUCH)
        assert client.exactly(4) == b"\x88\x02\x03\xe9"  # 1001, going away
        in_time(started, 0.5)
    wait_until(lambda: all_gone(proxy))


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_tunnel_that_is_reset_while_bytes_are_kept(proxy: Running, who: str) -> None:
    proxy.recorder.on("/ws", YES, MUCH, HANG)
    client = proxy.client()
    client.send(ASK)
    assert client.answer().status == 101
    wait_until(lambda: keeps(proxy))
    if who == "client":
        client.reset()
        ended(proxy)
    else:
        proxy.recorder.end(proxy.recorder.only("/ws").connection, RESET)
        with pytest.raises(Truncated):
            client.exactly(len(MUCH))
        client.sock.close()
    wait_until(lambda: all_gone(proxy))


# ---- the last answer of a connection -------------------------------------------------------------


def test_the_last_answer_is_read_late(proxy: Running) -> None:
    """The exchange is long over; the connection closes when all is out, and not before."""
    proxy.recorder.on("/much", BODY, sized(MUCH))
    with proxy.client() as client:
        client.send(GET_LAST % b"/much")
        wait_until(lambda: keeps(proxy))
        time.sleep(0.2)
        answer = client.answer()
        assert answer.body == MUCH
        assert answer.closes
        assert client.end() == "fin"
    wait_until(lambda: all_gone(proxy))


@pytest.mark.parametrize("request_line", [GET, GET_LAST])
@pytest.mark.parametrize("how", ["reset", "wait"])
def test_an_answer_that_is_never_read(proxy: Running, request_line: bytes, how: str) -> None:
    """A client that leaves, or that only stays: nothing is kept for it in the end."""
    proxy.recorder.on("/much", BODY, sized(MUCH))
    client = proxy.client()
    client.send(request_line % b"/much")
    wait_until(lambda: keeps(proxy))
    started = time.monotonic()
    if how == "reset":
        client.reset()
    wait_until(lambda: all_gone(proxy))
    if how == "wait":
        in_time(started, 0.3)
        with pytest.raises(Truncated):
            client.answer()
        client.sock.close()


# ---- uploads -------------------------------------------------------------------------------------


def test_a_backend_that_answers_and_resets_during_the_upload(proxy: Running) -> None:
    """The write fails first, then the answer is found: it is what the client gets. (The worker is
    stopped meanwhile, so that it meets the body before the answer.)"""
    proxy.recorder.on("/early", HANG)
    with proxy.client() as client:
        client.send(
            b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 100
        )
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        (worker,) = proxy.worker_pids()
        halt(worker)
        try:
            client.send(b"y" * 40_000)
            line = proxy.recorder.only("/early").connection
            proxy.recorder.send(line, sized(b"enough", b"413 Content Too Large"))
            proxy.recorder.end(line, RESET)
        finally:
            os.kill(worker, signal.SIGCONT)
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"enough")
        # The rest of the body is short: thrown away, and the connection lives on.
        assert not answer.closes
        client.send(b"z" * 49_900 + GET % b"/next")
        assert client.answer().status == 200
        assert b"z" not in proxy.recorder.bytes()
    wait_until(lambda: all_gone(proxy))


def test_an_upload_that_stalls_behind_an_answer_that_began(proxy: Running) -> None:
    """No status can be sent any more: cut."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    proxy.recorder.on("/stall", head, HANG)
    with proxy.client() as client:
        client.send(b"POST /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + b"x" * 100)
        started = time.monotonic()
        with pytest.raises(Truncated):
            client.answer()
        in_time(started, 0.4)
    assert ended(proxy, "/stall") in ("fin", "rst")


# ---- kept connections to the backend -------------------------------------------------------------


def test_an_idle_connection_to_the_backend_is_closed_in_time(proxy: Running) -> None:
    """By us, and politely; the next request gets a new one."""
    assert proxy.ask(GET % b"/one").status == 200
    started = time.monotonic()
    assert ended(proxy, "/one") == "fin"
    in_time(started, 0.25)
    assert proxy.ask(GET % b"/two").status == 200
    assert proxy.recorder.only("/two").connection != proxy.recorder.only("/one").connection
    totals = proxy.status()["totals"]
    assert totals["upstream_open"] == totals["upstream_idle"]
