"""Sessions by a cookie of ours: what it says, who is found by it, who may go on serving them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastproxy import _core, _probe
from fastproxy.balance import build
from fastproxy.balance import session as sessions
from fastproxy.balance.settings import Session, Subset, Upstream
from fastproxy.memory import pack
from fastproxy.memory.pack import Blob
from fastproxy.schema import Duration
from fastproxy.scoreboard.segment import Admin
from tests.oracle import session as oracle
from tests.unit.balancing import Table, group_of, pool_of, roster_of

SECRET = "a secret of many letters"
STICKY = Session(cookie="fp", secret=SECRET)
DRAIN, DOWN, MAINT = 2, 1, 3


def head(*cookies: bytes) -> bytes:
    lines = b"".join(b"Cookie: " + line + b"\r\n" for line in cookies)
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"


def value_of(roster: bytes, member: int) -> bytes:
    """The cookie's value for a member."""
    backends = pack.read("RosterHeader", roster)["backends"][0]
    row = pack.read("RosterBackend", roster, backends + member * pack.size("RosterBackend"))
    return bytes(row["session"]).hex().encode()


@pytest.fixture(scope="module")
def roster() -> bytes:
    return roster_of({"a": pool_of([1] * 50, session=STICKY)})


# -- what it says ---------------------------------------------------------------------------------


def test_the_value_is_an_hmac_of_upstream_and_member(roster: bytes) -> None:
    for at, member in enumerate(build.read_roster(roster)):
        wanted = oracle.session_id(SECRET.encode(), "a", member["name"])
        assert value_of(roster, at) == wanted.hex().encode()


def test_without_a_secret_the_key_that_was_handed_over_counts() -> None:
    pool = {"a": pool_of([1, 1], session=Session(cookie="fp"))}
    addresses = {str(one.url): build.resolve(one.url) for one in pool["a"].members()}
    rows = build.assign_rows(build.members(pool, addresses))
    made = [
        build.build_roster(pool, addresses, rows, 1, session_key=key)
        for key in (b"one", b"one", b"two")
    ]
    assert value_of(made[0], 0) == value_of(made[1], 0) != value_of(made[2], 0)
    name = build.read_roster(made[0])[0]["name"]
    assert value_of(made[0], 0) == oracle.session_id(b"one", "a", name).hex().encode()


def test_an_upstream_without_sessions_has_no_ids() -> None:
    plain = roster_of({"a": pool_of([1, 1])})
    assert value_of(plain, 0) == b"00" * 16
    assert _probe.cookie_member(head(b"fp=" + b"00" * 16), b"fp", plain) == -1


@pytest.mark.parametrize("size", [1, 2, 3, 50, 1000])
def test_every_member_is_found(size: int) -> None:
    made = roster_of({"a": pool_of([1] * 3), "b": pool_of([1] * size, session=STICKY)})
    for at in range(size):
        value = value_of(made, 3 + at)
        assert _probe.cookie_member(head(b"fp=" + value), b"fp", made, 1) == at
        assert _probe.cookie_member(head(b'fp="' + value.upper() + b'"'), b"fp", made, 1) == at


def test_a_cookie_of_another_upstream_names_nobody() -> None:
    made = roster_of({
        "a": pool_of([1] * 3, session=STICKY), "b": pool_of([1] * 3, session=STICKY)
    })  # fmt: skip
    assert _probe.cookie_member(head(b"fp=" + value_of(made, 0)), b"fp", made, 0) == 0
    assert _probe.cookie_member(head(b"fp=" + value_of(made, 0)), b"fp", made, 1) == -1


def test_a_roster_with_a_damaged_order_is_refused(roster: bytes) -> None:
    assert _probe.roster_check(roster) == 0
    base = pack.read("RosterHeader", roster)["upstreams"][0]
    where = base + pack.LAYOUT["RosterUpstream"][1]["sessions"][0]
    offset, count = pack.read("RosterUpstream", roster, base)["sessions"]
    assert count == 50
    for at, size, value in [
        (where, 4, 1 << 31), (where + 4, 4, 49), (where + 4, 4, 1 << 31), (offset, 2, 50),
        (offset + 98, 2, 0xFFFF),
    ]:  # fmt: skip
        bad = bytearray(roster)
        bad[at : at + size] = value.to_bytes(size, "little")
        assert _probe.roster_check(bytes(bad)) == 2


# -- reading it -----------------------------------------------------------------------------------

OCTETS = st.binary(max_size=12).map(lambda raw: bytes(b for b in raw if b > 0x20 and b != 0x7F))
PARTS = st.lists(
    st.one_of(
        st.builds(lambda n, v: n + b"=" + v, st.sampled_from([b"fp", b"fpx", b"f", b"FP"]), OCTETS),
        st.integers(0, 49).map(lambda at: ("member", at)),
        st.sampled_from([b"", b"fp", b"=", b"fp=", b' fp=""', b'fp="', b"fp =1", b"a=fp=1"]),
        OCTETS,
    ),
    max_size=5,
)  # fmt: skip


def spelled(part: Any, roster: bytes) -> bytes:
    if isinstance(part, bytes):
        return part
    value = value_of(roster, part[1])
    return b"fp=" + (value if part[1] % 3 else b'"' + value + b'"')


@given(lines=st.lists(PARTS, max_size=3), gap=st.sampled_from([b"; ", b";", b" ;\t"]))
@example(lines=[[b"a=1"], [("member", 7), ("member", 8)]], gap=b"; ")
@settings(max_examples=400, deadline=None)
def test_the_walk_equals_the_twin(roster: bytes, lines: list[Any], gap: bytes) -> None:
    cookies = [gap.join(spelled(part, roster) for part in line) for line in lines]
    found = oracle.cookie([one.strip(b" \t") for one in cookies], b"fp")
    said = None if found is None else oracle.session(found)
    names = {bytes.fromhex(value_of(roster, at).decode()): at for at in range(50)}
    wanted = -2 if found is None else names.get(said, -1) if said else -1
    assert _probe.cookie_member(head(*cookies), b"fp", roster) == wanted


@pytest.mark.parametrize(
    "value",
    [b"", b'"', b'""', b"0" * 31, b"0" * 33, b"g" * 32, b"\xff" * 32, b"0" * 8000, b" " * 32,
     b"%30" * 32, b'"' + b"0" * 32, b"0x" + b"0" * 30],
)  # fmt: skip
def test_garbage_names_nobody(roster: bytes, value: bytes) -> None:
    assert _probe.cookie_member(head(b"fp=" + value), b"fp", roster) == -1


def test_the_first_of_several_counts(roster: bytes) -> None:
    one, two = value_of(roster, 1), value_of(roster, 2)
    both = b"fp=" + one + b"; fp=" + two
    assert _probe.cookie_member(head(both), b"fp", roster) == 1
    assert _probe.cookie_member(head(b"x=1", b"fp=" + two, both), b"fp", roster) == 2
    assert _probe.cookie_member(head(b"fp=bad; fp=" + two), b"fp", roster) == -1


# -- who may go on serving them -------------------------------------------------------------------


def test_only_a_drain_keeps_sessions() -> None:
    table = Table({"a": pool_of([1] * 5 + [0], session=STICKY)})
    picker = table.picker()
    assert [_probe.keeps_sessions(picker, at) for at in range(6)] == [True] * 6
    for words, keeps in [
        ({"admin": DRAIN}, True),
        ({"admin": MAINT}, False),
        ({"admin": DOWN}, False),
        ({"admin": Admin(agent=DRAIN).word}, True),
        ({"admin": Admin(DRAIN, DRAIN).word}, True),
        ({"admin": Admin(DRAIN, MAINT).word}, False),
        ({"admin": Admin(DOWN, DRAIN).word}, False),
        ({"admin": Admin(DRAIN, gone=True).word}, False),
        ({"health": DOWN}, False),
        ({"health": DRAIN}, True),
        ({"health": DOWN, "admin": DRAIN}, False),
        ({"percent": 0}, True),
    ]:
        table.say(0, **words)
        assert _probe.keeps_sessions(picker, 0) is keeps, words
        assert 0 not in picker.live()[0][0], words
        table.say(0, health=0, admin=0, percent=100)
    table.say(1, generation=2)  # the row is another's by now
    assert not _probe.keeps_sessions(picker, 1)
    table.eject(0, 1000)
    assert not _probe.keeps_sessions(picker, 0, 999)
    assert _probe.keeps_sessions(picker, 0, 1000)
    table.say(5, health=DOWN)
    assert not _probe.keeps_sessions(picker, 5)


def test_in_a_panic_the_down_keep_theirs_as_everybody_is_used() -> None:
    table = Table({"a": pool_of([1, 1, 1], session=STICKY)})
    picker = table.picker()
    table.say(0, health=DOWN)
    assert not _probe.keeps_sessions(picker, 0)
    table.say(1, health=DOWN)
    assert _probe.keeps_sessions(picker, 0)
    table.say(0, admin=MAINT)
    assert not _probe.keeps_sessions(picker, 0)


# -- the plan's part ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "wanted"),
    [
        ({}, "; Path=/; HttpOnly; SameSite=Lax"),
        ({"http_only": False, "same_site": "", "path": ""}, ""),
        ({"secure": True, "same_site": "none"}, "; Path=/; HttpOnly; SameSite=None; Secure"),
        ({"domain": "example.com", "max_age": Duration("1h"), "path": "/app"},
         "; Path=/app; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=Lax"),
        ({"max_age": Duration("1ms")}, "; Path=/; Max-Age=1; HttpOnly; SameSite=Lax"),
    ],
)  # fmt: skip
def test_attributes(knobs: dict[str, Any], wanted: str) -> None:
    assert sessions.attributes(Session(cookie="fp", **knobs)) == wanted


def test_kinds_and_names() -> None:
    blob = Blob(0)
    row = sessions.session_plan(blob, "web", Session(learn="header:Cookie"))
    assert row["kind"] == sessions.LEARN_HEADER
    assert row["field_id"] == _core.field_ids()["cookie"]
    assert row["idle_ms"] == 600_000
    assert row["seed"] == int.from_bytes(hashlib.sha256(b"web").digest()[:8], "little")
    other = sessions.session_plan(blob, "web", Session(learn="cookie:JSESSIONID"))
    assert (other["kind"], other["name"][1]) == (sessions.LEARN_COOKIE, len("JSESSIONID"))
    assert sessions.session_plan(blob, "web", Session()) == {}


def faults(**knobs: Any) -> list[str]:
    upstream = Upstream(backends=[], session=Session(**knobs))
    return [".".join(where) for where, _, _ in sessions.faults(upstream)]


def test_what_does_not_go_together() -> None:
    assert faults() == faults(cookie="a") == faults(learn="cookie:a", idle=Duration("7d")) == []
    assert faults(cookie="a", learn="cookie:a") == ["session.learn"]
    assert faults(secret="x" * 16) == ["session.secret"]
    assert faults(learn="header:a", hide=True) == ["session.hide"]
    assert faults(cookie="a", idle=Duration("5m")) == ["session.idle"]
    assert faults(learn="cookie:a", idle=Duration("8d")) == ["session.idle"]
    assert faults(learn="cookie:a", idle=Duration("off")) == ["session.idle"]
    assert faults(cookie="a", same_site="none", secure=False) == ["session.secure"]
    assert faults(cookie="a", same_site="none") == []
    assert faults(cookie="__Secure-a", secure=False) == ["session.secure"]
    assert faults(cookie="__Host-a", secure=True, domain="a.b") == ["session.domain"]
    assert faults(cookie="__Host-a", secure=True, path="/x") == ["session.path"]


# -- subsets --------------------------------------------------------------------------------------


def test_members_by_label() -> None:
    labels: list[dict[str, str]] = [{"v": "2"}, {"v": "1"}, {}, {"v": "10"}, {"v": "2", "w": "1"}]
    upstream = group_of(
        *({"labels": one} for one in labels),
        subset=Subset(label="v", value="{header:x-v}"),
    )
    made = roster_of({"b": pool_of([1]), "a": upstream})
    for value, wanted in [
        (b"2", {0, 4}), (b"1", {1}), (b"10", {3}), (b"", None), (b"0", None), (b"20", None),
        (b"100", None), (b"\xff", None),
    ]:  # fmt: skip
        assert _probe.subset_members(made, value, 1) == wanted
    assert _probe.subset_members(made, b"2", 0) is None


@given(st.lists(st.sampled_from(["", "a", "b", "ab", "aa", "é", "zz"]), max_size=80))
@settings(max_examples=50, deadline=None)
def test_subsets_equal_the_twin(values: list[str]) -> None:
    upstream = group_of(
        *({"labels": {"v": one} if one else {}} for one in values),
        subset=Subset(label="v", value="x"),
    )
    made = roster_of({"a": upstream})
    for value in ("", "a", "b", "ab", "aa", "é", "zz", "aaa"):
        wanted = {at for at, one in enumerate(values) if one == value and one}
        assert _probe.subset_members(made, value.encode()) == (wanted or None)
