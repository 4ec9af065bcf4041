"""A backend that speaks TLS, in this process."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.tls.certs import Authority, Signed


def context_of(own: Signed, *, alpn: tuple[str, ...] = (), clients: Authority | None = None,
               newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:  # fmt: skip
    """A server's context. `clients`: whose certificates it insists on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    with tempfile.TemporaryDirectory() as directory:
        cert, key = Path(directory, "cert"), Path(directory, "key")
        cert.write_bytes(own.cert)
        key.write_bytes(own.key)
        context.load_cert_chain(cert, key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if clients:
        context.load_verify_locations(cadata=clients.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def hello(line: ssl.SSLSocket, _: bytes) -> bool:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
    return True


class Origin:
    """Answers each request head with `answer(line, head)`, whose word it is whether to go on. What
    it saw of each connection is in `seen`: (server name, resumed, ALPN, the peer's certificate)."""

    def __init__(
        self,
        context: ssl.SSLContext,
        answer: Callable[[ssl.SSLSocket, bytes], bool] = hello,
        first: bytes = b"",
    ) -> None:
        self.context, self.answer, self.first = context, answer, first
        self.heads: list[bytes] = []
        self.seen: list[tuple[str | None, bool | None, str | None, bytes | None]] = []
        self.failed: list[str] = []
        self.names: dict[int, str | None] = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        context.sni_callback = lambda line, name, _: self.names.__setitem__(id(line), name)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            if self.first:
                plain.sendall(self.first)
            line = self.context.wrap_socket(plain, server_side=True)
        except OSError as error:
            self.failed.append(str(error))
            plain.close()
            return
        name = self.names.get(id(line))
        peer = line.getpeercert(True)
        self.seen.append((name, line.session_reused, line.selected_alpn_protocol(), peer))
        try:
            with line:
                while head := self._head(line):
                    self.heads.append(head)
                    if not self.answer(line, head):
                        return
        except OSError as error:
            self.failed.append(str(error))

    def _head(self, line: ssl.SSLSocket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = line.recv(1)
            if not piece:
                return b""
            data += piece
        return data
