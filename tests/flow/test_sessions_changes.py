"""Sessions while backends come, go, are drained or full: two workers, changed as they run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.flow.orders import call, order, rows
from tests.flow.peers import Gateway
from tests.flow.sticking import STICKY, Said, ask, ask_both, running, with_cookie
from tests.running import wait_until

LEARN = {"session": {"learn": "header:X-Session"}}


def cookies_of(proxy: Gateway, count: int) -> dict[str, str]:
    """A session's cookie at each app."""
    found: dict[str, str] = {}
    while len(found) < count:
        one = ask(proxy)
        found[one.app] = one.cookie
    return found


@contextmanager
def held(proxy: Gateway, ms: int, *fields: tuple[str, str]) -> Iterator[list[Said]]:
    """A request under way for so long; its answer comes at the end."""
    said: list[Said] = []
    before = sum(one["inflight"] for one in rows(proxy).values())
    asking = threading.Thread(target=lambda: said.append(ask(proxy, f"/slow?ms={ms}", *fields)))
    asking.start()
    wait_until(lambda: sum(one["inflight"] for one in rows(proxy).values()) > before)
    yield said
    asking.join()


# -- backends that come and go --------------------------------------------------------------------


def test_sessions_outlive_backends_added_and_removed() -> None:
    with running(5, STICKY) as (proxy, apps):
        mine = cookies_of(proxy, 5)
        order(proxy, "remove", apps["b"].url)
        order(proxy, "weight", apps["c"].url, weight=7)
        for app in "acde":
            for answer in ask_both(proxy, with_cookie(mine[app])):
                assert (answer.app, answer.set_cookies) == (app, [])
        moved = ask(proxy, "/", with_cookie(mine["b"]))
        assert moved.app != "b"
        assert moved.cookie == mine[moved.app]
        order(proxy, "add", apps["b"].url)
        for app, value in mine.items():
            for answer in ask_both(proxy, with_cookie(value)):
                assert (answer.app, answer.set_cookies) == (app, [])


def test_learned_sessions_too() -> None:
    with running(4, LEARN) as (proxy, apps):
        owner = {f"u{n}": ask(proxy, "/", ("X-Session", f"u{n}")).app for n in range(12)}
        gone = owner["u0"]
        order(proxy, "remove", apps[gone].url)
        for value, app in owner.items():
            found = {one.app for one in ask_both(proxy, ("X-Session", value))}
            assert len(found) == 1
            assert found == {app} or app == gone
        assert proxy.totals()["sessions_learned"] == 12


def test_a_drain_waits_for_the_sessions_requests_and_tells_how_many() -> None:
    with running(2, STICKY) as (proxy, apps):
        mine = cookies_of(proxy, 2)
        with held(proxy, 1500, with_cookie(mine["a"])) as said:
            answer = order(proxy, "drain", apps["a"].url)
            assert answer["backends"][0]["inflight"] == 1
            late = call(proxy, "backend", "drain", apps["a"].url, "--wait", "--timeout", "0.2")
            assert late.exit_code == 1
            done = call(proxy, "backend", "drain", apps["a"].url, "--wait", "--json")
            assert json.loads(done.output)["backends"][0]["inflight"] == 1
        assert done.exit_code == 0
        assert said[0].app == "a"
        assert rows(proxy)[apps["a"].url]["inflight"] == 0
        assert ask(proxy, "/", with_cookie(mine["a"])).app == "a"


# -- backends that are full -----------------------------------------------------------------------

CAPPED = {"balance": "p2c", "queue": {"length": 100, "timeout": "10s"}}


@pytest.mark.parametrize("kind", ["cookie", "learned"])
def test_who_finds_his_backend_full_goes_elsewhere_for_once(kind: str) -> None:
    session = STICKY if kind == "cookie" else LEARN
    with running(3, {**CAPPED, **session}, most=1) as (proxy, _):
        fields = [("X-Session", "mine")]
        first = ask(proxy, "/", *fields)
        if kind == "cookie":
            fields = [with_cookie(first.cookie)]
        with held(proxy, 1500, *fields) as said:
            for answer in ask_both(proxy, *fields):
                assert answer.status == 200
                assert answer.app != first.app
                assert answer.set_cookies == []
        assert said[0].app == first.app
        for answer in ask_both(proxy, *fields):
            assert (answer.app, answer.set_cookies) == (first.app, [])


def test_who_finds_all_full_waits_and_takes_what_comes() -> None:
    with running(2, {**CAPPED, **STICKY}, most=1) as (proxy, _):
        mine = cookies_of(proxy, 2)
        for long, short in (("a", "b"), ("b", "a")):
            with held(proxy, 2500, with_cookie(mine[long])):
                with held(proxy, 700, with_cookie(mine[short])):
                    began = time.monotonic()
                    answer = ask(proxy, "/", with_cookie(mine[long]))
                    assert time.monotonic() - began < 2
                    assert (answer.app, answer.set_cookies) == (short, [])


def test_who_waits_meanwhile_is_chosen_from_the_new_roster() -> None:
    """The last of three goes while its session waits: it must not be looked for in a roster of
    one."""
    with running(3, {**CAPPED, **STICKY}, most=1) as (proxy, apps):
        mine = cookies_of(proxy, 3)
        with (
            held(proxy, 2500, with_cookie(mine["a"])),
            held(proxy, 4500, with_cookie(mine["b"])),
            held(proxy, 4500, with_cookie(mine["c"])),
        ):
            said: list[Said] = []
            asking = threading.Thread(
                target=lambda: said.append(ask(proxy, "/", with_cookie(mine["c"])))
            )
            asking.start()
            wait_until(lambda: proxy.totals()["queued"] == 1)
            order(proxy, "remove", apps["c"].url)
            order(proxy, "remove", apps["b"].url)
            asking.join()
            assert said[0].app == "a"
            assert said[0].cookie == mine["a"]
