"""The client's end of a raw connection: bytes out, cut as a test wants; answers in, read strictly.

Own code, no library: a proxy test that reads leniently proves nothing. Whatever an HTTP/1.1 answer
may not be (RFC 9112) is an AssertionError with the bytes in it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t -~\x80-\xff]*)")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
SECONDS = 15.0


class Truncated(AssertionError):
    """The connection ended inside an answer: `got` is its body so far, `how` fin or rst."""

    def __init__(self, got: bytes, how: str, head: Answer | None = None) -> None:
        super().__init__(f"ended by {how} after {len(got)} body bytes")
        self.got = got
        self.how = how
        self.head = head


@dataclass
class Answer:
    """One final answer and the interim ones before it."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    """none, length, chunked or close."""
    interim: list[Answer] = field(default_factory=list)
    coded: bytes = b""
    """The body as received."""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self}"
        return values[0]

    def names(self) -> set[str]:
        return {key.lower() for key, _ in self.fields}

    @property
    def closes(self) -> bool:
        return "close" in [value.lower() for value in self.all("connection")]


class Client:
    """One connection. Every wait is bounded by `seconds`."""

    def __init__(self, address: tuple[str, int], seconds: float = SECONDS) -> None:
        self.sock = socket.create_connection(address, seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.ended = ""
        """fin or rst, once seen."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # -- out ------------------------------------------------------------------------------------

    def send(self, data: bytes, cuts: Sequence[int] | None = None, pause: float = 0.0) -> None:
        """Send `data`, whole or in pieces ending at `cuts`, `pause` seconds between them. A proxy
        that closed meanwhile is no error: the answer tells."""
        places = [0, *sorted(set(cuts or ())), len(data)]
        for start, end in itertools.pairwise(places):
            if start == end:
                continue
            try:
                self.sock.sendall(data[start:end])
            except (ConnectionError, BrokenPipeError):
                return
            if pause and end != len(data):
                time.sleep(pause)

    def send_bytewise(self, data: bytes, pause: float = 0.0) -> None:
        self.send(data, range(1, len(data)), pause)

    def finish(self) -> None:
        """No more will be sent (FIN)."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # -- in -------------------------------------------------------------------------------------

    def more(self) -> bool:
        """Read once. False: the end, see `ended`."""
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            self.ended = "rst"
            return False
        if not data:
            self.ended = "fin"
            return False
        self.held += data
        return True

    def until(self, mark: bytes) -> bytes:
        while mark not in self.held:
            if not self.more():
                raise Truncated(self.held, self.ended)
        taken, self.held = self.held.split(mark, 1)
        return taken + mark

    def exactly(self, size: int, so_far: bytes = b"", head: Answer | None = None) -> bytes:
        while len(self.held) < size:
            if not self.more():
                raise Truncated(so_far + self.held, self.ended, head)
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer, read to its end."""
        interim: list[Answer] = []
        while True:
            head = self._head()
            if head.status >= 200 or head.status == 101:
                head.interim = interim
                self._body(head, method)
                return head
            assert not head.names() & {"content-length", "transfer-encoding", "connection"}, head
            interim.append(head)

    def _head(self) -> Answer:
        raw = self.until(b"\r\n\r\n")
        first, *rest = raw[:-4].split(b"\r\n")
        match = STATUS_LINE.fullmatch(first)
        assert match, raw
        answer = Answer(int(match[1]), match[2].decode("latin-1"), [])
        for line in rest:
            match = FIELD.fullmatch(line)
            assert match, raw
            answer.fields.append((match[1].decode(), match[2].decode("latin-1")))
        return answer

    def _body(self, head: Answer, method: str) -> None:
        lengths, codings = head.all("content-length"), head.all("transfer-encoding")
        assert len(lengths) <= 1, head
        assert len(codings) <= 1, head
        assert not (lengths and codings), head
        if head.status in (101, 204):
            assert not lengths, head
            assert not codings, head
        if head.status in (101, 204, 304) or method == "HEAD":
            return
        if codings:
            assert codings == ["chunked"], head
            head.framing = "chunked"
            self._chunks(head)
        elif lengths:
            assert re.fullmatch("[0-9]+", lengths[0]), head
            head.framing = "length"
            head.body = head.coded = self.exactly(int(lengths[0]), b"", head)
        else:
            head.framing = "close"
            while self.more():
                pass
            head.body, self.held = self.held, b""
            if self.ended == "rst":
                raise Truncated(head.body, "rst", head)

    def _chunks(self, head: Answer) -> None:
        while True:
            try:
                line = self.until(b"\r\n")
            except Truncated as cut:
                raise Truncated(head.body, cut.how, head) from None
            assert re.fullmatch(rb"[0-9a-f]{1,15}\r\n", line), line
            size = int(line, 16)
            piece = self.exactly(size, head.body, head)
            head.body += piece
            end = self.exactly(2, head.body, head)
            assert end == b"\r\n", end
            head.coded += line + piece + end
            if size == 0:
                return

    def end(self) -> str:
        """Wait for the connection's end; nothing else may come. fin or rst."""
        while not self.ended:
            self.more()
        assert self.held == b"", self.held
        return self.ended

    def is_open(self, seconds: float = 0.2) -> bool:
        """Nothing comes for a while, no end either."""
        self.sock.settimeout(seconds)
        try:
            return self.more() and False
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(SECONDS)
