# SPDX-License-Identifier: MIT
"""Parts of fastproxy that are built only where their library is: what lacks, what to do."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass

from fastproxy.config.load import Where
from fastproxy.config.model import Config
from fastproxy.tls.build import wants_tls


@dataclass(frozen=True)
class Plug:
    """One sister extension of `_core`."""

    module: str
    what: str
    package: str
    """Debian's."""

    @property
    def remedy(self) -> str:
        again = "make build, or pip install --no-binary fastproxy --force-reinstall fastproxy"
        return f"sudo apt-get install -y {self.package}, then {again}"


TLS = Plug("fastproxy._tls", "TLS", "libssl-dev")
HTTP2 = Plug("fastproxy._http2", "HTTP/2", "libnghttp2-dev")


@functools.cache
def trouble(plug: Plug) -> str:
    """Why it cannot be used; empty: it can."""
    try:
        importlib.import_module(plug.module)
    except ImportError as error:
        if getattr(error, "name", "") == plug.module:
            return f"{plug.what} is not built in"
        return f"{plug.what} cannot be used: {error}"
    return ""


def needs(config: Config) -> Iterator[tuple[Where, Plug]]:
    """(first place, plug) of what the configuration cannot do without."""
    if wants_tls(config):
        yield _first_tls(config), TLS
    for at, one in enumerate(config.listeners):
        if getattr(one, "http2", None):
            yield ("listeners", at, "http2"), HTTP2
            return
    for name, upstream in config.upstreams.items():
        if upstream is not None and upstream.scheme == "h2c":
            yield ("upstreams", name, "backends"), HTTP2
            return
        if upstream is not None and upstream.scheme == "https" and upstream.protocol == "http2":
            yield ("upstreams", name, "protocol"), HTTP2
            return


def _first_tls(config: Config) -> Where:
    for at, one in enumerate(config.listeners):
        if getattr(one, "tls", None) is not None:
            return ("listeners", at, "tls")
    https = (name for name, one in config.upstreams.items() if one and one.scheme == "https")
    return ("upstreams", next(https), "backends")
