"""A client on bare sockets, for tests that must decide when and how much is read or sent."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.flow.origin import Reader

WAIT_SECONDS = 60.0


@dataclass
class Answered:
    """One answer, its body read as `size` and sha256 only."""

    status: int
    fields: dict[str, str]
    size: int
    sha256: str
    body: bytes
    """The whole body if it is at most KEPT bytes, else b""."""

    KEPT = 1 << 16

    @property
    def text(self) -> str:
        return self.body.decode()


def head_of(method: str, target: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: test", *lines, "", ""]).encode()


class Line:
    """One connection. `rcvbuf`: a small one makes a slow reader felt at once."""

    def __init__(self, port: int, rcvbuf: int = 0, seconds: float = WAIT_SECONDS) -> None:
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(seconds)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self.sock)

    @property
    def local_port(self) -> int:
        return int(self.sock.getsockname()[1])

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, method: str, target: str, *lines: str) -> Answered:
        self.sock.sendall(head_of(method, target, *lines))
        return self.answer(method)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and fields (lower case) of the next head."""
        first, *rest = self.reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {}
        for line in rest:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return int(first.split(" ")[1]), fields

    def answer(self, method: str = "GET", piece: int = 1 << 18, pause: float = 0.0) -> Answered:
        """The next final answer. EOFError-like `Closed` if it is cut off."""
        status, fields = self.head()
        while status < 200:
            status, fields = self.head()
        found, size, kept = hashlib.sha256(), 0, b""
        if method != "HEAD" and status not in (204, 304):
            for data in self.reader.body(fields, piece, until_close=True):
                found.update(data)
                size += len(data)
                if size <= Answered.KEPT:
                    kept += data
                if pause:
                    time.sleep(pause)
        body = kept if size <= Answered.KEPT else b""
        return Answered(status, fields, size, found.hexdigest(), body)

    def send_body(
        self, parts: Iterable[bytes | memoryview], chunked: bool, pause: float = 0
    ) -> None:
        for part in parts:
            if chunked:
                self.sock.sendall(b"%x\r\n" % len(part))
            self.sock.sendall(part)
            if chunked:
                self.sock.sendall(b"\r\n")
            if pause:
                time.sleep(pause)
        if chunked:
            self.sock.sendall(b"0\r\n\r\n")


def framing(chunked: bool, size: int) -> str:
    return "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"


class Sender(threading.Thread):
    """Sends a body beside the reading; `join` raises what went wrong."""

    def __init__(self, line: Line, parts: Iterator[memoryview], chunked: bool, pause: float = 0):
        super().__init__(daemon=True)
        self.work = (line, parts, chunked, pause)
        self.trouble: BaseException | None = None
        self.start()

    def run(self) -> None:
        line, parts, chunked, pause = self.work
        try:
            line.send_body(parts, chunked, pause)
        except BaseException as error:
            self.trouble = error

    def join(self, timeout: float | None = WAIT_SECONDS) -> None:
        super().join(timeout)
        assert not self.is_alive(), "the body is still being sent"
        if self.trouble:
            raise self.trouble
