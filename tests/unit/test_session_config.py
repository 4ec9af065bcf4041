"""What a configuration may say about sessions and subsets, and what is said about its mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from fastproxy import start
from fastproxy.balance import session as sessions
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.memory import pack


def config_of(*labels: dict[str, str], **upstream: Any) -> dict[str, Any]:
    backends = [
        {"url": f"http://127.0.0.1:{9000 + at}", "labels": one}
        for at, one in enumerate(labels or ({},))
    ]
    return {
        "listeners": ["127.0.0.1:0"],
        "upstreams": {"web": {"backends": backends, **upstream}},
        "routes": [{"path": "/", "upstream": "web"}],
    }


def said(*labels: dict[str, str], **upstream: Any) -> list[str]:
    """Errors, and warnings with a "?" before them."""
    found = check.check(from_data(config_of(*labels, **upstream)))
    shown = [(one, "") for one in found.errors] + [(one, "?") for one in found.warnings]
    return [
        mark + f"{one.path.removeprefix('upstreams.web.')}: {one.text}"
        + (f" ({one.hint})" if one.hint else "")
        for one, mark in shown
    ]  # fmt: skip


@pytest.mark.parametrize(
    "session",
    [
        {},
        {"cookie": "fp_backend"},
        {"cookie": "__Host-fp", "secure": True},
        {"cookie": "fp", "secret": "0123456789abcdef", "http_only": False, "secure": "auto",
         "same_site": "strict", "domain": "example.com", "path": "/app", "max_age": "30d",
         "hide": True},
        {"learn": "cookie:JSESSIONID", "idle": "30m"},
        {"learn": "header:X-Session"},
    ],
)  # fmt: skip
def test_what_is_fine(session: dict[str, Any]) -> None:
    assert said(session=session) == []


@pytest.mark.parametrize(
    ("session", "wanted"),
    [
        ({"cooky": "a"}, 'session.cooky: unknown key (did you mean "cookie"?)'),
        ({"cookie": "a b"}, 'session.cookie: "a b" does not fit; expected the name of a cookie'),
        ({"cookie": "a;b"}, "session.cookie: "),
        ({"cookie": "a=b"}, "session.cookie: "),
        ({"cookie": "a\r\nX: y"}, "session.cookie: "),
        ({"learn": "JSESSIONID"}, 'session.learn: "JSESSIONID" does not fit; expected '
         '"cookie:NAME" or "header:NAME"'),
        ({"learn": "cookie:"}, "session.learn: "),
        ({"cookie": "a", "secret": "short"}, "session.secret: has 5 characters, fewer than 16"),
        ({"cookie": "a", "path": "/;x"}, "session.path: "),
        ({"cookie": "a", "path": "x"}, "session.path: "),
        ({"cookie": "a", "domain": "a;b"}, "session.domain: "),
        ({"cookie": "a", "same_site": "laxx"}, 'session.same_site: expected "lax" or "strict" '
         'or "none" or "", got "laxx" (did you mean "lax"?)'),
        ({"cookie": "a", "secure": "always"}, 'session.secure: expected "auto" or true or false'),
        ({"cookie": "a", "learn": "cookie:a"}, 'session.learn: "cookie" makes a cookie of our own'),
        ({"learn": "cookie:a", "idle": "30d"}, "session.idle: must be from 1ms to 7d, got 30d"),
        ({"secret": "0123456789abcdef"}, "session.secret: is about a cookie of our own, and there "
         'is none (write cookie = "NAME")'),
        ({"cookie": "a", "same_site": "none", "secure": False}, "session.secure: browsers refuse"),
    ],
)  # fmt: skip
def test_mistakes_of_sessions(session: dict[str, Any], wanted: str) -> None:
    (problem,) = said(session=session)
    assert problem.startswith(wanted), problem


def test_a_secret_is_not_repeated_in_what_is_said() -> None:
    assert "hunter2" not in "".join(said(session={"cookie": "a", "secret": "hunter2"}))


def test_subsets() -> None:
    good = {"label": "v", "value": "{header:x-v}"}
    assert said({"v": "1"}, subset=good) == []
    assert said({"v": "1"}, subset={"label": "v"}) == [
        'subset.value: a subset needs "value" too '
        '(such as { label = "version", value = "{header:x-version}" })'
    ]
    assert said({"v": "1"}, subset={"value": "x"})[0].startswith('subset.label: a subset needs "la')
    assert said({"version": "1"}, subset={**good, "label": "versoin"}) == [
        '?subset.label: no backend has the label "versoin" (did you mean "version"?)'
    ]
    assert said({"v": "1"}, subset={**good, "value": "{hedder:x}"}) == [
        "subset.value: unknown variable {hedder:x} (did you mean {header}?)"
    ]
    assert said({"v": "1"}, subset={**good, "value": "{param:id}"})[0].startswith("subset.value: ")


def test_each_start_has_a_key_of_its_own_and_hands_it_on() -> None:
    config, _ = check.sound(from_data(config_of(session={"cookie": "fp"})))
    ready = [start.prepare(config) for _ in range(2)]
    assert len({one.handover.session_key for one in ready}) == 2
    for one in ready:
        head = pack.read("RosterHeader", one.roster)
        row = pack.read("RosterBackend", one.roster, head["backends"][0])
        key = bytes.fromhex(one.handover.session_key)
        assert len(key) == 32
        session = config.upstreams["web"].session
        wanted = sessions.session_id(session, key, "web", "http://127.0.0.1:9000")
        assert bytes(row["session"]) == wanted
