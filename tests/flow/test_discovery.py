"""Names in a running proxy of two workers, asked of real name servers."""

from __future__ import annotations

import os
import signal
import time

from tests.flow.discovering import NAME, epochs, gateway, in_force, members, name_of, origins, seen
from tests.flow.ledger import Ledger
from tests.flow.peers import Origin, get
from tests.nameserver import Dnsmasq, Responder
from tests.running import alive, wait_until


def test_a_name_that_moves_under_load_fails_no_request() -> None:
    with (
        origins("127.0.0.1", "127.0.0.2", "127.0.0.3") as (first, second, third),
        Dnsmasq({NAME: ["127.0.0.1"]}) as server,
        gateway(server.address, f"http://{NAME}:{first.port}") as proxy,
        Ledger(proxy.port, lines=16) as ledger,
    ):
        ledger.until(300)
        server.tell({NAME: ["127.0.0.2"]})
        in_force(proxy, 2)
        ledger.until(300)
        old = f"http://{NAME}:{first.port}#127.0.0.1"
        wait_until(lambda: old not in proxy.backends())  # its last request is done
        first_seen = seen(first)
        first.kill()  # nobody goes there any more
        ledger.until(300)
        server.tell({NAME: ["127.0.0.3", "127.0.0.2"]})
        in_force(proxy, 3)
        wait_until(lambda: len(seen(third)) > 50, 30, 0.2)
        ledger.stop()
        assert not ledger.failed, ledger.count()
        ledger.check_origin(first_seen + seen(second, third))


def test_a_flapping_name_costs_nothing_and_rows_are_kept() -> None:
    with (
        origins("127.0.0.1", "127.0.0.2") as (first, second),
        Dnsmasq({NAME: ["127.0.0.1", "127.0.0.2"]}) as server,
        gateway(server.address, f"http://{NAME}:{first.port}") as proxy,
        Ledger(proxy.port, lines=8) as ledger,
    ):
        ledger.until(50)
        for turn in range(6):
            both = ["127.0.0.2", "127.0.0.1"]
            server.tell({NAME: both[turn % 2 :][:1] if turn < 4 else both})
            time.sleep(1.3)
        server.tell({NAME: ["127.0.0.1", "127.0.0.2"]})  # the other way round: no news
        time.sleep(1.3)
        ledger.until(50)
        ledger.stop()
        assert not ledger.failed, ledger.count()
        ledger.check_origin(seen(first, second))
        assert len(proxy.backends()) == 2  # each found its row again
        assert 5 <= proxy.status()["roster_epoch"] <= 7


def test_a_name_that_is_gone_keeps_its_last_answer() -> None:
    with (
        origins("127.0.0.1", "127.0.0.2") as (first, _),
        Responder() as server,
    ):
        server.say(NAME, "A", "127.0.0.1", ttl=1)
        with gateway(server.address, f"http://{NAME}:{first.port}") as proxy:
            wait_until(lambda: name_of(proxy)["age_seconds"] is not None)
            server.forget(NAME, "A")
            wait_until(lambda: name_of(proxy)["error"] == "no such name")
            server.fail(NAME, "A")
            wait_until(lambda: "SERVFAIL" in name_of(proxy)["error"])
            server.hush(NAME, "A")
            wait_until(lambda: name_of(proxy)["error"] == "no answer in time", 20)
            assert {get(proxy, "/id").status for _ in range(10)} == {200}
            found = name_of(proxy)
            assert found["addresses"] == 1
            assert found["failures"] >= 3
            assert found["age_seconds"] > 3
            assert epochs(proxy) == [1, 1]
            server.say(NAME, "A", "127.0.0.2")
            in_force_after = 20
            wait_until(lambda: epochs(proxy) == [2, 2], in_force_after)
            assert members(proxy) == ["127.0.0.2"]
            assert name_of(proxy)["error"] == ""
            log = proxy.log()
    assert "no such name; keeping the last answer (1 addresses, " in log
    assert "resolves again" in log


def test_a_name_that_is_not_there_at_the_start_comes_later() -> None:
    with origins("127.0.0.1") as (origin,), Responder() as server:
        with gateway(server.address, f"http://{NAME}:{origin.port}") as proxy:
            assert "note: " in proxy.log()
            assert "does not resolve yet (no such name)" in proxy.log()
            assert get(proxy, "/id").status == 503
            server.say(NAME, "A", "127.0.0.1")
            in_force(proxy, 2)
            assert get(proxy, "/id").status == 200


def test_a_thousand_addresses() -> None:
    """They come by TCP; each is a member; requests reach hundreds of them."""
    many = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    with origins("0.0.0.0") as (origin,), Dnsmasq({NAME: many}, ttl=5) as server:
        with gateway(server.address, f"http://{NAME}:{origin.port}") as proxy:
            assert len(members(proxy)) == 1000
            with Ledger(proxy.port, lines=8) as ledger:
                ledger.until(1000, 60)
            assert not ledger.failed
            used = [one for one in proxy.backends().values() if one["requests"]]
            assert len(used) > 300
            server.tell({NAME: many[500:]})
            wait_until(lambda: len(members(proxy)) == 500, 15)
            assert get(proxy, "/id").status == 200


def test_connect_errors_have_the_name_asked_again_long_before_its_ttl() -> None:
    with origins("127.0.0.1", "127.0.0.2") as (first, _), Responder() as server:
        server.say(NAME, "A", "127.0.0.1", ttl=3600)
        with gateway(server.address, f"http://{NAME}:{first.port}") as proxy:
            assert get(proxy, "/id").status == 200
            time.sleep(2.5)
            asked = server.asked(NAME, "A")
            assert asked <= 2  # the start, and control once
            server.say(NAME, "A", "127.0.0.2", ttl=3600)
            first.kill()
            assert get(proxy, "/id").status == 502
            wait_until(lambda: get(proxy, "/id").status == 200, 5)
            assert server.asked(NAME, "A") <= asked + 6
            assert members(proxy) == ["127.0.0.2"]


def test_services_bring_ports_weights_and_priorities() -> None:
    with (
        Origin("127.0.0.1:0") as heavy,
        Origin("127.0.0.1:0") as light,
        Origin("127.0.0.1:0") as spare,
        Responder() as server,
    ):
        record = "_http._tcp.api.test"
        for name in ("a", "b", "c"):
            server.say(f"{name}.test", "A", "127.0.0.1", ttl=1)

        def say(*lines: str) -> None:
            server.say(record, "SRV", *lines, ttl=1)

        say(
            f"10 30 {heavy.port} a.test.",
            f"10 10 {light.port} b.test.",
            f"20 5 {spare.port} c.test.",
        )
        with gateway(server.address, f"http+srv://{record}", balance="round_robin") as proxy:
            with Ledger(proxy.port, lines=1) as ledger:
                ledger.until(200)
            assert not ledger.failed
            counts = [len(seen(one)) for one in (heavy, light, spare)]
            assert counts[2] == 0
            assert abs(counts[0] - 3 * counts[1]) <= 8  # each worker has a cycle of its own
            assert members(proxy) == sorted(
                f"127.0.0.1:{one.port}" for one in (heavy, light, spare)
            )
            say(f"0 1 {spare.port} c.test.")
            in_force(proxy, 2)
            assert members(proxy) == [f"127.0.0.1:{spare.port}"]
            assert get(proxy, "/id").body.decode().split()[0] == spare.name


def test_ipv6_addresses_of_a_name() -> None:
    with Origin("[::1]:0") as origin, Responder() as server:
        server.say(NAME, "A")
        server.say(NAME, "AAAA", "::1")
        url = f"http://{NAME}:{origin.port}"
        with gateway(server.address, url, dns={"ipv6": "on"}) as proxy:
            assert members(proxy) == ["::1"]
            assert get(proxy, "/id").status == 200


def test_control_killed_goes_on_from_what_is_in_force() -> None:
    with (
        origins("127.0.0.1", "127.0.0.2") as (first, second),
        Dnsmasq({NAME: ["127.0.0.1"]}) as server,
        gateway(server.address, f"http://{NAME}:{first.port}") as proxy,
        Ledger(proxy.port, lines=8) as ledger,
    ):
        ledger.until(50)
        pid = proxy.status()["control_pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid))
        server.tell({NAME: ["127.0.0.2"]})
        wait_until(lambda: members(proxy) == ["127.0.0.2"])
        in_force(proxy, 2)
        ledger.until(50)
        ledger.stop()
        assert not ledger.failed, ledger.count()
        ledger.check_origin(seen(first, second))


def test_no_threads_are_left_by_names() -> None:
    """Control keeps to one thread of its own beside c-ares' helper, however many names it asks."""
    with origins("127.0.0.1") as (origin,), Responder() as server:
        names = [f"h{number}.test" for number in range(30)]
        for name in names:
            server.say(name, "A", "127.0.0.1", ttl=1)
        with gateway(server.address, *(f"http://{name}:{origin.port}" for name in names)) as proxy:
            pid = proxy.status()["control_pid"]
            before = resting(pid)
            time.sleep(3.5)
            assert resting(pid) == before
            assert before[0] <= 4


def resting(pid: int) -> tuple[int, int]:
    """The fewest threads and descriptors that a process has within two rounds of questions: those
    of a question, or of who asks for the status, come and go."""
    counts = []
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        counts.append(tuple(len(os.listdir(f"/proc/{pid}/{what}")) for what in ("task", "fd")))
        time.sleep(0.01)
    return min(one for one, _ in counts), min(one for _, one in counts)
