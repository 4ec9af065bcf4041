# SPDX-License-Identifier: MIT
"""The whole configuration: what each key is called, what it means, what it defaults to.

The settings of a stage live with the stage; here they are composed, and what belongs to no stage is
added: processes, listeners, logs. docs/configuration.md and the JSON Schema are made from these
classes and the text below each field.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.balance import settings as balance
from fastproxy.discovery.settings import Dns
from fastproxy.engine.settings import Forwarding, Limits, Timeouts
from fastproxy.health.settings import Health
from fastproxy.route.settings import Route
from fastproxy.schema import BindAddress, Duration
from fastproxy.tls.settings import Tls, UpstreamTls

PLACE_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z"
OWNER_PATTERN = r"^([A-Za-z0-9_.-]*)(:[A-Za-z0-9_.-]+)?\Z"
WANTED_PLACE = {"wanted": 'a function such as "package.module:function"'}
WANTED_OWNER = {"wanted": '"user", "user:group" or ":group"'}
WANTED_MODE = {"wanted": 'octal permissions such as "0660"'}


class Listener(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """An address to accept connections on. A plain address is short for `{ bind = ... }`."""

    bind: BindAddress
    """`host:port`, `[v6]:port`, `:port` (all addresses, IPv4 and IPv6) or `unix:/path`. Port 0:
    any free one."""
    backlog: Annotated[int, Meta(ge=1, le=65535)] = 4096
    """Connections that may queue before they are accepted, per worker. The kernel caps it at
    net.core.somaxconn."""
    defer_accept: Duration = Duration("off")
    """TCP_DEFER_ACCEPT: wake only for connections that have sent something, for this long."""
    keepalive: bool = True
    """SO_KEEPALIVE on accepted connections, so that vanished clients are noticed."""
    http2: bool | None = None
    """HTTP/2. Absent: TLS listeners offer it (ALPN), plain ones do not. true on a plain listener:
    clients that begin with HTTP/2 (h2c with prior knowledge) are understood, beside HTTP/1.1.
    false: HTTP/1.1 only."""
    mode: Annotated[str, Meta(pattern=r"^0?[0-7]{3}\Z", extra=WANTED_MODE)] = "0666"
    """Permissions of a unix socket, octal."""
    owner: Annotated[str, Meta(pattern=OWNER_PATTERN, extra=WANTED_OWNER)] = ""
    """`user`, `user:group` or `:group` of a unix socket. Empty: whoever starts fastproxy."""
    tls: Tls | None = None
    """Absent: plain text."""
    redirect_https: bool | Annotated[int, Meta(ge=1, le=65535)] = False
    """Of a plain listener: every request is sent on to https:// (308), to port 443, or to the one
    given. Left to the routes: `/.well-known/acme-challenge/`, by which certificates are got."""


class Upstream(balance.Upstream, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A named group of backends that serve the same thing."""

    backends_file: str = ""
    """A file (TOML, YAML or JSON) that lists more members: `backends = [...]`, as here. It is read
    anew whenever it changes. Relative to this file."""
    backends_source: Annotated[str, Meta(pattern=PLACE_PATTERN + "|^\\Z", extra=WANTED_PLACE)] = ""
    """Python that tells more members as they come and go: `package.module:Class`, see
    [discovery](discovery.md#your-own-source). It runs in control, as the user who starts
    fastproxy."""
    health: Health | None = None
    """Active checks of the members. Absent: nobody is asked."""
    protocol: Literal["auto", "http1", "http2"] = "auto"
    """What is spoken to `https://` backends. `auto`: HTTP/2 if the backend takes it (ALPN), else
    HTTP/1.1. `http2`: a backend that does not take it is not used. (`h2c://` backends speak HTTP/2
    in any case, `http://` ones never.)"""
    tls: UpstreamTls | None = None
    """TLS to `https://` backends. Absent: verified against the authorities of the system. An
    upstream without `backends` of its own (they are in a file, say) has `https://` ones if this is
    there, may it be empty, and `h2c://` ones if it is not, but `protocol = "http2"`."""

    @property
    def proven_first(self) -> bool:
        return self.health is not None and self.health.mandatory

    @property
    def scheme(self) -> str:
        if self.backends:
            return super().scheme
        if self.tls is not None:
            return "https"
        return "h2c" if self.protocol == "http2" else "http"


class Config(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The whole file.

    Values may hold `${env:NAME}`, `${env:NAME:-default}`, `${env:NAME:?message}` and `${file:path}`
    (relative to this file); `$${` is a plain `${`. What was filled in is never shown.
    """

    workers: Literal["auto"] | Annotated[int, Meta(ge=1, le=128)] = "auto"
    """Worker processes. `auto`: as many as CPUs that this process may use."""
    max_workers: Annotated[int, Meta(ge=0, le=128)] = 0
    """Slots laid out at start, so that workers can be added without a restart. 0: `workers`."""
    user: Annotated[str, Meta(max_length=64)] = ""
    """Whom workers become once listeners are bound. Empty: stay."""
    group: Annotated[str, Meta(max_length=64)] = ""
    """Group of the workers. Empty: the user's own."""
    pid_file: str = ""
    """Where to write the master's process id. Empty: nowhere (`fastproxy stop` needs none)."""
    control_socket: str = ""
    """Path of the control socket. Empty: under `$XDG_RUNTIME_DIR` or `/run/fastproxy`."""
    state_file: str = ""
    """Where changes of backends made while it runs (`fastproxy backend`) are kept, for the next
    start. Empty: they end with this one."""
    include: list[str] = []
    """Files to merge in, patterns allowed: `["conf.d/*.toml"]`. Tables are united, lists joined in
    order; a value set in two files is an error."""
    listeners: list[BindAddress | Listener] = []
    """Where to accept connections."""
    routes: list[Route] = []
    """What to do with which request. The order matters only between equals: see below."""
    upstreams: dict[str, Upstream] = {}
    """Named groups of backends."""
    zone: Annotated[str, Meta(max_length=128)] = ""
    """Where this proxy stands. Backends of the same `zone` are preferred."""
    dns: Dns = Dns()
    responders: dict[str, Annotated[str, Meta(pattern=PLACE_PATTERN, extra=WANTED_PLACE)]] = {}
    """Python responders that routes may name: `{ hello = "package.module:function" }`. Each worker
    imports them. `status` comes with fastproxy."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    forwarding: Forwarding = Forwarding()
    access_log: str = "-"
    """Where access lines go: `-` (standard output), a path, or `off`."""
    log_format: str = "combined"
    """`combined`, `common`, `json`, or a template: `{client_ip} {status} {time_total}`. A template
    that begins with `{{` is written as JSON: its variables are escaped for that."""
    error_log: str = "-"
    """Where everything else goes: `-` (standard error) or a path."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important message that `error_log` gets."""

    def all_listeners(self) -> list[Listener]:
        """Every listener in the long form."""
        return [x if isinstance(x, Listener) else Listener(bind=x) for x in self.listeners]
