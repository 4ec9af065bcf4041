# SPDX-License-Identifier: MIT
"""What a configuration says of TLS and HTTP/2: does it fit together, and are its files sound?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastproxy.config import plugs
from fastproxy.config.load import Where, path_where
from fastproxy.config.model import Config, Listener, Upstream
from fastproxy.config.plan import https_port
from fastproxy.tls.build import Built, build_keyring, wants_tls
from fastproxy.tls.settings import YEAR_SECONDS, Hsts, Tls

Finding = tuple[Where, str, str, bool]
"""(where, what is wrong, hint, whether that is only a warning)."""


def keyring_of(config: Config, config_path: str, generation: int = 1) -> Built | None:
    """The keyring of a configuration; None: it needs none. A relative path in it is beside the
    configuration file."""
    if not wants_tls(config):
        return None
    directory = os.path.dirname(os.path.abspath(config_path)) if config_path else os.getcwd()
    return build_keyring(config, generation, directory, http2=not plugs.trouble(plugs.HTTP2))


def findings(config: Config, built: Built | None) -> Iterator[Finding]:
    """Everything but shapes and types, which the caller has seen to."""
    for where, plug in plugs.needs(config):
        if trouble := plugs.trouble(plug):
            yield where, trouble, plug.remedy, False
    for problem in built.problems if built is not None else ():
        yield path_where(problem.path), problem.text, problem.hint, problem.warning
    for at, one in enumerate(config.listeners):
        if isinstance(one, Listener):
            yield from _listener(config, ("listeners", at), one)
    for name, upstream in config.upstreams.items():
        if upstream is not None:
            yield from _upstream(("upstreams", name), upstream)


def _listener(config: Config, where: Where, listener: Listener) -> Iterator[Finding]:
    if listener.tls is not None:
        if listener.redirect_https is not False:
            text = "is for plain listeners: this one speaks https:// itself"
            yield (*where, "redirect_https"), text, "", False
        yield from _hsts((*where, "tls", "hsts"), listener.tls)
    elif listener.redirect_https is not False:
        yield from _target(config, where, listener)


def _target(config: Config, where: Where, listener: Listener) -> Iterator[Finding]:
    """Does somebody listen where the redirect leads? Another proxy may; so it is only odd."""
    port = https_port(listener)
    ports = [
        one.bind.port
        for one in config.listeners
        if isinstance(one, Listener) and one.tls is not None
    ]
    if not ports or 0 in ports or port in ports:
        return
    hint = f"write redirect_https = {ports[0]}, unless something else leads from {port} to it"
    yield (*where, "redirect_https"), f"leads to port {port}, where no listener is", hint, True


def _hsts(where: Where, tls: Tls) -> Iterator[Finding]:
    value = tls.hsts
    if isinstance(value, Hsts) and value.preload:
        if not value.include_subdomains or value.max_age < YEAR_SECONDS:
            text = "browsers preload only with include_subdomains = true and max_age of a year"
            yield (*where, "preload"), text, "", False
    elif isinstance(value, str) and value and "max-age=" not in value.lower():
        text = f'"{value}" has no max-age: browsers ignore it'
        yield where, text, 'write "max-age=31536000"', False


def _upstream(where: Where, upstream: Upstream) -> Iterator[Finding]:
    scheme = upstream.scheme
    if upstream.tls is not None and scheme != "https":
        text = f"is of no use: its backends are {scheme}://"
        yield (*where, "tls"), text, "write https:// URLs", False
    kind = upstream.health.kind if upstream.health is not None and not upstream.health.port else ""
    if scheme == "https" and kind in ("http", "grpc"):
        text = f'"{kind}" asks in plain text what speaks TLS: every check would fail'
        yield (*where, "health", "kind"), text, f'write kind = "{kind}s"', True
    if upstream.protocol == "http2" and scheme == "http":
        text = "http:// backends speak HTTP/1.1"
        yield (*where, "protocol"), text, "write h2c:// for HTTP/2 without TLS", False
    if upstream.protocol == "http1" and scheme == "h2c":
        yield (*where, "protocol"), "h2c:// backends speak HTTP/2", "write http://", False
