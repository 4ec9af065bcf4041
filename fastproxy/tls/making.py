# SPDX-License-Identifier: MIT
"""Certificates that vouch for themselves, to try things with."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastproxy.addresses import HOST_NAME, is_ip, quote

RSA_BITS = 2048
BACKDATED = timedelta(minutes=5)
"""Clocks of clients are not all right."""
LOCAL = ("127.0.0.1", "::1")


def self_signed(names: list[str], days: int = 90, *, rsa_key: bool = False) -> tuple[bytes, bytes]:
    """(certificate, key) as PEM, for these names. ValueError for what is no name."""
    names = list(dict.fromkeys(_checked(name) for name in names))
    key = rsa.generate_private_key(65537, RSA_BITS) if rsa_key else _elliptic()
    begins = datetime.now(UTC).replace(microsecond=0) - BACKDATED
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + BACKDATED + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    made = builder.sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), secret


def _elliptic() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _checked(name: str) -> str:
    plain = name.removeprefix("*.")
    if is_ip(name):
        return str(ipaddress.ip_address(name))
    if not HOST_NAME.fullmatch(plain) or re.fullmatch(r"[0-9.]+", plain):
        raise ValueError(f"{quote(name)} is neither a name nor an address")
    return name.lower().rstrip(".")


def _san(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_ip(name) else x509.DNSName(name)


def wished(names: list[str]) -> list[str]:
    """The names, and the addresses that `localhost` is as well."""
    return [*names, *(LOCAL if "localhost" in names else ())]


def write_pair(stem: str, cert: bytes, key: bytes, *, over: bool = False) -> tuple[str, str]:
    """Write STEM.pem, and STEM.key for us alone; their paths. FileExistsError unless `over`;
    OSError."""
    stem = os.path.normpath(stem)
    paths = (f"{stem}.pem", f"{stem}.key")
    for path in paths:
        if not over and os.path.lexists(path):
            raise FileExistsError(path)
    for path, data, mode in zip(paths, (cert, key), (0o644, 0o600), strict=True):
        new = f"{path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(new, flags, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        os.rename(new, path)
    return paths
