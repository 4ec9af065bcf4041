# SPDX-License-Identifier: MIT
"""Connections on which the harness itself asks: HTTP/1.1 or HTTP/2, with TLS or without."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.load import HOST, LoadError
from bench.scenario import PLAIN, Setting

CHUNK = 1 << 16


@dataclass
class Answer:
    """Names of fields are in lower case."""

    version: str
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)


class Line(Protocol):
    """Errors are OSError, http.client.HTTPException for what is not HTTP."""

    def ask(self, method: str, path: str, fields: Mapping[str, str], sent: bytes) -> Answer: ...

    def kept(self) -> bool:
        """Whether neither side has closed it, as far as is known."""

    def close(self) -> None: ...


def connect(port: int, setting: Setting = PLAIN, trusted: str = "", seconds: float = 20.0) -> Line:
    """To whom clients of this setting ask; `trusted`: the certificate. OSError, LoadError."""
    sock = socket.create_connection(("127.0.0.1", port), seconds)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if setting.tls:
            sock = shake_hands(sock, trusted, "h2" if setting.http2 else "http/1.1")
        return http2(sock) if setting.http2 else Http1(sock)
    except BaseException:
        sock.close()
        raise


def shake_hands(
    sock: socket.socket,
    trusted: str,
    protocol: str,
    session: ssl.SSLSession | None = None,
    context: ssl.SSLContext | None = None,
) -> ssl.SSLSocket:
    """TLS 1.3 with verification, and this protocol. OSError. A session needs its context."""
    context = context or client_context(trusted, protocol)
    made = context.wrap_socket(sock, server_hostname=HOST, session=session)
    agreed = made.selected_alpn_protocol()
    if agreed != protocol and (agreed or protocol == "h2"):
        made.close()
        raise OSError(f"ALPN: {agreed}, wanted: {protocol}")
    return made


def client_context(trusted: str, protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(Path(trusted))
    context.set_alpn_protocols([protocol])
    return context


class Http1:
    """By http.client; reopened by nobody."""

    def __init__(self, sock: socket.socket) -> None:
        self.line = http.client.HTTPConnection(HOST)
        self.line.sock = sock

    def ask(self, method: str, path: str, fields: Mapping[str, str], sent: bytes) -> Answer:
        if self.line.sock is None:
            raise ConnectionError("the connection was closed after an answer")
        self.line.request(method, path, body=sent or None, headers={"Host": HOST, **fields})
        found = self.line.getresponse()
        body = found.read()
        names = {name.lower(): value for name, value in found.getheaders()}
        return Answer(f"HTTP/{found.version / 10}", found.status, names, body)

    def kept(self) -> bool:
        return self.line.sock is not None

    def close(self) -> None:
        self.line.close()


def http2(sock: socket.socket) -> Line:
    """LoadError if the library is not there."""
    try:
        from bench.http2 import Http2
    except ModuleNotFoundError as error:
        raise LoadError(
            f"answers of HTTP/2 are verified with h2: pip install h2 ({error})"
        ) from None
    return Http2(sock)
