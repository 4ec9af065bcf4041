"""TLS over a socket, with the records in our hands: to deliver them in pieces, keep them back, or
send what ssl would not."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable


class Line:
    """A client whose ciphertext passes through `cut`: pieces are sent one by one."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        name: str | None = "a.test",
        *,
        step: int = 0,
        pause: float = 0.0,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.coming, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.coming, self.going, server_hostname=name)
        self.step, self.pause = step, pause

    def __enter__(self) -> Line:
        self.do(self.tls.do_handshake)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def do(self, what: object, *args: object) -> object:
        """Until it is done, whatever must be moved for it."""
        while True:
            try:
                result = what(*args)  # type: ignore[operator]
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self.fetch()

    def fetch(self) -> None:
        data = self.socket.recv(65536)
        if data:
            self.coming.write(data)
        else:
            self.coming.write_eof()

    def flush(self) -> None:
        self.deliver(self.going.read())

    def deliver(self, data: bytes) -> None:
        for piece in self.pieces(data):
            self.socket.sendall(piece)
            if self.pause:
                time.sleep(self.pause)

    def pieces(self, data: bytes) -> Iterable[bytes]:
        step = self.step or max(len(data), 1)
        return (data[at : at + step] for at in range(0, len(data), step))

    def seal(self, data: bytes) -> bytes:
        """The records of it, not sent."""
        self.flush()
        self.tls.write(data)
        return self.going.read()

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.do(self.tls.write, view[:65536]) :]  # type: ignore[misc]

    def recv(self, size: int = 65536) -> bytes:
        """b"": close_notify. SSLEOFError: it was cut."""
        try:
            return bytes(self.do(self.tls.read, size))  # type: ignore[call-overload]
        except ssl.SSLZeroReturnError:
            return b""

    def answer(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.recv()
            assert piece, "it ended inside a head"
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            piece = self.recv()
            assert piece, "it ended inside a body"
            body += piece
        return head + b"\r\n\r\n" + body
