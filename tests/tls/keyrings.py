"""A directory with files in it, and keyrings made of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastproxy.tls.build import Built, build_keyring
from fastproxy.tls.settings import Certificate, Tls, UpstreamTls
from tests.tls.certs import Authority, Signed

PAIR = Certificate(cert="a.pem", key="a.key")


class Place:
    """A directory with files in it, and a keyring made of them."""

    def __init__(self, path: Path, authority: Authority) -> None:
        self.path = path
        self.authority = authority

    def put(self, name: str, data: bytes, mode: int = 0o600) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_bytes(data)
        (self.path / name).chmod(mode)

    def pair(self, name: str, signed: Signed) -> None:
        self.put(f"{name}.pem", signed.cert)
        self.put(f"{name}.key", signed.key)

    def build(
        self, *certificates: Certificate, upstream: UpstreamTls | None = None, **more: Any
    ) -> Built:
        tls = Tls(certificates=list(certificates), **more) if certificates else None
        listeners = [SimpleNamespace(tls=None, http2=None), SimpleNamespace(tls=tls, http2=None)]
        scheme = "https" if upstream else "http"
        other = SimpleNamespace(tls=upstream, protocol="auto", scheme=scheme)
        config = SimpleNamespace(listeners=listeners, upstreams={"api": other})
        return build_keyring(config, 1, str(self.path))

    def said(self, *certificates: Certificate, **more: Any) -> list[str]:
        """Each problem as "error|warning path: text (hint)"."""
        return told(self.build(*certificates, **more))


def told(built: Built) -> list[str]:
    word = {True: "warning", False: "error"}
    return [f"{word[one.warning]} {one}" for one in built.problems]
