"""A default that is in force, and what switches it off for one route or upstream."""

from __future__ import annotations

import time

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, coded, sized
from tests.raw.talking import Running

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
SIZED = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
CHUNKED = (
    b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n"
)


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        timeouts='request = "300ms"',
        limits='max_body = "1000"',
        routes="""
[[routes]]
path = "/off/"
upstream = "main"
request_timeout = "off"
max_body = "off"
""",
    )


@pytest.mark.parametrize(("path", "status"), [("/on", 504), ("/off/", 200)])
def test_request_timeout(proxy: Running, path: str, status: int) -> None:
    proxy.recorder.on(path, BODY, 0.6, sized(b"late"))
    assert proxy.ask(GET % path.encode()).status == status


@pytest.mark.parametrize("request_bytes", [SIZED, CHUNKED])
@pytest.mark.parametrize(("path", "status"), [("/on", 413), ("/off/", 200)])
def test_max_body(proxy: Running, path: str, status: int, request_bytes: bytes) -> None:
    assert proxy.ask(request_bytes % path.encode()).status == status


def test_timeouts_of_an_upstream(start: StartProxy) -> None:
    """Silence before the answer and inside it, longer than the defaults would bear."""
    patient = start(
        timeouts='upstream_first_byte = "200ms"\nupstream_idle = "200ms"',
        upstream='timeouts = { first_byte = "off", idle = "off" }',
    )
    patient.recorder.on("/p", BODY, 0.5, coded(end=False), 0.5, b"1\r\nx\r\n0\r\n\r\n")
    started = time.monotonic()
    answer = patient.ask(GET % b"/p")
    assert (answer.status, answer.body[-1:]) == (200, b"x")
    assert time.monotonic() - started >= 1.0
