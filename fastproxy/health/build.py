# SPDX-License-Identifier: MIT
"""Health settings -> what the prober works with; refuses bad ones, naming the key.

`problems` is for `fastproxy check`, `build_check` for control: what passes the one works with the
other, as long as the files that it names stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastproxy import _core
from fastproxy.addresses import quote
from fastproxy.errors import Problem
from fastproxy.health.expect import Expectation
from fastproxy.health.settings import CheckTls, Health
from fastproxy.schema import status_ranges

if TYPE_CHECKING:
    from ssl import SSLContext

HTTP = ("http", "https")
STREAM = ("tcp", "tls")
GRPC = ("grpc", "grpcs")
SECURE = ("https", "tls", "grpcs")
OWN_FIELDS = {
    "host": "host is a setting of its own",
    "connection": "a check's connection is used once",
    "content-length": "a check sends no body",
    "transfer-encoding": "a check sends no body",
}
ONLY_FOR: dict[str, tuple[str, ...]] = {
    "method": HTTP,
    "path": HTTP,
    "host": HTTP + GRPC,
    "headers": HTTP,
    "send": STREAM,
    "service": GRPC,
    "tls": SECURE,
    "port": HTTP + STREAM + GRPC,
    "mandatory": HTTP + STREAM + GRPC,
    "expect.status": HTTP,
    "expect.headers": HTTP,
    "expect.json": HTTP,
    "expect.body": HTTP + STREAM,
    "agent.header": HTTP,
    "agent.json": HTTP,
}
"""Kinds of check for which a key means something."""


@dataclass(frozen=True, slots=True)
class Check:
    """One upstream's checks, compiled."""

    settings: Health
    expect: Expectation
    tls: SSLContext | None

    @property
    def kind(self) -> str:
        return self.settings.kind

    @property
    def wants_body(self) -> bool:
        return self.expect.wants_body or bool(self.settings.agent.json)


def build_check(health: Health) -> Check:
    """OSError, ssl.SSLError or ValueError if a file is no longer what it was when checked."""
    context = make_context(health.tls or CheckTls(), health.kind) if health.kind in SECURE else None
    return Check(health, Expectation.of(health.expect), context)


def make_context(tls: CheckTls, kind: str) -> SSLContext:
    """TLS as a client."""
    import ssl

    context = ssl.create_default_context(cafile=tls.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As the engine believes (tls/contexts.pxi, tls/client.pxi).
    context.hostname_checks_common_name = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.ca:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None, password=_no_password)
    if kind == "grpcs":
        context.set_alpn_protocols(["h2"])
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")


def problems(health: Health) -> list[Problem]:
    """All that is wrong; paths are relative to the health table."""
    return [
        *_misplaced(health),
        *_request(health),
        *_expectation(health),
        *_agent(health),
        *_tls(health),
    ]


def _misplaced(health: Health) -> Iterator[Problem]:
    """Keys that this kind of check does not look at."""
    plain = Health()
    for key, kinds in ONLY_FOR.items():
        if health.kind in kinds:
            continue
        first, _, second = key.partition(".")
        given, usual = getattr(health, first), getattr(plain, first)
        if second:
            given, usual = getattr(given, second), getattr(usual, second)
        if given != usual:
            text = f'means nothing with kind = "{health.kind}"'
            yield Problem(key, text, f"write kind = {_or(kinds)}")
    if health.kind == "off" and not health.agent.port:
        text = 'nobody is asked: kind is "off" and there is no agent'
        yield Problem("kind", text, "leave the table out, or name the agent's port")


def _or(kinds: Iterable[str]) -> str:
    return " or ".join(f'"{kind}"' for kind in kinds)


def _request(health: Health) -> Iterator[Problem]:
    if not _core.is_token(health.method.encode(errors="replace")):
        yield Problem("method", f"{quote(health.method)} is no method")
    elif health.method == "CONNECT":
        yield Problem("method", "CONNECT asks for a tunnel, not for health")
    if not health.path.startswith("/"):
        hint = f'write "/{health.path}"' if health.path.isidentifier() else ""
        yield Problem("path", "must begin with a slash", hint)
    elif not _plain(health.path) or "#" in health.path:
        yield Problem("path", "has a character that must be written as %XX")
    if health.host and _core.split_host(health.host.encode(errors="replace")) is None:
        yield Problem("host", f"{quote(health.host)} is no host")
    for name, value in health.headers.items():
        if not _core.is_token(name.encode(errors="replace")):
            yield Problem("headers", f"{quote(name)} is no field name")
        elif name.lower() in OWN_FIELDS:
            yield Problem("headers", f"{name} cannot be set here", OWN_FIELDS[name.lower()])
        if not _core.is_field_value(value.encode(errors="replace")):
            yield Problem("headers", f"{name} has a control character in its value")
    if any(not "!" <= char <= "~" for char in health.service):
        yield Problem("service", "has a character that no gRPC service's name has")


def _plain(text: str) -> bool:
    return all("!" <= char <= "~" for char in text)


def _expectation(health: Health) -> Iterator[Problem]:
    expect = health.expect
    try:
        status_ranges(expect.status)
    except ValueError as error:
        yield Problem("expect.status", str(error))
    for name in expect.headers:
        if not _core.is_token(name.encode(errors="replace")):
            yield Problem("expect.headers", f"{quote(name)} is no field name")
    yield from _pattern("expect.body", expect.body)
    for name, text in expect.headers.items():
        yield from _pattern("expect.headers", text, f"{name}: ")
    for path in expect.json:
        if "" in path.split("."):
            yield Problem("expect.json", f"{quote(path)} names no field")
    if health.method == "HEAD" and (expect.body or expect.json or health.agent.json):
        yield Problem("method", "the answer to HEAD has no body to look at", 'write method = "GET"')


def _pattern(path: str, text: str, who: str = "") -> Iterator[Problem]:
    try:
        _core.regex_inspect(text.encode(errors="surrogateescape"))
    except ValueError as error:
        what, offset = error.args
        yield Problem(
            path, f"{who}bad regex at character {offset + 1}: {what}", "the dialect is PCRE2"
        )


def _agent(health: Health) -> Iterator[Problem]:
    agent = health.agent
    if agent.send and not agent.port:
        yield Problem(
            "agent.send", "is for the agent's port, and there is none", "write port = ..."
        )
    if agent.interval is not None and not agent.port:
        yield Problem("agent.interval", "is for the agent's port, and there is none")
    if agent.header and not _core.is_token(agent.header.encode(errors="replace")):
        yield Problem("agent.header", f"{quote(agent.header)} is no field name")
    if agent.json and "" in agent.json.split("."):
        yield Problem("agent.json", f"{quote(agent.json)} names no field")


def _tls(health: Health) -> Iterator[Problem]:
    tls = health.tls or CheckTls()
    if tls.key and not tls.cert:
        yield Problem("tls.key", "is a key without its certificate", "write cert = ...")
        return
    if health.kind not in SECURE:
        return
    for key in ("ca", "cert", "key"):
        path = getattr(tls, key)
        try:
            if path:
                with open(path, "rb"):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is not a path"
            yield Problem(f"tls.{key}", f"{quote(path)}: {why}")
            return
    for key, part in (("ca", CheckTls(ca=tls.ca)), ("cert", CheckTls(cert=tls.cert, key=tls.key))):
        try:
            make_context(part, health.kind)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            yield Problem(f"tls.{key}", f"{quote(getattr(tls, key))} cannot be used: {error}")
