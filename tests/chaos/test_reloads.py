"""A hundred reloads under load, with deaths among them: no request is lost to them."""

from __future__ import annotations

import os
import random
import signal
import time

from fastproxy.process import client
from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Origin
from tests.flow.test_reload import reload
from tests.running import alive, held_files, wait_until

RELOADS = 100


def settings(origin: Origin, number: int) -> dict[str, object]:
    """Another order, other routes, another name of the upstream that serves, each time."""
    name = f"web{number % 7}"
    upstreams = {
        "never": {"backends": ["http://127.0.0.1:9"]},
        name: {
            "backends": [origin.url],
            "balance": ("p2c", "round_robin", "least_conn")[number % 3],
        },
    }
    if number % 2:
        upstreams = dict(reversed(upstreams.items()))
    routes = [
        {"name": f"r{number}", "path": f"/none{number}", "upstream": "never"},
        {"name": "all", "path": "/", "upstream": name},
    ]
    return {"upstreams": upstreams, "routes": routes if number % 3 else routes[::-1]}


def test_a_hundred_under_load(origin: Origin) -> None:
    with Gateway(settings=settings(origin, 0), workers=2) as proxy:
        pids = proxy.family()
        port = proxy.port
        with (
            Ledger(port, lines=16) as kept,
            Ledger(port, lines=4, fresh=True) as fresh,
            Ledger(port, lines=4, target="/slow?ms=300") as slow,
        ):
            kept.until(200)
            for number in range(1, RELOADS + 1):
                reload(proxy, settings(origin, number))
            assert proxy.status()["plan_generation"] == RELOADS + 1
            kept.until(200)
        for ledger in (kept, fresh, slow):
            assert not ledger.failed
        assert len(slow.entries) >= 8
        assert proxy.family() == pids
        proxy.settle()
        held = [len(held_files(pid)) for pid in pids]
        for number in range(4):
            reload(proxy, settings(origin, number))
        wait_until(lambda: [len(held_files(pid)) for pid in pids] == held)
        counted = {one["name"]: one["requests"] for one in proxy.status()["routes"]}
        assert counted["all"] == sum(len(one.entries) for one in (kept, fresh, slow))


def test_control_dies_among_them(origin: Origin) -> None:
    """Each is done whole or not at all, and the next one is taken by its successor."""
    with Gateway(settings=settings(origin, 0), workers=2) as proxy:
        chance = random.Random(5)
        with Ledger(proxy.port, lines=8) as ledger:
            ledger.until(50)
            for number in range(1, 9):
                pid = proxy.status()["control_pid"]
                try:
                    reload_soon_killed(proxy, origin, number, pid, chance)
                except client.ControlError:
                    pass  # killed while it answered
                wait_until(lambda: not alive(pid))  # noqa: B023
                wait_until(lambda: control_of(proxy) not in (0, pid), 20)  # noqa: B023
                found = reload(proxy, settings(origin, number))
                assert found["in_force"]
            ledger.until(50)
        assert not ledger.failed


def reload_soon_killed(
    proxy: Gateway, origin: Origin, number: int, pid: int, chance: random.Random
) -> None:
    if os.fork() == 0:
        time.sleep(chance.random() * 0.05)
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    try:
        reload(proxy, settings(origin, number))
    finally:
        os.wait()


def control_of(proxy: Gateway) -> int:
    try:
        return int(proxy.status()["control_pid"])
    except client.ControlError:
        return 0
