"""A proxy with a keyring of the test's own, and clients that speak TLS to it."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastproxy.tls.keyring import Keyring, ListenerKeys, UpstreamKeys, encode
from tests.running import Proxy
from tests.tls.certs import Authority, Signed


class Secure(Proxy):
    """`keys`: of each listener, None where it speaks plain text; `toward`: of each upstream, by the
    order of `config["upstreams"]`. `config`: what differs from one route to one upstream."""

    def __init__(
        self,
        keys: Sequence[ListenerKeys | None],
        toward: Sequence[UpstreamKeys | None] = (None,),
        *,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("listen", ["127.0.0.1:0"] * len(keys))
        options.setdefault("workers", 1)
        super().__init__(**options)
        self.keyring = Keyring(1, list(keys), list(toward))
        self.settings = settings or {}

    def command(self) -> list[str]:
        given = {
            "config": {
                "workers": self.workers,
                "listeners": self.listen,
                "upstreams": {"default": {"backends": self.upstreams}},
                "routes": [{"path": "/", "upstream": "default"}],
                "control_socket": self.control,
                "access_log": "off",
                **self.settings,
            },
            "keyring": base64.b64encode(encode(self.keyring)).decode(),
        }
        path = self.directory / "launch.json"
        path.write_text(json.dumps(given))
        return [sys.executable, "-m", "tests.tls.launcher", str(path)]

    def totals(self) -> dict[str, int]:
        found: dict[str, int] = self.status()["totals"]
        return found

    def ports(self) -> list[int]:
        return [int(one.rpartition(":")[2]) for one in self.status()["listeners"]]

    @contextlib.contextmanager
    def talk(
        self, context: ssl.SSLContext, name: str | None = "a.test", **options: Any
    ) -> Iterator[ssl.SSLSocket]:
        """A connection, its handshake done."""
        port = options.pop("port", 0) or self.port
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            with context.wrap_socket(plain, server_hostname=name, **options) as secured:
                yield secured


def trusting(*authorities: Authority, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """A client's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for one in authorities:
        context.load_verify_locations(cadata=one.pem.decode())
    if not authorities:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def showing(context: ssl.SSLContext, own: Signed) -> ssl.SSLContext:
    """With a certificate of its own; ssl takes it from files only."""
    with tempfile.TemporaryDirectory() as directory:
        cert, key = Path(directory, "cert"), Path(directory, "key")
        cert.write_bytes(own.cert)
        key.write_bytes(own.key)
        context.load_cert_chain(cert, key)
    return context


def ask(secured: ssl.SSLSocket, target: str = "/", host: str = "a.test", more: str = "") -> bytes:
    """One GET; all of its answer (which must have a length)."""
    secured.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    return answer(secured)


def answer(secured: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += must(secured.recv(65536))
    head, _, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(body) < length:
        more = must(secured.recv(65536))
        body += more
        data += more
    return data


def must(piece: bytes) -> bytes:
    assert piece, "it ended inside an answer"
    return piece
