"""gRPC-Web in HTTP/1.1's own words: what the backend reads, what the browser reads, and CORS."""

from __future__ import annotations

import base64
import itertools
import time

import pytest

from tests.oracle.grpcweb import answer, frame
from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, CLOSE, HANG, chunked, coded, sized
from tests.raw.talking import Running
from tests.running import wait_until

MESSAGE = frame(b"hello")
KIND = b"Content-Type: application/grpc+proto\r\n"
TRAILERS = b"grpc-status: 0\r\nGrpc-Message: fine\r\n"
HTML = b"Content-Type: text/html\r\n"
ORIGIN = "Origin: https://app.example"
ALLOW = "access-control-allow-origin"


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        timeouts='upstream_first_byte = "500ms"',
        routes="""
[[routes]]
host = "a"
path = "/same"
upstream = "main"
grpc_web = true
max_body = 100
[[routes]]
host = "a"
path = "/cors"
upstream = "main"
[routes.grpc_web]
origins = ["https://app.example", "http://localhost:3000"]
allow_headers = ["x-token"]
expose_headers = ["x-cost"]
credentials = true
max_age = "1h"
[[routes]]
host = "a"
path = "/any"
upstream = "main"
grpc_web = { origins = ["*"] }
[[routes]]
host = "a"
path = "/down"
upstream = "down"
grpc_web = { origins = ["https://app.example"] }
[[routes]]
host = "a"
path = "/plain"
upstream = "main"
[[routes]]
host = "a"
path = "/edited"
upstream = "main"
grpc_web = true
request_headers = { set = { Content-Type = "application/grpc+mine" } }
response_headers = { set = { Content-Type = "x/y" } }
[upstreams.down]
backends = ["http://127.0.0.1:1"]
""",
        log="off",
    )


def call(path: str, body: bytes, *lines: str, text: bool = False, chunks: bool = False) -> bytes:
    kind = f"application/grpc-web{'-text' * text}+proto"
    body = base64.b64encode(body) if text else body
    framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}", "X-Grpc-Web: 1"]
    head += [framing, *lines, "", ""]
    return "\r\n".join(head).encode() + (chunked(body) if chunks else body)


def grpc_answer(*messages: bytes, trailers: bytes = TRAILERS, more: bytes = b"") -> bytes:
    return coded(*messages, more=KIND + more, end=False) + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_a_call_and_its_answer(proxy: Running, text: bool, chunks: bool) -> None:
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE, MESSAGE))
    got = proxy.ask(call("/same", MESSAGE * 2, text=text, chunks=chunks))
    assert got.status == 200
    assert got.one("content-type") == f"application/grpc-web{'-text' * text}+proto"
    assert got.body == answer(MESSAGE * 2, TRAILERS, text=text)
    assert not got.coded.endswith(TRAILERS + b"\r\n")
    assert got.names().isdisjoint({"trailer", ALLOW, "vary"})
    seen = proxy.recorder.only("/same")
    assert seen.body == MESSAGE * 2
    assert seen.one("content-type") == "application/grpc+proto"
    assert seen.one("te") == "trailers"
    assert seen.framing == ("chunked" if text or chunks else "length")


@pytest.mark.parametrize("text", [False, True])
def test_byte_by_byte_both_ways(proxy: Running, text: bool) -> None:
    whole = grpc_answer(MESSAGE, b"\0\0\0", b"\0\1x")
    steps = [step for byte in whole for step in (bytes([byte]), 0.001)]
    proxy.recorder.on("/same", BODY, *steps)
    with proxy.client() as client:
        client.send_bytewise(call("/same", MESSAGE, text=text, chunks=True), 0.0005)
        got = client.answer()
    assert got.body == answer(MESSAGE + frame(b"x"), TRAILERS, text=text)
    assert proxy.recorder.only("/same").body == MESSAGE


@pytest.mark.parametrize("text", [False, True])
def test_each_message_comes_at_once(proxy: Running, text: bool) -> None:
    """Server streaming: whole when it has been sent, not when the next one is."""
    first = coded(MESSAGE, more=KIND, end=False)
    proxy.recorder.on("/same", BODY, first, 0.3, chunked(MESSAGE, end=False), 0.3,
                      b"0\r\n" + TRAILERS + b"\r\n")  # fmt: skip
    wanted = answer(MESSAGE, b"", text=text)
    with proxy.client() as client:
        client.send(call("/same", MESSAGE, text=text))
        client.until(b"\r\n\r\n")
        times = []
        for _ in range(2):
            assert client.until(b"\r\n") == b"%x\r\n" % len(wanted)
            assert client.exactly(len(wanted) + 2) == wanted + b"\r\n"
            times.append(time.monotonic())
        client.until(b"0\r\n\r\n")
        times.append(time.monotonic())
    assert all(0.2 < b - a < 0.5 for a, b in itertools.pairwise(times)), times


@pytest.mark.parametrize("size", [100_000, 1_500_000])
@pytest.mark.parametrize("text", [False, True])
def test_large_messages(proxy: Running, text: bool, size: int) -> None:
    data = frame(bytes(range(256)) * (size // 256)) + MESSAGE
    proxy.recorder.on("/any", BODY, lambda seen: [grpc_answer(seen.body)])
    with proxy.client() as client:
        client.send(call("/any", data, text=text))
        assert client.answer().body == answer(data, TRAILERS, text=text)


def test_trailers_of_8_kib(proxy: Running) -> None:
    trailers = b"grpc-status: 9\r\ngrpc-status-details-bin: " + b"QUJD" * 2000 + b"\r\n"
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE, trailers=trailers))
    for text in (False, True):
        got = proxy.ask(call("/same", MESSAGE, text=text))
        assert got.body == answer(MESSAGE, trailers, text=text)


def test_a_status_in_the_head(proxy: Running) -> None:
    """Trailers-Only: it stays there, where gRPC-Web clients look for it."""
    more = KIND + b"grpc-status: 5\r\ngrpc-message: no such thing\r\n"
    proxy.recorder.on("/same", BODY, sized(b"", more=more))
    for text in (False, True):
        got = proxy.ask(call("/same", MESSAGE, text=text))
        assert (got.one("grpc-status"), got.body) == ("5", b"")
        assert "grpc-web" in got.one("content-type")


def test_what_is_no_grpc_is_passed_on(proxy: Running) -> None:
    proxy.recorder.on(
        "/same", BODY, coded(b"<p>busy", more=HTML, end=False) + b"0\r\nx-t: 1\r\n\r\n"
    )
    got = proxy.ask(call("/same", MESSAGE, text=True))
    assert (got.one("content-type"), got.body) == ("text/html", b"<p>busy")
    assert b"x-t" not in got.coded


def test_an_answer_cut_in_the_middle(proxy: Running) -> None:
    proxy.recorder.on("/same", BODY, coded(MESSAGE, more=KIND, end=False), 0.05, CLOSE)
    with proxy.client() as client, pytest.raises(Truncated) as cut:
        client.send(call("/same", MESSAGE, text=True))
        client.answer()
    assert cut.value.got == base64.b64encode(MESSAGE)


def test_http10(proxy: Running) -> None:
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE))
    got = proxy.ask(call("/same", MESSAGE, text=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert got.framing == "close"
    assert got.body == answer(MESSAGE, TRAILERS, text=True)


def test_grpc_itself_passes_untouched(proxy: Running) -> None:
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE))
    data = call("/same", MESSAGE, "TE: trailers").replace(b"grpc-web", b"grpc")
    with proxy.client() as client:
        client.send(data)
        assert b"application/grpc+proto" in client.until(b"\r\n\r\n")
        wanted = b"a\r\n" + MESSAGE + b"\r\n0\r\n" + TRAILERS + b"\r\n"
        assert client.exactly(len(wanted)) == wanted
    assert proxy.recorder.only("/same").body == MESSAGE


def test_without_the_option_it_is_just_a_body(proxy: Running) -> None:
    proxy.recorder.on("/plain", BODY, grpc_answer(MESSAGE))
    assert proxy.ask(call("/plain", MESSAGE, text=True)).body == MESSAGE
    seen = proxy.recorder.only("/plain")
    assert seen.one("content-type") == "application/grpc-web-text+proto"
    assert seen.body == base64.b64encode(MESSAGE)


def test_what_the_configuration_writes_wins(proxy: Running) -> None:
    proxy.recorder.on("/edited", BODY, grpc_answer(MESSAGE))
    got = proxy.ask(call("/edited", MESSAGE))
    assert proxy.recorder.only("/edited").all("content-type") == ["application/grpc+mine"]
    assert got.all("content-type") == ["x/y"]


# ---- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"A", b"AAA", b"A===", b"AAAA!", b"AA=A", b"AAA=A"])
@pytest.mark.parametrize("late", [False, True])
def test_what_is_not_base64(proxy: Running, body: bytes, late: bool) -> None:
    """INTERNAL, whether the backend has heard of the call already or not."""
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE))
    head = call("/same", MESSAGE, text=True, chunks=True).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with proxy.client() as client:
        client.send(head)
        if late:
            time.sleep(0.05)
        client.send(chunked(base64.b64encode(b"good"), body))
        got = client.answer()
    assert (got.status, got.one("grpc-status")) == (200, "13")
    assert got.one("grpc-message") == "the request body is not valid base64"
    assert got.closes


@pytest.mark.parametrize(("text", "size"), [(False, 101), (True, 101), (True, 70)])
def test_the_limit_is_of_what_it_stands_for(proxy: Running, text: bool, size: int) -> None:
    proxy.recorder.on("/same", BODY, grpc_answer(MESSAGE))
    got = proxy.ask(call("/same", b"x" * size, text=text, chunks=True))
    assert got.all("grpc-status") == (["8"] if size > 100 else [])


def test_our_errors(proxy: Running) -> None:
    for text in (False, True):
        got = proxy.ask(call("/down", MESSAGE, ORIGIN, text=text))
        assert (got.status, got.body, got.one("grpc-status")) == (200, b"", "14")
        assert got.one("content-type") == f"application/grpc-web{'-text' * text}+proto"
        assert got.one(ALLOW) == "https://app.example"
        assert "grpc-status" in got.one("access-control-expose-headers")


def test_a_deadline(proxy: Running) -> None:
    proxy.recorder.on("/same", BODY, HANG)
    got = proxy.ask(call("/same", MESSAGE, "grpc-timeout: 100m"))
    assert got.one("grpc-status") == "4"


# ---- CORS ---------------------------------------------------------------------------------------


def preflight(path: str, origin: str, *lines: str) -> bytes:
    head = [f"OPTIONS {path} HTTP/1.1", "Host: a", f"Origin: {origin}",
            "Access-Control-Request-Method: POST", *lines, "", ""]  # fmt: skip
    return "\r\n".join(head).encode()


def test_a_browser_asks_first(proxy: Running) -> None:
    proxy.recorder.clear()
    asked = preflight("/cors", "https://app.example", "Access-Control-Request-Headers: x-token")
    got = proxy.ask(asked, "OPTIONS")
    assert got.status == 204
    assert got.one(ALLOW) == "https://app.example"
    assert got.one("access-control-allow-methods") == "POST"
    assert "x-grpc-web" in got.one("access-control-allow-headers")
    assert got.one("access-control-allow-headers").endswith("x-token")
    assert got.one("access-control-max-age") == "3600"
    assert got.one("access-control-allow-credentials") == "true"
    assert got.one("vary") == "Origin"
    proxy.nothing_forwarded()


@pytest.mark.parametrize(("path", "origin", "status"), [
    ("/cors", "http://localhost:3000", 204), ("/cors", "http://localhost", 403),
    ("/cors", "https://app.example.evil", 403), ("/cors", "http://app.example", 403),
    ("/cors", "null", 403), ("/same", "https://app.example", 403), ("/any", "https://x.y", 204),
    ("/any", "null", 204), ("/cors", "https://" + "a" * 300, 403),
])  # fmt: skip
def test_who_may(proxy: Running, path: str, origin: str, status: int) -> None:
    got = proxy.ask(preflight(path, origin), "OPTIONS")
    assert got.status == status
    assert got.all(ALLOW) == ([] if status == 403 else ["*" if path == "/any" else origin])


def test_other_options_requests_are_the_backends(proxy: Running) -> None:
    proxy.recorder.clear()
    assert proxy.ask(b"OPTIONS /cors HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS").status == 200
    assert proxy.recorder.count("/cors") == 1


@pytest.mark.parametrize(("path", "origin", "allowed"), [
    ("/cors", "https://app.example", ["https://app.example"]),
    ("/cors", "https://evil.example", []),
    ("/any", "https://evil.example", ["*"]), ("/same", "https://app.example", []),
])  # fmt: skip
def test_who_may_read_the_answer(
    proxy: Running, path: str, origin: str, allowed: list[str]
) -> None:
    """The backend's own words about it do not count where we say something."""
    theirs = b"Access-Control-Allow-Origin: https://other\r\n" if allowed else b""
    proxy.recorder.on(path, BODY, grpc_answer(MESSAGE, more=theirs))
    got = proxy.ask(call(path, MESSAGE, f"Origin: {origin}"))
    assert got.all(ALLOW) == allowed
    assert ("access-control-expose-headers" in got.names()) == bool(allowed)
    credentials = path == "/cors" and bool(allowed)
    assert ("access-control-allow-credentials" in got.names()) == credentials


def test_nothing_is_left(proxy: Running) -> None:
    wait_until(lambda: proxy.status()["totals"]["kept_bytes"] == 0)
