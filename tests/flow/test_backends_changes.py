"""Backends changed while the proxy runs: in force in all workers, for good, and nobody loses a
request.

Real processes, two workers; the load is a ledger that writes down the fate of every request.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.process import client
from tests.flow.ledger import Ledger
from tests.flow.orders import Timed, call, order, rows, states
from tests.flow.peers import Gateway
from tests.flow.sticking import STICKY, ask, ask_both, running, with_cookie
from tests.nameserver import Responder
from tests.running import Backend, Proxy, alive, halt, wait_until

IN_FORCE_SECONDS = 0.1


@pytest.fixture(scope="module")
def timed() -> Iterator[list[Timed]]:
    with Timed() as one, Timed() as two, Timed() as three:
        yield [one, two, three]


# -- in force everywhere, and nobody loses a request ---------------------------------------------


def way_back(action: str) -> str:
    return {"remove": "add", "drain": "enable", "disable": "enable", "weight": "weight"}[action]


@pytest.mark.parametrize("action", ["remove", "drain", "disable", "weight"])
def test_when_the_answer_is_there_the_last_request_has_been(
    timed: list[Timed], action: str, record_property: Any
) -> None:
    """From the answer to the last request that the backend sees: at most 100 ms, in all workers."""
    late = []
    zero, one = ({"weight": 0}, {"weight": 1}) if action == "weight" else ({}, {})
    with (
        Proxy(upstreams=[origin.url for origin in timed], workers=2) as proxy,
        Ledger(proxy.port, lines=16) as ledger,
    ):
        ledger.until(200)
        for turn in range(9):
            origin = timed[turn % 3]
            answer = order(proxy, action, origin.name, **zero)
            returned = time.monotonic()
            assert answer["in_force"]
            ledger.until(300)
            time.sleep(IN_FORCE_SECONDS)
            late.append(max(0.0, origin.times[-1] - returned))
            count = len(origin.times)
            back = origin.url if action == "remove" else origin.name
            assert order(proxy, way_back(action), back, **one)["in_force"]
            wait_until(lambda: len(origin.times) > count + 10)  # noqa: B023
        used = [row["requests"] for row in rows(proxy).values()]
    assert not ledger.failed, ledger.count()
    assert min(used) > 0
    record_property("seconds_to_the_last_request", max(late))
    print(f"{action}: last request {max(late) * 1000:.1f} ms after the answer, 9 turns")
    assert max(late) <= IN_FORCE_SECONDS, late


def test_two_hundred_changes_under_load_lose_nothing(timed: list[Timed]) -> None:
    """Adds and removes in a row, by keep-alive clients and by new connections."""
    before = Counter[str]()
    for origin in timed:
        before += origin.seen
    with (
        Proxy(upstreams=[origin.url for origin in timed[:2]], workers=2) as proxy,
        Ledger(proxy.port, lines=8) as kept,
        Ledger(proxy.port, lines=2, fresh=True, pause=0.002) as fresh,
    ):
        kept.until(100)
        for turn in range(100):
            goes, comes = timed[turn % 3], timed[(turn + 2) % 3]
            assert order(proxy, "add", comes.url)["in_force"], turn
            assert order(proxy, "remove", goes.name)["in_force"], turn
        kept.until(100)
        epochs = {row["roster_epoch"] for row in proxy.status()["workers"]}
        assert epochs == {201}
        assert len(rows(proxy)) == 2
    assert not kept.failed, kept.count()
    assert not fresh.failed, fresh.count()
    seen = Counter[str]()
    for origin in timed:
        seen += origin.seen
    for ledger in (kept, fresh):
        ledger.check_origin(dict(seen - before))


def test_callers_at_the_same_time_do_not_mix(timed: list[Timed]) -> None:
    """Two at once, each with a backend of its own, and a third that looks: all are served, and what
    each was told is so."""
    faults: list[str] = []

    def work(proxy: Proxy, url: str) -> None:
        for turn in range(40):
            for action, there in (("add", True), ("remove", False)):
                answer = order(proxy, action, url)
                here = rows(proxy).get(url, {}).get("state", "removed") != "removed"
                if answer["changed"] != [url] or here != there:
                    faults.append(f"{turn} {action} {url}")

    with Proxy(upstreams=[timed[0].url], workers=2) as proxy, Ledger(proxy.port, 4) as ledger:
        threads = [threading.Thread(target=work, args=(proxy, origin.url)) for origin in timed[1:]]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
            assert not one.is_alive()
        assert list(rows(proxy)) == [timed[0].url]
        assert client.backends(proxy.control)["roster_epoch"] == 1 + 2 * 80
    assert not faults
    assert not ledger.failed, ledger.count()


def test_a_stuck_worker_is_named_and_gets_it_when_it_is_back(timed: list[Timed]) -> None:
    with Proxy(upstreams=[timed[0].url], workers=2) as proxy:
        stuck = proxy.worker_pids()[1]
        halt(stuck)
        try:
            answer = order(proxy, "add", timed[1].url)
            assert (answer["in_force"], answer["late_workers"]) == (False, [1])
            done = call(proxy, "backend", "add", timed[2].url)
            assert done.exit_code == 1
            assert "not in force yet in worker 1: it is stuck" in done.output
        finally:
            os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: {row["roster_epoch"] for row in proxy.status()["workers"]} == {3})
        assert len(rows(proxy)) == 3


def test_a_drained_backend_keeps_its_sessions_until_it_is_disabled_or_removed() -> None:
    with running(3, STICKY) as (proxy, apps):
        first = ask(proxy)
        url, cookie = apps[first.app].url, with_cookie(first.cookie)
        for action, stays in (
            ("drain", True),
            ("disable", False),
            ("enable", True),
            ("remove", False),
            ("add", True),
        ):
            order(proxy, action, url)
            found = {answer.app for answer in ask_both(proxy, cookie)}
            assert (found == {first.app}) == stays, action
            assert (first.app in found) == stays, action
            if action != "enable" and action != "add":
                assert first.app not in {ask(proxy).app for _ in range(20)}


# -- what survives ------------------------------------------------------------------------------


def changed(proxy: Proxy, timed: list[Timed]) -> dict[str, Any]:
    """Something of everything, and what `backends` shows of it (without its counters)."""
    one, two, three = timed
    order(proxy, "add", three.url, settings={"weight": 4, "max_connections": 50, "zone": "b"})
    order(proxy, "add", "http://127.0.0.1:9", "http://127.0.0.1:10")
    order(proxy, "disable", "127.0.0.1:9", "127.0.0.1:10")
    order(proxy, "weight", two.name, weight=7)
    order(proxy, "drain", one.name)
    order(proxy, "remove", "127.0.0.1:10")
    return standing(proxy)


def standing(proxy: Proxy) -> dict[str, Any]:
    found = client.backends(proxy.control)
    shown = ("name", "weight", "state", "operator", "max_connections", "zone", "source")
    (upstream,) = found["upstreams"]
    members = [{key: row[key] for key in shown} for row in upstream["backends"]]
    return {"epoch": found["roster_epoch"], "changes": upstream["changes"], "members": members}


def test_a_control_that_is_killed_leaves_everything_as_it_was(timed: list[Timed]) -> None:
    one, two, three = timed
    with Proxy(upstreams=[one.url, two.url], workers=2) as proxy:
        before = changed(proxy, timed)
        assert before["changes"] == {
            "added": [three.url, "http://127.0.0.1:9"],
            "removed": [],
            "weights": {two.url: 7},
            "provided": {},
        }
        assert {row["name"]: (row["state"], row["weight"]) for row in before["members"]} == {
            one.url: ("drain", 1),
            two.url: ("up", 7),
            three.url: ("up", 4),
            "http://127.0.0.1:9": ("maint", 1),
        }
        drained = len(one.times)
        with Ledger(proxy.port, 8) as ledger:
            for _ in range(2):
                old = proxy.status()["control_pid"]
                os.kill(old, signal.SIGKILL)
                wait_until(lambda: not alive(old))  # noqa: B023
                wait_until(lambda: proxy.status()["control_pid"] != old)  # noqa: B023
                assert standing(proxy) == before
                ledger.until(50)
        assert not ledger.failed, ledger.count()
        for pid in proxy.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(row["restarts"] for row in proxy.status()["workers"]))
        wait_until(lambda: {row["state"] for row in proxy.status()["workers"]} == {"serving"})
        assert standing(proxy) == before
        assert {row["roster_epoch"] for row in proxy.status()["workers"]} == {before["epoch"]}
        with Ledger(proxy.port, 8) as ledger:
            ledger.until(100)
            assert len(one.times) == drained
            order(proxy, "remove", "127.0.0.1:9")
            order(proxy, "enable", one.name)
            wait_until(lambda: len(one.times) > drained)
        assert not ledger.failed, ledger.count()


def test_the_next_start_knows_what_was_changed(timed: list[Timed], tmp_path: Path) -> None:
    one, two = (origin.url for origin in timed[:2])
    path = tmp_path / "state.json"
    flags = (f"--set=state_file={path}",)
    with Proxy(*flags, upstreams=[one, two], workers=2) as proxy:
        before = changed(proxy, timed)
        assert proxy.stop() == 0
    drained, removed = len(timed[0].times), json.loads(path.read_text())
    assert removed["default"]["words"][one] == "drain"
    with Proxy(*flags, upstreams=[one, two], workers=2) as proxy, Ledger(proxy.port, 8) as ledger:
        wait_until(lambda: one in rows(proxy))
        after = standing(proxy)
        assert {key: before[key] for key in ("changes", "members")} == {
            key: after[key] for key in ("changes", "members")
        }
        ledger.until(200)
        assert len(timed[0].times) == drained
        path.unlink()
        path.mkdir()
        note = order(proxy, "enable", one)["note"]
        assert note.startswith(f"{path} cannot be written (")
        wait_until(lambda: len(timed[0].times) > drained)
    assert not ledger.failed, ledger.count()


def test_names_that_move_keep_what_was_said(backend: Backend) -> None:
    port = int(backend.url.rpartition(":")[2])
    url = f"http://api.test:{port}"
    with Responder() as server:
        server.say("api.test", "A", "127.0.0.9", ttl=2)
        settings = {
            "dns": {"servers": [server.address], "ipv6": "off"},
            "upstreams": {"a": {"backends": [url, backend.url]}},
            "routes": [{"path": "/", "upstream": "a"}],
        }
        with Gateway(settings=settings, workers=2) as proxy:
            names_move(proxy, server, url, backend)


def names_move(proxy: Proxy, server: Responder, url: str, backend: Backend) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(client.ControlError, match=r"has no backend \"127.0.0.8:"):
        order(proxy, "drain", f"127.0.0.8:{port}")
    order(proxy, "drain", url)
    order(proxy, "weight", url, weight=6)
    assert states(proxy) == {
        f"{url}#127.0.0.9": ("drain", 6),
        backend.url: ("up", 1),
    }
    server.say("api.test", "A", "127.0.0.1")
    wait_until(lambda: f"{url}#127.0.0.1" in rows(proxy))
    found = states(proxy)
    assert found[f"{url}#127.0.0.1"] == ("drain", 6)
    assert f"{url}#127.0.0.9" not in found
    with pytest.raises(client.ControlError, match="may be .* or .*: name one of them"):
        order(proxy, "enable", f"127.0.0.1:{port}")
    order(proxy, "enable", f"{url}#127.0.0.1")
    assert states(proxy)[f"{url}#127.0.0.1"] == ("up", 6)


def test_a_name_is_looked_up_when_it_is_added(backend: Backend) -> None:
    port = int(backend.url.rpartition(":")[2])
    with Proxy(upstreams=["http://127.0.0.1:9"], workers=2) as proxy:
        answer = order(proxy, "add", f"http://localhost:{port}")
        assert f"http://localhost:{port}#127.0.0.1" in answer["changed"]
        order(proxy, "remove", "127.0.0.1:9")
        assert proxy.get("/").status == 200
        with pytest.raises(client.ControlError, match=r"nowhere.invalid:1 does not resolve \("):
            order(proxy, "add", "http://nowhere.invalid:1")
