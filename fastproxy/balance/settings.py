# SPDX-License-Identifier: MIT
"""The knobs of an upstream: its members and how the next one is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import Duration, UpstreamUrl

Balance = Literal["round_robin"]
HOST_PATTERN = (
    r"^(pass|upstream|fixed:([A-Za-z0-9][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?)\Z"
)
WANTED_HOST = {"wanted": '"pass", "upstream" or "fixed:NAME"'}


class Backend(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One member of an upstream. A plain URL is short for `{ url = ... }`."""

    url: UpstreamUrl
    """`http://host:port` or `http+unix:/path`. A name is resolved at start and refreshed; each of
    its addresses becomes a member of its own."""
    weight: Annotated[int, Meta(ge=0, le=1000)] = 1
    """Share of the requests relative to the others. 0: no new requests."""


class UpstreamTimeouts(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Timeouts of one upstream; what is absent is as `[timeouts]` says."""

    connect: Duration | None = None
    """As `timeouts.upstream_connect`."""
    first_byte: Duration | None = None
    """As `timeouts.upstream_first_byte`."""
    idle: Duration | None = None
    """As `timeouts.upstream_idle`."""


class Upstream(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A named group of backends that serve the same thing."""

    backends: list[UpstreamUrl | Backend]
    """The members: URLs, or tables with `url` and `weight`. At most 1024 addresses."""
    balance: Balance = "round_robin"
    """How the next member is chosen. `round_robin`: smooth weighted round robin, as in nginx."""
    host: Annotated[str, Meta(pattern=HOST_PATTERN, extra=WANTED_HOST)] = "pass"
    """The Host field sent: `pass` (the client's), `upstream` (that of the backend's URL), or
    `fixed:name`."""
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    """Timeouts of this upstream alone."""

    def members(self) -> list[Backend]:
        """Every member in the long form."""
        return [b if isinstance(b, Backend) else Backend(url=b) for b in self.backends]
