"""Sessions by a cookie of ours, through two workers: it holds, it moves, it is what it says."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.flow.apps import Apps
from tests.flow.orders import order
from tests.flow.peers import Gateway
from tests.flow.sticking import (
    DOWN,
    SECRET,
    STICKY,
    ask,
    ask_both,
    running,
    say,
    settings_of,
    with_cookie,
)
from tests.nameserver import Responder
from tests.oracle import session as oracle
from tests.running import wait_until


@pytest.fixture(scope="module")
def sticky() -> Iterator[tuple[Gateway, Apps]]:
    with running(4, STICKY) as both:
        yield both


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
        for drained in (("drain", {}), ("weight", {"weight": 0})):
            order(proxy, drained[0], url, **drained[1])
            for answer in ask_both(proxy, with_cookie(first.cookie)):
                assert (answer.app, answer.set_cookies) == (first.app, [])
            assert first.app not in {ask(proxy).app for _ in range(40)}
            order(proxy, "enable", url)
        order(proxy, "weight", url, weight=1)
        order(proxy, "disable", url)
        for answer in ask_both(proxy, with_cookie(first.cookie)):
            assert answer.app != first.app
            assert answer.cookie
        order(proxy, "enable", url)
        assert ask(proxy, "/", with_cookie(first.cookie)).app == first.app
        say(proxy, url, health=DOWN)
        for answer in ask_both(proxy, with_cookie(first.cookie)):
            assert answer.app != first.app
            assert answer.cookie


def test_a_backend_configured_with_weight_0_keeps_sessions() -> None:
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
    """A name of two addresses gets one of them less."""
    with Apps(2) as apps, Responder() as server:
        server.say("api.test", "A", "127.0.0.1", "127.0.0.9", ttl=1)
        named = f"http://api.test:{apps['a'].port}"
        settings = {
            **settings_of(apps, upstream={"session": {"cookie": "fp"}}),
            "dns": {"servers": [server.address], "ipv6": "off"},
        }
        settings["upstreams"]["web"]["backends"] = [named, apps["b"].url]
        with Gateway(settings=settings, workers=2) as proxy:
            mine = {(one := ask(proxy)).app: one.cookie for _ in range(30)}
            assert set(mine) == {"a", "b"}
            assert proxy.status()["roster_epoch"] == 1
            server.say("api.test", "A", "127.0.0.1")
            wait_until(lambda: proxy.status()["roster_epoch"] > 1, 20)
            wait_until(lambda: all(one["roster_epoch"] > 1 for one in proxy.status()["workers"]))
            for app, value in mine.items():
                asking = ask_both(proxy, with_cookie(value))
                assert {(one.app, len(one.set_cookies)) for one in asking} == {(app, 0)}


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
