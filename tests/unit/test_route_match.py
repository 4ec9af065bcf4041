"""Which route takes a request: precedence, conditions, params, 404, 405, 421."""

import pytest

from tests.unit.routing import NO_METHOD, Plan


def test_a_prefix_takes_whole_segments() -> None:
    plan = Plan({"path": "/v1"}, {"path": "/w/"})
    assert plan.route("/v1") == 0
    assert plan.route("/v1/") == 0
    assert plan.route("/v1/x/y") == 0
    assert plan.route("/v1x") == "no_path"
    assert plan.route("/w") == "no_path"
    assert plan.route("/w/") == 1
    assert plan.route("/w/x") == 1
    assert plan.route("/") == "no_path"


def test_exact_before_longer_before_shorter() -> None:
    plan = Plan(
        {"path": "/"}, {"path": "/a"}, {"path": "/a/"}, {"path": "/a/b"}, {"path": "= /a"},
        {"path": "= /a/"}, {"path": "= /"},
    )  # fmt: skip
    assert plan.route("/") == 6
    assert plan.route("/x") == 0
    assert plan.route("/a") == 4
    assert plan.route("/a/") == 5
    assert plan.route("/a/x") == 2
    assert plan.route("/a/b") == 3
    assert plan.route("/a/b/c") == 3
    assert plan.route("/a/bc") == 2


def test_literal_before_param_and_back_from_a_dead_end() -> None:
    plan = Plan(
        {"path": "/users/{id}"}, {"path": "/users/me"}, {"path": "/users/{id}/posts/{n}"},
        {"path": "/users/{id}/"},
    )  # fmt: skip
    assert plan.ask("/users/7") == (0, 0, 0, [b"7"])
    assert plan.route("/users/me") == 1
    assert plan.ask("/users/7/posts/3") == (0, 2, 0, [b"7", b"3"])
    assert plan.route("/users/me/posts/3") == 1
    assert plan.ask("/users/7/x") == (0, 3, 0, [b"7"])
    assert plan.route("/users/") == "no_path"
    back = Plan({"path": "/u/me/a"}, {"path": "/u/{id}/b"}, {"path": "/{x}/{y}/c"})
    assert back.ask("/u/me/b") == (0, 1, 0, [b"me"])
    assert back.ask("/u/me/c") == (0, 2, 0, [b"u", b"me"])
    assert back.route("/u/me/d") == "no_path"


def test_rest_is_what_follows_the_slash() -> None:
    plan = Plan({"path": "/files/{rest...}"}, {"path": "/{who}/x/{rest...}"})
    assert plan.ask("/files/") == (0, 0, 0, [b""])
    assert plan.ask("/files/a/b") == (0, 0, 0, [b"a/b"])
    assert plan.route("/files") == "no_path"
    assert plan.ask("/me/x/y") == (0, 1, 0, [b"me", b"y"])
    assert Plan({"path": "/{rest...}"}).ask("/a/b") == (0, 0, 0, [b"a/b"])


def test_regexes_come_after_prefixes_and_before_the_root() -> None:
    plan = Plan(
        {"path": "/"}, {"path": r"~ ^/(\w+)/(?<tail>\d+)$"}, {"path": "~ x"}, {"path": "/a/"}
    )
    assert plan.route("/a/1") == 3
    why, route, _, params = plan.ask("/b/12")
    assert (why, route, params[:3]) == (0, 1, [b"b", b"12", b""])
    assert plan.route("/b/x") == 2
    assert plan.route("/b/y") == 0


def test_more_conditions_first_then_order_of_the_file() -> None:
    plan = Plan(
        {"path": "/a"},
        {"path": "/a", "headers": {"X-A": "1"}},
        {"path": "/a", "headers": {"X-A": "1", "X-B": True}},
        {"path": "/a", "query": {"q": "1"}},
    )
    assert plan.route("/a") == 0
    assert plan.route("/a", headers=[(b"x-a", b"1")]) == 1
    assert plan.route("/a", headers=[(b"X-A", b"1"), (b"x-b", b"")]) == 2
    assert plan.route("/a", headers=[(b"X-A", b"1")], query="q=1") == 1
    assert plan.route("/a", query="q=1") == 3


def test_methods() -> None:
    plan = Plan(
        {"path": "/a", "methods": ["GET"]}, {"path": "/a", "methods": ["POST", "PURGE"]},
        {"path": "/", "methods": ["DELETE"]},
    )  # fmt: skip
    assert plan.route("/a", method="GET") == 0
    assert plan.route("/a", method="HEAD") == 0
    assert plan.route("/a", method="POST") == 1
    assert plan.route("/a", method="PURGE") == 1
    assert plan.route("/a", method="DELETE") == 2
    why, _, allow, _ = plan.ask("/a", method="PUT")
    assert why == NO_METHOD
    assert allow == 1 << 1 | 1 << 2 | 1 << 3 | 1 << 0 | 1 << 5
    assert plan.route("/a", method="LOCK") == "no_method"
    assert plan.ask("/b", method="GET")[2] == 1 << 5


def test_405_names_only_methods_of_routes_that_match_everything_else() -> None:
    plan = Plan(
        {"path": "/a", "methods": ["PUT"], "headers": {"X-A": "1"}},
        {"path": "/a", "methods": ["POST"]},
    )
    assert plan.ask("/a")[::2] == (NO_METHOD, 1 << 3)
    assert plan.ask("/a", headers=[(b"X-A", b"1")])[::2] == (NO_METHOD, 1 << 3 | 1 << 4)


def test_hosts_exact_wildcard_default() -> None:
    plan = Plan(
        {"host": "api.example.com", "path": "/api"},
        {"host": "*.example.com", "path": "/"},
        {"host": "*.a.example.com"},
        {"path": "/any"},
    )
    assert plan.route("/api", host="api.example.com") == 0
    assert plan.route("/any", host="api.example.com") == "no_path"
    assert plan.route("/", host="x.example.com") == 1
    assert plan.route("/", host="x.y.example.com") == 1
    assert plan.route("/", host="a.example.com") == 1
    assert plan.route("/", host="x.a.example.com") == 2
    assert plan.route("/any", host="example.com") == 3
    assert plan.route("/any", host="") == 3
    assert plan.route("/any", host=".example.com") == 3
    assert plan.route("/any", host="xexample.com") == 3
    assert plan.route("/any", host="com") == 3


def test_421_without_a_default() -> None:
    plan = Plan({"host": ["a.test", "[::1]"]})
    assert plan.route(host="a.test") == 0
    assert plan.route(host="[::1]") == 0
    assert plan.route(host="b.test") == "no_host"
    assert plan.route(host="") == "no_host"


def test_listeners() -> None:
    plan = Plan({"listener": ":1", "path": "/a"}, {"path": "/b"}, listeners=[":1", ":2"])
    assert plan.route("/a", listener=0) == 0
    assert plan.route("/a", listener=1) == "no_path"
    assert plan.route("/b", listener=1) == 1
    assert plan.route("/b", listener=7) == "no_host"


@pytest.mark.parametrize(
    ("fields", "route"),
    [
        ([], 3),
        ([(b"X-Env", b"prod")], 0),
        ([(b"x-env", b"prod")], 0),
        ([(b"X-Env", b"PROD")], 3),
        ([(b"X-Env", b"x"), (b"X-Env", b"prod")], 0),
        ([(b"X-Env", b"dev-7")], 1),
        ([(b"X-Two", b"a"), (b"X-Two", b"b")], 2),
        ([(b"X-Two", b"a, b")], 2),
        ([(b"X-Two", b"a")], 3),
        ([(b"X-Two", b"a"), (b"X-Two", b"b"), (b"X-Two", b"c")], 3),
        ([(b"X_Env", b"prod")], 3),
    ],
)
def test_headers(fields: list[tuple[bytes, bytes]], route: int) -> None:
    plan = Plan(
        {"headers": {"X-Env": "prod"}}, {"headers": {"X-Env": "~ ^dev-\\d$"}},
        {"headers": {"X-Two": "a, b"}}, {},
    )  # fmt: skip
    assert plan.route(headers=fields) == route


def test_a_regex_sees_joined_lines_too() -> None:
    plan = Plan({"headers": {"X-A": "~ ^1, 2$"}}, {})
    assert plan.route(headers=[(b"X-A", b"1"), (b"X-A", b"2")]) == 0
    assert plan.route(headers=[(b"X-A", b"1"), (b"X-A", b"2" * 9000)]) == 1


def test_present_and_absent() -> None:
    plan = Plan(
        {"headers": {"X-A": True}, "cookies": {"c": False}, "query": {"q": False}},
        {"headers": {"X-A": False}}, {},
    )  # fmt: skip
    assert plan.route(headers=[(b"X-A", b"")]) == 0
    assert plan.route(headers=[(b"X-A", b""), (b"Cookie", b"c=1")]) == 2
    assert plan.route(headers=[(b"X-A", b"")], query="q") == 2
    assert plan.route() == 1


@pytest.mark.parametrize(
    ("query", "route"),
    [
        ("", 2),
        ("a=1", 0),
        ("b=2&a=1", 0),
        ("a=2&a=1", 0),
        ("%61=%31", 0),
        ("a=11", 2),
        ("a", 2),
        ("aa=1", 2),
        ("n=one+two", 1),
        ("n=one%20two", 1),
        ("n=one%2", 2),
        ("&&=&a=1", 0),
        ("a=1#", 2),
        ("a%3d1", 2),
    ],
)
def test_query(query: str, route: int) -> None:
    plan = Plan({"query": {"a": "1"}}, {"query": {"n": "~ ^one two$"}}, {})
    assert plan.route(query=query) == route


@pytest.mark.parametrize(
    ("cookie", "route"),
    [
        (b"beta=1", 0),
        (b"a=b; beta=1", 0),
        (b"a=b;beta=1;c=d", 0),
        (b"beta=2; beta=1", 0),
        (b"xbeta=1", 2),
        (b"beta", 2),
        (b"beta=12", 2),
        (b"v=ab7", 1),
        (b"", 2),
    ],
)
def test_cookies(cookie: bytes, route: int) -> None:
    plan = Plan({"cookies": {"beta": "1"}}, {"cookies": {"v": "~ \\d$"}}, {})
    assert plan.route(headers=[(b"Cookie", cookie)]) == route


def test_several_cookie_lines() -> None:
    plan = Plan({"cookies": {"b": "1"}}, {})
    assert plan.route(headers=[(b"Cookie", b"a=1"), (b"cookie", b"b=1")]) == 0


def test_paths_are_matched_as_normalised() -> None:
    plan = Plan({"path": "/caf\u00e9 x"}, {"path": "/%7Euser"}, {"path": "/a%2Fb"})
    assert plan.route("/caf%C3%A9%20x") == 0
    assert plan.route("/~user/x") == 1
    assert plan.route("/a%2Fb") == 2
    assert plan.route("/a/b") == "no_path"


def test_no_path_without_a_slash() -> None:
    plan = Plan({"path": "/"}, {"path": "~ ."})
    assert plan.route("") == "no_path"
    assert plan.route("*") == "no_path"


def test_a_runaway_regex_is_no_match_and_ends_soon() -> None:
    plan = Plan({"path": "~ ^/(a+)+$"}, {"path": "/"})
    assert plan.route("/" + "a" * 200 + "!") == 1
    assert plan.probe.limited() >= 1
    assert plan.route("/aaa") == 0
