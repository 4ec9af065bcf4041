# SPDX-License-Identifier: MIT
"""The knobs of TLS: a listener's certificates, its clients' certificates, and TLS to an upstream.

Paths of files are relative to the configuration file. What is in them becomes the keyring
(tls/build.py); they are watched, and a change of one is in force without a restart.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import ByteSize, Duration

HSTS_PATTERN = r"^[ -~]*\Z"
WANTED_HSTS = {"wanted": 'a value such as "max-age=31536000; includeSubDomains"'}
NAME_PATTERN = r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.:-]{0,251}[A-Za-z0-9_])?\Z|^::[0-9A-Fa-f:.]*\Z"
WANTED_NAME = {"wanted": 'a name such as "example.com" or "*.example.com"'}
SERVER_NAME_PATTERN = r"^([A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f:.]+)?\Z"
WANTED_SERVER_NAME = {"wanted": 'a name such as "api.internal", or an IP address'}
Name = Annotated[str, Meta(pattern=NAME_PATTERN, extra=WANTED_NAME)]
YEAR_SECONDS = 31_536_000
"""What browsers ask for before they preload a name."""


class Certificate(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One certificate with its key, or a directory of them."""

    cert: str = ""
    """PEM file: the certificate, then the intermediates that lead to its issuer. Its names (SAN)
    say which clients get it."""
    key: str = ""
    """PEM file of the private key, without a passphrase. Empty: it is in the `cert` file too."""
    ocsp: str = ""
    """DER file of an OCSP response to staple. Empty: none. One that has expired is not stapled."""
    dir: str = ""
    """Instead: a directory. Every `NAME.crt` or `NAME.pem` with a `NAME.key` beside it is used, and
    `fullchain.pem` with `privkey.pem`; in it and in its subdirectories."""


class ClientAuthSettings(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Certificates of clients (mutual TLS)."""

    mode: Literal["off", "optional", "required"] = "required"
    """`required`: without a good certificate there is no connection. `optional`: a client may come
    without; a bad one is refused. `off`: nobody is asked, where another entry is for more."""
    ca: str = ""
    """PEM file of the authorities whose certificates are good. There must be one, unless `off`."""
    crl: str = ""
    """PEM file of revocation lists, one for each authority of a chain, up to a root in `ca`.
    Empty: nothing is revoked."""
    depth: Annotated[int, Meta(ge=0, le=100)] = 9
    """The most intermediates between a client's certificate and one of `ca`."""
    hosts: list[Name] = []
    """Names (SNI) that this is for, `*.example.com` for all below it (any depth, not itself).
    Empty: every name that no other entry has."""
    client_cert_header: Literal["off", "rfc9440", "xfcc"] = "off"
    """How upstreams are told of the client's certificate. `rfc9440`: `Client-Cert`. `xfcc`:
    `X-Forwarded-Client-Cert`, as Envoy writes it. What clients send in these fields is taken out in
    any case, unless they are a trusted proxy."""


class Hsts(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Strict-Transport-Security (RFC 6797): browsers come back by https:// only."""

    max_age: Duration = Duration("365d")
    """For how long. off: `max-age=0`, they shall forget it."""
    include_subdomains: bool = False
    """All names below this one too."""
    preload: bool = False
    """May be built into browsers (hstspreload.org). Hard to take back."""

    @property
    def value(self) -> str:
        """The field's value."""
        parts = [f"max-age={int(self.max_age)}"]
        parts += ["includeSubDomains"] if self.include_subdomains else []
        return "; ".join([*parts, *(["preload"] if self.preload else [])])


class Tls(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """TLS on a listener: it serves https:// then, and nothing else."""

    certificates: Annotated[list[Certificate], Meta(min_length=1)]
    """Who we are: `[{ cert = "site.pem", key = "site.key" }]`. The names come from the
    certificates. Several may have the same name if their keys differ in kind (RSA and ECDSA):
    clients get what they understand."""
    profile: Literal["intermediate", "modern"] = "intermediate"
    """Versions and ciphers, as Mozilla recommends them. `intermediate`: TLS 1.2 and 1.3, for all
    clients of the last ten years. `modern`: TLS 1.3 only."""
    unknown_sni: Literal["default", "refuse"] = "default"
    """A client that asks for a name that no certificate has, or for none: `default` shows it the
    first certificate, `refuse` ends the handshake (unrecognized_name)."""
    tickets: bool = True
    """Session tickets: who comes back is spared the certificates. Their keys are shared by all
    workers, and replaced again and again."""
    early_data: Annotated[ByteSize, Meta(extra={"le": 65536})] = ByteSize("off")
    """Bytes that a client who comes back may send before the handshake is over (0-RTT). They can be
    replayed by others: only safe methods are served then, and upstreams are told by
    `Early-Data: 1`."""
    client_auth: ClientAuthSettings | list[ClientAuthSettings] = []
    """Certificates of clients: one table for the whole listener, or a list, each with `hosts`."""
    hsts: Annotated[str, Meta(pattern=HSTS_PATTERN, max_length=256, extra=WANTED_HSTS)] | Hsts = ""
    """Adds Strict-Transport-Security to every answer of this listener: the whole value, or a table.
    Empty: no."""
    ktls: bool = False
    """Let the kernel encrypt where it can (module tls): pays off for large files."""

    def auths(self) -> list[ClientAuthSettings]:
        """Every entry that asks for certificates."""
        given = self.client_auth if isinstance(self.client_auth, list) else [self.client_auth]
        return [one for one in given if one.mode != "off"]

    @property
    def hsts_value(self) -> str:
        """Empty: none."""
        return self.hsts if isinstance(self.hsts, str) else self.hsts.value

    @property
    def client_cert_header(self) -> str:
        """As its entries say, which agree."""
        return next((one.client_cert_header for one in self.auths()), "off")


class UpstreamTls(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """TLS to the backends of an upstream, which are https:// then."""

    verify: bool = True
    """Only a backend whose certificate is good, and has the right name, gets requests. false: any
    certificate will do, so anybody in between can read along."""
    ca: str = ""
    """PEM file of the authorities that are believed, intermediates too, or of a backend's own
    certificate. Empty: those of the system."""
    server_name: Annotated[
        str, Meta(pattern=SERVER_NAME_PATTERN, extra=WANTED_SERVER_NAME)
    ] = ""  # fmt: skip
    """The name that is asked for (SNI) and that the certificate must have. Empty: the host of the
    backend's URL."""
    cert: str = ""
    """PEM file of our own certificate, for backends that ask for one. Empty: none."""
    key: str = ""
    """PEM file of its key. Empty: it is in the `cert` file too."""
