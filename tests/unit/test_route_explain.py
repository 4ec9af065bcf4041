"""`_core.explain` on a whole plan, and the reasons in plain words."""

from typing import Any

import pytest

from fastproxy import _core
from fastproxy.memory.pack import Blob, size
from fastproxy.regex.build import RegexList
from fastproxy.rewrite.build import build_rewrites
from fastproxy.route.build import build_routes
from fastproxy.route.explain import Asked, explain_others
from fastproxy.route.path import path_params
from tests.oracle import route as oracle
from tests.unit.routing import Plan, routes_of

PLAN_MAGIC, PLAN_VERSION = 0x504C5046, 1


def plan_of(*rows: dict[str, Any]) -> bytes:
    """A plan with its header, as config/plan.py makes it."""
    routes = routes_of(*rows)
    blob = Blob(size("PlanHeader"))
    regexes = RegexList()
    problems: list[Any] = []
    params = path_params([r.path for r in routes], regexes)
    rewrites = build_rewrites(blob, regexes, routes, params, problems)
    tables = build_routes(blob, regexes, routes, [":80", ":81"], ["a"], [], rewrites.rows,
                          rewrites.replies, problems, [])  # fmt: skip
    assert not problems
    header = {"magic": PLAN_MAGIC, "version": PLAN_VERSION, "routes": tables,
              "rewrites": rewrites.tables}  # fmt: skip
    return blob.finish("PlanHeader", header)


RULES: list[dict[str, Any]] = [
    {"name": "v1", "path": "/v1/", "upstream": "a", "strip_prefix": "/v1",
     "request_headers": {"set": {"X-Host": "{host}"}, "remove": ["Cookie"]}},
    {"name": "user", "path": "/users/{id}", "methods": ["GET", "PUT"], "upstream": "a"},
    {"name": "beta", "path": "/v1/", "headers": {"X-Beta": "~ ^1"}, "upstream": "a"},
    {"name": "named", "host": "x.test", "redirect": "https://y.test{path}"},
    {"name": "second", "listener": ":81", "upstream": "a"},
    {"name": "regex", "path": "~ ^/v1/a", "upstream": "a"},
    {"name": "asks", "path": "/v1", "query": {"q": "1"}, "cookies": {"c": True}, "upstream": "a"},
    {"name": "same", "path": "/v1/", "upstream": "a"},
    {"name": "all", "path": "/", "upstream": "a"},
]  # fmt: skip


def ask(path: str, method: str = "GET", host: str = "h", **more: Any) -> dict[str, Any]:
    return _core.explain(plan_of(*RULES), 0, method.encode(), host.encode(), path.encode(),
                         more.get("query", b""), more.get("headers", []))  # fmt: skip


def test_explain_a_hit() -> None:
    fields = [(b"Cookie", b"a=b"), (b"X-A", b"1"), (b"x-host", b"old")]
    got = ask("/v1/a", query=b"q=1", headers=fields)
    assert (got["why"], got["route"], got["name"]) == ("hit", 0, "v1")
    assert got["target"] == b"/a?q=1"
    assert got["request"] == {"dropped": [b"Cookie", b"x-host"], "written": [b"X-Host: h"]}
    assert ask("/users/7")["params"] == [b"7"]
    assert ask("/x", host="x.test")["value"] == b"https://y.test/x"
    assert ask("/v1/..")["target"] is None


def test_explain_no_hit() -> None:
    plan = plan_of({"host": "x.test", "path": "/a", "methods": ["GET"], "upstream": "a"})
    for method, host, path, want in (
        (b"GET", b"y.test", b"/a", {"why": "no_host", "allow": []}),
        (b"GET", b"x.test", b"/b", {"why": "no_path", "allow": []}),
        (b"PUT", b"x.test", b"/a", {"why": "no_method", "allow": ["GET", "HEAD"]}),
    ):
        assert _core.explain(plan, 0, method, host, path, b"", []) == want


def test_explain_refuses_what_is_no_plan() -> None:
    plan = plan_of(*RULES)
    for bad in (b"", plan[:-8], b"\0" * len(plan), plan[:8] + b"\0" * 8 + plan[16:]):
        with pytest.raises(ValueError, match="not a plan"):
            _core.explain(bad, 0, b"GET", b"", b"/", b"", [])


def reasons(asked: Asked) -> dict[str, str]:
    routes = routes_of(*RULES)
    answer = _core.explain(
        plan_of(*RULES), 0, asked.method.encode(), asked.host.encode(), asked.path.encode(),
        asked.query.encode(), list(asked.headers),
    )  # fmt: skip
    return {reason.name: reason.text for reason in explain_others(routes, asked, answer)}


def test_reasons() -> None:
    told = reasons(Asked("GET", "h", "/v1/a", headers=[(b"X-Beta", b"2")], listener=":80"))
    assert told == {
        "user": "its path '/users/{id}' does not take '/v1/a'",
        "beta": "header X-Beta is '2', wanted '~ ^1'",
        "named": "it is for the host x.test",
        "second": "it is for the listener :81 only",
        "regex": "it matches too, but the path of routes[0] comes before any regex",
        "asks": "query parameter q is missing",
        "same": "it matches too, but routes[0] stands earlier in the file",
        "all": 'it matches too, but routes[0] comes before "/"',
    }
    told = reasons(Asked("POST", "h", "/users/7", listener=":80"))
    assert told["user"] == "it takes only GET, HEAD, PUT, not POST"
    told = reasons(Asked("GET", "h", "/v1/a", headers=[(b"x-beta", b"1")], listener=":80"))
    assert told["v1"] == "it matches too, but routes[2] has more conditions"
    told = reasons(Asked("GET", "x.test", "/v1/a", listener=":80"))
    assert told["v1"].startswith("the host x.test has routes of its own")
    told = reasons(Asked("GET", "h", "/v1", "q=1", [(b"Cookie", b"c=2")], ":80"))
    assert told["all"] == 'it matches too, but routes[6] comes before "/"'
    assert "does not take" in told["v1"]


def test_reasons_agree_with_the_twin() -> None:
    """A route is told to match exactly if the twin, asked about it alone, says so."""
    routes = routes_of(*RULES)
    for path in ("/", "/v1", "/v1/", "/v1/a", "/users/", "/users/7", "/users/7/", "/x"):
        for method in ("GET", "POST"):
            for fields in ([], [(b"X-Beta", b"1")], [(b"Cookie", b"c=1")]):
                told = reasons(Asked(method, "h", path, "q=1", fields, ":80"))
                for index, route in enumerate(routes):
                    if route.name not in told or route.name == "named":
                        continue
                    alone = oracle.answer(
                        [route], oracle.Request("h", path, "q=1", method, fields, ":80")
                    )
                    assert told[route.name].startswith("it matches") == (alone.why == "hit"), index


def test_every_route_has_a_reason() -> None:
    plan = Plan(*RULES, listeners=[":80", ":81"], upstreams=["a"])
    answer = {"why": "no_path"}
    assert len(explain_others(plan.routes, Asked("GET", "h", "x", listener=":80"), answer)) == 9
