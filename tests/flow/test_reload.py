"""Reload: another configuration, in the same processes, and everything that must outlive it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.process import client
from tests.flow.apps import Apps
from tests.flow.orders import call, order, rows, states
from tests.flow.peers import Gateway
from tests.flow.sticking import STICKY, ask, ask_both, running, with_cookie
from tests.running import alive, wait_until

LEARN = {"session": {"learn": "header:X-Session"}}


def settings(*routes: tuple[str, str], apps: Apps | None = None, **more: Any) -> dict[str, Any]:
    """Routes as (path, upstream); each upstream is the app of that name."""
    names = dict.fromkeys(name for _, name in routes)
    return {
        "routes": [{"name": path, "path": path, "upstream": name} for path, name in routes],
        "upstreams": {name: {"backends": [apps[name].url if apps else "http://127.0.0.1:9"]}
                      for name in names},
        **more,
    }  # fmt: skip


def write(proxy: Gateway, given: dict[str, Any]) -> None:
    assert proxy.config
    proxy.settings = {"listeners": ["127.0.0.1:0"], "access_log": "off", **given}
    Path(proxy.config).write_text(json.dumps(proxy.settings))


def reload(proxy: Gateway, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """It must be taken."""
    if given is not None:
        write(proxy, given)
    found = client.reload(proxy.control)
    assert found["done"], found["problems"]
    assert found["in_force"], found
    return found


def generations(proxy: Gateway) -> set[int]:
    return {one["plan_generation"] for one in proxy.status()["workers"]}


@pytest.fixture(scope="module")
def apps() -> Iterator[Apps]:
    with Apps(4) as some:
        yield some


@pytest.fixture
def proxy(apps: Apps) -> Iterator[Gateway]:
    with Gateway(settings=settings(("/", "a"), apps=apps), workers=2) as one:
        yield one


# -- what changes, and what does not --------------------------------------------------------------


def test_routes_and_upstreams_change_and_no_process_does(proxy: Gateway, apps: Apps) -> None:
    pids = proxy.family()
    line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)

    def asked(target: str) -> str:
        line.request("GET", target)
        return str(json.loads(line.getresponse().read())["app"])

    assert asked("/x") == "a"
    found = reload(proxy, settings(("/x", "c"), ("/", "b"), apps=apps))
    assert found["plan_generation"] == 2
    assert generations(proxy) == {2}
    assert (asked("/x"), asked("/")) == ("c", "b")  # on the connection that was there before
    reload(proxy, settings(("/", "a"), ("/x", "d"), apps=apps))
    assert (asked("/x"), asked("/")) == ("d", "a")
    assert proxy.family() == pids
    assert [one["name"] for one in proxy.status()["upstreams"]] == ["a", "d"]
    line.close()


def test_the_command_and_the_signal(proxy: Gateway, apps: Apps) -> None:
    write(proxy, settings(("/", "b"), apps=apps))
    said = call(proxy, "reload")
    assert said.exit_code == 0, said.output
    assert said.output.startswith("plan 2 is in force in all workers")
    write(proxy, settings(("/", "c"), apps=apps))
    os.kill(proxy.pid, signal.SIGHUP)
    wait_until(lambda: generations(proxy) == {3})
    assert {one.app for one in ask_both_plain(proxy)} == {"c"}
    found = json.loads(call(proxy, "reload", "--json").stdout)
    assert (found["done"], found["plan_generation"], found["late_workers"]) == (True, 4, [])
    reloads = proxy.status()["reloads"]
    assert (reloads["done"], reloads["refused"], reloads["last"]["done"]) == (3, 0, True)


def ask_both_plain(proxy: Gateway) -> list[Any]:
    return [ask(proxy) for _ in range(16)]


def test_a_wrong_one_is_refused_with_file_and_line_and_the_old_goes_on(
    proxy: Gateway, apps: Apps
) -> None:
    assert proxy.config
    good = Path(proxy.config).read_text()
    Path(proxy.config).write_text(good.replace('"upstream": "a"', '\n"upstream": "aa"'))
    said = call(proxy, "reload")
    assert said.exit_code == 1
    assert re.search(rf"{re.escape(str(proxy.config))}:2: .*no upstream 'aa'", said.output)
    assert "did you mean 'a'?" in said.output
    assert "plan 1 stays in force" in said.output
    assert ask(proxy).app == "a"
    os.kill(proxy.pid, signal.SIGHUP)
    wait_until(lambda: proxy.status()["reloads"]["refused"] == 2)
    assert "reload refused: plan 1 stays in force" in proxy.log()
    assert "the last reload was refused" in call(proxy, "status").output
    Path(proxy.config).unlink()
    assert call(proxy, "reload").exit_code == 1
    Path(proxy.config).write_text(good)
    assert call(proxy, "reload").exit_code == 0
    assert proxy.status()["plan_generation"] == 2
    assert "refused" not in call(proxy, "status").output


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_workers", 9),
        ("limits", {"learned_sessions": 64}),
        ("pid_file", "/tmp/other.pid"),
        ("access_log", "-"),
        ("log_level", "debug"),
        ("listeners", ["127.0.0.1:1"]),
        ("listeners", [{"bind": "127.0.0.1:0", "backlog": 7}]),
    ],
)
def test_what_takes_a_restart_is_said(proxy: Gateway, apps: Apps, key: str, value: Any) -> None:
    write(proxy, settings(("/", "b"), apps=apps) | {key: value})
    found = client.reload(proxy.control)
    assert not found["done"]
    assert {one["path"].partition(".")[0] for one in found["problems"]} == {key}
    assert all(one["hint"] == "that takes a restart" for one in found["problems"])
    assert ask(proxy).app == "a"


def test_flags_still_go_before_the_file(apps: Apps) -> None:
    given = settings(("/", "a"), apps=apps)
    with Gateway("--max-body", "10", settings=given, workers=1) as proxy:
        reload(proxy, settings(("/", "b"), apps=apps) | {"limits": {"max_body": "1MiB"}})
        line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        line.request("POST", "/", b"x" * 11)
        assert line.getresponse().status == 413
        line.close()
        assert ask(proxy).app == "b"


def test_of_flags_alone(apps: Apps) -> None:
    """There is no file; lists of backends are read again, all the same."""
    with Gateway(upstreams=[apps["a"].url], workers=1) as proxy:
        assert reload(proxy)["plan_generation"] == 2
        assert ask(proxy).app == "a"


# -- numbers --------------------------------------------------------------------------------------


def test_an_upstream_that_comes_back(proxy: Gateway, apps: Apps) -> None:
    """Its number was kept, and so were the counters of its backend."""
    assert ask(proxy).app == "a"
    reload(proxy, settings(("/", "b"), apps=apps))
    assert ask(proxy).app == "b"
    refused = call(proxy, "backend", "drain", "a", apps["a"].url)
    assert refused.exit_code == 1
    assert 'no upstream "a"' in refused.output
    found = reload(proxy, settings(("/b", "b"), ("/", "a"), apps=apps))
    assert found["plan_generation"] == 3
    assert ask(proxy).app == "a"
    assert ask(proxy, "/b").app == "b"
    wait_until(lambda: rows(proxy)[apps["a"].url]["requests"] == 2)
    assert rows(proxy)[apps["b"].url]["requests"] == 2


def test_counters_follow_their_routes(proxy: Gateway, apps: Apps) -> None:
    for _ in range(5):
        ask(proxy)
    reload(proxy, settings(("/new", "b"), ("/", "a"), apps=apps))
    ask(proxy, "/new")

    def counts() -> dict[str, int]:
        return {one["name"]: one["requests"] for one in proxy.status()["routes"]}

    wait_until(lambda: counts() == {"/": 5, "/new": 1})
    reload(proxy, settings(("/newer", "b"), apps=apps))
    ask(proxy, "/newer")
    wait_until(lambda: counts() == {"/newer": 1})
    reload(proxy, settings(("/newer", "b"), ("/", "a"), apps=apps))
    ask(proxy)
    wait_until(lambda: counts() == {"/newer": 1, "/": 6})


def test_a_request_ends_by_the_plan_it_began_with(proxy: Gateway, apps: Apps) -> None:
    """Its upstream is gone meanwhile; its backend is not asked anything new."""
    said: list[Any] = []
    asking = threading.Thread(target=lambda: said.append(ask(proxy, "/slow?ms=1000")))
    asking.start()
    wait_until(lambda: rows(proxy)[apps["a"].url]["inflight"] == 1)
    reload(proxy, settings(("/", "b"), apps=apps))
    assert rows(proxy)[apps["a"].url]["state"] == "removed"
    assert ask(proxy).app == "b"
    asking.join()
    assert (said[0].status, said[0].app) == (200, "a")
    wait_until(lambda: apps["a"].url not in rows(proxy))


def test_old_plans_are_given_up(proxy: Gateway, apps: Apps) -> None:
    def mapped(pid: int) -> int:
        return len(re.findall("fastproxy-(?:plan|roster)", Path(f"/proc/{pid}/maps").read_text()))

    for number in range(6):
        reload(proxy, settings(("/", "ab"[number % 2]), apps=apps))
        ask(proxy)
    for pid in proxy.worker_pids():
        wait_until(lambda: mapped(pid) == 2)  # noqa: B023
        held = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any("fastproxy-plan" in one for one in held)


# -- who stays ------------------------------------------------------------------------------------


def test_sessions_in_cookies_stay() -> None:
    """Also without a `secret`: the instance's own key stays."""
    for sticky in (STICKY, {"session": {"cookie": "fp"}}):
        with running(3, sticky) as (proxy, _):
            mine: dict[str, str] = {}
            while len(mine) < 3:
                one = ask(proxy)
                mine[one.app] = one.cookie
            given = json.loads(Path(str(proxy.config)).read_text())
            given["upstreams"]["web"]["backends"].reverse()
            given["upstreams"] = {"first": {"backends": ["http://127.0.0.1:9"]},
                                  **given["upstreams"]}  # fmt: skip
            reload(proxy, given)
            for app, value in mine.items():
                for answer in ask_both(proxy, with_cookie(value)):
                    assert (answer.app, answer.set_cookies) == (app, [])


def test_learned_sessions_stay() -> None:
    with running(4, LEARN) as (proxy, _):
        owner = {f"u{n}": ask(proxy, "/", ("X-Session", f"u{n}")).app for n in range(12)}
        given = json.loads(Path(str(proxy.config)).read_text())
        given["upstreams"]["web"]["backends"].reverse()
        given["routes"].insert(0, {"path": "/else", "reply": {"status": 204}})
        reload(proxy, given)
        for value, app in owner.items():
            assert {one.app for one in ask_both(proxy, ("X-Session", value))} == {app}
        assert proxy.totals()["sessions_learned"] == 12


def test_what_operators_said_stays() -> None:
    with running(4, {}) as (proxy, apps), Apps(1) as more:
        (added,) = more.urls
        order(proxy, "add", added, settings={"weight": 3})
        order(proxy, "drain", apps["a"].url)
        order(proxy, "remove", apps["b"].url)
        order(proxy, "weight", apps["c"].url, weight=7)
        before = states(proxy)
        given = json.loads(Path(str(proxy.config)).read_text())
        given["upstreams"]["web"]["balance"] = "round_robin"
        reload(proxy, given)
        assert states(proxy) == before
        assert client.backends(proxy.control)["upstreams"][0]["balance"] == "round_robin"
        # Whom the configuration does not name any more is gone, with what was said of it.
        given["upstreams"]["web"]["backends"].pop(0)
        reload(proxy, given)
        assert apps["a"].url not in states(proxy)


def test_health_stays(apps: Apps) -> None:
    """One that is down is not asked between a reload and its next check."""
    health = {"health": {"interval": "30s", "timeout": "200ms", "fall": 1}}
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        given = settings(("/", "a"), apps=apps)
        given["upstreams"]["a"] |= health
        given["upstreams"]["a"]["backends"].append(url)
        with Gateway(settings=given, workers=2) as proxy:
            wait_until(lambda: rows(proxy)[url]["state"] == "down", 20)
            given["routes"].insert(0, {"path": "/else", "reply": {"status": 204}})
            reload(proxy, given)
            assert rows(proxy)[url]["state"] == "down"
            assert {ask(proxy).app for _ in range(16)} == {"a"}
            wait_until(lambda: rows(proxy)[url]["check"] is not None)


def test_files_go_on_naming_backends(apps: Apps, tmp_path: Path) -> None:
    listed = tmp_path / "backends.json"
    listed.write_text(json.dumps({"backends": [apps["a"].url]}))
    given = {
        "routes": [{"path": "/", "upstream": "web"}],
        "upstreams": {"web": {"backends_file": str(listed)}},
    }
    with Gateway(settings=given, workers=2) as proxy:
        assert ask(proxy).app == "a"
        given["routes"].insert(0, {"path": "/else", "reply": {"status": 204}})
        reload(proxy, given)
        assert ask(proxy).app == "a"
        listed.write_text(json.dumps({"backends": [apps["b"].url]}))
        wait_until(lambda: list(rows(proxy)) == [apps["b"].url], 20)
        listed.write_text("not a list")
        assert not client.reload(proxy.control)["done"]
        assert ask(proxy).app == "b"


def test_a_websocket_lives_on(proxy: Gateway, apps: Apps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as origin:
        url = f"http://127.0.0.1:{origin.getsockname()[1]}"
        given = settings(("/", "a"), apps=apps)
        given["upstreams"]["a"]["backends"] = [url]
        reload(proxy, given)
        with proxy.connect() as far:
            far.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            near, _ = origin.accept()
            with near:
                near.settimeout(10)
                assert b"websocket" in near.recv(65536)
                near.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\n"
                    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                )
                assert b" 101 " in far.recv(65536)
                for number in range(3):
                    reload(proxy, settings(("/", "bc"[number % 2]), apps=apps))
                    far.sendall(b"\x81\x82\x00\x00\x00\x00hi")
                    assert near.recv(100) == b"\x81\x82\x00\x00\x00\x00hi"
                    near.sendall(b"\x81\x02ho")
                    assert far.recv(100) == b"\x81\x02ho"


# -- who dies -------------------------------------------------------------------------------------


def test_successors_have_the_new_one(proxy: Gateway, apps: Apps) -> None:
    reload(proxy, settings(("/b", "b"), ("/", "c"), apps=apps))
    order(proxy, "drain", apps["b"].url, upstream="b")
    pids = [proxy.status()["control_pid"], *proxy.worker_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid))  # noqa: B023
    wait_until(lambda: answers_of(proxy) and not set(proxy.worker_pids()) & set(pids), 20)
    wait_until(proxy._serving, 20)
    assert generations(proxy) == {2}
    assert {ask(proxy).app for _ in range(8)} == {"c"}
    assert [one["name"] for one in proxy.status()["upstreams"]] == ["b", "c"]
    assert states(proxy)[apps["b"].url][0] == "drain"
    reload(proxy, settings(("/", "a"), apps=apps))
    assert generations(proxy) == {3}
    assert ask(proxy).app == "a"


def answers_of(proxy: Gateway) -> bool:
    try:
        return bool(proxy.status())
    except client.ControlError:
        return False


def test_the_signal_waits_for_control(proxy: Gateway, apps: Apps) -> None:
    write(proxy, settings(("/", "b"), apps=apps))
    pid = proxy.status()["control_pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    os.kill(proxy.pid, signal.SIGHUP)
    wait_until(lambda: answers_of(proxy) and generations(proxy) == {2}, 20)
    assert ask(proxy).app == "b"


def test_the_drain_time_is_the_new_one(proxy: Gateway, apps: Apps) -> None:
    reload(proxy, settings(("/", "a"), apps=apps, timeouts={"drain": "300ms"}))
    with proxy.connect() as line:
        line.sendall(b"GET /slow?ms=8000 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: rows(proxy)[apps["a"].url]["inflight"] == 1)
        assert proxy.stop(seconds=5) == 0
