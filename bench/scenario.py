# SPDX-License-Identifier: MIT
"""What a scenario is: who is asked for what, in which setting, and what must come out. Data; all of
them are in scenarios.py and secured.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

KIB = 1024
MIB = 1024 * KIB
OURS = "fastproxy"
REAL = ("nginx", "haproxy", "nghttpx", "h2o", "envoy", "caddy", "traefik", "proxy.py")
"""Products, as against the bare forwarder `limit`."""
SECURE = REAL[:6]
"""Those that TLS and HTTP/2 are compared with."""


@dataclass(frozen=True)
class Setting:
    """What a proxy is configured for."""

    workers: int = 1
    backends: int = 1
    routes: int = 1
    """More than one: paths /100/r0, /100/r1 ... are routes of their own beside `/`."""
    log: bool = False
    """Whether an access log (JSON) is written, to a file."""
    tuned: bool = False
    """Peers: 256 KiB buffers and no buffering of whole requests, instead of what is shipped."""
    same_fields: bool = False
    """Peers: all the fields that fastproxy writes, not X-Forwarded-For alone."""
    least_loaded: bool = False
    """The best way of balancing that the proxy has, instead of round robin."""
    passive: bool = False
    """A backend is taken out for 30 s by its first failed answer, in the way that the proxy has for
    it. No proxy tries a request again on another backend: what is compared is how soon a bad one is
    out."""
    checks: bool = False
    """Each backend is asked for its health every 5 s."""
    tls: str = ""
    """Clients speak TLS, and this is the key of the certificate: "ecdsa" (P-256) or "rsa" (2,048
    bits). Empty: no TLS."""
    http2: bool = False
    """Clients speak HTTP/2: by ALPN over TLS, without TLS by prior knowledge."""
    http2_upstream: bool = False
    """The backends speak it too, without TLS."""

    @property
    def plain(self) -> bool:
        """Clients speak HTTP/1.1 without TLS."""
        return not (self.tls or self.http2)


PLAIN = Setting()


@dataclass(frozen=True)
class Variant:
    """More rows: these peers once more, in another setting."""

    name: str
    setting: Setting
    peers: tuple[str, ...]
    """Names; what has no such setting refuses it."""


@dataclass(frozen=True)
class Target:
    """What our figure must be. With `against` the ratio to the best of those rows counts (or the
    difference), without it the figure itself."""

    measure: str
    against: tuple[str, ...] = ()
    most: float | None = None
    least: float | None = None
    difference: bool = False

    @property
    def best_of(self) -> str:
        """The rows of `against` in words."""
        if self.against in (REAL, SECURE):
            return "the best peer"
        *some, last = self.against
        if not some:
            return last
        return f"the {'best' if some[1:] else 'better'} of {', '.join(some)} and {last}"


@dataclass(frozen=True)
class Request:
    """What each connection asks."""

    path: str = "/100"
    """A number is the size of the body that the origin answers with."""
    headers: tuple[tuple[str, str], ...] = ()
    """Fields beside Host (and, with a body, Content-Length)."""
    body: int = 0
    """Bytes sent with it, as POST."""
    routes: int = 1
    """More than one: /r0, /r1 ... are appended to `path` in turn."""
    grpc: bool = False
    """A unary call: `body` and the answer are messages, each behind a prefix of 5 bytes, and
    trailers end the answer (origin_grpc.c)."""

    @property
    def method(self) -> str:
        return "POST" if self.body else "GET"

    @property
    def answer_bytes(self) -> int:
        return int(self.path.rpartition("/")[2])

    @property
    def body_bytes(self) -> int:
        """Both ways."""
        return self.answer_bytes + self.body

    @property
    def closes(self) -> bool:
        return ("Connection", "close") in self.headers

    def paths(self) -> list[str]:
        return [f"{self.path}/r{n}" for n in range(self.routes)] if self.routes > 1 else [self.path]


@dataclass(frozen=True)
class Scenario:
    """One table of the report."""

    name: str
    text: str
    request: Request = Request()
    method: str = "closed"
    """How it is measured: a name of methods.py."""
    figure: str = "cpu_us"
    """The measure that ratios are of."""
    connections: int = 64
    streams: int = 1
    """Requests at once on each of them, with HTTP/2."""
    resumed: bool = False
    """TLS sessions are resumed, where handshakes are measured."""
    setting: Setting = Setting()
    variants: tuple[Variant, ...] = ()
    peers: tuple[str, ...] = ()
    """Only these; none: all."""
    rate: int = 0
    """Requests per second where the load is paced; 0: half of what saturates nginx."""
    delay_ms: int = 0
    """Backends answer so much later."""
    slow_ms: int = 0
    """One of the backends answers so much later instead."""
    failing_percent: int = 0
    """One of the backends fails so many of its requests, half of them with a 500, half without an
    answer; it begins when all proxies are verified."""
    targets: tuple[Target, ...] = ()
    quick: bool = True
    """Whether --quick has it."""


def ratio(most: float, *against: str, measure: str = "cpu_us") -> Target:
    return Target(measure, against, most=most)


def tuned(*peers: str, setting: Setting = PLAIN) -> tuple[Variant, ...]:
    return (Variant("tuned", replace(setting, tuned=True), peers),)
