# SPDX-License-Identifier: MIT
"""Settings and files -> keyring, with everything that is wrong with them.

The command line builds the first one, and `fastproxy check` one to throw away; control builds the
next whenever a file changes. Needs the package `cryptography`, if there is TLS at all.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from fastproxy.errors import Problem
from fastproxy.tls.files import Reading
from fastproxy.tls.keyring import About, ClientAuth, Keyring, ListenerKeys, Pair, UpstreamKeys
from fastproxy.tls.settings import Certificate, ClientAuthSettings, Tls, UpstreamTls

CERTIFICATES_MAX = 10_000


class Listener(Protocol):
    """What of a listener counts here."""

    @property
    def tls(self) -> Tls | None: ...

    @property
    def http2(self) -> bool | None: ...


class Upstream(Protocol):
    """What of an upstream counts here."""

    @property
    def tls(self) -> UpstreamTls | None: ...

    @property
    def protocol(self) -> str: ...

    @property
    def scheme(self) -> str: ...


class Configured(Protocol):
    """All listeners and upstreams, in the order of the plan; None: it was broken before. A listener
    may be a plain address."""

    @property
    def listeners(self) -> Sequence[Any]: ...

    @property
    def upstreams(self) -> Mapping[str, Any]: ...


@dataclass
class Built:
    """What came of it. With an error among the problems the keyring lacks something."""

    keyring: Keyring
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.warning]


def wants_tls(config: Configured) -> bool:
    """Is there any TLS in it?"""
    return any(_tls_of(one) for one in config.listeners) or any(
        one is not None and one.scheme == "https" for one in config.upstreams.values()
    )


def _tls_of(listener: Any) -> Tls | None:
    found: Tls | None = getattr(listener, "tls", None)
    return found


def build_keyring(
    config: Configured,
    generation: int,
    directory: str = "",
    *,
    http2: bool = True,
    kept: Mapping[str, UpstreamKeys | None] | None = None,
) -> Built:
    """`directory`: that of the configuration file. `http2`: whether HTTP/2 can be spoken. `kept`:
    upstreams whose files are not read any more, with what was made of them."""
    reading = Reading(directory)
    listeners: list[ListenerKeys | None] = []
    upstreams: list[UpstreamKeys | None] = []
    if wants_tls(config) and (lacking := _lacks_cryptography()):
        reading.problems.append(lacking)
        return Built(Keyring(generation, listeners, upstreams), reading.problems)
    for at, one in enumerate(config.listeners):
        tls = _tls_of(one)
        listeners.append(None)
        if tls is not None:
            spoken = one.http2 is not False and http2
            listeners[at] = _listener(reading, f"listeners[{at}].tls", tls, spoken)
    for name, upstream in config.upstreams.items():
        if kept is not None and name in kept:
            upstreams.append(kept[name])
            continue
        https = upstream is not None and upstream.scheme == "https"
        where = f"upstreams.{name}.tls"
        upstreams.append(_upstream(reading, where, upstream, http2) if https else None)
    return Built(Keyring(generation, listeners, upstreams, reading.files), reading.problems)


def _lacks_cryptography() -> Problem | None:
    try:
        importlib.import_module("fastproxy.tls.certificates")
    except ImportError as error:
        text = f"TLS needs the package cryptography to read certificates ({error})"
        return Problem("", text, "pip install 'fastproxy[tls]'")
    return None


# ---- listeners ------------------------------------------------------------------------------


def _listener(reading: Reading, where: str, tls: Tls, http2: bool) -> ListenerKeys:
    pairs: list[Pair] = []
    for at, one in enumerate(tls.certificates):
        pairs += _certificate(reading, f"{where}.certificates[{at}]", one)
    if len(pairs) > CERTIFICATES_MAX:
        text = f"{len(pairs)} certificates, at most {CERTIFICATES_MAX} are possible"
        reading.error(f"{where}.certificates", text)
    _twice(reading, f"{where}.certificates", pairs)
    return ListenerKeys(
        pairs=pairs,
        profile=tls.profile,
        unknown_sni=tls.unknown_sni,
        http2=http2,
        tickets=tls.tickets,
        early_data=int(tls.early_data),
        client_auth=_client_auths(reading, f"{where}.client_auth", tls),
        ktls=tls.ktls,
    )


def _certificate(reading: Reading, where: str, one: Certificate) -> list[Pair]:
    if one.dir:
        if other := next((key for key in ("cert", "key", "ocsp") if getattr(one, key)), ""):
            reading.error(f"{where}.{other}", "does not go with `dir`", "write two entries")
        found = reading.pairs_in(f"{where}.dir", one.dir)
        made = [_pair(reading, f"{where}.dir", cert, key) for cert, key in found]
        return [pair for pair in made if pair is not None]
    if not one.cert:
        hint = 'write { cert = "site.pem", key = "site.key" }'
        reading.error(where, "`cert` is missing", hint)
        return []
    pair = _pair(reading, where, one.cert, one.key, one.ocsp)
    return [pair] if pair is not None else []


def _pair(reading: Reading, where: str, cert: str, key: str, staple: str = "") -> Pair | None:
    from fastproxy.tls import certificates

    found = certificates.identity(reading, where, cert, key)
    if found is None:
        return None
    answer, until = b"", 0
    if staple:
        answer, until = certificates.stapled(reading, f"{where}.ocsp", staple, found.leaf)
    return Pair(
        chain=found.chain,
        key=found.key,
        names=found.about.names,
        ocsp=answer,
        ocsp_until=until,
        about=found.about,
    )


def _twice(reading: Reading, where: str, pairs: Sequence[Pair]) -> None:
    """Two certificates for one name are chosen between by the kind of their keys only."""
    seen: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        kind = pair.about.kind.partition(" ")[0] if pair.about is not None else ""
        doubles = [name for name in pair.names if (name, kind) in seen]
        if doubles:
            first = seen[(doubles[0], kind)]
            what = f"{doubles[0]}" + (f" and {len(doubles) - 1} more" if len(doubles) > 1 else "")
            text = f"{what}: both {_file(first)} and {_file(pair)} have an {kind} key for it"
            reading.warn(where, text, "the first one is used")
        for name in pair.names:
            seen.setdefault((name, kind), pair)


def _file(pair: Pair) -> str:
    return pair.about.file if pair.about is not None else "?"


def _client_auths(reading: Reading, where: str, tls: Tls) -> list[ClientAuth]:
    several = isinstance(tls.client_auth, list)
    given = tls.client_auth if isinstance(tls.client_auth, list) else [tls.client_auth]
    made: list[ClientAuth] = []
    seen: dict[str, int] = {}
    for at, one in enumerate(given):
        here = f"{where}[{at}]" if several else where
        if one.client_cert_header != tls.client_cert_header and one.mode != "off":
            text = "differs from the other entries: there is one for a listener"
            reading.error(f"{here}.client_cert_header", text)
        for host in [name.lower() for name in one.hosts] or [""]:
            if host in seen:
                shown = f'"{host}"' if host else "every other name"
                text = f"client_auth[{seen[host]}] is for {shown} already"
                reading.error(f"{here}.hosts" if host else here, text)
            seen.setdefault(host, at)
        made.append(_client_auth(reading, here, one))
    return made if any(one.mode != "off" for one in made) else []


def _client_auth(reading: Reading, where: str, one: ClientAuthSettings) -> ClientAuth:
    from fastproxy.tls import certificates

    hosts = [name.lower() for name in one.hosts]
    if one.mode == "off":
        return ClientAuth(mode="off", hosts=hosts)
    if not one.ca:
        reading.error(where, '"ca" is missing', "the authority whose certificates are good")
        return ClientAuth(mode=one.mode, hosts=hosts)
    pem, believed = certificates.authorities(reading, f"{where}.ca", one.ca)
    crl: bytes | None = b""
    if one.crl:
        crl = certificates.revocations(reading, f"{where}.crl", one.crl, believed)
    return ClientAuth(mode=one.mode, ca=pem, crl=crl or b"", depth=one.depth, hosts=hosts)


# ---- upstreams ------------------------------------------------------------------------------


def _upstream(reading: Reading, where: str, upstream: Upstream, http2: bool) -> UpstreamKeys:
    from fastproxy.tls import certificates

    tls = upstream.tls or UpstreamTls()
    made = UpstreamKeys(
        verify=tls.verify,
        server_name=tls.server_name.lower(),
        protocol=upstream.protocol if http2 or upstream.protocol == "http2" else "http1",
    )
    if not tls.verify:
        text = "is off: whoever answers is believed, and can read and change everything"
        reading.warn(f"{where}.verify", text)
    if tls.ca:
        made.ca, _ = certificates.authorities(reading, f"{where}.ca", tls.ca)
    if tls.key and not tls.cert:
        reading.error(f"{where}.key", "is of no use without `cert`")
    if tls.cert:
        found = certificates.identity(reading, where, tls.cert, tls.key, server=False)
        if found is not None:
            made.chain, made.key, made.about = found.chain, found.key, found.about
    return made


# ---- for people -----------------------------------------------------------------------------


def certificates_report(
    keyring: Keyring, listeners: Sequence[str], upstreams: Sequence[str], now: float | None = None
) -> list[dict[str, Any]]:
    """Every certificate of ours, for `status`. `listeners`, `upstreams`: their names."""
    now = time.time() if now is None else now
    found: list[dict[str, Any]] = []
    for name, listener in zip(listeners, keyring.listeners, strict=False):
        for pair in listener.pairs if listener is not None else ():
            found.append({"listener": name, "upstream": "", **shown(pair.about, now)})
    for name, upstream in zip(upstreams, keyring.upstreams, strict=False):
        if upstream is not None and upstream.chain:
            found.append({"listener": "", "upstream": name, **shown(upstream.about, now)})
    return found


def shown(about: About | None, now: float) -> dict[str, Any]:
    """One of them, with the days it is still good for."""
    plain: dict[str, Any] = msgspec.to_builtins(about) if about is not None else {}
    return {**plain, "days_left": int((plain.get("not_after", 0) - now) // 86400)}
