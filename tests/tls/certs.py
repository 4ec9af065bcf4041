"""Certificates for tests: authorities, and pairs signed by them."""

from __future__ import annotations

import datetime
import functools
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastproxy.tls.keyring import Pair

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SIGNING = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip
"""What an authority's key is for. With the identifiers below: as public authorities have it."""


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One for all: they take long to make."""
    return rsa.generate_private_key(65537, 2048)


def new_key(kind: str) -> Key:
    return rsa_key() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def san(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Signed:
    """A certificate with its key, as PEM."""

    certificate: x509.Certificate
    private: Key
    names: list[str]
    above: bytes = b""

    @property
    def cert(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM) + self.above

    @property
    def key(self) -> bytes:
        return pem_of(self.private)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def pair(self, ocsp: bytes = b"") -> Pair:
        return Pair(self.cert, self.key, self.names, ocsp)


class Authority:
    """Signs. `above`: who has signed its own certificate, not itself."""

    def __init__(self, name: str = "a test's authority", above: Authority | None = None) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.subject = name_of(name)
        public = self.private.public_key()
        self.identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        self.certificate = (above or self)._sign(
            self.subject, self.private.public_key(), -DAY, 3650 * DAY, [], authority=True
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(
        self,
        *names: str,
        kind: str = "ec",
        since: datetime.timedelta = -DAY,
        until: datetime.timedelta = 90 * DAY,
        extra: list[x509.ExtensionType] | None = None,
    ) -> Signed:
        key = new_key(kind)
        found = self._sign(
            name_of(names[0]), key.public_key(), since, until, list(names), extra=extra
        )
        return Signed(found, key, [name for name in names if "://" not in name])

    def sign_common(self, name: str) -> Signed:
        """One without a SAN, as they were once: its common name alone says whose it is."""
        key = new_key("ec")
        found = self._sign(name_of(name), key.public_key(), -DAY, 90 * DAY, [])
        return Signed(found, key, [])

    def _sign(
        self,
        subject: x509.Name,
        public: object,
        since: datetime.timedelta,
        until: datetime.timedelta,
        names: list[str],
        *,
        authority: bool = False,
        extra: list[x509.ExtensionType] | None = None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)  # type: ignore[arg-type]
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(self.identifier, critical=False)
        )
        if authority:
            made = made.add_extension(SIGNING, critical=True)
        if names:
            found = x509.SubjectAlternativeName([san(name) for name in names])
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            made = made.add_extension(found, critical=False)
            made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        for one in extra or []:
            made = made.add_extension(one, critical=False)
        return made.sign(self.private, hashes.SHA256())

    def revoke(self, *gone: Signed) -> bytes:
        """A revocation list, as PEM."""
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        made = made.last_update(now - DAY).next_update(now + DAY)
        for one in gone:
            entry = x509.RevokedCertificateBuilder().revocation_date(now - DAY)
            entry = entry.serial_number(one.certificate.serial_number)
            made = made.add_revoked_certificate(entry.build())
        return made.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
