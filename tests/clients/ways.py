"""The ways from a client to an origin: two listeners, four kinds of backends, all real.

    front  "tls"    TLS, HTTP/2 by ALPN or HTTP/1.1
           "plain"  no TLS, HTTP/2 by prior knowledge or HTTP/1.1
    /h1/   HTTP/1.1 to the origin
    /h2c/  HTTP/2 without TLS, to a second fastproxy before the origin
    /tls/  TLS and what ALPN says, which is HTTP/2, to the same
    /ng/   HTTP/2 without TLS to nghttpd, which sends back what it gets, and a trailer

Below each of the first three is `tests/flow/origin.py`, and nginx with files under www/.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.flow.origin import pattern
from tests.flow.peers import START_SECONDS, Gateway, Nginx, Origin, Peer, accepts, free_port
from tests.running import FOREIGN, wait_until
from tests.tls.certs import Authority, Signed

MIB = 1 << 20
BEHIND = ("h1", "h2c", "tls")
FILE_BYTES = 300_000
TRAILER = "x-trailing: the-end"
ROOM = {"limits": {"max_body": "1GiB"}, "forwarding": {"forward_trailers": True}}


def body(size: int) -> bytes:
    """What the origin's /bytes answers."""
    return b"".join(bytes(piece) for piece in pattern(size, 1 << 20))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Nghttpd(Peer):
    """Debian's nghttpd without TLS. What it saw is in `log()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> Self:
        self.port = free_port()
        command = ["/usr/sbin/nghttpd", "--no-tls", "--echo-upload", f"--trailer={TRAILER}", "-v"]
        command += ["--no-content-length"]  # a body of a length that was said has no trailers
        command += ["-a", "127.0.0.1", "-d", str(self.folder), str(self.port)]
        with open(self.folder / "nghttpd.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=FOREIGN)
        wait_until(lambda: self.process.poll() is not None or accepts(self.port), START_SECONDS)
        assert self.process.poll() is None, self.log()
        return self

    def log(self) -> str:
        return (self.folder / "nghttpd.log").read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}"


def stored(folder: Path, site: Signed, authority: Authority) -> dict[str, str]:
    """Writes the files of a listener; the table that names them."""
    for name, data in (("site.pem", site.cert), ("site.key", site.key), ("ca.pem", authority.pem)):
        (folder / name).write_bytes(data)
    return {"cert": str(folder / "site.pem"), "key": str(folder / "site.key")}


class Ways:
    """All of it, up while it is a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        authority = Authority()
        pair = stored(folder, authority.sign("localhost", "127.0.0.1"), authority)
        self.ca = str(folder / "ca.pem")
        self.listeners = [
            {"bind": "127.0.0.1:0", "tls": {"certificates": [pair]}},
            {"bind": "127.0.0.1:0", "http2": True},
        ]

    def __enter__(self) -> Self:
        enter = self.stack.enter_context
        self.origin, self.nginx = enter(Origin()), enter(Nginx())
        (self.nginx.www / "file").write_bytes(body(FILE_BYTES))
        self.nghttpd = enter(Nghttpd(self.folder))
        files = {"files": {"backends": [self.nginx.url]}}
        self.behind = enter(Gateway(settings={
            "listeners": self.listeners, **ROOM,
            "upstreams": {"origin": {"backends": [self.origin.url]}, **files},
            "routes": [
                {"path": "/www/", "strip_prefix": "/www", "upstream": "files"},
                {"path": "/", "upstream": "origin"},
            ],
        }, workers=1))  # fmt: skip
        secured, plain = ports(self.behind)
        upstreams: dict[str, Any] = {
            "h1": {"backends": [self.origin.url]},
            "h2c": {"backends": [f"h2c://127.0.0.1:{plain}"]},
            "tls": {"backends": [f"https://localhost:{secured}"], "tls": {"ca": self.ca}},
            "ng": {"backends": [self.nghttpd.url]},
        }
        routes = [
            {"path": f"/{name}/", "strip_prefix": f"/{name}", "upstream": name}
            for name in upstreams
        ]
        www = {"path": "/h1/www/", "strip_prefix": "/h1/www", "upstream": "files"}
        self.front = enter(Gateway(settings={
            "listeners": self.listeners, **ROOM,
            "upstreams": {**upstreams, **files}, "routes": [www, *routes],
        }, workers=1))  # fmt: skip
        self.tls_port, self.plain_port = ports(self.front)
        self.tls = f"https://localhost:{self.tls_port}"
        self.plain = f"http://127.0.0.1:{self.plain_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def ports(gateway: Gateway) -> tuple[int, int]:
    first, second = (int(one.rpartition(":")[2]) for one in gateway.status()["listeners"])
    return first, second
