"""Session persistence and subsets through the whole proxy: two workers, real backends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from tests.flow.apps import Apps
from tests.flow.peers import Gateway
from tests.oracle import session as oracle
from tests.running import wait_until

SECRET = "sixteen letters or more"
COOKIE = re.compile(r"fp=([0-9a-f]{32})(; .*)")
DOWN, DRAIN, MAINT = 1, 2, 3


@dataclass
class Said:
    """One answer."""

    status: int
    app: str
    worker: str
    set_cookies: list[str]
    cookies: list[str]

    @property
    def cookie(self) -> str:
        """The value of the session cookie that was set."""
        (line,) = [one for one in self.set_cookies if one.startswith("fp=")]
        found = COOKIE.fullmatch(line)
        assert found, line
        return found[1]


def ask(proxy: Gateway, target: str = "/", *fields: tuple[str, str]) -> Said:
    """One GET on a connection of its own: either worker may get it."""
    line = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        line.putrequest("GET", target)
        for name, value in (*fields, ("Connection", "close")):
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        body = answer.read()
    finally:
        line.close()
    said: dict[str, Any] = json.loads(body) if answer.status == 200 else {}
    return Said(
        answer.status,
        said.get("app", ""),
        answer.headers["X-Worker"],
        answer.headers.get_all("Set-Cookie", []),
        said.get("cookies", []),
    )


def with_cookie(value: str) -> tuple[str, str]:
    return ("Cookie", f"theme=dark; fp={value}; lang=en")


def settings_of(apps: Apps, *, upstream: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "upstreams": {"web": {"backends": apps.urls, **upstream}},
        "routes": [{
            "path": "/", "upstream": "web",
            "response_headers": {"set": {"X-Worker": "{worker}"}},
        }],
        **more,
    }  # fmt: skip


@contextlib.contextmanager
def running(count: int, upstream: dict[str, Any], **more: Any) -> Iterator[tuple[Gateway, Apps]]:
    """Two workers before so many backends."""
    with (
        Apps(count) as apps,
        Gateway(settings=settings_of(apps, upstream=upstream, **more), workers=2) as proxy,
    ):
        yield proxy, apps


STICKY = {"session": {"cookie": "fp", "secret": SECRET}}


@pytest.fixture(scope="module")
def sticky() -> Iterator[tuple[Gateway, Apps]]:
    with running(4, STICKY) as both:
        yield both


def board_of(proxy: Gateway) -> Board:
    """The scoreboard of a running proxy."""
    folder = Path(f"/proc/{proxy.pid}/fd")
    places = [one for one in folder.iterdir() if "fastproxy-scoreboard" in os.readlink(one)]
    fd = os.open(places[0], os.O_RDWR)
    try:
        return Board(fd)
    finally:
        os.close(fd)


def say(proxy: Gateway, url: str, **words: int) -> None:
    """Control's words of a backend."""
    board = board_of(proxy)
    for row in segment.backends_used(board):
        if segment.backend(board, row)["name"] == url:
            segment.set_backend(board, row, **words)


def ask_both(proxy: Gateway, *fields: tuple[str, str]) -> list[Said]:
    """Ask until each worker has answered a few times."""
    answers: list[Said] = []

    def enough() -> bool:
        answers.append(ask(proxy, "/", *fields))
        seen = Counter(answer.worker for answer in answers)
        return len(seen) == 2 and min(seen.values()) >= 8

    wait_until(enough, 20, 0)
    return answers


# -- our cookie -----------------------------------------------------------------------------------


def test_a_session_stays_where_it_is_over_both_workers(sticky: tuple[Gateway, Apps]) -> None:
    proxy, apps = sticky
    for _ in range(6):
        first = ask(proxy)
        member = oracle.session_id(SECRET.encode(), "web", apps[first.app].url).hex()
        assert first.cookie == member
        for answer in ask_both(proxy, with_cookie(member)):
            assert answer.app == first.app
            assert answer.set_cookies == []


def test_who_brings_none_is_spread_and_gets_one(sticky: tuple[Gateway, Apps]) -> None:
    proxy, _ = sticky
    answers = [ask(proxy) for _ in range(60)]
    assert {one.app for one in answers} == set("abcd")
    assert len({(one.app, one.cookie) for one in answers}) == 4


def test_the_attributes_to_the_letter(sticky: tuple[Gateway, Apps]) -> None:
    proxy, _ = sticky
    (line,) = ask(proxy).set_cookies
    assert re.fullmatch(r"fp=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", line)
    assert proxy.status()["totals"]["sessions_learned"] == 0


def test_answers_with_cookies_of_their_own_and_errors_have_ours_too(
    sticky: tuple[Gateway, Apps],
) -> None:
    proxy, _ = sticky
    two = ask(proxy, "/two")
    assert two.set_cookies[:2] == ["a=1; Path=/", "b=2"]
    assert len(two.set_cookies) == 3
    assert two.cookie
    for code in (204, 304, 404, 500):
        answer = ask(proxy, f"/status?code={code}")
        assert answer.status == code
        assert len(answer.set_cookies) == 1
        value = answer.cookie
        assert ask(proxy, f"/status?code={code}", with_cookie(value)).set_cookies == []


def test_an_interim_answer_has_none(sticky: tuple[Gateway, Apps]) -> None:
    proxy, _ = sticky
    with proxy.connect() as sock:
        sock.sendall(b"GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = b""
        while more := sock.recv(65536):
            data += more
    interim, final, _ = data.split(b"\r\n\r\n", 2)
    assert interim.startswith(b"HTTP/1.1 103 ")
    assert b"Set-Cookie" not in interim
    assert final.startswith(b"HTTP/1.1 200 ")
    assert final.count(b"Set-Cookie: fp=") == 1


@pytest.mark.parametrize(
    "value",
    ["", '"', "0" * 32, "f" * 31, "zz" * 16, "0" * 7000, "%66" * 10, "../../etc/passwd",
     "\xff" * 32, "0" * 32 + "; fp=", '"' + "0" * 32],
)  # fmt: skip
def test_what_is_forged_chooses_nobody(sticky: tuple[Gateway, Apps], value: str) -> None:
    proxy, _ = sticky
    answers = [ask(proxy, "/", ("Cookie", f"fp={value}")) for _ in range(40)]
    assert {one.status for one in answers} == {200}
    assert {one.app for one in answers} == set("abcd")
    assert all(one.cookie for one in answers)


def test_cookies_of_another_secret_choose_nobody(sticky: tuple[Gateway, Apps]) -> None:
    proxy, apps = sticky
    forged = oracle.session_id(b"another secret of theirs", "web", apps["a"].url).hex()
    assert {ask(proxy, "/", with_cookie(forged)).app for _ in range(40)} == set("abcd")


def test_the_first_of_several_cookies_and_fields_counts(sticky: tuple[Gateway, Apps]) -> None:
    proxy, apps = sticky
    name = {app.name: oracle.session_id(SECRET.encode(), "web", app.url).hex() for app in apps.all}
    for _ in range(10):
        for cookies in (
            [f"fp={name['c']}; fp={name['a']}"],
            [f'x=1;fp="{name["c"]}"', f"fp={name['a']}"],
            ["x=1", f"y=2; fp={name['c'].upper()}", f"fp={name['b']}"],
        ):
            answer = ask(proxy, "/", *(("Cookie", one) for one in cookies))
            assert answer.app == "c"
            assert answer.set_cookies == []
            assert answer.cookies == cookies


def test_a_backend_that_is_gone_is_replaced_by_a_new_cookie() -> None:
    with running(3, STICKY) as (proxy, apps):
        first = ask(proxy)
        apps[first.app].down()
        moved = ask(proxy, "/", with_cookie(first.cookie))
        assert moved.status == 200
        assert moved.app != first.app
        for answer in ask_both(proxy, with_cookie(moved.cookie)):
            assert (answer.app, answer.set_cookies) == (moved.app, [])
        apps[first.app].up()
        assert ask(proxy, "/", with_cookie(first.cookie)).app == first.app


def test_a_drained_backend_keeps_its_sessions_and_gets_no_new_ones() -> None:
    with running(4, STICKY) as (proxy, apps):
        first = ask(proxy)
        url = apps[first.app].url
        say(proxy, url, admin=DRAIN)
        for answer in ask_both(proxy, with_cookie(first.cookie)):
            assert (answer.app, answer.set_cookies) == (first.app, [])
        assert first.app not in {ask(proxy).app for _ in range(40)}
        for words in ({"admin": MAINT}, {"admin": 0, "health": DOWN}):
            say(proxy, url, **words)
            for answer in ask_both(proxy, with_cookie(first.cookie)):
                assert answer.app != first.app
                assert answer.cookie
        say(proxy, url, health=0)
        assert ask(proxy, "/", with_cookie(first.cookie)).app == first.app


def test_a_weight_of_0_is_a_drain() -> None:
    with Apps(3) as apps:
        backends = [{"url": url, "weight": int(at != 1)} for at, url in enumerate(apps.urls)]
        settings = settings_of(apps, upstream={**STICKY, "backends": backends})
        with Gateway(settings=settings, workers=2) as proxy:
            value = oracle.session_id(SECRET.encode(), "web", apps["b"].url).hex()
            assert "b" not in {ask(proxy).app for _ in range(30)}
            for answer in ask_both(proxy, with_cookie(value)):
                assert (answer.app, answer.set_cookies) == ("b", [])


def test_sessions_outlive_workers_and_control() -> None:
    """With a random key, made at the start."""
    with running(4, {"session": {"cookie": "fp"}}) as (proxy, _):
        mine = {(one := ask(proxy)).app: one.cookie for _ in range(60)}
        assert set(mine) == set("abcd")
        for pid in [*proxy.worker_pids(), proxy.status()["control_pid"]]:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)
        wait_until(lambda: sum(one["restarts"] for one in proxy.status()["workers"]) == 2, 20)
        wait_until(proxy._serving, 20)
        for app, value in mine.items():
            for answer in ask_both(proxy, with_cookie(value)):
                assert (answer.app, answer.set_cookies) == (app, [])


def test_sessions_outlive_a_new_roster() -> None:
    """A name of two addresses gets one of them less, once control has asked again."""
    with Apps(2) as apps:
        named = f"http://localhost:{apps['a'].port}"
        config = {
            **settings_of(apps, upstream={"session": {"cookie": "fp"}}),
            "listeners": ["127.0.0.1:0"], "access_log": "off", "workers": 2,
        }  # fmt: skip
        config["upstreams"]["web"]["backends"] = [named, apps["b"].url]
        pairs = [["127.0.0.1", apps["a"].port], ["127.0.0.9", apps["a"].port]]
        proxy = Gateway(workers=2)
        config["control_socket"] = proxy.control
        given = {
            "config": config, "addresses": {named: pairs}, "handover": {"resolve_seconds": 2.0},
        }  # fmt: skip
        proxy.command = lambda: handing(given)  # type: ignore[method-assign]
        with proxy:
            mine = {(one := ask(proxy)).app: one.cookie for _ in range(30)}
            assert set(mine) == {"a", "b"}
            assert proxy.status()["roster_epoch"] == 1
            wait_until(lambda: proxy.status()["roster_epoch"] > 1, 20)
            wait_until(lambda: all(one["roster_epoch"] > 1 for one in proxy.status()["workers"]))
            for app, value in mine.items():
                asking = ask_both(proxy, with_cookie(value))
                assert {(one.app, len(one.set_cookies)) for one in asking} == {(app, 0)}


def handing(given: dict[str, Any]) -> list[str]:

    return [sys.executable, "-m", "tests.handing", json.dumps(given)]


def test_secure_is_automatic_behind_a_trusted_proxy_and_can_be_told() -> None:
    session = {"cookie": "fp", "secret": SECRET, "same_site": "none", "max_age": "1h"}
    trusted = {"forwarding": {"trusted_proxies": ["127.0.0.1/32"]}}
    with running(1, {"session": session}, **trusted) as (proxy, _):
        tail = "; Path=/; Max-Age=3600; HttpOnly; SameSite=None"
        for proto, secure in [("https", True), ("HTTPS", True), ("http", False), ("", False)]:
            fields = [("X-Forwarded-Proto", proto)] if proto else []
            (line,) = ask(proxy, "/", *fields).set_cookies
            assert line.partition(";")[1] + line.partition(";")[2] == tail + "; Secure" * secure
    with running(1, {"session": session}) as (proxy, _):
        assert "Secure" not in ask(proxy, "/", ("X-Forwarded-Proto", "https")).set_cookies[0]
    with running(1, {"session": {**session, "secure": True, "domain": "a.test"}}) as (proxy, _):
        (line,) = ask(proxy).set_cookies
        assert line.endswith("; Domain=a.test; Max-Age=3600; HttpOnly; SameSite=None; Secure")


def test_hide_takes_our_cookie_out_of_what_the_backend_reads() -> None:
    with running(2, {"session": {"cookie": "fp", "secret": SECRET, "hide": True}}) as (proxy, _):
        value = ask(proxy).cookie
        for sent, read in [
            (["a=1; fp=X; b=2"], ["a=1; b=2"]),
            (["fp=X"], []),
            (["fp=X", "a=1"], ["a=1"]),
            (["a=1", "b=2;fp=X;c=3;;fp=other; d=4"], ["b=2; c=3; d=4", "a=1"]),
            (["fpx=1; xfp=2; fp"], ["fpx=1; xfp=2; fp"]),
            ([], []),
        ]:
            cookies = [("Cookie", one.replace("X", value)) for one in sent]
            answer = ask(proxy, "/", *cookies)
            assert sorted(answer.cookies) == sorted(read)
            assert len(answer.set_cookies) == (not any("fp=X" in one for one in sent))


# -- learned --------------------------------------------------------------------------------------


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


# -- subsets --------------------------------------------------------------------------------------


def labelled(apps: Apps, strict: bool, **more: Any) -> dict[str, Any]:
    labels = [{"v": "1"}, {"v": "2"}, {"v": "2"}, {}]
    return {
        "backends": [
            {"url": url, "labels": one} for url, one in zip(apps.urls, labels, strict=True)
        ],
        "subset": {"label": "v", "value": "{header:x-version}", "strict": strict},
        **more,
    }


def apps_of(proxy: Gateway, version: str, count: int = 30) -> set[str]:
    """Who answers requests for a version; the status where nobody did."""
    fields = [("X-Version", version)] if version else []
    answers = [ask(proxy, "/", *fields) for _ in range(count)]
    return {one.app or str(one.status) for one in answers}


@pytest.mark.parametrize("strict", [False, True])
def test_requests_go_to_the_members_with_their_label(strict: bool) -> None:
    with (
        Apps(4) as apps,
        Gateway(settings=settings_of(apps, upstream=labelled(apps, strict)), workers=2) as proxy,
    ):
        assert apps_of(proxy, "1") == {"a"}
        assert apps_of(proxy, "2") == {"b", "c"}
        others = {"503"} if strict else set("abcd")
        assert apps_of(proxy, "3") == others
        assert apps_of(proxy, "") == others
        assert apps_of(proxy, "2" * 3000, 10) <= others
        # nobody of it can serve: by what control says, and by what connecting says
        say(proxy, apps["a"].url, admin=MAINT)
        assert apps_of(proxy, "1") == ({"503"} if strict else set("bcd"))
        say(proxy, apps["a"].url, admin=0)
        assert apps_of(proxy, "1", 10) == {"a"}
        apps["a"].down()
        assert apps_of(proxy, "1") == ({"502"} if strict else set("bcd"))
        apps["b"].down()
        assert apps_of(proxy, "2") == {"c"}


def test_a_session_holds_within_its_subset_only() -> None:
    with Apps(4) as apps:
        upstream = labelled(apps, True, **STICKY)
        with Gateway(settings=settings_of(apps, upstream=upstream), workers=2) as proxy:
            two = ("X-Version", "2")
            first = ask(proxy, "/", two)
            assert first.app in "bc"
            for answer in ask_both(proxy, two, with_cookie(first.cookie)):
                assert (answer.app, answer.set_cookies) == (first.app, [])
            moved = ask(proxy, "/", ("X-Version", "1"), with_cookie(first.cookie))
            assert moved.app == "a"
            assert moved.cookie != first.cookie
