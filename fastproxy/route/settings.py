# SPDX-License-Identifier: MIT
"""A route as a user writes it: what it matches, what happens then, what is changed on the way.

Which route takes a request, best first:

- the virtual host: a route naming the host exactly, then the longest "*.suffix", then routes
  without `host`. The name alone decides: if no route of that host takes the path, the answer is
  404, never a route of another host. No such host and no route without `host`: 421.
- the path: literal segments before {param} segments before prefixes, from left to right, so that
  the longest literal prefix wins; then regexes in order of the file; then "/".
- on one path: more conditions first (methods count as one), then order of the file.

A request that a route would take but for its method gets 405 with Allow, if nothing else takes it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fastproxy.grpcweb.settings import GrpcWeb
from fastproxy.schema import ByteSize, Duration
from fastproxy.template.settings import HeaderEdits, PathRewrite

__all__ = ["Condition", "HeaderEdits", "PathRewrite", "Redirect", "Reply", "Route", "Split"]

Condition = str | bool
WEIGHT_MAX = 1_000_000


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One part of a weighted split.

    upstream: Name of the upstream.
    weight: Share of the requests, relative to the other parts.
    """

    upstream: str
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] = 1


class Redirect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answer with another address.

    to: Location, a template: "https://{host}{path}{args}". One that begins with a path and a \
variable is made absolute, so that a path such as "//evil" cannot lead to another host.
    status: 301, 302, 303, 307 or 308; 307 and 308 keep the method.
    """

    to: str
    status: Literal[301, 302, 303, 307, 308] = 308


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answer with a fixed text.

    status: Of the answer.
    body: A template. Variables are escaped as the Content-Type wants it: HTML, JSON, else text.
    headers: Fields of the answer, templates too. Content-Type is text/plain if not given.
    """

    status: Annotated[int, Meta(ge=200, le=599)] = 200
    body: str = ""
    headers: dict[str, str] = {}


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule: which requests, and what happens to them.

    name: Shown in logs, counters and `explain`; made of host and path if not given.
    host: Host names: exact, or "*.example.com" for all below it (any depth, not itself). Absent: \
any host that no other route names.
    listener: Only requests that came in by this listener, as its `bind` is written.
    path: Prefix of whole segments: "/v1" takes /v1 and /v1/x but not /v1x, "/v1/" takes /v1/ and \
what is below. "= /p" is exact. "/users/{id}" takes that path alone, "/users/{id}/" all below, \
"/files/{rest...}" too and captures it. "~ regex" is PCRE2, not anchored; groups are params.
    methods: Only these methods; GET includes HEAD. Absent: any.
    headers: Conditions on request headers: a value, "~ regex", true (present), false (absent).
    query: Conditions on query parameters, likewise; compared percent-decoded.
    cookies: Conditions on cookies, likewise.
    upstream: Where the request goes.
    split: Several upstreams by weight.
    split_by: A template such as `{cookie:user}`: the same value always goes to the same part of the
        split, and when weights change only those move that must. Empty, or of a request that has
        nothing of it: by chance.
    redirect: Answer with a redirect; a text is short for {to = text}.
    reply: Answer with a fixed reply.
    responder: Answer by the Python responder of this name.
    strip_prefix: Taken off the front of the path if whole segments match; first of the path steps.
    rewrite: Replace what a regex matches in the path; second.
    add_prefix: Put in front of the path; last.
    rewrite_path: A template that becomes the path; excludes the other three.
    request_headers: Changes to the header fields that the upstream reads.
    response_headers: Changes to the header fields that the client reads.
    max_body: Largest request body; larger ones get 413. Absent: as in `limits`; "off": unlimited.
    request_timeout: For the whole exchange; 504. Absent: as in `timeouts`; "off": none.
    grpc_web: true, or a table: gRPC-Web calls of browsers become gRPC calls to the upstream.
    access_log: Whether requests of this route are logged.
    """

    name: str | None = None
    host: str | list[str] | None = None
    listener: str | None = None
    path: str = "/"
    methods: list[str] = []
    headers: dict[str, Condition] = {}
    query: dict[str, Condition] = {}
    cookies: dict[str, Condition] = {}
    upstream: str | None = None
    split: list[Split] = []
    split_by: Annotated[str, Meta(max_length=1024)] = ""
    redirect: Redirect | str | None = None
    reply: Reply | None = None
    responder: str | None = None
    strip_prefix: str | None = None
    rewrite: PathRewrite | None = None
    add_prefix: str | None = None
    rewrite_path: str | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    max_body: ByteSize | None = None
    request_timeout: Duration | None = None
    grpc_web: bool | GrpcWeb = False
    access_log: bool = True

    @property
    def hosts(self) -> list[str]:
        """Host patterns as written; empty: any."""
        if self.host is None:
            return []
        return [self.host] if isinstance(self.host, str) else list(self.host)

    @property
    def redirection(self) -> Redirect | None:
        return Redirect(to=self.redirect) if isinstance(self.redirect, str) else self.redirect
