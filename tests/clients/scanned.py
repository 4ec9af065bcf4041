"""A listener to be scanned: a small authority with its certificate in the chain's place, and leaves
as a public authority would sign them."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.clients.ways import stored
from tests.flow.peers import Gateway
from tests.running import Backend
from tests.tls.certs import Authority

KINDS = {"intermediate": ("ec", "rsa"), "modern": ("ec",)}
"""Mozilla's guideline: modern is for ECDSA alone."""
SOON = datetime.timedelta(hours=1)
LIFE = datetime.timedelta(days=80)
FOR_HANDSHAKES = x509.KeyUsage(True, *[False] * 8)


@dataclass
class Scanned:
    """What a scanner is told."""

    port: int
    ca: str
    gateway: Gateway


@contextlib.contextmanager
def scanned(profile: str, folder: Path) -> Iterator[Scanned]:
    """The profile as it comes, HSTS beside it, and a backend that answers."""
    authority = Authority()
    pairs = []
    for kind in KINDS[profile]:
        own = folder / kind
        own.mkdir()
        leaf = authority.sign(
            "localhost", kind=kind, since=-SOON, until=LIFE, extra=[FOR_HANDSHAKES]
        )
        pairs.append(stored(own, leaf, authority))
    tls = {"certificates": pairs, "profile": profile, "hsts": {"max_age": "365d"}}
    with Backend() as backend:
        with Gateway(
            settings={
                "listeners": [{"bind": "127.0.0.1:0", "tls": tls}],
                "upstreams": {"origin": {"backends": [backend.url]}},
                "routes": [{"path": "/", "upstream": "origin"}],
            },
            workers=1,
        ) as gateway:
            yield Scanned(gateway.port, str(folder / "ec" / "ca.pem"), gateway)
