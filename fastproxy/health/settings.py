# SPDX-License-Identifier: MIT
"""The knobs of the health checks: what is asked, what is expected, how many answers decide."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import ByteSize, Duration

Kind = Literal["http", "https", "tcp", "tls", "grpc", "grpcs", "off"]
STATUS_PATTERN = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?(, ?[1-5][0-9]{2}(-[1-5][0-9]{2})?)*\Z"
WANTED_STATUS = {"wanted": 'status codes and ranges such as "200-399" or "200, 204, 300-399"'}
Pattern = Annotated[str, Meta(max_length=4096)]
Times = Annotated[int, Meta(ge=1, le=1000)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Pause = Annotated[Duration, Meta(extra={"ge": 0.01, "le": 86400})]


class CheckTls(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """TLS of the checks, for `https`, `tls` and `grpcs`."""

    verify: bool = True
    """Whether the certificate must be valid, and for `server_name`. Without, anybody may answer."""
    ca: str = ""
    """File with the certificates (PEM) of who may have signed it. Empty: the system's."""
    server_name: Annotated[str, Meta(max_length=253)] = ""
    """The name that is asked for (SNI) and that the certificate must be for. Empty: that of the
    backend's URL."""
    cert: str = ""
    """File with a certificate of our own to show, its chain behind it. Empty: none."""
    key: str = ""
    """File with the key to `cert`. Empty: it is in the same file."""


class Expect(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What a good answer is: all of it must hold."""

    status: Annotated[str, Meta(pattern=STATUS_PATTERN, extra=WANTED_STATUS)] = "200-399"
    """Status codes and ranges, with commas between."""
    headers: dict[str, Pattern] = {}
    """Fields that must be there, and a regular expression (PCRE2) that is found in each. `""`: any
    value."""
    body: Pattern = ""
    """A regular expression (PCRE2) that is found in the body; with `tcp` and `tls`, in what the
    server has sent until then. Empty: anything."""
    json: dict[str, str | bool | int | float] = {}
    """Fields of a JSON body and their values: `{ status = "UP", "db.ready" = true, "nodes.0" = 1
    }`. Dots lead inwards."""
    limit: Annotated[ByteSize, Meta(extra={"ge": 64, "le": 16 << 20})] = ByteSize("256KiB")
    """Bytes of the body that are looked at; what comes after them is not read."""


class Agent(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A backend that says itself how much it can take, in the words of HAProxy's agent-check: `up`,
    `drain`, `maint`, `down`, `75%` (of its weight), `maxconn:30`, several with spaces or commas
    between. What it does not mention stays as it said before. An operator's word is never undone.
    """

    port: Port = 0
    """A TCP port of the backend's address that answers a connection with one line of these words.
    0: none."""
    send: Annotated[str, Meta(max_length=1024)] = ""
    """What is sent to that port first. Nothing is added: end it with `\\n` if it is a line."""
    interval: Pause | None = None
    """How often that port is asked. Absent: as often as the health."""
    header: Annotated[str, Meta(max_length=256)] = ""
    """A field of the check's answer that holds the words (`http` and `https`)."""
    json: Annotated[str, Meta(max_length=256)] = ""
    """A field of the check's JSON body that holds the words; dots lead inwards."""

    @property
    def speaks(self) -> bool:
        """Is there an agent at all?"""
        return bool(self.port or self.header or self.json)


class Health(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Active checks. One prober asks for all workers, and what it finds holds in all of them with
    their next request. Without this table nobody is asked."""

    kind: Kind = "http"
    """`http`, `https`: a request and its answer. `tcp`, `tls`: a connection, and what is said on it
    if `send` or `expect.body` is given. `grpc`, `grpcs`: `grpc.health.v1.Health/Check` must answer
    SERVING. `off`: only the agent is asked."""
    method: Annotated[str, Meta(min_length=1, max_length=32)] = "GET"
    """Of the request (`http`, `https`)."""
    path: Annotated[str, Meta(min_length=1, max_length=4096)] = "/"
    """Path and query of the request (`http`, `https`)."""
    host: Annotated[str, Meta(max_length=255)] = ""
    """Its Host field (`http`, `https`), or `:authority` (`grpc`, `grpcs`). Empty: that of the
    backend's URL."""
    headers: dict[str, Annotated[str, Meta(max_length=4096)]] = {}
    """More fields of the request (`http`, `https`)."""
    send: Annotated[str, Meta(max_length=4096)] = ""
    """What is sent once connected (`tcp`, `tls`)."""
    service: Annotated[str, Meta(max_length=1024)] = ""
    """The service that is asked for (`grpc`, `grpcs`). Empty: the server as a whole."""
    port: Port = 0
    """The port that is asked. 0: that of the backend."""
    tls: CheckTls | None = None
    """Absent: as for requests to this upstream."""
    expect: Expect = Expect()
    interval: Pause = Duration("5s")
    """The pause between two checks of a backend."""
    jitter: Annotated[int, Meta(ge=0, le=100)] = 20
    """Percent by which each pause is longer or shorter, by chance, so that checks do not come in
    step."""
    timeout: Pause = Duration("2s")
    """How long one check may take, from connecting to the verdict."""
    rise: Times = 2
    """Good answers in a row that make a backend up again."""
    fall: Times = 3
    """Bad ones in a row that make it down."""
    transition: Pause = Duration("1s")
    """The pause after an answer that speaks against what is known, until it is decided (never
    longer than the usual one)."""
    down: Pause | None = None
    """The pause while a backend is down. Absent: `interval`."""
    mandatory: bool = False
    """A new backend gets requests only once its checks have been good. Otherwise it is taken for
    well until they are bad."""
    agent: Agent = Agent()
