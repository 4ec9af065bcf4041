# SPDX-License-Identifier: MIT
"""The flags of `fastproxy run` and `check`, and how they become configuration.

A flag is a key of the configuration with another spelling: it lands in the same table, is checked
by the same code, and wins over the file. `--set limits.header=16KiB` reaches every key that has no
flag of its own. Each flag may stand in the environment as FASTPROXY_<NAME>.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from fastproxy.config import describe
from fastproxy.config.load import Document, Where, from_data, load
from fastproxy.engine.settings import Timeouts
from fastproxy.errors import ConfigError, Problem

PLACES = ("fastproxy.toml", "/etc/fastproxy/fastproxy.toml")
UPSTREAM = "default"
"""The name of the upstream that `--upstream` makes."""


@dataclass(frozen=True)
class Flag:
    """One option and the key it sets."""

    name: str
    where: Where
    help: str
    metavar: str = "TEXT"
    many: bool = False
    alias: str = ""

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    @property
    def envvar(self) -> str:
        return f"FASTPROXY_{self.key.upper()}"


def _timeout_flags() -> list[Flag]:
    """One for each timeout: --client-header-timeout..."""
    aliases = {"keepalive": "--keepalive", "upstream_keepalive": "--upstream-keepalive"}
    _, texts = describe.texts(Timeouts)
    flags = []
    for field in msgspec.structs.fields(Timeouts):
        text = texts[field.name].split(". ")[0].split(": ")[0].rstrip(".") + "."
        name = f"--{field.name.replace('_', '-')}-timeout"
        shown = f"{text} [default: {describe.default(field)}]"
        alias = aliases.get(field.name, "")
        flags.append(Flag(name, ("timeouts", field.name), shown, "TIME", alias=alias))
    return flags


FLAGS = [
    Flag("--listen", ("listeners",), "Address to accept on: 127.0.0.1:8080, [::1]:8080, :8080 "
         "(all) or unix:/path. Repeatable.", "ADDRESS", many=True),
    Flag("--upstream", ("upstreams", UPSTREAM, "backends"), "Backend: http://host:port, "
         "https://host:port, h2c://host:port or http+unix:/path. Repeatable; requests are spread "
         "over all.", "URL", many=True),
    Flag("--tls-cert", ("tls_cert",), "PEM file: certificate and chain. All --listen addresses "
         "then speak TLS. Repeatable, each with its --tls-key.", "CERT", many=True),
    Flag("--tls-key", ("tls_key",), "PEM file of its key; not needed if that is in the same file.",
         "KEY", many=True),
    Flag("--workers", ("workers",), "Worker processes. [default: auto, one per CPU]", "N"),
    Flag("--balance", ("upstreams", UPSTREAM, "balance"), "How backends are chosen: p2c, "
         "round_robin, random, least_conn, ewma, hash. [default: p2c]", "ALGORITHM"),
    Flag("--host", ("upstreams", UPSTREAM, "host"), "Host field sent upstream: pass, upstream or "
         "fixed:NAME. [default: pass]", "POLICY"),
    Flag("--backlog", ("backlog",), "Connections that may queue per listener and worker. "
         "[default: 4096]", "N"),
    Flag("--max-connections", ("limits", "connections"), "Client connections per worker. "
         "[default: auto, from the fd limit]", "N"),
    Flag("--max-connections-per-ip", ("limits", "connections_per_ip"), "Client connections of one "
         "address, over all workers. [default: 0, off]", "N"),
    Flag("--max-body", ("limits", "max_body"), "Largest request body. [default: off]", "SIZE"),
    Flag("--max-upstream-idle", ("limits", "upstream_idle"), "Idle connections kept per worker and "
         "backend. [default: 256]", "N"),
    Flag("--buffer-size", ("limits", "buffer_size"), "Largest single read of a body. "
         "[default: 512KiB]", "SIZE"),
    Flag("--trusted-proxy", ("forwarding", "trusted_proxies"), "Network whose X-Forwarded-* is "
         "believed. Repeatable.", "CIDR", many=True),
    Flag("--access-log", ("access_log",), "Path, - (standard output) or off. [default: -]", "PATH"),
    Flag("--log-format", ("log_format",), "combined, common, json or a template. "
         "[default: combined]", "FORMAT"),
    Flag("--error-log", ("error_log",), "Path or - (standard error). [default: -]", "PATH"),
    Flag("--log-level", ("log_level",), "debug, info, warning or error. [default: info]", "LEVEL"),
    Flag("--user", ("user",), "Whom workers become (as root).", "NAME"),
    Flag("--group", ("group",), "Group of the workers.", "NAME"),
    Flag("--pid-file", ("pid_file",), "Where to write the master's pid.", "PATH"),
    Flag("--control-socket", ("control_socket",), "Where `status` and `stop` find this instance.",
         "PATH"),
    *_timeout_flags(),
]  # fmt: skip


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All flags as click options."""
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other key: --set limits.header=16KiB. Repeatable.",
    )(function)
    for flag in reversed(FLAGS):
        names = [flag.alias, flag.name] if flag.alias else [flag.name]
        function = click.option(
            *names,
            flag.key,
            multiple=flag.many,
            metavar=flag.metavar,
            help=flag.help,
            envvar=flag.envvar,
        )(function)
    return click.option(
        "-c",
        "--config",
        "config",
        metavar="FILE",
        envvar="FASTPROXY_CONFIG",
        help="TOML, YAML or JSON. [default: ./fastproxy.toml, then /etc/fastproxy/fastproxy.toml]",
    )(function)


def find_config() -> str | None:
    """The first of the usual places that has a file."""
    return next((place for place in PLACES if Path(place).is_file()), None)


def document(values: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> Document:
    """File and flags as one document. ConfigError; click.UsageError for flags that cannot be.

    `labels`: key of a flag -> how it was given ("--workers" or "FASTPROXY_WORKERS").
    """
    given = {flag.key: values[flag.key] for flag in FLAGS if values.get(flag.key) not in (None, ())}
    path = values.get("config") or (None if "upstream" in given else find_config())
    if path and "upstream" in given:
        raise click.UsageError("--upstream makes a configuration of its own; leave out -c FILE")
    if not path and "upstream" not in given:
        raise click.UsageError(
            "nothing to do: give --upstream URL, -c FILE, or make ./fastproxy.toml\n\n"
            "  fastproxy run --listen :8080 --upstream http://127.0.0.1:9001"
        )
    result = load(path) if path else from_data({})
    problems: list[Problem] = []
    for flag in FLAGS:
        if flag.key in given:
            value = given[flag.key]
            label = (labels or {}).get(flag.key, flag.name)
            _put(result, flag.where, list(value) if flag.many else value, label)
    for text in values.get("settings") or ():
        _set(result, text, problems)
    if problems:
        raise ConfigError(problems)
    if "upstream" in given:
        result.data.setdefault("listeners", ["127.0.0.1:8080"])
        result.data["routes"] = [{"path": "/", "upstream": UPSTREAM, "name": "all"}]
    _backlog(result)
    _certificates(result)
    return result


def _put(result: Document, where: Where, value: Any, label: str) -> None:
    """Set one key, over whatever the file says."""
    table = result.data
    for key in where[:-1]:
        inner = table.get(str(key))
        if not isinstance(inner, dict):
            inner = table[str(key)] = {}
        table = inner
    table[str(where[-1])] = value
    for kept in [path for path in result.filled if path[: len(where)] == where]:
        del result.filled[kept]
    result.flags[where] = label


def _set(result: Document, text: str, problems: list[Problem]) -> None:
    """One `--set KEY=VALUE`; the value is TOML if it reads as such, else text."""
    key, equals, value = text.partition("=")
    label = f"--set {key}"
    if not equals:
        problems.append(Problem("", "write --set KEY=VALUE", "", f"--set {text}"))
        return
    try:
        where = _keys(tomllib.loads(f"{key} = 0"))
    except (tomllib.TOMLDecodeError, RecursionError):
        problems.append(Problem("", f'"{key}" is not a key', "write section.key", label))
        return
    parsed: Any = value
    try:
        found = tomllib.loads(f"v = {value}")
        if list(found) == ["v"]:
            parsed = found["v"]
    except (ValueError, RecursionError):
        pass
    _put(result, where, parsed, label)


def _keys(nested: Any) -> Where:
    where: list[str | int] = []
    while isinstance(nested, dict):
        key, nested = next(iter(nested.items()))
        where.append(key)
    return tuple(where)


def _backlog(result: Document) -> None:
    """--backlog holds for every listener: it is written into each of them."""
    if ("backlog",) in result.flags:
        label = result.flags.pop(("backlog",))
        _to_listeners(result, "backlog", result.data.pop("backlog"), label)


def _certificates(result: Document) -> None:
    """--tls-cert and --tls-key hold for every listener, too. Their paths are those of the shell."""
    certs = result.data.pop("tls_cert", [])
    keys = result.data.pop("tls_key", [])
    label = result.flags.pop(("tls_cert",), "")
    key_label = result.flags.pop(("tls_key",), "--tls-key")
    if keys and len(keys) != len(certs):
        raise click.UsageError(
            f"each {key_label} needs its {label or '--tls-cert'}, in the same order: "
            f"there are {len(certs)} certificates and {len(keys)} keys"
        )
    if not certs:
        return
    pairs = [
        {"cert": os.path.abspath(cert), **({"key": os.path.abspath(keys[at])} if keys else {})}
        for at, cert in enumerate(certs)
    ]
    _to_listeners(result, "tls", {"certificates": pairs}, label)


def _to_listeners(result: Document, key: str, value: Any, label: str) -> None:
    """Set a key of each listener; of a table only what it holds."""
    listeners = result.data.get("listeners")
    if not isinstance(listeners, list):
        return
    for at, listener in enumerate(listeners):
        table = {"bind": listener} if isinstance(listener, str) else listener
        if not isinstance(table, dict):
            continue
        old = table.get(key)
        both = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        listeners[at] = {**table, key: both}
        if isinstance(value, dict):
            result.flags |= {("listeners", at, key, inner): label for inner in value}
        else:
            result.flags[("listeners", at, key)] = label
