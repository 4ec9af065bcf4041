"""Health checks through a real proxy with two workers: traffic goes where the checks say."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from functools import partial

from fastproxy.process import client
from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Origin, free_port, get
from tests.flow.wards import QUICK, Ward, check, spread, state, wards
from tests.running import alive, wait_until


def dead(pid: int) -> bool:
    return not alive(pid)


def asked(ward: Ward, checks: int) -> bool:
    return ward.checks >= checks


def other_control(proxy: Gateway, control: int) -> bool:
    try:
        return int(proxy.status()["control_pid"]) not in (0, control)
    except (client.NotRunningError, client.ControlError):
        return False


# ---- down and up ------------------------------------------------------------------------------


def test_down_up_and_nothing_in_between() -> None:
    with wards(3) as (house, proxy):
        first, *others = house
        assert set(spread(proxy, 30)) == {one.url for one in house}
        first.status = 500
        wait_until(lambda: state(proxy, first.url) == "down")
        before = first.requests
        assert set(spread(proxy, 60)) == {one.url for one in others}
        assert first.requests == before
        found = check(proxy, first.url)
        assert (found["up"], found["last"]) == (False, "status 500")
        assert abs(found["since_unix"] - time.time()) < 10
        first.status = 200
        wait_until(lambda: state(proxy, first.url) == "up")
        assert spread(proxy, 60)[first.url] >= 15
        lines = [line for line in proxy.log().splitlines() if first.url in line]
        assert len(lines) == 2
        assert "warning control" in lines[0]
        assert "is down (3 failed checks in a row, the last: status 500)" in lines[0]
        assert "is up (2 good checks in a row, the last: 200;" in lines[1]


def test_killed_under_load_down_and_back() -> None:
    """A killed backend is down by its checks before its failures eject it (those are off), then no
    request fails any more; started again, it gets its share."""
    port = free_port()
    goes = Origin(f"127.0.0.1:{port}").start()
    health = {**QUICK, "path": "/id"}
    try:
        with Origin() as stays:
            table = {
                "backends": [stays.url, goes.url],
                "balance": "round_robin",
                "outlier": {"consecutive": 0},
                "health": health,
                "panic_threshold": 0,
            }
            settings = {"routes": [{"upstream": "web"}], "upstreams": {"web": table}}
            with Gateway(settings=settings, workers=2) as proxy:
                with Ledger(proxy.port, lines=8, methods=("GET",)) as ledger:
                    ledger.until(200)
                    goes.kill()
                    wait_until(lambda: state(proxy, goes.url) == "down")
                    mark = len(ledger.entries)
                    errors = proxy.backends()[goes.url]["connect_errors"]
                    ledger.until(300)
                    assert proxy.backends()[goes.url]["connect_errors"] == errors
                    assert check(proxy, goes.url)["last"] == "connection refused"
                    goes.close()
                    goes = Origin(f"127.0.0.1:{port}").start()
                    wait_until(lambda: state(proxy, goes.url) == "up")
                    before = proxy.backends()[goes.url]["status"]["2xx"]
                    ledger.until(300)
                assert proxy.backends()[goes.url]["status"]["2xx"] > before + 100
                assert not [one for one in ledger.entries[mark:] if one.outcome != "ok"]
    finally:
        goes.close()


def test_one_that_hangs_is_down_and_back() -> None:
    """SIGSTOP: its kernel still takes connections. Only the answers tell."""
    with Origin() as stays, Origin() as hangs:
        table = {
            "backends": [stays.url, hangs.url],
            "balance": "round_robin",
            "outlier": {"consecutive": 0},
            "health": {**QUICK, "path": "/id", "timeout": "100ms"},
        }
        settings = {"routes": [{"upstream": "web"}], "upstreams": {"web": table}}
        with Gateway(settings=settings, workers=2) as proxy:
            hangs.stop()
            wait_until(lambda: state(proxy, hangs.url) == "down")
            assert check(proxy, hangs.url)["last"] == "no answer within 100ms"
            before = proxy.backends()[hangs.url]["requests"]
            with Ledger(proxy.port, lines=8, methods=("GET",)) as ledger:
                ledger.until(300)
                assert proxy.backends()[hangs.url]["requests"] == before
                hangs.go()
                wait_until(lambda: state(proxy, hangs.url) == "up")
                ledger.until(300)
            assert not ledger.failed
            assert proxy.backends()[hangs.url]["status"]["2xx"] > 50


def test_control_is_killed_and_what_it_knew_goes_on() -> None:
    """kill -9 of control under load: no request notices, who is down stays down, checks resume."""
    with wards(3) as (house, proxy):
        sick, well, third = house
        sick.status = 500
        wait_until(lambda: state(proxy, sick.url) == "down")
        before = sick.requests
        with Ledger(proxy.port, lines=8, methods=("GET",)) as ledger:
            for _ in range(3):
                control = int(proxy.status()["control_pid"])
                os.kill(control, signal.SIGKILL)
                wait_until(partial(dead, control))
                ledger.until(100)  # while there is no control, and while it comes back
                wait_until(partial(other_control, proxy, control))
                checks = sick.checks + 2, well.checks + 2
                wait_until(partial(asked, sick, checks[0]))
                wait_until(partial(asked, well, checks[1]))
                assert state(proxy, sick.url) == "down"
        assert not ledger.failed
        assert sick.requests == before
        assert well.requests
        assert third.requests
        sick.status = 200
        wait_until(lambda: state(proxy, sick.url) == "up")
        assert spread(proxy, 30)[sick.url] > 0


def test_a_worker_that_dies_knows_who_is_down() -> None:
    with wards(2) as (house, proxy):
        house[0].status = 500
        wait_until(lambda: state(proxy, house[0].url) == "down")
        before = house[0].requests
        for pid in proxy.worker_pids():
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(dead, pid))
        wait_until(lambda: all(one["state"] == "serving" for one in proxy.status()["workers"]))
        assert set(spread(proxy, 40)) == {house[1].url}
        assert house[0].requests == before


# ---- too few are left -------------------------------------------------------------------------


def test_all_down_is_panic_and_spreads() -> None:
    with wards(3) as (house, proxy):
        for one in house:
            one.status = 500
        wait_until(lambda: all(state(proxy, one.url) == "down" for one in house))
        assert set(spread(proxy, 60)) == {one.url for one in house}


def test_all_down_without_panic_is_503() -> None:
    with wards(2, panic_threshold=0) as (house, proxy):
        for one in house:
            one.status = 500
        wait_until(lambda: all(state(proxy, one.url) == "down" for one in house))
        before = sum(one.requests for one in house)
        assert spread(proxy, 20) == {"503": 20}
        assert sum(one.requests for one in house) == before
        house[1].status = 200
        wait_until(lambda: state(proxy, house[1].url) == "up")
        assert spread(proxy, 20) == {house[1].url: 20}


# ---- agents -----------------------------------------------------------------------------------


def test_an_agents_words_move_the_traffic() -> None:
    with wards(2, {"agent": {"header": "X-Agent"}}) as (house, proxy):
        first, second = house
        first.words = "drain"
        wait_until(lambda: state(proxy, first.url) == "drain")
        assert proxy.backends()[first.url]["agent"] == "drain"
        assert spread(proxy, 20) == {second.url: 20}
        second.words = "drain"
        wait_until(lambda: state(proxy, second.url) == "drain")
        assert spread(proxy, 10) == {"503": 10}  # drained is not panic's to spread over
        first.words = second.words = "up"
        wait_until(lambda: {state(proxy, one.url) for one in house} == {"up"})
        first.words = "up 20%"
        wait_until(lambda: state(proxy, first.url) == "20%")
        found = spread(proxy, 120)
        assert 8 <= found[first.url] <= 36  # 20 of 120
        first.words = "100% maint"
        wait_until(lambda: state(proxy, first.url) == "maint")
        assert spread(proxy, 20) == {second.url: 20}


def test_an_agents_port() -> None:
    words = [b"drain\n"]

    class Talk(threading.Thread):
        def run(self) -> None:
            while True:
                with contextlib.suppress(OSError):
                    line, _ = door.accept()
                    line.sendall(words[-1])
                    line.close()
                    continue
                return

    with socket.create_server(("127.0.0.1", 0)) as door:
        Talk(daemon=True).start()
        agent = {"port": door.getsockname()[1], "interval": "50ms"}
        with wards(1, {"agent": agent}) as (house, proxy):
            wait_until(lambda: state(proxy, house[0].url) == "drain")
            assert spread(proxy, 5) == {"503": 5}
            words.append(b"up maxconn:7\n")
            wait_until(lambda: state(proxy, house[0].url) == "up")
            assert proxy.backends()[house[0].url]["max_connections"] == 7
            assert spread(proxy, 5) == {house[0].url: 5}
        door.shutdown(socket.SHUT_RDWR)


# ---- new ones ---------------------------------------------------------------------------------


def test_mandatory_ones_wait_for_their_proof() -> None:
    """Not one request before: not at the start, not in panic."""
    with wards(2, {"mandatory": True, "rise": 3}) as (house, proxy):
        first, second = house
        wait_until(lambda: {state(proxy, one.url) for one in house} == {"up"})
        assert min(first.checks, second.checks) >= 3
        late = Ward()
        late.status = 500
        with late:
            client.ask(proxy.control, "backend", {"action": "add", "backends": [late.url]})
            wait_until(lambda: late.checks > 5)
            first.status = second.status = 500
            wait_until(lambda: {state(proxy, one.url) for one in house} == {"down"})
            assert set(spread(proxy, 40)) == {first.url, second.url}  # panic, without the new one
            assert late.requests == 0
            late.status = 200
            wait_until(lambda: state(proxy, late.url) == "up")
            wait_until(lambda: late.url in spread(proxy, 10))


def test_mandatory_from_the_very_first_request() -> None:
    """Asked as soon as the proxy listens: 503 until the backend is proven, never an answer of it
    before its checks were good."""
    port = free_port()
    with Ward() as one:
        one.status = 500
        table = {"backends": [one.url], "health": {**QUICK, "mandatory": True}}
        settings = {
            "listeners": [f"127.0.0.1:{port}"],
            "routes": [{"upstream": "web"}],
            "upstreams": {"web": table},
        }
        proxy = Gateway(settings=settings, workers=2)
        proxy._port = port
        try:
            proxy.spawn()
            found: Counter[int] = Counter()

            def ask() -> bool:
                with contextlib.suppress(OSError):
                    found[get(proxy, "/").status] += 1
                return found[503] >= 50

            wait_until(ask, 20)
            assert set(found) == {503}
            assert one.requests == 0
            one.status = 200
            wait_until(lambda: get(proxy, "/").status == 200)
        finally:
            proxy.close()


def test_who_comes_back_starts_slowly() -> None:
    with wards(2, slow_start={"window": "3s"}) as (house, proxy):
        first, second = house
        assert abs(spread(proxy, 40)[first.url] - 20) <= 6  # not at the start
        first.status = 500
        wait_until(lambda: state(proxy, first.url) == "down")
        first.status = 200
        wait_until(lambda: state(proxy, first.url) == "up")
        early = spread(proxy, 60)[first.url] / 60
        time.sleep(3)
        late = spread(proxy, 60)[first.url] / 60
        assert early < 0.35 < late
        assert second.requests
