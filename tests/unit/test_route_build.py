"""Building routes: names, hosts, what is refused (all at once), what is shadowed, fixed replies."""

from typing import Any

import msgspec
import pytest

from fastproxy import _probe
from fastproxy.memory.pack import read, size
from fastproxy.route import build
from fastproxy.route.host import HostError, parse_host
from fastproxy.route.settings import HeaderEdits, PathRewrite, Redirect, Reply, Route, Split
from tests.unit.routing import Plan, compile_routes, problems_of, routes_of


def test_all_problems_at_once() -> None:
    problems = problems_of(
        {"path": "x", "methods": ["get"], "upstream": "c", "host": "a:80"},
        {"path": "~ (", "headers": {"X A": "1"}, "redirect": {"to": "{nope}"}},
        {"upstream": "a", "redirect": "/x"},
        {"upstream": None},
    )
    assert {p.path for p in problems} == {
        "routes[0].path", "routes[0].upstream", "routes[0].methods[0]", "routes[0].host",
        "routes[1].path", "routes[1].redirect.to", "routes[1].headers.X A", "routes[2]",
        "routes[3]",
    }  # fmt: skip
    assert len(problems) == 9


@pytest.mark.parametrize(
    ("rules", "path", "text"),
    [
        ({"path": "v1"}, "path", 'write "/v1"'),
        ({"path": "/a//b"}, "path", "can never match"),
        ({"path": "/a/../b"}, "path", "dot segments"),
        ({"path": "/%2e%2e/b"}, "path", "dot segments"),
        ({"path": "/a?b"}, "path", "query"),
        ({"path": "/a#b"}, "path", "fragment"),
        ({"path": "/a\\b"}, "path", "backslash"),
        ({"path": "/a%zz"}, "path", "two hex digits"),
        ({"path": "/a%00"}, "path", "%00"),
        ({"path": "/img-{id}.png"}, "path", "a {param} is a whole segment"),
        ({"path": "/{id}/{id}"}, "path", "two params named 'id'"),
        ({"path": "/{a...}/b"}, "path", "must stand at the end"),
        ({"path": "/" + "/".join(f"{{p{i}}}" for i in range(17))}, "path", "at most 16 params"),
        ({"path": "/a" * 65}, "path", "at most 64 segments"),
        ({"path": "~ ["}, "path", "bad regex at character"),
        ({"path": "~"}, "path", "empty regex"),
        ({"path": "~* a"}, "path", "(?i)"),
        ({"host": []}, "host", "empty list"),
        ({"host": ["ok.test", "a b"]}, "host[1]", "no host name"),
        ({"host": "a.*.test"}, "host", "whole first label"),
        ({"host": "~x"}, "host", "whole first label"),
        ({"host": "[::1]:80"}, "host", "has a port"),
        ({"listener": ":8"}, "listener", "did you mean ':80'?"),
        ({"methods": ["G T"]}, "methods[0]", "no method"),
        ({"methods": ["TRACE"]}, "methods[0]", "never proxied"),
        ({"query": {"q": "a\n"}}, "query.q", "control character"),
        ({"cookies": {"a;b": True}}, "cookies.a;b", "no cookie name"),
        ({"headers": {"X": "~ ("}}, "headers.X", "bad regex"),
        ({"upstream": "aa"}, "upstream", "did you mean 'a'?"),
        ({"split": [{"upstream": "zz"}]}, "split[0].upstream", "no upstream 'zz'"),
        ({"split": [{"upstream": "a", "weight": 0}]}, "split", "all weights are 0"),
        ({"upstream": "a", "split_by": "{path}"}, "split_by", "there is none"),
        ({"split": [{"upstream": "a"}], "split_by": "x"}, "split_by", "same for every request"),
        ({"split": [{"upstream": "a"}], "split_by": "{status}"}, "split_by", "not known before"),
        ({"split": [{"upstream": "a"}], "split_by": "{hots}"}, "split_by", "did you mean {host}?"),
        ({"redirect": ""}, "redirect.to", "empty address"),
        ({"upstream": ""}, "upstream", "no upstream ''"),
        ({"redirect": "/a b"}, "redirect.to", "cannot stand in a URL"),
        ({"redirect": "https://{hots}/"}, "redirect.to", "did you mean {host}?"),
        ({"reply": {"status": 204, "body": "x"}}, "reply.body", "no body"),
        ({"reply": {"headers": {"Connection": "x"}}}, "reply.headers.Connection", "one connection"),
        ({"reply": {"headers": {"X": "{id}"}}}, "reply.headers.X", "unknown variable"),
        ({"name": "a\nb"}, "name", "printable"),
    ],
)
def test_what_is_refused(rules: dict[str, Any], path: str, text: str) -> None:
    (problem,) = problems_of(rules)
    assert problem.path == f"routes[0].{path}"
    assert text in f"{problem.text} {problem.hint}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM", "example.com"), ("example.com.", "example.com"), ("*", ""),
        ("*.Example.com", "*.example.com"), ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"), ("[::0001]", "[::1]"), ("a_b.test", "a_b.test"),
    ],
)  # fmt: skip
def test_hosts(text: str, name: str) -> None:
    assert parse_host(text) == name


@pytest.mark.parametrize("text", ["", ".", "-a.test", "a..b", "a" * 64, "[::1", "::1", "a/b", "*."])
def test_hosts_that_are_refused(text: str) -> None:
    with pytest.raises(HostError):
        parse_host(text)


def test_names() -> None:
    plan = Plan(
        {"host": "a.test", "path": "/x"}, {"path": "~ ^/ y"}, {"name": "mine"}, {"path": "/x"},
        {"path": "/x", "methods": ["GET"]},
    )  # fmt: skip
    assert plan.names == ["a.test/x", "~^/y", "mine", "/x", "/x#2"]
    (problem,) = problems_of({"name": "n"}, {"name": "n", "path": "/b"})
    assert problem.path == "routes[1].name"


def shadowed(*rows: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return [(w.path, w.text.split(": ")[1].split(" ")[0]) for w in Plan(*rows, **more).warnings]


def test_shadowed_routes() -> None:
    assert shadowed({"path": "/a"}, {"path": "/a"}) == [("routes[1]", "routes[0]")]
    assert shadowed({"path": "/a", "methods": ["GET", "POST"]}, {"path": "/a", "methods": ["POST"]})
    assert shadowed({"path": "/{a}"}, {"path": "= /{b}"})
    assert shadowed({"path": "/a/"}, {"path": "/a/{rest...}"})
    assert shadowed({"path": "~ x"}, {"path": "~ x", "host": "*"})
    assert shadowed({"path": "/api"}, {"path": r"~ ^/api/v\d/"}) == [("routes[1]", "routes[0]")]
    assert shadowed({"path": "/", "headers": {"X": "1"}}, {"path": "/", "headers": {"x": "1"}})


def test_routes_that_are_not_shadowed() -> None:
    assert not shadowed({"path": "/a"}, {"path": "/a", "methods": ["GET"]})
    assert not shadowed({"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["POST"]})
    assert not shadowed({"path": "/a"}, {"path": "/a", "host": "x.test"})
    assert not shadowed({"path": "/a"}, {"path": "= /a"}, {"path": "/a/"})
    assert not shadowed({"path": "/a", "listener": ":1"}, {"path": "/a"}, listeners=[":1", ":2"])
    assert not shadowed({"path": "/a", "host": "x.test"}, {"path": "/a", "host": ["x.test", "y.x"]})
    assert not shadowed({"path": "/"}, {"path": "~ ^/a/b"})
    assert not shadowed({"path": "/api"}, {"path": "~ ^/api2/"}, {"path": "~ ^/api/|x"})
    assert not shadowed({"path": "/api", "methods": ["GET"]}, {"path": "~ ^/api/x"})


def test_redirects_lead_nowhere_else() -> None:
    """A Location that could begin with "//" is an open redirect: it is made absolute."""
    scene = _probe.scene_of(
        scheme=b"https", authority=b"me:1", path=b"//evil.test/", query=b"q=1", host=b"me",
        params=[b"/evil.test"],
    )  # fmt: skip
    for text, location in (
        ("{path}{args}", b"https://me:1//evil.test/?q=1"),
        ("/{rest}", b"https://me:1//evil.test"),
        ("https://{host}{path}", b"https://me//evil.test/"),
        ("/new", b"/new"),
        ("/new/{rest}", b"/new//evil.test"),
    ):
        plan = Plan({"path": "/{rest...}", "redirect": text})
        assert plan.probe.reply(0, scene)[1] == location


def test_replies_escape_as_their_type_wants() -> None:
    evil = b"<a>\"'\\\r\n\x00&"
    scene = _probe.scene_of(query=b"x=" + evil.replace(b"&", b""), method=b"GET")
    body = "v={query:x}"
    for kind, value in (
        (None, b"v=<a>\"'\\"),
        ("text/html", b"v=&lt;a&gt;&quot;&#39;\\\r\n"),
        ("application/json", b"v=<a>\\\"'\\\\\\r\\n\\u0000"),
    ):
        headers = {"Content-Type": kind} if kind else {}
        plan = Plan({"reply": {"body": body, "headers": headers}})
        fields, got = plan.probe.reply(0, scene)
        assert got == value
        assert fields == f"Content-Type: {kind or 'text/plain; charset=utf-8'}\r\n".encode()


def test_reply_bodies_may_have_lines_and_fields_may_not() -> None:
    plan = Plan({"reply": {"body": "a\r\n\tb\n", "headers": {"X-A": "{method}"}}})
    fields, body = plan.probe.reply(0, _probe.scene_of(method=b"GET"))
    assert body == b"a\r\n\tb\n"
    assert fields.endswith(b"X-A: GET\r\n")
    assert problems_of({"reply": {"headers": {"X-A": "a\nb"}}})


def test_rows_say_what_the_route_says() -> None:
    plan = Plan(
        {"name": "n", "max_body": "1KiB", "request_timeout": "1.5s", "access_log": False,
         "split": [{"upstream": "b", "weight": 90}, {"upstream": "a", "weight": 0},
                   {"upstream": "a", "weight": 10}]},
        {"path": "/r", "redirect": {"to": "/", "status": 302}},
        {"path": "/s", "responder": "status"},
    )  # fmt: skip
    rows = [_row(plan, i) for i in range(3)]
    assert (rows[0]["max_body"], rows[0]["request_timeout_ms"], rows[0]["log"]) == (1024, 1500, 0)
    assert (rows[0]["action"], rows[0]["split_total"], rows[0]["split"][1]) == (1, 100, 2)
    assert (rows[1]["action"], rows[1]["status"], rows[1]["log"]) == (2, 302, 1)
    assert (rows[2]["action"], rows[2]["target"], rows[2]["counter"]) == (4, 0, 2)


def _row(plan: Plan, index: int) -> dict[str, Any]:
    at, count = read("RouteTables", plan.blob)["rows"]
    assert index < count
    return read("RouteRow", plan.blob, at + index * size("RouteRow"))


def test_max_body_default() -> None:
    """A route that does not say takes the default; 0 means unlimited, not "the default"."""
    routes = routes_of({"upstream": "a"}, {"upstream": "a", "path": "/b", "max_body": 0})
    plan = Plan.__new__(Plan)
    plan.blob = compile_routes(routes, max_body=77)[0]
    assert [_row(plan, i)["max_body"] for i in range(2)] == [77, 0]


def test_unknown_keys_are_errors() -> None:
    with pytest.raises(msgspec.ValidationError):
        routes_of({"upstream": "a", "pathh": "/"})
    with pytest.raises(msgspec.ValidationError):
        routes_of({"redirect": {"to": "/", "status": 200}})


def test_every_setting_is_documented() -> None:
    """One `name: text` line per field, for the generated documentation."""
    for struct in (Route, Split, Redirect, Reply, HeaderEdits, PathRewrite):
        lines = (struct.__doc__ or "").splitlines()
        told = [line.strip().split(":")[0] for line in lines[1:] if ": " in line]
        for field in struct.__struct_fields__:
            assert told.count(field) == 1, (struct, field)


def test_too_many_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROUTES_MAX", 2)
    (problem,) = problems_of({"path": "/a"}, {"path": "/b"}, {"path": "/c"})
    assert "at most 2 routes, not 3" in problem.text
