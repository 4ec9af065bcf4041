"""Header edits and rewritten paths: what the other side reads, and what it must never read."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import _probe
from tests.unit.routing import IDS, Plan, problems_of

OK, ILLEGAL, TOO_LONG, LIMIT = 0, -1, -2, -3
Fields = list[tuple[bytes, bytes]]


def edited(edits: dict[str, Any], fields: Fields, **scene: Any) -> Fields:
    """The head after the edits: kept fields, then new ones."""
    plan = Plan({"request_headers": edits})
    kept, new, full = plan.probe.edits(plan.rewrites[0], False, fields, _probe.scene_of(**scene))
    assert not full
    assert new.endswith(b"\r\n") or new == b""
    lines = [tuple(line.split(b": ", 1)) for line in new.split(b"\r\n")[:-1]]
    return kept + lines


HEAD: Fields = [
    (b"Host", b"h"),
    (b"X-A", b"1"),
    (b"x-a", b"2"),
    (b"Cookie", b"c=1"),
    (b"Via", b"v"),
]


def test_set_replaces_all_lines_of_the_name() -> None:
    assert edited({"set": {"X-a": "3"}}, HEAD) == [
        HEAD[0], HEAD[3], HEAD[4], (b"X-a", b"3"),
    ]  # fmt: skip
    assert edited({"set": {"via": ""}}, HEAD)[-1] == (b"via", b"")


def test_add_leaves_what_is_there() -> None:
    assert edited({"add": {"X-A": ["3", "4"]}}, HEAD) == [
        *HEAD, (b"X-A", b"3"), (b"X-A", b"4"),
    ]  # fmt: skip


def test_append_joins() -> None:
    assert edited({"append": {"X-A": "{host}", "Cookie": "d=2", "X-N": "n"}}, HEAD, host=b"H") == [
        HEAD[0], HEAD[4], (b"X-A", b"1, 2, H"), (b"Cookie", b"c=1; d=2"), (b"X-N", b"n"),
    ]  # fmt: skip


def test_remove() -> None:
    assert edited({"remove": ["x-a", "COOKIE", "X-None"]}, HEAD) == [HEAD[0], HEAD[4]]
    # Known names share a bit with others (id & 31): only the name itself goes.
    known = sorted(IDS, key=lambda n: IDS[n] & 31)
    for name in set(known) - {"host", "connection", "content-length", "transfer-encoding",
                              "expect", "upgrade", "te", "trailer", "keep-alive",
                              "proxy-connection", "http2-settings"}:  # fmt: skip
        fields = [(n.encode(), b"x") for n in known]
        assert edited({"remove": [name]}, fields) == [f for f in fields if f[0] != name.encode()]


def test_remove_then_add_and_order() -> None:
    edits = {"add": {"X-A": "9"}, "remove": ["X-A"], "set": {"X-S": "s"}}
    assert edited(edits, HEAD)[-2:] == [(b"X-S", b"s"), (b"X-A", b"9")]
    assert (b"X-A", b"1") not in edited(edits, HEAD)


def test_variables_in_responses() -> None:
    plan = Plan({"response_headers": {"set": {"X-R": "{status} {header:X-A}"}}})
    scene = _probe.scene_of(status=200, request=_probe.head_of([(b"X-A", b"1")], IDS))
    assert plan.probe.edits(plan.rewrites[0], True, [], scene)[1] == b"X-R: 200 1\r\n"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=50), st.binary(max_size=50))
def test_no_line_can_be_brought_in(one: bytes, two: bytes) -> None:
    plan = Plan({
        "path": "/{p}",
        "request_headers": {"set": {"X-A": "a{header:X-B}b{query:q}{p}"},
                            "append": {"X-C": "{cookie:c}{target}"}},
    })  # fmt: skip
    fields = [(b"X-B", one), (b"Cookie", b"c=" + two)]
    scene = _probe.scene_of(
        request=_probe.head_of(fields, IDS), query=b"q=" + two, target=one, params=[two]
    )
    _, new, _ = plan.probe.edits(plan.rewrites[0], False, fields, scene)
    assert re.fullmatch(rb"X-A: a[^\x00-\x1f\x7f]*\r\nX-C: [^\x00-\x1f\x7f]*\r\n", new)


def test_row_zero_changes_nothing() -> None:
    plan = Plan({}, {"strip_prefix": "/a"})
    assert plan.rewrites == [0, 1]
    kept, new, _ = plan.probe.edits(0, False, HEAD, _probe.scene_of())
    assert (kept, new) == (HEAD, b"")
    assert plan.probe.path(0, b"/x", b"q", _probe.scene_of(), 9, b"GET ")[1] == b"/x?q"


@pytest.mark.parametrize(
    ("edits", "wrong"),
    [
        ({"set": {"Content-Length": "1"}}, "Content-Length cannot be changed here: it frames"),
        ({"remove": ["transfer-encoding"]}, "it frames the message"),
        ({"add": {"Connection": "x"}}, "belongs to one connection"),
        ({"append": {"Upgrade": "h2c"}}, "belongs to one connection"),
        ({"set": {"TE": "x"}}, "belongs to one connection"),
        ({"set": {"Host": "x"}}, "host policy"),
        ({"set": {"X A": "x"}}, "'X A' is no field name"),
        ({"set": {"X:": "x"}}, "no field name"),
        ({"set": {"": "x"}}, "no field name"),
        ({"set": {"X-\u00e9": "x"}}, "no field name"),
        ({"set": {"X": "a\r\nY: b"}}, "control character"),
        ({"set": {"X": "{nope}"}}, "unknown variable"),
        ({"set": {"X": "1", "x": "2"}}, "a field is named twice"),
        ({"set": {"X": "1"}, "remove": ["x"]}, "remove names it too"),
        ({"append": {"Set-Cookie": "a=b"}}, "cannot be joined"),
    ],
)
def test_edits_that_are_refused(edits: dict[str, Any], wrong: str) -> None:
    (problem,) = problems_of({"request_headers": edits})
    assert problem.path.startswith("routes[0].request_headers.")
    assert wrong in problem.text + problem.hint


def path(rules: dict[str, Any], text: str, asked: str = "", **scene: Any) -> bytes | int:
    """The target that leaves, or the fault."""
    plan = Plan(rules)
    code, result, whole = plan.probe.path(
        plan.rewrites[0], text.encode("latin-1"), asked.encode(), _probe.scene_of(**scene),
        65536, b"GET ",
    )  # fmt: skip
    assert whole == b"GET " + (result or b"")
    return code if result is None else result


@pytest.mark.parametrize(
    ("rules", "sent", "got"),
    [
        ({"strip_prefix": "/v1"}, "/v1/x", b"/x"),
        ({"strip_prefix": "/v1/"}, "/v1/x", b"/x"),
        ({"strip_prefix": "/v1"}, "/v1", b"/"),
        ({"strip_prefix": "/v1"}, "/v1/", b"/"),
        ({"strip_prefix": "/v1"}, "/v1x", b"/v1x"),
        ({"strip_prefix": "/v1"}, "/other", b"/other"),
        ({"strip_prefix": "/v1"}, "/v1//evil.com/x", b"/evil.com/x"),
        ({"strip_prefix": "/"}, "/v1", b"/v1"),
        ({"add_prefix": "/app"}, "/x", b"/app/x"),
        ({"add_prefix": "/app/"}, "/", b"/app/"),
        ({"strip_prefix": "/v1", "add_prefix": "/v2"}, "/v1/x", b"/v2/x"),
        ({"rewrite": {"regex": "^/old/(.*)$", "to": "/new/$1"}}, "/old/a/b", b"/new/a/b"),
        ({"rewrite": {"regex": "^/old", "to": "/n"}}, "/older", b"/ner"),
        ({"rewrite": {"regex": "b+", "to": "X"}}, "/abbcbb", b"/aXcbb"),
        ({"rewrite": {"regex": "(?<y>\\d+)-(\\d+)", "to": "${y}/$2/$0"}}, "/1-2", b"/1/2/1-2"),
        ({"rewrite": {"regex": "^/nope", "to": "/x"}}, "/a", b"/a"),
        ({"rewrite": {"regex": "^/a(b)?", "to": "/[$1]"}}, "/a", b"/[]"),
        ({"strip_prefix": "/a", "rewrite": {"regex": "^/b", "to": "/c"}, "add_prefix": "/d"},
         "/a/b/x", b"/d/c/x"),
        ({"rewrite_path": "/fixed"}, "/a", b"/fixed"),
        ({"path": "/u/{id}", "rewrite_path": "/users/{id}/profile"}, "/u/7", b"/users/7/profile"),
    ],
)  # fmt: skip
def test_paths(rules: dict[str, Any], sent: str, got: bytes) -> None:
    scene = {"params": [b"7"]} if "{id}" in str(rules) else {}
    assert path(rules, sent, **scene) == got
    assert path(rules, sent, "q=1", **scene) == got + b"?q=1"


def test_a_question_mark_replaces_the_query() -> None:
    assert path({"rewrite_path": "/x?a=1"}, "/y", "b=2") == b"/x?a=1"
    assert path({"rewrite_path": "/x?a=1&{query}"}, "/y", "b=2", query=b"b=2") == b"/x?a=1&b=2"
    rule = {"rewrite": {"regex": "^/y/(.*)$", "to": "/x?p=$1"}, "add_prefix": "/z"}
    assert path(rule, "/y/7", "b=2") == b"/z/x?p=7"
    assert path({"rewrite_path": "/x?"}, "/y", "b=2") == b"/x?"
    twice = {"rewrite": {"regex": "$", "to": "?a=1"}, "add_prefix": "/p"}
    assert path(twice, "/y") == b"/p/y?a=1"


@pytest.mark.parametrize(
    ("rules", "sent", "more"),
    [
        # After StripPrefix "/api", "/api.." must not become "..", nor "/api/.." "/..".
        ({"strip_prefix": "/api"}, "/api/..", {}),
        ({"strip_prefix": "/api"}, "/api/../x", {}),
        ({"strip_prefix": "/api"}, "/api/%2e%2E/x", {}),
        ({"strip_prefix": "/api"}, "/api/.%2e", {}),
        ({"strip_prefix": "/api"}, "/api/.", {}),
        ({"rewrite": {"regex": "^/api", "to": "/"}}, "/api..", {}),
        ({"rewrite": {"regex": "^/api", "to": "/"}}, "/api../secret", {}),
        ({"rewrite": {"regex": "^/x", "to": "y"}}, "/x", {}),
        ({"rewrite": {"regex": "^/(.*)$", "to": "$1"}}, "/x", {}),
        ({"rewrite_path": "{header:X-P}"}, "/x", {"header": b"evil"}),
        ({"rewrite_path": "/{header:X-P}/x"}, "/x", {"header": b".."}),
        ({"rewrite_path": "/{header:X-P}/x"}, "/x", {"header": b"%2e%2e"}),
        ({"rewrite_path": "/{header:X-P}"}, "/x", {"header": b"a%00"}),
        ({"rewrite_path": "{path}"}, "/x", {"path": b""}),
        ({"rewrite_path": "/a#b"}, "/x", {}),
    ],
)
def test_results_that_are_no_path(rules: dict[str, Any], sent: str, more: dict[str, bytes]) -> None:
    scene = {name: value for name, value in more.items() if name != "header"}
    request = _probe.head_of([(b"X-P", more.get("header", b""))], IDS)
    assert path(rules, sent, request=request, **scene) == ILLEGAL


def test_stripping_stops_at_whole_segments() -> None:
    assert path({"strip_prefix": "/api"}, "/api..") == b"/api.."
    assert path({"strip_prefix": "/api"}, "/api../x") == b"/api../x"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=30), st.sampled_from([
    {"strip_prefix": "/a"}, {"add_prefix": "/p"},
    {"rewrite": {"regex": "^/(.*?)/(.*)$", "to": "/$2/$1{header:X-P}"}},
    {"rewrite_path": "/{header:X-P}"}, {"rewrite_path": "{header:X-P}?{query:x}"},
    {"rewrite": {"regex": "a", "to": ""}},
]))  # fmt: skip
def test_whatever_leaves_is_a_target(value: bytes, rules: dict[str, Any]) -> None:
    request = _probe.head_of([(b"X-P", value)], IDS)
    for text in (b"/" + value, b"/a/" + value, value, b"/a" + value):
        got = path(rules, text.decode("latin-1"), "q=1", request=request, query=b"x=" + value)
        if isinstance(got, int):
            assert got == ILLEGAL
            continue
        sent, _, query = got.partition(b"?")
        assert sent.startswith(b"/")
        assert re.fullmatch(rb"[\x21-\x7e]+", got)
        assert not re.search(rb"[\\#]", sent)
        assert b"#" not in query
        assert not any(s.lower().replace(b"%2e", b".") in (b".", b"..") for s in sent.split(b"/"))
        assert b"%00" not in sent


def test_what_does_not_fit() -> None:
    plan = Plan({"add_prefix": "/" + "p" * 40})
    for room in range(4, 60):
        code, result, whole = plan.probe.path(1, b"/x" * 5, b"q", _probe.scene_of(), room, b"GET ")
        assert code == (OK if room >= 4 + 41 + 12 else TOO_LONG)
        assert whole == b"GET " + (result or b"")


def test_a_runaway_regex_is_told() -> None:
    rules = {"rewrite": {"regex": "^/(a+)+$", "to": "/x"}}
    assert path(rules, "/" + "a" * 200 + "!") == LIMIT


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ({"strip_prefix": "v1"}, "a prefix begins with a slash"),
        ({"strip_prefix": "/a//b"}, 'no "//"'),
        ({"add_prefix": "/a/../b"}, "no dot segments"),
        ({"add_prefix": "/a?b"}, "visible ASCII"),
        ({"add_prefix": "/a\r\n"}, "visible ASCII"),
        ({"rewrite": {"regex": "(", "to": "/"}}, "bad regex at character 2: missing closing"),
        ({"rewrite": {"regex": "a", "to": "/$1"}}, "no group 1"),
        ({"rewrite_path": "x"}, "begins with a slash"),
        ({"rewrite_path": "/x y"}, "cannot stand in a URL"),
        ({"rewrite_path": "/x", "add_prefix": "/y"}, "excludes add_prefix"),
    ],
)
def test_paths_that_are_refused(rules: dict[str, Any], wrong: str) -> None:
    problems = problems_of(rules)
    assert len(problems) == 1
    assert wrong in problems[0].text
    assert problems[0].path.startswith("routes[0].")


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        (b"/", True), (b"/a/b", True), (b"/...", True), (b"/.a", True), (b"/a..", True),
        (b"//", True), (b"/%2F", True), (b"/%41", True), (b"/a%2e%2eb", True),
        (b"/%2e%2e%2e", True),
        (b"", False), (b"a", False), (b"/.", False), (b"/..", False), (b"/../", False),
        (b"/a/./b", False), (b"/a/..", False), (b"/%2e", False), (b"/%2E.", False),
        (b"/a b", False), (b"/a\x00", False), (b"/\x7f", False), (b"/\xff", False),
        (b"/%00", False),
        (b"/a\\b", False), (b"/a?b", False), (b"/a#b", False), (b"/a\tb", False), (b"/%2", True),
    ],
)  # fmt: skip
def test_legal_paths(text: bytes, legal: bool) -> None:
    assert _probe.legal_path(text) is legal
