# SPDX-License-Identifier: MIT
"""The keyring: key material of all listeners and upstreams, in one sealed memfd beside the plan.

Its bytes are msgpack of `Keyring`. Who has files makes it (command line, control); every worker
loads it (`_tls.load`). Nothing of it is ever part of a plan, a log or an answer of control.
"""

from __future__ import annotations

import msgspec


class About(msgspec.Struct):
    """What people are shown of a certificate."""

    names: list[str]
    issuer: str
    kind: str
    """Of its key: "EC P-256", "RSA 2048"."""
    not_before: int
    not_after: int
    """Unix time."""
    file: str = ""


class Pair(msgspec.Struct):
    """A certificate and its key."""

    chain: bytes
    """PEM: the certificate, then those between it and the root."""
    key: bytes
    """PEM, without a password."""
    names: list[str]
    """DNS names and IP addresses of its SANs, lower case, "*.example.com" included."""
    ocsp: bytes = b""
    """A DER response to staple; empty: none."""
    ocsp_until: int = 0
    """Unix time until which it is good; 0: it does not say."""
    about: About | None = None


class ClientAuth(msgspec.Struct):
    """Certificates that clients show."""

    mode: str
    """"optional" or "required": one that is shown is checked in any case. "off": nobody is asked,
    what other rules say of all below or of every other name notwithstanding."""
    ca: bytes = b""
    """PEM: who may have signed them."""
    crl: bytes = b""
    """PEM: what was revoked. Where there is one, every issuer in the chain must have one."""
    depth: int = 9
    """Certificates between theirs and the root, at most."""
    hosts: list[str] = []
    """By server name, "*.example.com" included; empty: every one that no other rule names."""


class ListenerKeys(msgspec.Struct):
    """What a TLS listener is."""

    pairs: list[Pair]
    """The first one is for clients that name no host, or an unknown one."""
    profile: str = "intermediate"
    """"intermediate" or "modern"."""
    unknown_sni: str = "default"
    """"default" or "refuse"."""
    http2: bool = True
    """Offer h2 by ALPN."""
    tickets: bool = True
    """Sessions may be resumed."""
    early_data: int = 0
    """Bytes of early data (0-RTT) taken at most; 0: none."""
    client_auth: list[ClientAuth] = []
    ktls: bool = False


class UpstreamKeys(msgspec.Struct):
    """How the backends of an upstream are reached by TLS."""

    verify: bool = True
    ca: bytes = b""
    """PEM; empty: the system's."""
    server_name: str = ""
    """What its certificate must be for; empty: the host of the backend's URL."""
    chain: bytes = b""
    """PEM: our own certificate; empty: none."""
    key: bytes = b""
    protocol: str = "auto"
    """"auto", "http1" or "http2"."""
    about: About | None = None
    """Of our own certificate."""


class Keyring(msgspec.Struct):
    """All of it. Both lists are indexed like the plan's listeners and upstreams."""

    generation: int
    listeners: list[ListenerKeys | None]
    upstreams: list[UpstreamKeys | None]
    files: dict[str, str] = {}
    """What it was read from, and the state that each was in (tls/files.py: `mark`)."""


def encode(keyring: Keyring) -> bytes:
    return msgspec.msgpack.encode(keyring)


def decode(data: bytes) -> Keyring:
    """ValueError (msgspec.ValidationError, DecodeError) if it is none."""
    try:
        return msgspec.msgpack.decode(data, type=Keyring)
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no keyring: {error}") from None


def encode_upstream(keys: UpstreamKeys) -> bytes:
    """What tells whether anything about it has changed."""
    return msgspec.msgpack.encode(keys)
