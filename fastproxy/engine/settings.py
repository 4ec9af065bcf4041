# SPDX-License-Identifier: MIT
"""The run-time knobs of the engine: how long, how much, and what is told to upstreams.

Every timeout and limit of the data path is here, with its default, the reason for it and the
status its breach answers. `config/plan.py` writes them one to one into the C struct `Settings`
(engine/table.pxd). Bounds that are compiled in stand in memory/limits.pxd.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import ByteSize, Cidr, Duration

VIA_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z:-]+\Z"
WANTED_VIA = {"wanted": 'a name without spaces such as "edge-1"'}


class Timeouts(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How long we wait. `"off"` or 0 switches a timeout off."""

    client_header: Duration = Duration("10s")
    """From the first byte of a request to the end of its head. An absolute deadline, so that one
    byte a second does not hold a connection (slowloris): real clients need milliseconds. Answers
    408 and closes."""
    tls_handshake: Duration = Duration("10s")
    """From the connection to the end of its TLS handshake, absolute. Real clients need two round
    trips. Closes."""
    client_body: Duration = Duration("30s")
    """Idle time between two reads of a request body; progress starts it anew, so slow uploads of
    any length pass. Answers 408 and closes."""
    client_write: Duration = Duration("30s")
    """Idle time while the client takes no byte of its answer: a reader that stopped. Closes."""
    keepalive: Duration = Duration("75s")
    """How long an idle client connection is kept between requests (nginx keeps 75 s too). Closes
    silently. (No keep-alive at all: `limits.requests_per_connection = 1`.)"""
    upstream_connect: Duration = Duration("5s")
    """For the connection to a backend; then the next backend is tried. A backend that is alive
    answers a SYN in milliseconds; 5 s covers two lost ones. Answers 504 when none is left."""
    upstream_first_byte: Duration = Duration("60s")
    """From the request's end to the first byte of the answer. Answers 504."""
    upstream_idle: Duration = Duration("60s")
    """Idle time between two reads or writes while request or answer move. Answers 504 if nothing
    of the answer was sent, else the connection is cut, so that the client sees it is incomplete."""
    tunnel_idle: Duration = Duration("1h")
    """Idle time of an upgraded connection (WebSocket), both ways. Closes both sides, with a close
    frame 1001 (going away) if no frame is half sent. Event streams and gRPC calls may be silent as
    long."""
    tunnel_age: Duration = Duration("off")
    """The oldest an upgraded connection gets; then it is closed likewise, and clients come back to
    where they are sent by then. Off: as old as it likes."""
    drain: Duration = Duration("30s")
    """What a stop gives to running requests and open WebSockets before it ends them: WebSockets
    with a close frame 1001 (going away), the rest by a cut."""
    drain_spread: Duration = Duration("5s")
    """A stop does not send all clients away at once, since all would come back elsewhere at once.
    HTTP/2 clients are told to go one after the other for so long from its beginning, WebSockets and
    event streams for so long before its end; each for at most half of `drain`, and for no more than
    10 ms a connection, so that few of them are not waited for. Off: all at once."""
    drain_retry: Duration = Duration("2s")
    """Event streams are told `retry:` before a stop ends them, so that their clients come back
    after this long, each after a time of its own between half and one and a half of it. Off:
    nothing is put into a stream."""
    request: Duration = Duration("off")
    """Whole request, first byte to last byte of the answer; off, because streams and downloads
    may last. A route may set its own. Answers 504."""
    lingering: Duration = Duration("2s")
    """How long a client that is still sending is read (and ignored) after an error answer: a
    close with unread bytes would be a reset, which destroys the answer on its way."""
    upstream_keepalive: Duration = Duration("60s")
    """How long an idle connection to a backend is kept. Shorter than what servers commonly allow
    (75 s and less), so that we close first."""
    upstream_age: Duration = Duration("1h")
    """The oldest a connection to a backend gets; then it is closed after its answer, so that DNS
    and load changes reach long-lived connections."""


class Limits(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How much we take. 0 or `"off"` means no limit only where that is said."""

    request_line: Annotated[ByteSize, Meta(extra={"ge": 64, "le": 32768})] = ByteSize("8KiB")
    """Bytes of method, target and version. Browsers and servers agree on about 8 KiB.
    Answers 414."""
    header: Annotated[ByteSize, Meta(extra={"ge": 64, "le": 32768})] = ByteSize("8KiB")
    """Bytes of one header field, name and value. Large cookies and tokens fit. Answers 431."""
    headers: Annotated[ByteSize, Meta(extra={"ge": 256, "le": 57344})] = ByteSize("32KiB")
    """Bytes of all header fields. With the request line at most 64 KiB: a head must fit the
    worker's scratch with room to spare. Answers 431."""
    header_count: Annotated[int, Meta(ge=1, le=128)] = 128
    """Header fields of one message (HAProxy 101, Envoy 100; browsers send about 20).
    Answers 431."""
    max_body: ByteSize = ByteSize("off")
    """Largest request body; off: unlimited, because bodies are streamed, never collected. A route
    may set its own. Answers 413, before a byte of it is read if Content-Length says so."""
    replay_body: Annotated[ByteSize, Meta(extra={"le": 1048576})] = ByteSize("64KiB")
    """The largest request body that is kept until an HTTP/2 backend answers, so that it can be sent
    again if the backend says that it has not looked at the request (GOAWAY, REFUSED_STREAM: RFC
    9113 8.7). Answers 502 for a larger one. Off: only what came with the request's head."""
    connections: Literal["auto"] | Annotated[int, Meta(ge=1, le=10_000_000)] = "auto"
    """Client connections of one worker. "auto": half of the file-descriptor limit less a reserve,
    since each client may need one descriptor upstream. Above it idle connections are closed
    first, then accepting pauses."""
    connections_per_ip: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Client connections of one address, over all workers; 0: off, because many users share one
    address behind carrier NAT. Above it: closed at once."""
    requests_per_connection: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] = 10000
    """Requests on one client connection, then it is closed after the answer, so that clients
    spread over workers and new releases again. 0: unlimited."""
    http2_streams: Annotated[int, Meta(ge=1, le=65535)] = 128
    """Requests under way at once on one HTTP/2 connection (nginx 128, Envoy and HAProxy 100). More
    are refused; clients ask again when others have ended."""
    learned_sessions: Annotated[int, Meta(ge=8, le=1 << 24)] = 1 << 18
    """Sessions that `learn` remembers, of all upstreams and for all workers; rounded up to a power
    of two. When there is no room, the one that was unused longest goes. 16 bytes each, taken when
    they are first used. A change takes a restart."""
    upstream_idle: Annotated[int, Meta(ge=0, le=65535)] = 256
    """Idle connections kept per worker and backend. 0: a new connection for each request."""
    upstream_requests: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] = 10000
    """Requests on one connection to a backend, then it is closed. 0: unlimited."""
    buffer_size: Annotated[ByteSize, Meta(extra={"ge": 16384, "le": 524288})] = ByteSize("512KiB")
    """The largest single read of a body. Reads start at 16 KiB and grow to this while the other
    side takes everything. 512 KiB was measured best: CPU per MiB is a tenth more with 256 KiB,
    half as much again with 64 KiB."""


class Forwarding(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What upstreams are told about the client, and how strictly requests are read."""

    trusted_proxies: list[Cidr] = []
    """Networks of proxies in front of us, whose X-Forwarded-* and Forwarded fields are believed:
    the client is then the right-most hop that is not trusted. Empty: believe nobody, fields of
    that kind are replaced."""
    forwarded: bool = False
    """Also send Forwarded (RFC 7239) beside X-Forwarded-For, -Proto, -Host and -Port."""
    via: bool | Annotated[str, Meta(pattern=VIA_PATTERN, max_length=255, extra=WANTED_VIA)] = False
    """Add Via to both messages: true names us "fastproxy", a text is the name itself."""
    request_id_trust: bool = False
    """Take X-Request-ID from trusted proxies instead of making a new one (UUIDv7)."""
    keep_underscores: bool = False
    """Forward fields whose name has an underscore. Off, because many servers read `X_User` as
    `X-User`, and so could be told what only the gateway may say."""
    forward_trailers: bool = False
    """Forward trailer fields of chunked bodies. Off: few understand them."""
    abort_on_close: bool = False
    """A client that closes its sending side has given up, and its request is cancelled. Off: it
    may still be reading the answer (half-close). While a request waits in a `queue`, and while its
    answer is an event stream or of a gRPC call, this counts as giving up in any case."""
    reject_host_mismatch: bool = False
    """Answer 400 if the authority of an absolute target differs from Host. Off: the target's
    authority replaces Host (RFC 9112 section 3.2.2)."""
    merge_slashes: bool = False
    """Read "//" in paths as "/" before routes are matched and the path is forwarded."""
    reject_encoded_slash: bool = False
    """Answer 400 to "%2F" and "%5C" in a path. Off: they stay data, never a separator."""
