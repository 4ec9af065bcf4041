"""B3 20 to 26: hop-by-hop fields stop here, end-to-end ones pass, and what we vouch for is ours."""

from __future__ import annotations

import re

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, Recorder, Seen, coded, sized
from tests.raw.talking import Running

OURS = {"host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
        "x-real-ip", "x-request-id"}  # fmt: skip


def forwarded(proxy: Running, fields: bytes, host: bytes = b"a") -> Seen:
    proxy.recorder.clear()
    answer = proxy.ask(b"GET /p HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + b"\r\n")
    assert answer.status == 200, answer
    return proxy.recorder.only("/p")


def test_a_plain_request_gets_these_fields_and_no_others(proxy: Running) -> None:
    seen = forwarded(proxy, b"User-Agent: x\r\nA: 1\r\nB: 2\r\nA: 3\r\n")
    assert seen.names() == OURS | {"user-agent", "a", "b"}
    assert [pair for pair in seen.fields if pair[0] in "AB"] == [("A", "1"), ("B", "2"), ("A", "3")]
    assert seen.one("x-forwarded-for") == seen.one("x-real-ip") == "127.0.0.1"
    assert seen.one("x-forwarded-proto") == "http"
    assert seen.one("x-forwarded-host") == "a"
    assert seen.one("x-forwarded-port") == str(proxy.port)
    assert re.fullmatch(
        "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        seen.one("x-request-id"),
    )


@pytest.mark.parametrize("line", [
    "Connection: keep-alive", "Connection: close", "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive", "TE: trailers", "TE: gzip;q=1", "Trailer: A",
    "Upgrade: h2c", "Upgrade: foo/2", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Proxy-Authorization: Basic eDp5", "Proxy-Authenticate: Basic",
])  # fmt: skip
def test_hop_by_hop_fields_stop_here(proxy: Running, line: str) -> None:
    """B3 23."""
    seen = forwarded(proxy, line.encode() + b"\r\nKept: yes\r\n")
    assert seen.names() == OURS | {"kept"}


@pytest.mark.parametrize("value", ["X-Hop", "x-hop", "close, X-HOP", "a,X-Hop ,b", ",, x-hop"])
def test_nominated_fields_stop_here(proxy: Running, value: str) -> None:
    """B3 22, whatever the case; every one of that name."""
    seen = forwarded(
        proxy, f"X-Hop: 1\r\nX-Kept: 2\r\nConnection: {value}\r\nx-hOP: 3\r\n".encode()
    )
    assert seen.names() == OURS | {"x-kept"}


@pytest.mark.parametrize("name", [
    "Authorization", "Cookie", "Accept", "Accept-Encoding", "User-Agent", "Referer", "Origin",
    "Range", "If-Match", "Cache-Control", "Content-Type", "Content-Encoding", "Via",
    "Sec-Fetch-Site", "Early-Data", "traceparent", "Max-Forwards",
])  # fmt: skip
def test_end_to_end_fields_cannot_be_nominated_away(proxy: Running, name: str) -> None:
    """B3 22 (Varnish 2022-45059, Traefik): `Connection: Authorization` changes nothing."""
    for said in (name, name.lower(), name.upper()):
        seen = forwarded(proxy, f"Connection: close, {said}\r\n{name}: v\r\n".encode())
        assert seen.one(name) == "v"


@pytest.mark.parametrize("name", sorted(OURS | {"content-length", "transfer-encoding"}))
def test_what_we_set_cannot_be_nominated_away(proxy: Running, name: str) -> None:
    proxy.recorder.clear()
    answer = proxy.ask(
        f"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: {name}\r\n\r\nhi".encode()
    )
    assert answer.status == 200
    seen = proxy.recorder.only("/p")
    assert seen.names() == OURS | {"content-length"}
    assert seen.body == b"hi"


SPOOFED = b"".join(
    b"%b: spoofed\r\n" % name
    for name in (b"X-Forwarded-For", b"x-forwarded-proto", b"X-FORWARDED-HOST",
                 b"X-Forwarded-Port", b"X-Forwarded-Prefix", b"Forwarded", b"X-Real-IP",
                 b"X-Request-ID", b"X-Forwarded-For")
)  # fmt: skip


def test_a_strangers_word_about_himself_is_replaced(proxy: Running) -> None:
    """B3 24."""
    seen = forwarded(proxy, SPOOFED)
    assert b"spoofed" not in seen.head
    assert seen.names() == OURS
    assert seen.one("x-forwarded-for") == "127.0.0.1"


@pytest.mark.parametrize("name", [
    "X_User", "X_Forwarded_For", "Transfer_Encoding", "Content_Length", "_", "Auth_Id",
    "x-forwarded_for", "HOST_", "X-Real_IP",
])  # fmt: skip
def test_underscore_names_are_dropped(proxy: Running, name: str) -> None:
    """B3 25: many servers read X_User as X-User."""
    seen = forwarded(proxy, f"{name}: evil\r\nX-User: fine\r\n".encode())
    assert seen.names() == OURS | {"x-user"}
    assert b"evil" not in seen.head


def test_trailers_are_never_headers(proxy: Running) -> None:
    """B3 26, both ways."""
    proxy.recorder.on(
        "/t",
        BODY,
        coded(b"hi")[:-2].replace(b"200 OK\r\n", b"200 OK\r\nTrailer: X-T\r\n")
        + b"X-T: 1\r\nHost: evil\r\nSet-Cookie: a=b\r\n\r\n",
    )
    with proxy.client() as client:
        client.send(
            b"POST /t HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nHost: evil\r\nAuthorization: x\r\nX-T: 2\r\nContent-Length: 4\r\n\r\n"
        )
        answer = client.answer()
        assert answer.body == b"hi"
        assert answer.coded.endswith(b"0\r\n\r\n")
        assert not answer.names() & {"x-t", "set-cookie", "host", "trailer"}
    seen = proxy.recorder.only("/t")
    assert seen.complete
    assert seen.coded.endswith(b"0\r\n\r\n")
    assert not seen.trailers
    assert not seen.names() & {"x-t", "authorization", "te", "trailer"}
    assert b"evil" not in proxy.recorder.bytes()


def test_hop_by_hop_fields_of_answers(proxy: Running) -> None:
    """B3 22, 23 the other way: Set-Cookie cannot be nominated away, X-Hop can; Server passes."""
    proxy.recorder.on(
        "/h",
        BODY,
        sized(
            b"hi",
            more=b"Connection: X-Hop, Set-Cookie, keep-alive\r\nKeep-Alive: timeout=1\r\n"
            b"X-Hop: 1\r\nProxy-Authenticate: Basic\r\nTE: x\r\nUpgrade: h2c\r\nTrailer: a\r\n"
            b"Server: theirs\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX_Under: fine\r\nDate: yesterday\r\n"
            b"Proxy-Connection: keep-alive\r\n",
        ),
    )
    answer = proxy.ask(b"GET /h HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.fields == [
        ("Server", "theirs"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X_Under", "fine"),
        ("Date", "yesterday"), ("Content-Length", "2"),
    ]  # fmt: skip


def test_date_is_added_where_it_is_missing(proxy: Running) -> None:
    answer = proxy.ask(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
    assert re.fullmatch(
        r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.one("date")
    )


# ---- what the configuration changes -----------------------------------------------------------


@pytest.fixture(scope="module")
def trusting(start: StartProxy) -> Running:
    return start(
        forwarding="""
trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]
forwarded = true
via = "edge"
request_id_trust = true
keep_underscores = true
forward_trailers = true
""",
        log="off",
    )


@pytest.mark.parametrize(("given", "real"), [
    ("203.0.113.7", "203.0.113.7"),
    ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
    ("1.1.1.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
    ("1.1.1.1, 203.0.113.7,10.1.2.3 ,\t10.9.9.9", "203.0.113.7"),
    ("10.1.2.3, 10.4.5.6", "10.1.2.3"),
    ("2001:db9::1, 2001:db8::5", "2001:db9::1"),
    ("1.1.1.1, garbage, 10.1.2.3", "10.1.2.3"),
    ("1.1.1.1, ", "127.0.0.1"),
    ("spoofed", "127.0.0.1"),
])  # fmt: skip
def test_a_trusted_proxys_client(trusting: Running, given: str, real: str) -> None:
    """B3 24: the right-most hop that is not trusted; nothing left of garbage is believed."""
    seen = forwarded(trusting, f"X-Forwarded-For: {given}\r\n".encode())
    assert seen.one("x-real-ip") == real
    assert seen.one("x-forwarded-for") == f"{given.rstrip()}, 127.0.0.1"


def test_several_lists_are_one(trusting: Running) -> None:
    seen = forwarded(trusting, b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.7\r\n")
    assert seen.one("x-forwarded-for") == "1.1.1.1, 203.0.113.7, 127.0.0.1"
    assert seen.one("x-real-ip") == "203.0.113.7"


def test_a_trusted_proxys_words_stand(trusting: Running) -> None:
    seen = forwarded(
        trusting,
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\nX-Forwarded-Port: 443\r\n"
        b"X-Forwarded-Prefix: /p\r\nX-Request-ID: their-id.1\r\nX-Real-IP: 9.9.9.9\r\n"
        b"Forwarded: for=9.9.9.9\r\nVia: 1.0 inner\r\n",
    )
    assert seen.one("x-forwarded-proto") == "https"
    assert seen.one("x-forwarded-host") == "public.example"
    assert seen.one("x-forwarded-port") == "443"
    assert seen.one("x-forwarded-prefix") == "/p"
    assert seen.one("x-request-id") == "their-id.1"
    assert seen.one("x-real-ip") == "127.0.0.1", "X-Real-IP is always made from the hops"
    assert seen.one("forwarded") == 'for=9.9.9.9, for=127.0.0.1;host="a";proto=http'
    assert seen.all("via") == ["1.0 inner", "1.1 edge"]


@pytest.mark.parametrize("given", ["a b", "x" * 37, '"q"', ""])
def test_a_bad_request_id_is_replaced(trusting: Running, given: str) -> None:
    seen = forwarded(trusting, f"X-Request-ID: {given}\r\n".encode())
    assert re.fullmatch("[0-9a-f-]{36}", seen.one("x-request-id"))


def test_underscores_by_option(trusting: Running) -> None:
    """Kept if asked for, but never one that reads as a name the proxy vouches for."""
    seen = forwarded(trusting, b"X_User: kept\r\nX_Forwarded_For: evil\r\nX_Real_IP: evil\r\n")
    assert seen.one("x_user") == "kept"
    assert b"evil" not in seen.head


def test_trailers_by_option(trusting: Running) -> None:
    """forward_trailers: the harmless ones pass, behind the last chunk, never as header fields."""
    trusting.recorder.clear()
    trusting.recorder.on(
        "/t",
        BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\n",
    )
    with trusting.client() as client:
        client.send(
            b"POST /t HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nHost: evil\r\nX_Forwarded_For: x\r\nX-Ok: 2\r\n\r\n"
        )
        client.until(b"\r\n\r\n")
        assert client.until(b"\r\n\r\n") == b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        client.send(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer().status == 200
    trusting.recorder.settle()
    assert b"2\r\nhi\r\n0\r\nX-Ok: 2\r\n\r\n" in trusting.recorder.bytes()
    assert b"evil" not in trusting.recorder.bytes()
    assert b"X_Forwarded_For" not in trusting.recorder.bytes()


def test_via_is_added_to_answers(trusting: Running) -> None:
    answer = trusting.ask(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.all("via") == ["1.1 edge"]


@pytest.fixture(scope="module")
def edited(start: StartProxy) -> Running:
    """The gateway sets X-User itself: nobody outside may."""
    return start(
        upstream='host = "fixed:inside.example:81"',
        routes="""
[[routes]]
path = "/p"
upstream = "main"
response_headers = { set = { Server = "ours" }, remove = ["X-Secret"] }
[routes.request_headers]
set = { X-User = "gateway", X-Forwarded-Proto = "https" }
remove = ["X-Debug"]
add = { X-Add = "2" }
append = { X-List = "b" }
""",
    )


@pytest.mark.parametrize("spelt", ["X-User", "x-user", "X_User", "X-USER"])
def test_what_the_gateway_sets_never_arrives_from_outside(edited: Running, spelt: str) -> None:
    """B3 25."""
    edited.recorder.on("/p", BODY, sized(b"x", more=b"Server: theirs\r\nX-Secret: 1\r\n"))
    edited.recorder.clear()
    edited.recorder.on("/p", BODY, sized(b"x", more=b"Server: theirs\r\nX-Secret: 1\r\n"))
    answer = edited.ask(
        f"GET /p HTTP/1.1\r\nHost: a\r\n{spelt}: evil\r\nx-debug: 1\r\nX-List: a\r\n"
        f"X-Add: 1\r\nConnection: X-User, X-List\r\n\r\n".encode()
    )
    seen = edited.recorder.only("/p")
    assert seen.one("x-user") == "gateway"
    assert b"evil" not in seen.head
    assert "x-debug" not in seen.names()
    assert seen.one("x-list") == "b", "nominated: not ours to pass"
    assert seen.all("x-add") == ["1", "2"]
    assert seen.one("x-forwarded-proto") == "https"
    assert seen.one("host") == "inside.example:81"
    assert seen.one("x-forwarded-host") == "a"
    assert answer.one("server") == "ours"
    assert "x-secret" not in answer.names()


@pytest.mark.parametrize("spare", ["", "/with/a/path/that/is/long"])
def test_host_of_the_backend(start: StartProxy, spare: str) -> None:
    """host = "upstream": each backend reads its own authority, also after a move to another one."""
    with Recorder() as one, Recorder() as two:
        named = f"http://localhost:{two.port}"
        proxy = start([one.url, named], upstream='host = "upstream"', log="off")
        for at in range(6):
            answer = proxy.ask(f"GET /{at}{spare} HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n".encode())
            assert answer.status == 200
        for recorder, host in ((one, f"127.0.0.1:{one.port}"), (two, f"localhost:{two.port}")):
            assert len(recorder.requests) == 3
            for seen in recorder.requests:
                assert seen.one("host") == host
                assert seen.one("x-forwarded-host") == "a"
                assert seen.one("x") == "y"
