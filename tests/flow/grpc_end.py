"""grpcio as a backend and as a client: methods of raw bytes, so that no code is generated.

    with GrpcServer() as server:
        channel = open_channel(f"127.0.0.1:{server.port}")

Methods of /test.Test/: Unary (echo), Collect (client stream: all of it, joined), Count (server
stream: as many numbers as asked, `pause` ms apart), Chat (both: each message comes back), Fail
(status, message, details), Told (metadata comes back, initial and trailing), Sleep (ms, then an
empty answer), Hang (nothing, until it is cancelled). The health service is there as well.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
DETAILS = "grpc-status-details-bin"
SECONDS = 30


class GrpcServer:
    """In this process, on threads of its own. `tls`: (key, certificate), PEM."""

    def __init__(self, tls: tuple[bytes, bytes] | None = None, threads: int = 130) -> None:
        self.cancelled = threading.Event()
        self.seen: dict[str, Any] = {}
        self.pool = futures.ThreadPoolExecutor(threads)
        self.server = grpc.server(self.pool, options=LARGE)
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.server.add_generic_rpc_handlers([
            grpc.method_handlers_generic_handler("test.Test", {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Told": grpc.unary_unary_rpc_method_handler(self.told),
                "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
                "Hang": grpc.unary_stream_rpc_method_handler(self.hang),
            })
        ])  # fmt: skip
        if tls is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials([tls])
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(0).wait(10)
        self.pool.shutdown(wait=True)

    # -- methods --------------------------------------------------------------------------------

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def collect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = json.loads(request)
        for number in range(asked["n"]):
            yield str(number).encode()
            time.sleep(asked.get("pause", 0) / 1000)
        if "die" in asked:
            context.abort(grpc.StatusCode.DATA_LOSS, asked["die"])

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        yield from requests

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked = json.loads(request)
        context.set_trailing_metadata([(DETAILS, b"\0" * asked.get("details", 0))])
        code = next(one for one in grpc.StatusCode if one.value[0] == asked["code"])
        context.abort(code, asked["message"])

    def told(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        sent = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-test")]
        context.send_initial_metadata(sent)
        context.set_trailing_metadata(sent)
        self.seen = dict(context.invocation_metadata())
        return str(context.time_remaining()).encode()

    def sleep(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(int(request) / 1000)
        return b""

    def hang(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        yield b"begun"
        while context.is_active():
            time.sleep(0.01)


def open_channel(target: str, ca: bytes = b"", name: str = "localhost") -> grpc.Channel:
    """`ca`: by TLS, and whom to trust."""
    options = [*LARGE, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    if not ca:
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(ca)
    return grpc.secure_channel(
        target, credentials, [*options, ("grpc.ssl_target_name_override", name)]
    )


class Calls:
    """The methods of test.Test on a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def unary(
        self, method: str, request: bytes = b"", timeout: float = SECONDS, **more: Any
    ) -> Any:
        return self.channel.unary_unary(f"/test.Test/{method}")(request, timeout, **more)

    def with_call(self, method: str, request: bytes, **more: Any) -> Any:
        """(answer, call)"""
        return self.channel.unary_unary(f"/test.Test/{method}").with_call(request, SECONDS, **more)

    def collect(self, requests: Iterator[bytes]) -> bytes:
        done = self.channel.stream_unary("/test.Test/Collect")(requests, SECONDS)
        assert isinstance(done, bytes)
        return done

    def stream(self, method: str, timeout: float | None = SECONDS, **asked: Any) -> Any:
        data = json.dumps(asked).encode()
        return self.channel.unary_stream(f"/test.Test/{method}")(data, timeout)

    def chat(self, requests: Iterator[bytes], timeout: float = SECONDS) -> Any:
        return self.channel.stream_stream("/test.Test/Chat")(requests, timeout)

    def health(self) -> int:
        stub = health_pb2_grpc.HealthStub(self.channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), SECONDS).status)
