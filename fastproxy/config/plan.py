# SPDX-License-Identifier: MIT
"""Configuration -> plan: every table the engine reads, in one position-independent blob.

The same configuration and generation always give the same bytes. `compile_plan` is for a checked
configuration; check.py runs `build_stages` for what the stages find, so one cannot pass and the
other fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastproxy.balance import settings as balance
from fastproxy.balance.session import session_plan
from fastproxy.config import plugs
from fastproxy.config.model import Config, Listener, Upstream
from fastproxy.config.numbers import Numbers
from fastproxy.engine.settings import Timeouts
from fastproxy.errors import ConfigError, Problem
from fastproxy.grpcweb.build import build_grpc_web
from fastproxy.memory import pack
from fastproxy.regex.build import RegexList
from fastproxy.rewrite.build import build_rewrites
from fastproxy.route.build import build_routes
from fastproxy.route.path import path_params
from fastproxy.route.settings import Route
from fastproxy.template.build import (
    TemplateError,
    compile_template,
    fixed_length,
    pack_template,
    parse_key,
)
from fastproxy.template.presets import log_format
from fastproxy.template.variables import VARIABLES

PLAN_MAGIC = 0x504C5046
PLAN_VERSION = 1
PLAN_BYTES_MAX = 0x7FFFFFFF
HOST_PASS, HOST_UPSTREAM, HOST_FIXED = range(3)
KEY_NONE, KEY_CLIENT_IP, KEY_TEMPLATE = range(3)
UPSTREAM_HTTP1, UPSTREAM_AUTO, UPSTREAM_HTTP2, UPSTREAM_H2C = range(4)
CLIENT_CERT = {"off": 0, "rfc9440": 1, "xfcc": 2}
"""ClientCertHeader of engine/table.pxd."""
UNLIMITED = 0xFFFFFFFF
RESPONDERS = {"status": "fastproxy.admin.status_page:respond"}
"""Python responders that come with fastproxy: name -> "module:function"."""


@dataclass
class Stages:
    """What routing and rewriting made of the routes."""

    blob: pack.Blob
    routes: dict[str, Any] = field(default_factory=dict)
    rewrites: dict[str, Any] = field(default_factory=dict)
    grpc_web: dict[str, Any] = field(default_factory=dict)
    responders: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """Errors and warnings, with the paths of the configuration as given."""


def compile_plan(config: Config, generation: int, stages: Stages | None = None) -> bytes:
    """The plan. ConfigError if a stage refuses after all: then check.py has a hole.

    `stages`: what a check of this very configuration built already, to save the time; used up.
    """
    stages = stages or build_stages(config)
    blob = stages.blob
    errors = [problem for problem in stages.problems if not problem.warning]
    if errors:
        raise ConfigError(errors)
    header = {
        "magic": PLAN_MAGIC,
        "version": PLAN_VERSION,
        "generation": generation,
        "settings": _settings(blob, config),
        "routes": stages.routes,
        "rewrites": stages.rewrites,
        "grpc_web": stages.grpc_web,
        "listeners": blob.rows("ListenerRow", _listeners(blob, config)),
        "upstreams": blob.rows("UpstreamRow", _upstreams(blob, config)),
        "responders": blob.rows("Text", [_text(blob, name) for name in stages.responders]),
    }
    plan = blob.finish("PlanHeader", header)
    if len(plan) > PLAN_BYTES_MAX:
        raise ConfigError([Problem("", "the compiled plan is larger than 2 GiB")])
    return plan


def build_stages(config: Config, before: Numbers | None = None) -> Stages:
    """Routes and rewrites in a new blob. Routes that are None were broken before; the others keep
    their numbers in what is reported. `before`: rows in force, at a reload."""
    blob = pack.Blob(pack.size("PlanHeader"))
    numbers = [at for at, route in enumerate(config.routes) if route is not None]
    routes = [config.routes[at] for at in numbers]
    regexes = RegexList()
    stages = Stages(blob)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    try:
        _build(stages, regexes, routes, config, before or Numbers(), problems, warnings)
    except (OverflowError, UnicodeError):
        # A value that was refused does not always fit the table either; one that was not must.
        if not problems:
            raise
    stages.problems = [_numbered(problem, numbers, warning=False) for problem in problems]
    stages.problems += [_numbered(problem, numbers, warning=True) for problem in warnings]
    return stages


def _build(
    stages: Stages,
    regexes: RegexList,
    routes: list[Route],
    config: Config,
    before: Numbers,
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    params = path_params([route.path for route in routes], regexes)
    rewrites = build_rewrites(stages.blob, regexes, routes, params, problems)
    stages.rewrites = rewrites.tables
    grpc_web = build_grpc_web(stages.blob, routes, problems)
    stages.grpc_web = grpc_web.tables
    stages.routes = build_routes(
        stages.blob,
        regexes,
        routes,
        [str(one.bind if isinstance(one, Listener) else one) for one in config.listeners if one],
        before.names(config.upstreams),
        stages.responders,
        rewrites.rows,
        rewrites.replies,
        problems,
        warnings,
        max_body=int(config.limits.max_body),
        request_timeout_ms=config.timeouts.request.ms,
        grpc_web=grpc_web.rows,
        counters=before.rows,
    )


def _numbered(problem: Problem, numbers: list[int], warning: bool) -> Problem:
    """The problem with the number that its route has in the configuration."""

    def number(match: re.Match[str]) -> str:
        at = int(match[1])
        return f"routes[{numbers[at]}]" if at < len(numbers) else match[0]

    path = re.sub(r"^routes\[(\d+)\]", number, problem.path)
    text = re.sub(r"\broutes\[(\d+)\]", number, problem.text)
    return Problem(path, text, problem.hint, warning=warning)


def responders(config: Config) -> dict[str, str]:
    """Python responders that the routes use: name -> "module:function"."""
    known = {**RESPONDERS, **config.responders}
    used = dict.fromkeys(route.responder for route in config.routes if route.responder)
    return {name: known[name] for name in used if name in known}


def log_template(blob: pack.Blob | None, text: str) -> dict[str, Any] | Problem:
    """`log_format` compiled, or what is wrong with it."""
    wanted = log_format(text)
    try:
        return compile_template(blob or pack.Blob(0), wanted.text, wanted.escape)
    except TemplateError as error:
        return Problem("log_format", str(error), error.hint)


def _text(blob: pack.Blob, text: str) -> Mapping[str, Any]:
    offset, length = blob.text(text)
    return {"off": offset, "len": length}


def _listeners(blob: pack.Blob, config: Config) -> list[Mapping[str, Any]]:
    return [
        {
            "name": blob.text(str(listener.bind)),
            "port": listener.bind.port,
            "is_unix": listener.bind.is_unix,
            "keepalive": listener.keepalive,
            "tls": listener.tls is not None,
            "https_port": https_port(listener),
            "hsts": blob.text(listener.tls.hsts_value if listener.tls is not None else ""),
            "client_cert": CLIENT_CERT[listener.tls.client_cert_header if listener.tls else "off"],
            "http2": offers_http2(listener),
        }
        for listener in config.all_listeners()
    ]


def https_port(listener: Listener) -> int:
    """Where `redirect_https` leads; 0: nowhere."""
    given = listener.redirect_https
    return 443 if given is True else 0 if given is False else given


def offers_http2(listener: Listener) -> bool:
    """Where it is not said: on TLS, if it is built in."""
    if listener.http2 is None:
        return listener.tls is not None and not plugs.trouble(plugs.HTTP2)
    return listener.http2


def _upstreams(blob: pack.Blob, config: Config) -> list[Mapping[str, Any]]:
    times = config.timeouts
    return [_upstream(blob, name, upstream, times) for name, upstream in config.upstreams.items()]


def _upstream(blob: pack.Blob, name: str, upstream: Upstream, times: Timeouts) -> Mapping[str, Any]:
    kind, _, fixed = upstream.host.partition(":")
    policies = {"pass": HOST_PASS, "upstream": HOST_UPSTREAM, "fixed": HOST_FIXED}
    row: dict[str, Any] = {
        "name": blob.text(name),
        "host": blob.text(fixed),
        "host_policy": policies[kind],
        "tls": upstream.scheme == "https",
        "protocol": protocol(upstream),
        "queue_priority": compile_template(blob, upstream.queue.priority),
        "session": session_plan(blob, name, upstream.session),
        "subset": compile_template(blob, upstream.subset.value),
    }
    row |= _key(blob, name, upstream)
    for key in ("connect", "first_byte", "idle"):
        own = getattr(upstream.timeouts, key)
        row[f"{key}_ms"] = (own if own is not None else getattr(times, f"upstream_{key}")).ms
    return row


def protocol(upstream: Upstream) -> int:
    """What its backends speak (UpstreamProtocol of engine/table.pxd)."""
    if upstream.scheme == "h2c":
        return UPSTREAM_H2C
    if upstream.scheme == "http" or upstream.protocol == "http1":
        return UPSTREAM_HTTP1
    if upstream.protocol == "http2":
        return UPSTREAM_HTTP2
    return UPSTREAM_HTTP1 if plugs.trouble(plugs.HTTP2) else UPSTREAM_AUTO


def _key(blob: pack.Blob, name: str, upstream: Upstream) -> Mapping[str, Any]:
    """What of a request is hashed."""
    if upstream.balance != "hash":
        return {"key_kind": KEY_NONE}
    parts = hash_key(upstream)
    if isinstance(parts, Problem):
        raise ConfigError([Problem(f"upstreams.{name}.hash.key", parts.text, parts.hint)])
    if [part["variable"] for part in parts] == [VARIABLES["client_ip"].number]:
        return {"key_kind": KEY_CLIENT_IP, "key_ipv6_prefix": upstream.hash.ipv6_prefix}
    key = pack_template(blob, parts)
    return {"key_kind": KEY_TEMPLATE, "key_fixed": fixed_length(parts), "key": key}


def hash_key(upstream: balance.Upstream) -> list[dict[str, Any]] | Problem:
    """`hash.key` compiled, or what is wrong with it."""
    try:
        return parse_key(upstream.hash.key)
    except TemplateError as error:
        return Problem("hash.key", str(error), error.hint)


def _settings(blob: pack.Blob, config: Config) -> Mapping[str, Any]:
    """The C struct Settings, one to one from engine/settings.py."""
    times, limits, forwarding = config.timeouts, config.limits, config.forwarding
    log_line = log_template(blob, config.log_format)
    if isinstance(log_line, Problem):
        raise ConfigError([log_line])
    via = forwarding.via
    return {
        "client_header_ms": times.client_header.ms,
        "client_body_ms": times.client_body.ms,
        "client_write_ms": times.client_write.ms,
        "keepalive_ms": times.keepalive.ms,
        "tunnel_idle_ms": times.tunnel_idle.ms,
        "tunnel_age_ms": times.tunnel_age.ms,
        "drain_ms": times.drain.ms,
        "drain_spread_ms": times.drain_spread.ms,
        "drain_retry_ms": times.drain_retry.ms,
        "lingering_ms": times.lingering.ms,
        "tls_handshake_ms": times.tls_handshake.ms,
        "upstream_keepalive_ms": times.upstream_keepalive.ms,
        "upstream_age_ms": times.upstream_age.ms,
        "request_line_bytes": int(limits.request_line),
        "header_bytes": int(limits.header),
        "headers_bytes": int(limits.headers),
        "header_count": limits.header_count,
        "connections": 0 if limits.connections == "auto" else limits.connections,
        "connections_per_ip": limits.connections_per_ip,
        "requests_per_connection": limits.requests_per_connection or UNLIMITED,
        "http2_streams": limits.http2_streams,
        "upstream_idle": limits.upstream_idle,
        "upstream_requests": limits.upstream_requests or UNLIMITED,
        "read_bytes": int(limits.buffer_size),
        "replay_bytes": int(limits.replay_body),
        "abort_on_close": forwarding.abort_on_close,
        "reject_host_mismatch": forwarding.reject_host_mismatch,
        "merge_slashes": forwarding.merge_slashes,
        "reject_encoded_slash": forwarding.reject_encoded_slash,
        "keep_underscores": forwarding.keep_underscores,
        "forwarded": forwarding.forwarded,
        "via": bool(via),
        "forward_trailers": forwarding.forward_trailers,
        "request_id_trust": forwarding.request_id_trust,
        "access_log": config.access_log != "off",
        "via_name": blob.text(via if isinstance(via, str) else "fastproxy"),
        "trusted": blob.rows(
            "CidrRow",
            [
                {"address": address, "bits": bits}
                for address, bits in (cidr.mapped() for cidr in forwarding.trusted_proxies)
            ],
        ),
        "log_line": log_line,
    }
