"""fastproxy before a scripted HTTP/2 server (tests/h2/server.py), asked in HTTP/1.1 and HTTP/2.

`ask` puts what became of a request into words, the same for both kinds of clients:

    200         an answer, whole
    200 cut     it began, and the client was told that it is not whole
    cut         nothing of an answer came
    nothing     neither, in time
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from tests.flow.peers import Gateway, cpu_seconds, proc_number
from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import Field
from tests.h2.server import Server
from tests.running import wait_until

ASKERS = ("http1", "http2")
TIMEOUTS = {"upstream_first_byte": "3s", "upstream_idle": "3s", "client_body": "3s", "drain": "8s"}


@dataclass
class Answer:
    outcome: str
    status: int = 0
    interim: list[int] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    trailers: list[Field] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


class Behind:
    """One instance; `server` is behind it. `upstream`: more of the upstream's settings."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        upstream: dict[str, Any] | None = None,
        workers: int = 1,
        **settings: Any,
    ) -> None:
        self.server = Server(tls=tls)
        self.gateway = Gateway(
            workers=workers,
            settings={
                "listeners": [{"bind": "127.0.0.1:0", "http2": True}],
                "upstreams": {"main": {"backends": [self.server.url], **(upstream or {})}},
                "routes": [{"path": "/", "upstream": "main"}],
                "timeouts": TIMEOUTS,
                "forwarding": {"forward_trailers": True},
                **settings,
            },
        )

    def __enter__(self) -> Self:
        self.server.__enter__()
        try:
            self.gateway.start()
        except BaseException:
            self.server.__exit__()
            raise
        self.workers = self.gateway.worker_pids()
        self.address = ("127.0.0.1", self.gateway.port)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.gateway.close()
        finally:
            self.server.__exit__()

    def clear(self, *settings: tuple[int, int]) -> None:
        """A new case: no connection to the server is left of the one before."""
        self.server.reset(*settings)
        wait_until(lambda: self.gateway.totals()["upstream_open"] == 0)
        self.server.reset(*settings)

    def check(self) -> None:
        """What holds after every case: nothing malformed reached the server, no worker fell."""
        assert not self.server.breaches, self.server.breaches
        assert self.gateway.worker_pids() == self.workers

    # -- asking -----------------------------------------------------------------------------------

    def client(self, *hello: tuple[int, int]) -> Client:
        return Client(self.address, tls=False, hello=h2.values(*hello))

    def ask(
        self,
        kind: str,
        path: str = "/",
        method: str = "GET",
        body: bytes = b"",
        more: Sequence[Field] = (),
        seconds: float = 8.0,
    ) -> Answer:
        """One request on a connection of its own."""
        how = self._ask_http1 if kind == "http1" else self._ask_http2
        return how(path, method, body, more, seconds)

    def _ask_http1(
        self, path: str, method: str, body: bytes, more: Sequence[Field], seconds: float
    ) -> Answer:
        head = [f"{method} {path} HTTP/1.1", "Host: a.test", "Connection: close, te"]
        head += ["TE: trailers", *(f"{name.decode()}: {value.decode()}" for name, value in more)]
        head += [f"Content-Length: {len(body)}"] if body else []
        with socket.create_connection(self.address, seconds) as sock:
            sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
            return read_http1(sock, method, seconds)

    def _ask_http2(
        self, path: str, method: str, body: bytes, more: Sequence[Field], seconds: float
    ) -> Answer:
        with self.client() as client:
            fields = h2.block(
                *h2.fields(path.encode(), method.encode()), (b"te", b"trailers"), *more
            )
            head = h2.headers(1, fields, h2.END_HEADERS if body else h2.WHOLE)
            if len(body) <= 1000:
                client.send(head + (h2.data(1, body) if body else b""))
            else:
                client.send(head)
                client.upload(1, body)
            return read_http2(client, 1, seconds)

    def asking(self, kinds: Sequence[str], **how: Any) -> list[Future[Answer]]:
        """Many at once, each in a thread."""
        pool = ThreadPoolExecutor(max(1, len(kinds)))
        made = [pool.submit(self.ask, kind, **how) for kind in kinds]
        pool.shutdown(wait=False)
        return made

    # -- what it costs ----------------------------------------------------------------------------

    def cpu(self) -> float:
        return sum(map(cpu_seconds, self.workers))

    def memory(self) -> int:
        return sum(proc_number(pid, "status", "VmRSS") for pid in self.workers)

    def counter(self, name: str) -> int:
        return int(self.gateway.status()["limits"][name])


def read_http2(client: Client, stream: int, seconds: float = 8.0) -> Answer:
    got = client.stream(stream)
    client.until(lambda: got.ended or got.reset is not None, seconds)
    if got.ended:
        outcome = str(got.status)
    elif got.reset is not None or client.ended:
        outcome = f"{got.status} cut" if got.status else "cut"
    else:
        outcome = "nothing"
    return Answer(outcome, got.status, got.interim, got.fields, got.trailers, got.body)


def read_http1(sock: socket.socket, method: str = "GET", seconds: float = 8.0) -> Answer:
    """Read strictly: every byte up to the end of the connection has to mean something."""
    raw, ended = b"", False
    until = time.monotonic() + seconds
    while not ended and time.monotonic() < until:
        sock.settimeout(max(0.01, until - time.monotonic()))
        try:
            octets = sock.recv(262144)
        except TimeoutError:
            break
        except ConnectionError:
            octets = b""
        raw += octets
        ended = not octets
    answer = Answer("cut" if ended else "nothing")
    while b"\r\n\r\n" in raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        status = int(first[9:12])
        if status < 200:
            answer.interim.append(status)
            if status != 101:
                continue
        answer.status = status
        answer.fields = [_field(line) for line in lines]
        break
    if not answer.status:
        return answer
    whole = _body(answer, raw, method, ended)
    answer.outcome = str(answer.status) if whole else f"{answer.status} cut"
    if not whole and not ended:
        answer.outcome = "nothing"
    return answer


def _field(line: bytes) -> Field:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip()


def _body(answer: Answer, raw: bytes, method: str, ended: bool) -> bool:
    """Is it whole?"""
    if method == "HEAD" or answer.status in (101, 204, 304):
        assert not raw or answer.status == 101, raw
        answer.body = raw
        return True
    if length := answer.all(b"content-length"):
        answer.body = raw
        assert len(length) == 1, length
        assert len(raw) <= int(length[0]), raw
        return len(raw) == int(length[0])
    if answer.all(b"transfer-encoding") != [b"chunked"]:
        answer.body = raw
        return ended
    while b"\r\n" in raw:
        size, _, raw = raw.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            lines = raw.split(b"\r\n")
            answer.trailers = [_field(line) for line in lines if line]
            return raw.endswith(b"\r\n")
        answer.body += raw[:count]
        raw = raw[count + 2 :]
    return False


def later(seconds: float, what: Any, *args: Any) -> threading.Timer:
    """Do it then, in another thread."""
    timer = threading.Timer(seconds, what, args)
    timer.daemon = True
    timer.start()
    return timer
