"""Operators' orders: who is meant, and what they are told when it cannot be."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.balance.settings import Backend
from fastproxy.memory import pack
from fastproxy.process import orders, rosters
from fastproxy.process.changes import Change
from fastproxy.process.orders import Done, Order, OrderError
from fastproxy.process.rosters import Rosters
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Health

NAMED = "http://app.test:9001"
GIVEN: dict[str, Any] = {
    "web": {
        "backends": [
            "http://10.0.0.1:9001",
            {"url": "http://10.0.0.2:9001", "weight": 2},
            "http://[::1]:9001",
            "http://10.0.0.3",
            "http+unix:/run/app.sock",
            NAMED,
        ]
    },
    "api": {"backends": ["http://10.0.0.1:9001"]},
}


def made(given: dict[str, Any]) -> Rosters:
    upstreams = rosters.upstreams_of(given)
    urls = {one.url for up in upstreams.values() for one in up.members()}
    addresses = {str(url): build.resolve(url) for url in urls if build.is_numeric(url)}
    addresses[NAMED] = [build.sockaddr_inet(host, 9001) for host in ("10.0.0.1", "10.0.9.9")]
    rows = build.assign_rows(build.members(upstreams, addresses))
    roster = build.build_roster(upstreams, addresses, rows, 1)
    kept = Rosters(upstreams, roster, Board(segment.create(1)))
    kept.publish()
    return kept


@pytest.fixture
def kept() -> Rosters:
    return made(GIVEN)


def give(kept: Rosters, action: str, *backends: str, upstream: str = "web", **more: Any) -> Done:
    order = Order(action, list(backends), upstream, **more)
    names = orders.names_to_resolve(order)
    answers = {str(url): [build.sockaddr_inet("10.0.7.7", url.port)] for url in names}
    return orders.carry_out(kept, order, answers)


def names(kept: Rosters, upstream: str = "web") -> list[str]:
    return [one.name for one in kept.members if one.upstream == upstream]


def word(kept: Rosters, name: str) -> int:
    return kept.said(kept.rows[("web", name)]).operator


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http://10.0.0.2:9001", ["http://10.0.0.2:9001"]),
        ("http://10.0.0.2:9001/", ["http://10.0.0.2:9001"]),
        ("10.0.0.2:9001", ["http://10.0.0.2:9001"]),
        ("[::1]:9001", ["http://[::1]:9001"]),
        ("10.0.0.3", ["http://10.0.0.3"]),
        ("10.0.0.3:80", ["http://10.0.0.3"]),
        ("http://10.0.0.3:80", ["http://10.0.0.3"]),
        ("/run/app.sock", ["http+unix:/run/app.sock"]),
        (NAMED, [f"{NAMED}#10.0.0.1", f"{NAMED}#10.0.9.9"]),
        ("app.test:9001", [f"{NAMED}#10.0.0.1", f"{NAMED}#10.0.9.9"]),
        (f"{NAMED}#10.0.9.9", [f"{NAMED}#10.0.9.9"]),
        ("10.0.9.9:9001", [f"{NAMED}#10.0.9.9"]),
    ],
)
def test_a_backend_has_several_names(kept: Rosters, text: str, meant: list[str]) -> None:
    done = give(kept, "drain", text)
    assert [one.name for one in done.members] == meant
    assert done.changed == meant
    assert {name for name in names(kept) if word(kept, name)} == set(meant)
    assert done.roster is not None
    again = give(kept, "drain", text)
    assert (again.changed, again.roster) == ([], None)
    assert give(kept, "enable", text).changed == meant
    assert {word(kept, name) for name in names(kept)} == {Health.UP}


def test_enabling_ends_an_ejection(kept: Rosters) -> None:
    """The operator vouches for it. Of one that was not out, nothing changes."""
    name, row = "http://10.0.0.1:9001", kept.rows[("web", "http://10.0.0.1:9001")]
    at = segment._head(kept.board, "backends_off") + row * pack.size("BackendRow")
    until_ms = time.monotonic_ns() // 1_000_000 + 30_000
    segment._set_words(kept.board, "BackendRow", at, {"ejection": until_ms << 16 | 1})
    assert give(kept, "enable", name).changed == [name]
    ejection = segment.backend(kept.board, row)["ejection"]
    assert ejection >> 16 <= time.monotonic_ns() // 1_000_000
    assert ejection & 0xFFFF == 1  # the next one is longer all the same
    assert give(kept, "enable", name).changed == []


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("drain", ["10.0.0.1:9001"], "web"),
         '"10.0.0.1:9001" may be http://10.0.0.1:9001 or http://app.test:9001#10.0.0.1: '
         "name one of them"),
        (("drian", ["x"], "web"), 'backends cannot be told to "drian"; did you mean "drain"?'),
        (("drain", [], "web"), "name at least one backend"),
        (("drain", ["10.0.0.2:9001"], "wbe"), 'no upstream "wbe"; did you mean "web"?'),
        (("drain", ["10.0.0.2:9001"], "zzz"), 'no upstream "zzz"; there are web, api'),
        (("drain", ["10.0.0.2:9001"]), "there are several upstreams, name one of them: web, api"),
        (("drain", ["10.0.0.22:9001"], "web"),
         'upstream "web" has no backend "10.0.0.22:9001"; did you mean "10.0.0.2:9001"? it has '
         "http://10.0.0.1:9001, http://10.0.0.2:9001, http://[::1]:9001, http://10.0.0.3, "
         "http+unix:/run/app.sock, http://app.test:9001, http://app.test:9001#10.0.0.1, "
         "http://app.test:9001#10.0.9.9"),
        (("remove", ["other"], "api"),
         'upstream "api" has no backend "other"; it has http://10.0.0.1:9001'),
        (("add", ["http://10.0.0.1:9001"], "api"),
         'http://10.0.0.1:9001 is in upstream "api" already'),
        (("add", ["10.0.0.5:9001"], "web"),
         '"10.0.0.5:9001" is not a backend URL; did you mean "http://10.0.0.5:9001"?'),
        (("add", ["http://10.0.0.5:0"], "web"), "http://10.0.0.5:0: port 0 cannot be connected to"),
        (("weight", ["10.0.0.2:9001"], "web"), "a weight is missing: 0 to 256"),
        (("weight", ["10.0.0.2:9001"], "web", 257), "weight 257 is not within 0 to 256"),
        (("weight", ["10.0.0.2:9001"], "web", -1), "weight -1 is not within 0 to 256"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(kept: Rosters, order: tuple[Any, ...], text: str) -> None:
    before = (kept.epoch, kept.members, kept.changes)
    asked = Order(*order)
    with pytest.raises(OrderError) as error:
        orders.names_to_resolve(asked)
        orders.carry_out(kept, asked, {})
    assert str(error.value) == text
    assert (kept.epoch, kept.members, kept.changes) == before


def test_settings_of_a_new_one_are_checked_as_in_a_file(kept: Rosters) -> None:
    with pytest.raises(OrderError) as error:
        give(kept, "add", "http://10.0.0.5:1", settings={"weight": 999, "prority": 1})
    assert "backend.weight: " in str(error.value)
    assert 'backend.prority: unknown key (did you mean "priority"?)' in str(error.value)


def test_an_upstream_may_be_left_out_when_there_is_one() -> None:
    kept = made({"only": GIVEN["api"]})
    assert give(kept, "drain", "10.0.0.1:9001", upstream="").upstream == "only"
    with pytest.raises(OrderError, match="this instance has no upstream"):
        give(made({}), "drain", "x", upstream="")


def test_all_or_none(kept: Rosters) -> None:
    with pytest.raises(OrderError, match="nowhere"):
        give(kept, "drain", "10.0.0.2:9001", "nowhere")
    assert word(kept, "http://10.0.0.2:9001") == Health.UP
    with pytest.raises(OrderError, match="already"):
        give(kept, "add", "http://10.0.0.8:1", "http://10.0.0.2:9001")
    assert "http://10.0.0.8:1" not in names(kept)
    assert give(kept, "remove", "10.0.0.2:9001", "[::1]:9001").changed == [
        "http://10.0.0.2:9001",
        "http://[::1]:9001",
    ]
    assert kept.epoch == 2


def test_add_and_remove_and_back(kept: Rosters) -> None:
    url = "http://10.0.0.5:9001"
    settings = {"weight": 4, "priority": 1, "zone": "b", "labels": {"v": "2"}, "max_connections": 9}
    done = give(kept, "add", url, settings=settings)
    assert done.changed == [url]
    assert done.roster is not None
    (member,) = done.members
    assert (member.weight, member.backend.priority, member.backend.zone) == (4, 1, "b")
    assert (member.backend.labels, member.backend.max_connections) == ({"v": "2"}, 9)
    give(kept, "disable", url)
    give(kept, "remove", url)
    assert kept.changes["web"] == Change()
    assert kept.said(kept.rows[("web", url)]).gone
    give(kept, "add", url)
    assert word(kept, url) == Health.UP  # a new one, whatever was said of the old
    # one of the configuration: removed, back as it was, back otherwise
    give(kept, "remove", "10.0.0.2:9001")
    assert kept.changes["web"].removed == ["http://10.0.0.2:9001"]
    (member,) = give(kept, "add", "http://10.0.0.2:9001").members
    assert (member.weight, kept.changes["web"].removed) == (2, [])
    give(kept, "remove", "10.0.0.2:9001")
    (member,) = give(kept, "add", "http://10.0.0.2:9001", settings={"weight": 9}).members
    assert member.weight == 9
    assert names(kept).count("http://10.0.0.2:9001") == 1


def test_names_are_looked_up_when_they_are_added(kept: Rosters) -> None:
    done = give(kept, "add", "http://new.test:9001", settings={"weight": 3})
    assert [(one.name, one.weight) for one in done.members] == [
        ("http://new.test:9001#10.0.7.7", 3)
    ]


def test_one_address_of_a_name_can_go_and_come_back(kept: Rosters) -> None:
    give(kept, "remove", "10.0.9.9:9001")
    assert f"{NAMED}#10.0.9.9" not in names(kept)
    assert f"{NAMED}#10.0.0.1" in names(kept)
    give(kept, "add", f"{NAMED}#10.0.9.9")
    assert f"{NAMED}#10.0.9.9" in names(kept)
    with pytest.raises(OrderError, match="path or query"):
        give(kept, "add", f"{NAMED}#10.0.9.9")


def test_weights_of_a_name_hold_for_all_its_addresses(kept: Rosters) -> None:
    give(kept, "weight", f"{NAMED}#10.0.9.9", weight=7)
    assert give(kept, "weight", f"{NAMED}#10.0.9.9", weight=7).changed == []
    done = give(kept, "weight", NAMED, weight=5)
    assert {one.weight for one in done.members} == {5}
    assert done.changed == [f"{NAMED}#10.0.0.1", f"{NAMED}#10.0.9.9"]


def test_nobody_left_is_said(kept: Rosters) -> None:
    def note(action: str, **more: Any) -> str:
        return give(kept, action, "10.0.0.1:9001", upstream="api", **more).note

    silent = 'no backend of upstream "api" takes new requests now: they get 503'
    assert note("drain") == silent
    assert note("enable") == ""
    assert note("weight", weight=0) == silent
    assert note("weight", weight=1) == ""
    assert note("remove") == 'upstream "api" has no backend any more: its requests get 503'
    with pytest.raises(OrderError, match='upstream "api" has no backend at all'):
        note("drain")


def test_a_name_without_an_address_cannot_be_told(kept: Rosters) -> None:
    kept.provide("api", "file", [Backend(url=UpstreamUrl("http://nowhere.test:1"))])
    with pytest.raises(OrderError, match=r"http://nowhere.test:1 has no address"):
        give(kept, "drain", "nowhere.test:1", upstream="api")
    assert give(kept, "remove", "nowhere.test:1", upstream="api").roster is not None
