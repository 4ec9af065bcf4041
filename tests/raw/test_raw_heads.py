"""B3 8, 9, 11, 13, 15, 18: request lines and header fields that two parties could read in two ways
are refused with a real, lingering close; answers set from the configuration cannot be split."""

from __future__ import annotations

import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.talking import Running

GET = b"GET /p HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    # 8: line ends, folding
    "bare-lf-head": (b"GET /p HTTP/1.1\nHost: a\n\n", 400),
    "bare-lf-line": (b"GET /p HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare-lf-field": (GET + b"A: b\nC: d\r\n\r\n", 400),
    "bare-lf-end": (GET + b"A: b\r\n\n", 400),
    "bare-cr-field": (GET + b"A: b\rC: d\r\n\r\n", 400),
    "bare-cr-line": (b"GET /p HTTP/1.1\rHost: a\r\n\r\n", 400),
    "bare-cr-end": (GET + b"A: b\r\n\rX", 400),
    "double-cr": (GET + b"A: b\r\r\n\r\n", 400),
    "folded-space": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "folded-tab": (GET + b"A: b\r\n\tc\r\n\r\n", 400),
    "folded-blank-line": (GET + b"A: b\r\n \r\n\r\n", 400),
    "space-before-first": (b"GET /p HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "tab-before-first": (b"GET /p HTTP/1.1\r\n\tHost: a\r\n\r\n", 400),
    "two-empty-lines": (b"\r\n\r\n" + GET + b"\r\n", 400),
    "lf-before": (b"\n" + GET + b"\r\n", 400),
    "cr-before": (b"\r" + GET + b"\r\n", 400),
    "space-before": (b" " + GET + b"\r\n", 400),
    # 9: names and values
    "nul-name": (GET + b"A\x00: b\r\n\r\n", 400),
    "nul-value": (GET + b"A: b\x00c\r\n\r\n", 400),
    "nul-value-first": (GET + b"A: \x00\r\n\r\n", 400),
    "ctl-value": (GET + b"A: b\x01\r\n\r\n", 400),
    "del-value": (GET + b"A: b\x7f\r\n\r\n", 400),
    "vt-value": (GET + b"A: b\x0bc\r\n\r\n", 400),
    "empty-name": (GET + b": b\r\n\r\n", 400),
    "space-colon": (GET + b"A : b\r\n\r\n", 400),
    "tab-colon": (GET + b"A\t: b\r\n\r\n", 400),
    "no-colon": (GET + b"A\r\n\r\n", 400),
    "no-colon-last": (GET + b"A b\r\n\r\n", 400),
    "name-space": (GET + b"A B: c\r\n\r\n", 400),
    "name-slash": (GET + b"A/B: c\r\n\r\n", 400),
    "name-paren": (GET + b"A(B): c\r\n\r\n", 400),
    "name-quote": (GET + b'"A": c\r\n\r\n', 400),
    "name-8bit": (GET + b"A\x80: c\r\n\r\n", 400),
    "name-utf8": (GET + "\u00c4: c\r\n\r\n".encode(), 400),
    "name-ctl": (GET + b"\x01A: c\r\n\r\n", 400),
    # 11: the request line
    "http09": (b"GET /p\r\n\r\n", 400),
    "http09-version": (b"GET /p HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "http20": (b"GET /p HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "http12": (b"GET /p HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "http3": (b"GET /p HTTP/3\r\nHost: a\r\n\r\n", 400),
    "http11-long": (b"GET /p HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "http01": (b"GET /p HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    "http-lower": (b"GET /p http/1.1\r\nHost: a\r\n\r\n", 400),
    "http-other": (b"GET /p HTTQ/1.1\r\nHost: a\r\n\r\n", 400),
    "http-comma": (b"GET /p HTTP/1,1\r\nHost: a\r\n\r\n", 400),
    "http-sign": (b"GET /p HTTP/+1.1\r\nHost: a\r\n\r\n", 400),
    "h2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "tls-hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, 400),
    "no-method": (b" /p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method-colon": (b"GE:T /p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method-8bit": (b"G\xc9T /p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method-tab": (b"GET\t/p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two-spaces": (b"GET  /p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two-spaces-version": (b"GET /p  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space-after-version": (b"GET /p HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "tab-version": (b"GET /p\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "vt-version": (b"GET /p\x0bHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no-target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space-in-target": (b"GET /p q HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab-in-target": (b"GET /p\tq HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "nul-in-target": (b"GET /p\x00q HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "ctl-in-query": (b"GET /p?a\x1f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "del-in-target": (b"GET /p\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /p#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment-in-query": (b"GET /p?a#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "8bit-target": (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "utf8-target": ("GET /\u00e9 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "relative-target": (b"GET p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "star-get": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "star-more": (b"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "other-scheme": (b"GET ftp://a/p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority-get": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    # Connection
    "connection-not-token": (GET + b"Connection: cl\xf6se\r\n\r\n", 400),
    "connection-space": (GET + b"Connection: close x\r\n\r\n", 400),
    "connection-flood": (
        GET + b"Connection: " + b", ".join(b"x%d" % i for i in range(60)) + b"\r\n\r\n",
        400,
    ),
    # 15: HTTP/1.0
    "get10-length": (b"GET /p HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 413),
    "head10-length": (b"HEAD /p HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 413),
    "delete10-length": (b"DELETE /p HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 413),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_bad_heads_are_refused(
    proxy: Running, case: tuple[bytes, int | tuple[int, ...]], bytewise: bool
) -> None:
    if case[0].startswith(b"HEAD"):
        with proxy.client() as client:
            client.send(case[0])
            answer = client.answer("HEAD")
            assert answer.status == case[1]
            assert answer.closes
            assert client.end() == "fin"
        proxy.nothing_forwarded()
        return
    answer = proxy.refused(case[0], case[1], bytewise)
    assert answer.body, "the page says why"
    assert "server" not in answer.names()
    assert b"fastproxy" not in answer.body.lower()


@pytest.mark.parametrize(
    "good", [b"A:b", b"A: b", b"A:\tb \t", b"A: caf\xe9", b"!#$%&'*+.^`|~0aZ: x"]
)
def test_what_the_grammar_allows_is_forwarded_byte_for_byte(proxy: Running, good: bytes) -> None:
    answer = proxy.ask(b"\r\n" + GET + good + b"\r\n\r\n")
    assert answer.status == 200
    seen = proxy.recorder.only("/p")
    name, _, value = good.partition(b":")
    assert seen.one(name.decode()).strip(" \t") == value.strip(b" \t").decode("latin-1")


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
def test_trace_and_connect_are_not_served(proxy: Running, method: bytes) -> None:
    """B3 11, 20: 405 with Allow and a close, whatever comes behind."""
    target = b"a:443" if method == b"CONNECT" else b"/p"
    with proxy.client() as client:
        client.send(method + b" " + target + b" HTTP/1.1\r\nHost: a:443\r\n\r\nGET /x HTTP/1.1\r\n")
        answer = client.answer()
        assert answer.status == 405
        assert "GET" in answer.one("allow").split(", ")
        assert not {"TRACE", "CONNECT"} & set(answer.one("allow").split(", "))
        assert answer.closes
        assert client.end() == "fin"
    proxy.nothing_forwarded()


@pytest.mark.parametrize("body", [b"Content-Length: 5\r\n\r\nhello", b"\r\nearly data"])
def test_connect_with_a_body_or_early_data_leads_nowhere(proxy: Running, body: bytes) -> None:
    with proxy.client() as client:
        client.send(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n" + body)
        assert client.answer().status == 405
        assert client.end() == "fin"
    proxy.nothing_forwarded()


def test_methods_are_case_sensitive_tokens(proxy: Running) -> None:
    """RFC 9110 9.1: `get` is another method than GET; it is forwarded as it is."""
    for method in (b"get", b"Trace", b"PURGE", b"M-SEARCH", b"x.1"):
        assert proxy.ask(method + b" /%b HTTP/1.1\r\nHost: a\r\n\r\n" % method).status == 200
        assert proxy.recorder.only(f"/{method.decode()}").method == method.decode()


@pytest.mark.parametrize("junk", [10_000, 300_000])
def test_the_refusal_reaches_a_client_that_still_sends(proxy: Running, junk: int) -> None:
    """B3 13: an immediate close would be answered with RST and destroy the answer."""
    with proxy.client() as client:
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        for _ in range(10):
            client.send(b"j" * (junk // 10))
            time.sleep(0.002)
        answer = client.answer()
        assert answer.status == 400
        assert answer.closes
        assert client.end() == "fin"
    proxy.nothing_forwarded()


def test_the_lingering_close_is_a_real_one(proxy: Running) -> None:
    """Sending on is ignored for the lingering time only: then the connection is gone."""
    with proxy.client() as client:
        client.send(b"BAD\r\n\r\n")
        assert client.answer().status == 400
        assert client.end() == "fin"
        end = time.monotonic() + 10
        while True:
            try:
                client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            except OSError:
                break
            assert time.monotonic() < end, "still accepts bytes"
            time.sleep(0.02)
    proxy.nothing_forwarded()


def test_nothing_is_answered_after_a_refusal(proxy: Running) -> None:
    """B3 13 (Varnish 2025-30346): good requests behind a bad one are not served."""
    good = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
    with proxy.client() as client:
        client.send(good + b"GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n" + good * 3)
        assert client.answer().status == 200
        answer = client.answer()
        assert answer.status == 400
        assert answer.closes
        assert client.end() == "fin"
    assert proxy.recorder.count("/good") == 1


@pytest.fixture(scope="module")
def variables(start: StartProxy) -> Running:
    return start(
        routes="""
[[routes]]
path = "/redirect/{rest...}"
redirect = { to = "https://{host}{path}?q={query:q}&r={param:rest}", status = 302 }
[[routes]]
path = "= /reply"
reply = { body = "{query:q} {header:X-Given}", headers = { X-Query = "{query:q}" } }
[[routes]]
path = "/set/"
upstream = "main"
request_headers = { set = { X-Query = "{query:q}", X-Path = "{path}" } }
response_headers = { set = { X-Query = "{query:q}" } }
"""
    )


@pytest.mark.parametrize(
    "given", ["%0d%0aX-Evil:%201", "%0aX-Evil:%201", "%0d", "%00", "a%0d%0a%0d%0ab"]
)
@pytest.mark.parametrize("path", ["/redirect/x", "/reply", "/set/x"])
def test_variables_cannot_split_heads(variables: Running, path: str, given: str) -> None:
    """B3 18: CR, LF and NUL never enter a head through a variable, neither way."""
    variables.recorder.clear()
    request = f"GET {path}?q={given} HTTP/1.1\r\nHost: a\r\nX-Given: {given}\r\n\r\n"
    with variables.client() as client:
        client.send(request.encode())
        answer = client.answer()
        assert "x-evil" not in answer.names()
        for _, value in answer.fields:
            assert not set(value) & {"\r", "\n", "\0"}
        client.send(b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.answer().status == 200
        assert client.end() == "fin"
    variables.recorder.settle()
    for seen in variables.recorder.requests:
        assert not seen.trouble
        assert "x-evil" not in seen.names()
    assert variables.recorder.count("/after") == 1


def test_the_upstreams_status_line_is_validated(proxy: Running) -> None:
    """B3 18: nothing but a well-formed line is passed on."""
    for line in (
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 20",
        b"HTTP/2 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1  200 OK",
    ):
        proxy.recorder.on("/line", line + b"\r\nContent-Length: 0\r\n\r\n")
        assert proxy.ask(b"GET /line HTTP/1.1\r\nHost: a\r\n\r\n").status == 502, line
