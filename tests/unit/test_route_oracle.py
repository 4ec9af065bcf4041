"""The compiled matcher against its slow twin, on random tables and random requests."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import route as oracle
from tests.unit.routing import Plan

SEGMENTS = ["a", "b", "ab", "users", "v1", "longer-segment", "nine-byte"]
HOSTS = ["a.test", "b.test", "*.test", "*.b.test", "*"]
ASKED = ["a.test", "b.test", "x.b.test", "x.y.b.test", "test", "other", ""]
METHODS = ["GET", "HEAD", "POST", "PUT", "PURGE"]
BITS = ["OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]

segment = st.sampled_from(SEGMENTS)
condition = st.one_of(st.booleans(), st.sampled_from(["1", "x y", "~ ^1", "~ 2$"]))


@st.composite
def patterns(draw: st.DrawFn) -> str:
    kind = draw(
        st.sampled_from(["prefix", "below", "exact", "slash", "param", "rest", "regex", "root"])
    )
    if kind == "root":
        return "/"
    if kind == "regex":
        return draw(st.sampled_from(["~ ^/a/(.*)$", "~ b", "~ ^/(v1|users)/", "~ (\\d+)$"]))
    parts = draw(st.lists(segment, min_size=1, max_size=4))
    if kind in ("param", "rest", "below") and draw(st.booleans()):
        at = draw(st.integers(0, len(parts) - 1))
        parts[at] = "{p}"
    text = "/" + "/".join(parts)
    return {
        "prefix": text, "below": text + "/", "slash": "= " + text + "/", "exact": "= " + text,
        "param": text + "/{q}", "rest": text + "/{rest...}",
    }[kind]  # fmt: skip


@st.composite
def routes(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {"path": draw(patterns())}
    hosts = draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True))
    if hosts:
        row["host"] = hosts
    if draw(st.integers(0, 3)) == 0:
        row["listener"] = draw(st.sampled_from([":80", ":81"]))
    if draw(st.integers(0, 2)) == 0:
        row["methods"] = draw(st.lists(st.sampled_from(METHODS), min_size=1, max_size=2))
    for field, name in (("headers", "X-A"), ("query", "q"), ("cookies", "c")):
        if draw(st.integers(0, 4)) == 0:
            row[field] = {name: draw(condition)}
    return row


value = st.sampled_from([b"1", b"x y", b"12", b"2", b""])
header = st.one_of(
    st.tuples(st.sampled_from([b"X-A", b"x-a", b"X-B"]), value),
    st.tuples(st.just(b"Cookie"), st.sampled_from([b"c=1", b"d=1; c=12", b"c=x y;c=2", b"e=c=1"])),
)
request = st.builds(
    oracle.Request,
    host=st.sampled_from(ASKED),
    path=st.one_of(
        st.lists(st.one_of(segment, st.just(""), st.just("77")), max_size=5).map(
            lambda parts: "/" + "/".join(parts)
        ),
        st.just("*"),
    ),
    query=st.sampled_from(["", "q=1", "q=x+y", "q=%78%20y", "q", "r=1&q=12", "%71=2", "q=&q=2"]),
    method=st.sampled_from(METHODS),
    headers=st.lists(header, max_size=3),
    listener=st.sampled_from([":80", ":81"]),
)


def compare(plan: Plan, asked: oracle.Request) -> None:
    want = oracle.answer(plan.routes, asked)
    why, route, allow, params = plan.ask(
        asked.path, host=asked.host, query=asked.query, method=asked.method,
        headers=asked.headers, listener=[":80", ":81"].index(asked.listener),
    )  # fmt: skip
    got = ("hit", "no_host", "no_path", "no_method")[why]
    assert got == want.why, (asked, want)
    if got == "hit":
        assert route == want.route, (asked, want)
        wanted = [p.encode() for p in want.params]
        assert params[: len(wanted)] == wanted, (asked, want)
        assert not any(params[len(wanted) :])
    if got == "no_method":
        named = {BITS[bit] for bit in range(10) if allow >> bit & 1}
        assert named == {m if m in BITS else "OTHER" for m in want.allow}, (asked, want)


@settings(max_examples=400, deadline=None)
@given(st.lists(routes(), min_size=1, max_size=12), st.lists(request, min_size=1, max_size=12))
def test_same_answer_as_the_twin(rows: list[dict[str, Any]], asked: list[oracle.Request]) -> None:
    plan = Plan(*rows, listeners=[":80", ":81"])
    for one in asked:
        compare(plan, one)


def test_same_answer_as_the_twin_on_a_large_table() -> None:
    rng = random.Random(7)
    rows = []
    for _ in range(600):
        parts = [rng.choice([*SEGMENTS, "{p}"]) for _ in range(rng.randint(1, 4))]
        while parts.count("{p}") > 1:
            parts[parts.index("{p}")] = "c"
        end = rng.choice(["", "/", "/{rest...}"])
        row: dict[str, Any] = {"path": "/" + "/".join(parts) + end}
        if rng.random() < 0.3:
            row["host"] = rng.sample(HOSTS, 2)
        if rng.random() < 0.2:
            row["methods"] = [rng.choice(METHODS)]
        rows.append(row)
    plan = Plan(*rows, listeners=[":80", ":81"])
    for _ in range(3000):
        path = "/" + "/".join(rng.choice([*SEGMENTS, "77", ""]) for _ in range(rng.randint(0, 5)))
        compare(plan, oracle.Request(rng.choice(ASKED), path, method=rng.choice(METHODS)))
