"""B3 10, 11, 27: whose request it is and what it asks for. What was matched is forwarded."""

from __future__ import annotations

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.talking import Running

BAD_HOSTS = {
    "missing": b"",
    "twice": b"Host: a\r\nHost: b\r\n",
    "twice-same": b"Host: a\r\nHost: a\r\n",
    "twice-case": b"Host: a\r\nhOST: a\r\n",
    "empty": b"Host:\r\n",
    "comma": b"Host: a, b\r\n",
    "comma-tight": b"Host: a,b\r\n",
    "userinfo": b"Host: user@a\r\n",
    "userinfo-password": b"Host: user:pw@a\r\n",
    "path": b"Host: a/b\r\n",
    "query": b"Host: a?b\r\n",
    "fragment": b"Host: a#b\r\n",
    "backslash": b"Host: a\\b\r\n",
    "space": b"Host: a b\r\n",
    "port-empty": b"Host: a:\r\n",
    "port-zero": b"Host: a:0\r\n",
    "port-large": b"Host: a:65536\r\n",
    "port-huge": b"Host: a:4294967376\r\n",
    "port-sign": b"Host: a:+80\r\n",
    "port-text": b"Host: a:http\r\n",
    "port-twice": b"Host: a:80:80\r\n",
    "percent": b"Host: a%62\r\n",
    "percent-nul": b"Host: a%00\r\n",
    "8bit": b"Host: \xe9\r\n",
    "v6-open": b"Host: [::1\r\n",
    "v6-bare": b"Host: ::1\r\n",
    "v6-bad": b"Host: [::1::]\r\n",
    "v6-junk": b"Host: [::1]x\r\n",
    "v6-zone": b"Host: [fe80::1%25eth0]\r\n",
    "empty-label": b"Host: a..b\r\n",
    "dot": b"Host: .\r\n",
    "angle": b"Host: <script>\r\n",
    "semicolon": b"Host: a;b\r\n",
    "long": b"Host: " + b"a" * 256 + b"\r\n",
}


@pytest.mark.parametrize("host", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_bad_hosts(proxy: Running, host: bytes) -> None:
    proxy.refused(b"GET /p HTTP/1.1\r\n" + host + b"\r\n", 400)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "A.Example.COM",
        "a:1",
        "a:65535",
        "1.2.3.4:80",
        "[::1]",
        "[2001:DB8::1]:8080",
        "a.example.",
        "under_score",
        "a~b",
    ],
)
def test_good_hosts_are_forwarded_as_written(proxy: Running, host: str) -> None:
    assert proxy.ask(f"GET /p HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200
    seen = proxy.recorder.only("/p")
    assert seen.one("host") == host
    assert seen.one("x-forwarded-host") == host


@pytest.mark.parametrize(("target", "host", "path"), [
    ("http://b.example/x?y", "b.example", "/x?y"),
    ("HTTP://b.example:81/x", "b.example:81", "/x"),
    ("https://b.example/x", "b.example", "/x"),
    ("http://b.example", "b.example", "/"),
    ("http://b.example?q", "b.example", "/?q"),
    ("http://[::1]:80/x/../y", "[::1]:80", "/y"),
])  # fmt: skip
def test_absolute_form_replaces_host(proxy: Running, target: str, host: str, path: str) -> None:
    """B3 10, RFC 9112 3.2.2: forwarded in origin-form, with the target's authority as Host."""
    assert proxy.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status == 200
    proxy.recorder.settle()
    (seen,) = proxy.recorder.requests
    assert seen.target == path
    assert seen.one("host") == host
    assert seen.one("x-forwarded-host") == host


@pytest.mark.parametrize("target", [
    "http:///x", "http://", "http://a:0/x", "http://u@a/x", "http://a,b/x", "http://a b/x",
    "http://a%00/x", "http:/a/x", "http:a", "//a/x@b:c d", "http://a:99999/x", "http://[::1/x",
    "http://a\\b/x",
])  # fmt: skip
def test_bad_absolute_targets(proxy: Running, target: str) -> None:
    proxy.refused(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400)


@pytest.mark.parametrize("host", ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n"])
def test_absolute_form_does_not_excuse_a_bad_host(proxy: Running, host: str) -> None:
    proxy.refused(f"GET http://b/ HTTP/1.1\r\n{host}\r\n".encode(), 400)


PATHS = {
    "/a/b": "/a/b",
    "/%61%2D%7e": "/a-~",
    "/a%2fb": "/a%2fb",
    "/a%2Fb": "/a%2Fb",
    "/a/./b/../c": "/a/c",
    "/a/%2e/b/%2E%2e/c": "/a/c",
    "/a/..": "/",
    "/a/.": "/a/",
    "/a/b/%2e%2e/": "/a/",
    "/a//b": "/a//b",
    "/a/b/..//c": "/a//c",
    "/%252e%252e/x": "/%252e%252e/x",
    "/.../x": "/.../x",
    "/a;x=1/b;y": "/a;x=1/b;y",
    "/%20%25": "/%20%25",
    "/caf%C3%A9": "/caf%C3%A9",
    "/?a=/../b%2e": "/?a=/../b%2e",
    "/a/../b?x": "/b?x",
    "/a?": "/a?",
    "/a%3fb": "/a%3fb",
    "/a%23b": "/a%23b",
}


@pytest.mark.parametrize(("path", "forwarded"), PATHS.items(), ids=PATHS)
def test_paths_are_normalised_once(proxy: Running, path: str, forwarded: str) -> None:
    """B3 27."""
    assert proxy.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status == 200
    proxy.recorder.settle()
    (seen,) = proxy.recorder.requests
    assert seen.target == forwarded


@pytest.mark.parametrize("path", [
    "/..", "/../x", "/a/../../x", "/%2e%2e/x", "/a/%2e%2e/%2e%2e/x", "/.%2e/x", "/..;x/y",
    "/a/..;/b", "/.;x", "/%2e%2e;x/b", "/a\\b", "/a%5cb", "/a%5Cb", "/%00", "/a%00.html",
    "/%0a", "/%0d%0aX:%20y", "/%1f", "/%7f", "/%c0%af", "/%c0%ae%c0%ae/x", "/%c1%9c",
    "/%e0%80%af", "/%f0%80%80%af", "/%", "/%2", "/%zz", "/%u002e", "/a%2",
])  # fmt: skip
def test_confusing_paths_are_refused(proxy: Running, path: str) -> None:
    proxy.refused(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400)


@pytest.mark.parametrize("target", ["*", "http://a", "http://a:80"])
def test_options_of_the_server_in_general(proxy: Running, target: str) -> None:
    """RFC 9110 9.3.7, RFC 9112 3.2.4: asks us, no resource behind us; the connection goes on."""
    with proxy.client() as client:
        for _ in range(2):
            client.send(f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = client.answer()
            assert answer.status == 204
            assert {"GET", "HEAD", "POST", "OPTIONS"} <= set(answer.one("allow").split(", "))
            assert not answer.closes
    proxy.nothing_forwarded()


def test_options_of_a_resource_is_forwarded(proxy: Running) -> None:
    assert proxy.ask(b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert proxy.recorder.only("/x").method == "OPTIONS"


@pytest.fixture(scope="module")
def guarded(start: StartProxy) -> Running:
    """/admin is closed by a route: whatever reaches it must be seen as /admin by the match."""
    return start(
        routes="""
[[routes]]
path = "/admin"
reply = { status = 403, body = "no" }
[[routes]]
host = "only.example"
path = "/"
reply = { status = 200, body = "only" }
[[routes]]
path = "/v1/"
strip_prefix = "/v1"
upstream = "main"
""",
        forwarding="reject_host_mismatch = true\nmerge_slashes = true\nreject_encoded_slash = true",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/admin/x",
        "/x/../admin",
        "/%61dmin",
        "/./admin",
        "/x/%2e%2e/admin/y",
        "//admin",
        "///admin//x",
        "/x//../admin",
    ],
)
def test_what_is_matched_is_what_is_forwarded(guarded: Running, path: str) -> None:
    """B3 27: no spelling of a path gets around its route."""
    guarded.recorder.clear()
    answer = guarded.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.status == 403
    guarded.nothing_forwarded()


@pytest.mark.parametrize(("path", "forwarded"), [
    ("/v1/a//b", "/a/b"), ("/v1//admin", "/admin"), ("/v1/a/../b", "/b"), ("/v1", "/v1"),
    ("/a//b///c", "/a/b/c"),
])  # fmt: skip
def test_merging_and_stripping(guarded: Running, path: str, forwarded: str) -> None:
    """With merge_slashes; a stripped path is checked again and never begins with two slashes."""
    guarded.recorder.clear()
    assert guarded.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status == 200
    guarded.recorder.settle()
    assert [seen.target for seen in guarded.recorder.requests] == [forwarded]


@pytest.mark.parametrize("path", ["/v1/..%2fx", "/a%2fb", "/a%2Fb", "/v1/%2e%2e/%2e%2e/x"])
def test_encoded_slash_by_option(guarded: Running, path: str) -> None:
    guarded.refused(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400)


@pytest.mark.parametrize(("request_bytes", "status"), [
    (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://b:80/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    (b"GET http://b/ HTTP/1.1\r\nHost: B\r\n\r\n", 200),
    (b"GET http://b:81/ HTTP/1.1\r\nHost: b:81\r\n\r\n", 200),
])  # fmt: skip
def test_reject_host_mismatch(guarded: Running, request_bytes: bytes, status: int) -> None:
    if status == 400:
        guarded.refused(request_bytes, 400)
    else:
        assert guarded.ask(request_bytes).status == status


@pytest.mark.parametrize("request_bytes", [
    b"GET / HTTP/1.1\r\nHost: only.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: ONLY.example:8080\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: only.example.\r\n\r\n",
    b"GET http://only.example/ HTTP/1.1\r\nHost: only.example\r\n\r\n",
])  # fmt: skip
def test_routes_see_the_same_host(guarded: Running, request_bytes: bytes) -> None:
    """B3 10: case, port, trailing dot or absolute-form lead to the same virtual host."""
    assert guarded.ask(request_bytes).body == b"only"
