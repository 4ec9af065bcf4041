"""A proxy whose certificates are files beside its configuration."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from tests.flow.peers import Gateway
from tests.tls.certs import Signed


class Filed(Gateway):
    """`listeners`: their tables, as in a file; "site.pem" and "site.key" are `site`'s."""

    def __init__(
        self,
        site: Signed,
        backend: str,
        listeners: list[dict[str, Any]],
        files: dict[str, bytes] | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        given = {
            "listeners": [{"bind": "127.0.0.1:0", **one} for one in listeners],
            "routes": [{"path": "/", "upstream": "default"}],
            "upstreams": {"default": {"backends": [backend]}},
            **(settings or {}),
        }
        super().__init__(settings=given, **options)
        for name, data in (files or {}).items():
            self.put(name, data)
        self.site(site)

    def put(self, name: str, data: bytes, *, renamed: bool = False) -> None:
        """Write a file in place, or beside it and rename it over."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        target = path.with_suffix(".new") if renamed else path
        target.write_bytes(data)
        target.chmod(0o600)
        if renamed:
            os.rename(target, path)

    def site(self, signed: Signed, **how: bool) -> None:
        self.put("site.pem", signed.cert, **how)
        self.put("site.key", signed.key, **how)

    def ports(self) -> list[int]:
        return [int(one.rpartition(":")[2]) for one in self.status()["listeners"]]

    @contextlib.contextmanager
    def talk(
        self, context: ssl.SSLContext, name: str = "a.test", port: int = 0, **options: Any
    ) -> Iterator[ssl.SSLSocket]:
        """A connection, its handshake done."""
        with socket.create_connection(("127.0.0.1", port or self.port), 10) as plain:
            with context.wrap_socket(plain, server_hostname=name, **options) as secured:
                yield secured

    def serial(self, context: ssl.SSLContext, name: str = "a.test", port: int = 0) -> int:
        """Of the certificate that is shown now."""
        with self.talk(context, name, port) as line:
            return int(line.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]


PAIR = {"certificates": [{"cert": "site.pem", "key": "site.key"}]}
