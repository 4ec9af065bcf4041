"""Learned sessions, through two workers: one table, idle ends, and backends that go."""

from __future__ import annotations

import os
import signal
import threading
import time

from tests.flow.sticking import (
    MAINT,
    ask,
    ask_both,
    running,
    say,
)
from tests.running import wait_until


def jsession(value: str) -> tuple[str, str]:
    return ("Cookie", f"a=1; JSESSIONID={value}")


def test_an_application_s_cookie_is_learned_by_all_workers() -> None:
    with running(4, {"session": {"learn": "cookie:JSESSIONID"}}) as (proxy, apps):
        owners = {f"s{n}": ask(proxy, f"/login?id=s{n}") for n in range(8)}
        for value, login in owners.items():
            assert login.set_cookies == [f"JSESSIONID={value}; Path=/; HttpOnly"]
            for answer in ask_both(proxy, jsession(value)):
                assert (answer.app, answer.set_cookies) == (login.app, [])
        assert proxy.totals()["sessions_learned"] == 8
        assert proxy.totals()["sessions_evicted"] == 0
        # what nobody has given is not learned
        assert {ask(proxy, "/", jsession("forged")).app for _ in range(40)} == set("abcd")
        assert proxy.totals()["sessions_learned"] == 8
        # a worker dies: nothing is forgotten
        for pid in proxy.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: sum(one["restarts"] for one in proxy.status()["workers"]) == 2, 20)
        wait_until(proxy._serving, 20)
        for value, login in owners.items():
            assert {ask(proxy, "/", jsession(value)).app for _ in range(5)} == {login.app}
        # its backend goes: another takes it over, for good
        gone = owners["s0"].app
        say(proxy, apps[gone].url, admin=MAINT)
        moved = ask(proxy, "/", jsession("s0")).app
        assert moved != gone
        say(proxy, apps[gone].url, admin=0)
        for answer in ask_both(proxy, jsession("s0")):
            assert answer.app == moved


def test_there_is_room_for_as_many_as_configured() -> None:
    limits = {"learned_sessions": 8}
    with running(4, {"session": {"learn": "header:X-Session"}}, limits=limits) as (proxy, _):
        for number in range(8):
            ask(proxy, "/", ("X-Session", f"u{number}"))
        assert proxy.totals()["sessions_evicted"] == 0
        for number in range(8, 24):
            ask(proxy, "/", ("X-Session", f"u{number}"))
        assert proxy.totals()["sessions_learned"] == 24
        assert proxy.totals()["sessions_evicted"] == 16


def test_a_field_is_learned_when_it_is_first_seen() -> None:
    with running(4, {"session": {"learn": "header:X-Session"}}) as (proxy, apps):
        owner = {f"u{n}": ask(proxy, "/", ("X-Session", f"u{n}")).app for n in range(20)}
        assert len(set(owner.values())) > 1
        for value in ("u1", "u2", "u3"):
            for answer in ask_both(proxy, ("x-session", value)):
                assert answer.app == owner[value]
        assert proxy.totals()["sessions_learned"] == 20
        assert {ask(proxy).app for _ in range(30)} == set("abcd")
        gone = owner["u1"]
        apps[gone].down()
        moved = ask(proxy, "/", ("X-Session", "u1"))
        assert moved.status == 200
        assert moved.app != gone
        apps[gone].up()
        for answer in ask_both(proxy, ("X-Session", "u1")):
            assert answer.app == moved.app


def test_requests_of_a_new_session_that_come_at_once_go_to_one_backend() -> None:
    with running(4, {"session": {"learn": "header:X-Session"}}) as (proxy, _):
        for turn in range(5):
            field = ("X-Session", f"at-once-{turn}")
            first = threading.Thread(target=ask, args=(proxy, "/slow?ms=400", field))
            first.start()
            time.sleep(0.15)  # it is at its backend, and no answer has come
            apps = {one.app for one in ask_both(proxy, field)}
            first.join()
            assert len(apps) == 1


def test_idle_sessions_end() -> None:
    with running(4, {"session": {"learn": "header:X-Session", "idle": "1500ms"}}) as (proxy, _):
        field = ("X-Session", "mine")
        app = ask(proxy, "/", field).app
        for _ in range(6):
            time.sleep(0.5)
            assert ask(proxy, "/", field).app == app  # each use is another 1.5 s
        assert proxy.totals()["sessions_learned"] == 1
        time.sleep(2.2)
        ask(proxy, "/", field)
        assert proxy.totals()["sessions_learned"] == 2
