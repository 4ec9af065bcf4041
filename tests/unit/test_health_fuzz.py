"""Whatever a backend sends, in whatever pieces: a check comes to a verdict and never raises."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.health.agent import AgentProbe
from fastproxy.health.grpc import Frame, frame
from fastproxy.health.grpc import GrpcProbe as Grpc
from fastproxy.health.http import HttpProbe as Http
from fastproxy.health.probe import Probe, Target
from fastproxy.health.tcp import TcpProbe
from tests.unit.healthy import check_of, member_at

LOOP = asyncio.new_event_loop()
MEMBER = member_at(9001)
TARGET = Target.of(MEMBER.address, MEMBER.backend.url)
HTTP = check_of(
    expect={"body": "ok", "json": {"a.b": 1}, "headers": {"x": "^y"}, "limit": 256},
    agent={"header": "x-agent", "json": "words"},
)
HEAD = b"HTTP/1.1 200 OK\r\nX: y\r\n"
PARTS = [
    b"HTTP/1.1 ", b"200", b" OK", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"2", b"0",
    b"ffffffff", b"Transfer-Encoding: chunked", b"X: y", b"X-Agent: up 5%", b": ", b";",
    b"{\"a\":{\"b\":1}}", b"\x00", b"\xff", b"ok", b"[" * 300, b"x" * 5000, HEAD,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    HEAD + b"Content-Length: 7\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n",
]  # fmt: skip
FRAMES = [
    frame(Frame.SETTINGS, 0, 0), frame(Frame.HEADERS, 4, 1, b"\x88"), frame(Frame.HEADERS, 5, 1),
    frame(Frame.DATA, 0, 1, b"\0\0\0\0\2\x08\1"), frame(Frame.DATA, 9, 1, b"\2\0\0\0\0\0\0\0"),
    frame(Frame.DATA, 8, 1), frame(Frame.RST_STREAM, 0, 1), frame(Frame.GOAWAY, 0, 0),
    frame(Frame.GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\1"), frame(Frame.PING, 0, 0, b"8bytes.."),
    b"\0\0\1", b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x7f",
]  # fmt: skip


class Line:
    """In the transport's place: what was written, and whether it was closed."""

    def __init__(self) -> None:
        self.written = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self) -> None:
        self.closed = True


def tried(kind: type[Probe], check: Any, pieces: list[bytes]) -> None:
    probe = kind(check, TARGET, LOOP)
    line = Line()
    probe.connection_made(cast("asyncio.Transport", line))
    for piece in pieces:
        probe.data_received(piece)
    probe.eof_received()
    probe.connection_lost(None)
    assert probe.seen.done()
    assert line.closed
    assert probe.seen.result().fault or probe.seen.result().said


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(one, len(data)) for one in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("kind", "check", "parts"),
    [
        (Http, HTTP, PARTS),
        (Http, check_of(method="HEAD", agent={"header": "x-agent"}), PARTS),
        (TcpProbe, check_of(kind="tcp", expect={"body": "ok$", "limit": 64}), PARTS),
        (AgentProbe, check_of(agent={"port": 1}), [*PARTS, b"up", b"75%", b"maxconn:", b"#"]),
        (Grpc, check_of(kind="grpc"), FRAMES),
    ],
    ids=["http", "head", "tcp", "agent", "grpc"],
)
def test_any_bytes_are_an_answer(kind: type[Probe], check: Any, parts: list[bytes]) -> None:
    some = st.lists(st.sampled_from(parts) | st.binary(max_size=20), max_size=12).map(b"".join)

    @given(some, st.lists(st.integers(0, 200), max_size=8))
    def run(data: bytes, at: list[int]) -> None:
        tried(kind, check, cut(data, at))

    run()
