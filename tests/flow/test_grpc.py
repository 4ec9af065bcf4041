"""gRPC with grpcio at both ends, on every way through the proxy, and past it (so that what is
expected here is what grpcio does)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from fastproxy.tls.making import self_signed
from tests.flow.grpc_end import DETAILS, Calls, GrpcServer, open_channel
from tests.flow.peers import Gateway
from tests.running import wait_until

WAYS = ["direct", "h2c to h2c", "h2c to TLS", "TLS to h2c", "TLS to TLS"]
MIB4 = 4 << 20
CERTIFICATE, KEY = self_signed(["localhost"])
Code = grpc.StatusCode


class Way:
    """One way from a client to a server: `calls` is open all the time."""

    def __init__(self, way: str, folder: Path) -> None:
        self.stack = contextlib.ExitStack()
        client, _, server = way.partition(" to ")
        self.server = self.stack.enter_context(
            GrpcServer((KEY, CERTIFICATE) if server == "TLS" else None)
        )
        self.proxy: Gateway | None = None
        self.ca = CERTIFICATE if client == "TLS" else b""
        port = self.server.port
        if way != "direct":
            (folder / "cert.pem").write_bytes(CERTIFICATE)
            (folder / "key.pem").write_bytes(KEY)
            settings = self.settings(client == "TLS", server == "TLS", folder)
            self.proxy = self.stack.enter_context(Gateway(settings=settings, workers=1))
            port = self.proxy.port
        self.target = f"127.0.0.1:{port}"
        self.calls = self.open()

    def settings(self, client: bool, server: bool, folder: Path) -> dict[str, Any]:
        cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
        listener: dict[str, Any] = {"bind": "127.0.0.1:0", "http2": True}
        upstream: dict[str, Any] = {"backends": [f"h2c://127.0.0.1:{self.server.port}"]}
        down: dict[str, Any] = {"backends": ["h2c://127.0.0.1:1"]}
        if client:
            listener["tls"] = {"certificates": [{"cert": cert, "key": key}]}
        if server:
            upstream["backends"] = [f"https://127.0.0.1:{self.server.port}"]
            upstream["tls"] = {"ca": cert, "server_name": "localhost"}
        return {
            "listeners": [listener],
            "upstreams": {"grpc": upstream, "down": down},
            "routes": [
                {"path": "/", "upstream": "grpc"},
                {"path": "/test.Down/", "upstream": "down"},
                {"path": "/test.Page/", "reply": {"status": 503, "body": "busy"}},
            ],
        }

    def open(self) -> Calls:
        return self.stack.enter_context(Calls(open_channel(self.target, self.ca)))


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    one = Way(request.param, tmp_path_factory.mktemp("grpc"))
    with one.stack:
        yield one


@pytest.fixture
def calls(way: Way) -> Calls:
    way.server.cancelled.clear()
    return way.calls


def failure(work: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return caught.value


# ---- the four kinds -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100, 16384, 70_000])
def test_unary(calls: Calls, size: int) -> None:
    data = os.urandom(size)
    assert calls.unary("Unary", data) == data


@pytest.mark.parametrize("count", [0, 1, 200])
def test_client_streaming(calls: Calls, count: int) -> None:
    parts = [os.urandom(n * 37 % 5000) for n in range(count)]
    assert calls.collect(iter(parts)) == b"".join(parts)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_server_streaming(calls: Calls, count: int) -> None:
    assert [int(one) for one in calls.stream("Count", n=count)] == list(range(count))


def test_server_streaming_as_it_comes(calls: Calls) -> None:
    started = time.monotonic()
    times = []
    for _ in calls.stream("Count", n=4, pause=150):
        times.append(time.monotonic() - started)
    for number, came in enumerate(times):
        assert came < number * 0.15 + 0.12, times


def test_both_ways_in_turn(calls: Calls) -> None:
    """Each message is answered before the next one is sent."""
    said: queue.Queue[bytes | None] = queue.Queue()
    answers = calls.chat(iter(said.get, None))
    for number in range(50):
        said.put(b"%d" % number)
        assert next(answers) == b"%d" % number
    said.put(None)
    assert list(answers) == []
    assert answers.code() is Code.OK


def test_large_messages(calls: Calls) -> None:
    data = os.urandom(MIB4)
    assert calls.unary("Unary", data) == data
    assert list(calls.chat(iter([data, data[::-1]]))) == [data, data[::-1]]


def test_a_hundred_streams_at_once(calls: Calls) -> None:
    """On one connection."""

    def one(number: int) -> bool:
        parts = [b"%d %d" % (number, at) for at in range(20)]
        return list(calls.chat(iter(parts))) == parts

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(one, range(100)))


def test_more_calls_than_streams(calls: Calls) -> None:
    """300 at once on one channel, 128 streams: the others wait in the client until some end."""
    channel = calls.channel.stream_unary("/test.Test/Collect")
    gates = [queue.SimpleQueue[bytes | None]() for _ in range(300)]
    running = [channel.future(iter(gate.get, None), 60) for gate in gates]
    for number, gate in enumerate(gates):
        gate.put(b"%d" % number)
        gate.put(None)
    assert [one.result() for one in running] == [b"%d" % number for number in range(300)]


def test_a_message_of_20_mib(calls: Calls) -> None:
    data = os.urandom(1 << 20) * 20
    assert calls.unary("Unary", data) == data


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed(calls: Calls, how: grpc.Compression) -> None:
    """The flag in each message's prefix, `grpc-encoding` and `grpc-accept-encoding` pass."""
    data = b"again and again " * 20_000
    assert calls.unary("Unary", data, compression=how) == data


def test_a_stream_without_messages(calls: Calls) -> None:
    assert list(calls.chat(iter(()))) == []
    assert calls.collect(iter(())) == b""


# ---- what goes beside the messages --------------------------------------------------------------


def test_metadata_both_ways(way: Way, calls: Calls) -> None:
    sent = [("x-test-a", "1"), ("x-test-a", "2"), ("x-test-b-bin", bytes(range(256)))]
    _, call = calls.with_call("Told", b"", metadata=sent)
    for given in (call.initial_metadata(), call.trailing_metadata()):
        assert sorted((k, v) for k, v in given if k.startswith("x-test")) == sorted(sent)
    if way.proxy:
        assert way.server.seen["x-forwarded-for"] == "127.0.0.1"
        assert "x-request-id" in way.server.seen


@pytest.mark.parametrize("code", [one for one in Code if one is not Code.OK])
def test_every_status(calls: Calls, code: grpc.StatusCode) -> None:
    asked = json.dumps({"code": code.value[0], "message": "so wä%s"}).encode()
    error = failure(lambda: calls.unary("Fail", asked))
    assert error.code() is code
    assert error.details() == "so wä%s"


def test_a_status_message_of_any_kind(calls: Calls) -> None:
    """White space around it and characters beyond ASCII (percent-encoded on the wire)."""
    message = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
    asked = json.dumps({"code": 2, "message": message}).encode()
    error = failure(lambda: calls.unary("Fail", asked))
    assert (error.code(), error.details()) == (Code.UNKNOWN, message)


def test_large_details(calls: Calls) -> None:
    """grpc-message and grpc-status-details-bin of some KiB."""
    asked = json.dumps({"code": 9, "message": "m" * 2000, "details": 3000}).encode()
    error = failure(lambda: calls.unary("Fail", asked))
    assert (error.code(), error.details()) == (Code.FAILED_PRECONDITION, "m" * 2000)
    assert dict(error.trailing_metadata())[DETAILS] == b"\0" * 3000


def test_a_status_behind_messages(calls: Calls) -> None:
    answers = calls.stream("Count", n=3, die="tape is full")
    got = []
    error = failure(lambda: got.extend(one for one in answers))
    assert error.code() is Code.DATA_LOSS
    assert error.details() == "tape is full"


def test_a_client_that_cancels_after_the_first_message(way: Way, calls: Calls) -> None:
    parts = queue.SimpleQueue[bytes | None]()
    parts.put(b"one")
    call = calls.chat(iter(parts.get, None))
    assert next(call) == b"one"
    call.cancel()
    parts.put(None)
    assert failure(lambda: next(call)).code() is Code.CANCELLED
    assert way.server.cancelled.wait(10)


def test_no_such_method(calls: Calls) -> None:
    assert failure(lambda: calls.unary("Nothing")).code() is Code.UNIMPLEMENTED


def test_health(calls: Calls) -> None:
    assert calls.health() == 1


# ---- deadlines and cancellation -----------------------------------------------------------------


def test_a_deadline_is_known_to_the_server(calls: Calls) -> None:
    left = float(calls.unary("Told", timeout=5))
    assert 4 < left < 5.1


def test_a_deadline_that_passes(way: Way, calls: Calls) -> None:
    started = time.monotonic()
    answers = calls.stream("Hang", timeout=0.3)
    assert next(answers) == b"begun"
    assert failure(lambda: next(answers)).code() is Code.DEADLINE_EXCEEDED
    assert 0.28 < time.monotonic() - started < 1
    assert way.server.cancelled.wait(2)


def test_a_client_that_cancels(way: Way, calls: Calls) -> None:
    answers = calls.stream("Hang")
    assert next(answers) == b"begun"
    answers.cancel()
    assert way.server.cancelled.wait(2)


def test_a_client_that_cancels_while_it_sends(way: Way, calls: Calls) -> None:
    said: queue.Queue[bytes | None] = queue.Queue()
    said.put(b"one")
    answers = calls.chat(iter(said.get, None))
    assert next(answers) == b"one"
    answers.cancel()
    assert way.server.cancelled.wait(2)
    said.put(None)


def test_a_client_that_goes_away(way: Way) -> None:
    way.server.cancelled.clear()
    with Calls(open_channel(way.target, way.ca)) as calls:
        answers = calls.stream("Hang")
        assert next(answers) == b"begun"
    assert way.server.cancelled.wait(2)


# ---- what only a proxy does ---------------------------------------------------------------------


def ask(calls: Calls, path: str, **more: Any) -> grpc.RpcError:
    return failure(lambda: calls.channel.unary_unary(path)(b"", 10, **more))


def test_our_errors_as_statuses(way: Way) -> None:
    if way.proxy:
        down = ask(way.calls, "/test.Down/Any")
        assert (down.code(), down.details()) == (
            Code.UNAVAILABLE, "the upstream could not be reached")  # fmt: skip
        assert ask(way.calls, "/test.Page/Any").code() is Code.UNAVAILABLE


def test_nothing_is_left(way: Way) -> None:
    """Behind all of the above."""
    if way.proxy:
        wait_until(lambda: way.proxy is not None and way.proxy.inflight() == 0)


def test_a_server_that_dies_in_the_midst_of_a_stream() -> None:
    """The caller knows that it is not whole; the next call says that nobody is there."""
    server = GrpcServer().__enter__()
    settings = {
        "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
        "upstreams": {"grpc": {"backends": [f"h2c://127.0.0.1:{server.port}"]}},
        "routes": [{"path": "/", "upstream": "grpc"}],
    }
    with (
        Gateway(settings=settings, workers=1) as proxy,
        Calls(open_channel(f"127.0.0.1:{proxy.port}")) as calls,
    ):
        answers = calls.stream("Hang")
        assert next(answers) == b"begun"
        server.__exit__()
        assert failure(lambda: next(answers)).code() in (
            Code.CANCELLED, Code.UNAVAILABLE, Code.INTERNAL)  # fmt: skip
        assert failure(lambda: calls.unary("Unary")).code() is Code.UNAVAILABLE
