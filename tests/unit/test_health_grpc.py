"""gRPC checks: a real server (grpcio), and frames that are none."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fastproxy.health.grpc import Frame, Serving, frame, literal, read_status, varint
from fastproxy.health.probe import Seen
from tests.unit.healthy import answer, asked, certificate, check_of, run, seen

STATES = {
    "": "SERVING",
    "up.Service": "SERVING",
    "down.Service": "NOT_SERVING",
    "odd.Service": "UNKNOWN",
    "long." + "x" * 300: "SERVING",
}


def servicer() -> health.HealthServicer:
    made = health.HealthServicer()
    for name, state in STATES.items():
        made.set(name, getattr(health_pb2.HealthCheckResponse, state))
    return made


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4))
    health_pb2_grpc.add_HealthServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.mark.parametrize("name", STATES)
def test_a_real_server(server_port: int, name: str) -> None:
    found = run(asked(check_of(kind="grpc", service=name, timeout="3s"), server_port))
    wanted = STATES[name]
    assert found == Seen("" if wanted == "SERVING" else wanted, wanted)


def test_an_unknown_service(server_port: int) -> None:
    """grpcio sends an empty message before its NOT_FOUND: that is a status of UNKNOWN."""
    found = run(asked(check_of(kind="grpc", service="no.Such", timeout="3s"), server_port))
    assert found.fault == "UNKNOWN"


def test_a_server_without_health() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = run(asked(check_of(kind="grpc", timeout="3s"), port))
    server.stop(None)
    assert found.fault == "the call failed: no such service, or no health service at all"


def test_a_server_with_tls(tmp_path: Path) -> None:
    certificate(tmp_path, "app.test")
    pair = ((tmp_path / "app.test.key").read_bytes(), (tmp_path / "app.test.pem").read_bytes())
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    tls = {"ca": str(tmp_path / "app.test.pem")}
    check = check_of(kind="grpcs", tls=tls, timeout="3s")
    good, bad = (run(asked(check, port, name)) for name in ("app.test", "other.test"))
    server.stop(None)
    assert good == Seen("", "SERVING")
    assert "hostname mismatch" in bad.fault


SETTINGS = frame(Frame.SETTINGS, 0, 0)
HEADERS = frame(Frame.HEADERS, 4, 1, b"\x88")
MESSAGE = struct.pack("!BI", 0, 2) + b"\x08\x01"
TRAILERS = frame(Frame.HEADERS, 5, 1, b"\x00" + literal("grpc-status") + literal("0"))


def data(payload: bytes, flags: int = 0) -> bytes:
    return frame(Frame.DATA, flags, 1, payload)


GOOD = SETTINGS + HEADERS + data(MESSAGE) + TRAILERS
NONE = "the answer is no health message"
NOT_HTTP2 = "the answer is no HTTP/2"
ENDED = "the connection ended before an answer"


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (GOOD, ""),
        (SETTINGS + HEADERS + data(MESSAGE[:3]) + data(MESSAGE[3:]) + TRAILERS, ""),
        (SETTINGS + HEADERS + data(MESSAGE, 1), ""),
        (SETTINGS + HEADERS + data(b"\x02" + MESSAGE + b"\0\0", 8) + TRAILERS, ""),
        (SETTINGS + frame(Frame.PING, 0, 0, b"12345678") + GOOD[9:], ""),
        (SETTINGS + frame(Frame(0), 0, 3, b"x" * 99) + GOOD[9:], ""),
        (SETTINGS + HEADERS + data(struct.pack("!BI", 0, 0)) + TRAILERS, "UNKNOWN"),
        (SETTINGS + HEADERS + data(struct.pack("!BI", 0, 2) + b"\x08\x07") + TRAILERS, "status 7"),
        (SETTINGS + HEADERS + data(struct.pack("!BI", 1, 2) + b"\x08\x01") + TRAILERS,
         "the answer is compressed, which was not offered"),
        (SETTINGS + HEADERS + data(MESSAGE + MESSAGE) + TRAILERS, NONE),
        (SETTINGS + HEADERS + data(MESSAGE[:6]) + TRAILERS, NONE),
        (SETTINGS + HEADERS + data(b"<html>no</html>") + TRAILERS, NONE),
        (SETTINGS + HEADERS + data(struct.pack("!BI", 0, 2) + b"\x08\xff") + TRAILERS, NONE),
        (SETTINGS + HEADERS + data(struct.pack("!BI", 0, 2) + b"\x0a\x09") + TRAILERS, NONE),
        (SETTINGS + HEADERS + data(b"\x09" + MESSAGE, 8) + TRAILERS, NOT_HTTP2),
        (SETTINGS + TRAILERS, "the call failed: no such service, or no health service at all"),
        (SETTINGS + frame(Frame.RST_STREAM, 0, 1, b"\0\0\0\x07"),
         "the call was reset with HTTP/2 error 7"),
        (SETTINGS + frame(Frame.GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x0b"),
         "the server goes away with HTTP/2 error 11"),
        (SETTINGS + HEADERS + data(b"x" * 16000) * 5, NONE),
        (SETTINGS + frame(Frame.DATA, 0, 1, b"x" * 20000), NOT_HTTP2),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NOT_HTTP2),
        (HEADERS + data(MESSAGE) + TRAILERS, NOT_HTTP2),
        (SETTINGS + HEADERS + data(MESSAGE), ENDED),
        (SETTINGS, ENDED),
        (b"", ENDED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [0, 3])
def test_frames(sent: bytes, fault: str, piece: int) -> None:
    found = seen(answer(sent, piece), kind="grpc", timeout="5s").fault
    if fault == ENDED and found != fault:  # what we have sent and it has not read makes a reset
        assert found == "the connection broke: connection reset by peer"
    else:
        assert found == fault


def test_a_server_that_says_nothing() -> None:
    assert seen(answer(SETTINGS, stay=True), kind="grpc").fault == "no answer within 400ms"


def test_a_server_that_only_takes_us_with_our_acknowledgement() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS + frame(Frame.PING, 0, 0, b"abcdefgh"))
        got = b""
        ping = frame(Frame.PING, 1, 0, b"abcdefgh")
        while frame(Frame.SETTINGS, 1, 0) not in got or ping not in got:
            got += await reader.read(4096)
        writer.write(HEADERS + data(MESSAGE) + TRAILERS)

    assert seen(talk, kind="grpc").fault == ""


def test_words_of_the_format() -> None:
    assert [varint(n) for n in (0, 127, 128, 300)] == [b"\0", b"\x7f", b"\x80\x01", b"\xac\x02"]
    assert literal("x" * 126)[:1] == b"\x7e"
    assert literal("x" * 127)[:2] == b"\x7f\x00"
    assert literal("x" * 300)[:3] == b"\x7f\xad\x01"
    assert read_status(MESSAGE) is Serving.SERVING
