# SPDX-License-Identifier: MIT
"""What is in a certificate, a key, a revocation list: read with `cryptography`, and judged.

Errors are what libssl or every client would refuse; warnings are what may be meant, or what time
does to a file that was good yesterday: a proxy must start, and swap, with those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp

from fastproxy.tls.files import Reading
from fastproxy.tls.keyring import About

RSA_BITS_LEAST = 2048
SOON_DAYS = 14
PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\r?\n?", re.DOTALL)
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True)
class Identity:
    """A sound certificate with its key."""

    chain: bytes
    key: bytes
    leaf: x509.Certificate
    about: About


def blocks(data: bytes, *labels: str) -> list[bytes]:
    """PEM blocks of these labels, in order; an empty list of labels: all."""
    return [one[0] for one in PEM.finditer(data) if not labels or one[1].decode() in labels]


def identity(
    reading: Reading, where: str, cert: str, key: str, *, server: bool = True
) -> Identity | None:
    """The certificate and the key of these files. None, and said, if they cannot be used.
    `where`: the table they are named in; `server`: it must have names that clients ask for."""
    data = reading.read(_key(where, "cert"), cert)
    certificates = [] if data is None else _chain(reading, _key(where, "cert"), cert, data)
    shown, at = (key, _key(where, "key")) if key else (cert, _key(where, "cert"))
    key_data = reading.read(at, key) if key else data
    secret = None if key_data is None else _private(reading, at, shown, key_data)
    if not certificates or secret is None or key_data is None:
        return None
    leaf = certificates[0]
    if _spki(leaf.public_key()) != _spki(secret.public_key()):
        hint = "the key of another certificate, or one of them was not replaced with the other"
        reading.error(at, f"the key in {shown} does not belong to the certificate in {cert}", hint)
        return None
    reading.watch_key(at, shown)
    names = names_of(leaf)
    if server and not names:
        text = f"the certificate in {cert} has no name (SAN): no client would accept it"
        reading.error(_key(where, "cert"), text, "fastproxy cert self-signed NAME makes one")
        return None
    if _weak(reading, _key(where, "cert"), cert, leaf):
        return None
    _time(reading, _key(where, "cert"), cert, leaf)
    _order(reading, _key(where, "cert"), cert, certificates)
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    about = about_of(leaf, reading.place(cert))
    return Identity(pem, b"\n".join(_key_blocks(key_data)), leaf, about)


def _key(where: str, key: str) -> str:
    """The key of a table; a pair of a directory is all named by `dir`."""
    return where if where.endswith(".dir") else f"{where}.{key}"


def chain(reading: Reading, where: str, path: str) -> list[x509.Certificate]:
    """The certificates in a file; none, and said, if there is none."""
    data = reading.read(where, path)
    return [] if data is None else _chain(reading, where, path, data)


def _chain(reading: Reading, where: str, path: str, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        if not blocks(data, "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"):
            reading.error(where, f"there is no certificate in {path}", _instead(path, data))
        else:
            reading.error(where, f"a certificate in {path} cannot be read: {_short(error)}")
        return []


def _instead(path: str, data: bytes) -> str:
    if _key_blocks(data):
        return "it is a private key"
    if blocks(data, "CERTIFICATE REQUEST"):
        return "it is a request; the authority's answer to it is wanted"
    if data[:1] == b"\x30":
        return f"it is DER: openssl x509 -inform der -in {path} -out NAME.pem"
    return "it should hold -----BEGIN CERTIFICATE-----"


def _key_blocks(data: bytes) -> list[bytes]:
    return [
        one[0]
        for one in PEM.finditer(data)
        if one[1].endswith(b"PRIVATE KEY") or one[1] == b"EC PARAMETERS"
    ]


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _private(reading: Reading, where: str, path: str, data: bytes) -> PrivateKey | None:
    found = [one for one in _key_blocks(data) if b"PRIVATE KEY" in one]
    if not found:
        hint = "it is a certificate" if blocks(data, "CERTIFICATE") else ""
        hint = hint or "it should hold -----BEGIN PRIVATE KEY-----"
        reading.error(where, f"there is no private key in {path}", hint)
        return None
    if b"ENCRYPTED" in found[0]:
        _encrypted(reading, where, path)
        return None
    try:
        key = load_pem_private_key(found[0], None)
    except TypeError:
        _encrypted(reading, where, path)
        return None
    except (ValueError, UnsupportedAlgorithm) as error:
        reading.error(where, f"the key in {path} cannot be read: {_short(error)}")
        return None
    if not isinstance(key, PrivateKey):
        kind = type(key).__name__.strip("_").removesuffix("PrivateKey")
        reading.error(where, f"the key in {path} is a {kind} key; RSA, EC and Ed25519 can be used")
        return None
    return key


def _encrypted(reading: Reading, where: str, path: str) -> None:
    text = f"the key in {path} is encrypted: nobody is there to type its passphrase"
    reading.error(where, text, f"openssl pkey -in {path} -out plain.key, and chmod 600 plain.key")


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:120]


def _spki(key: object) -> bytes:
    public_bytes = getattr(key, "public_bytes", None)
    if public_bytes is None:
        return b""
    found: bytes = public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _weak(reading: Reading, where: str, path: str, leaf: x509.Certificate) -> bool:
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_LEAST:
        text = f"the RSA key of {path} has {key.key_size} bits; clients want {RSA_BITS_LEAST}"
        reading.error(where, text)
        return True
    algorithm = leaf.signature_hash_algorithm
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        reading.error(where, f"{path} is signed with {algorithm.name.upper()}, which is broken")
        return True
    return False


def _time(reading: Reading, where: str, path: str, leaf: x509.Certificate) -> None:
    ends, begins = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    left = ends.timestamp() - reading.now
    if left < 0:
        reading.warn(where, f"{path} expired on {day(ends)}: clients refuse it")
    elif begins.timestamp() > reading.now:
        text = f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on only: clients refuse it yet"
        reading.warn(where, text)
    elif left < SOON_DAYS * 86400 and (ends - begins).days > 2 * SOON_DAYS:
        # Those that are made for a week are replaced in time, or nobody is told too early.
        reading.warn(where, f"{path} expires on {day(ends)}, in {int(left // 86400)} days")


def day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _order(reading: Reading, where: str, path: str, chain: Sequence[x509.Certificate]) -> None:
    """Each is issued by the next one; a client may put up with another order, or not."""
    for at in range(1, len(chain)):
        one, issuer = chain[at - 1], chain[at]
        if _issued(one, issuer):
            continue
        who, by = _name(one.subject), _name(one.issuer)
        hint = "the certificate itself comes first, then its issuer, then that one's issuer"
        if any(_issued(one, other) for other in chain if other is not one):
            text = f"the chain in {path} is out of order: {who} is not followed by its issuer {by}"
        else:
            text = f"the chain in {path} has a gap: the issuer of {who}, {by}, does not follow it"
        reading.warn(where, text, hint)
        return


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _name(name: x509.Name) -> str:
    """The common name, or what there is of it."""
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if common:
        value = common[0].value
        return f'"{value if isinstance(value, str) else value.decode(errors="replace")}"'
    return f'"{name.rfc4514_string()[:80]}"'


def issuer_of(leaf: x509.Certificate) -> str:
    """For people: organisation and common name; "self-signed" if it vouches for itself."""
    if leaf.issuer == leaf.subject:
        return "self-signed"
    whose = leaf.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    common = _name(leaf.issuer).strip('"')
    owner = str(whose[0].value) if whose else ""
    return f"{owner}, {common}" if owner and owner != common else common


def names_of(leaf: x509.Certificate) -> list[str]:
    """Its SAN: DNS names in lower case, IP addresses."""
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    names = [one.lower().rstrip(".") for one in san.get_values_for_type(x509.DNSName)]
    names += [str(one) for one in san.get_values_for_type(x509.IPAddress)]
    return list(dict.fromkeys(one for one in names if one and "\0" not in one))


def kind_of(leaf: x509.Certificate) -> str:
    """Its key: "EC P-256", "RSA 2048"."""
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {CURVES.get(key.curve.name, key.curve.name)}"
    kinds = {ed25519.Ed25519PublicKey: "Ed25519", ed448.Ed448PublicKey: "Ed448"}
    return next((name for kind, name in kinds.items() if isinstance(key, kind)), "?")


def authorities(reading: Reading, where: str, path: str) -> tuple[bytes, list[x509.Certificate]]:
    """A file of certificates that are believed: (PEM, certificates); both empty, and said, if it is
    none."""
    data = reading.read(where, path)
    found = _chain(reading, where, path, data) if data is not None else []
    old = [one for one in found if one.not_valid_after_utc.timestamp() < reading.now]
    if old and len(old) == len(found):
        text = f"every authority in {path} has expired, {_name(old[0].subject)} first of all"
        reading.warn(where, f"{text}: nobody is believed")
    return b"".join(one.public_bytes(Encoding.PEM) for one in found), found


def revocations(
    reading: Reading, where: str, path: str, believed: Sequence[x509.Certificate]
) -> bytes | None:
    """A file of revocation lists. None, and said, if it is none."""
    data = reading.read(where, path)
    if data is None:
        return None
    found = blocks(data, "X509 CRL")
    if not found:
        reading.error(where, f"there is no revocation list in {path}",
                      "it should hold -----BEGIN X509 CRL-----")  # fmt: skip
        return None
    issuers = {one.subject for one in believed}
    for block in found:
        try:
            crl = x509.load_pem_x509_crl(block)
        except ValueError as error:
            reading.error(where, f"a revocation list in {path} cannot be read: {_short(error)}")
            return None
        whose = _name(crl.issuer)
        until = crl.next_update_utc
        if until is not None and until.timestamp() < reading.now:
            text = f"the list of {whose} in {path} was good until {day(until)}"
            reading.warn(where, f"{text}: every certificate of it is refused")
        if crl.issuer not in issuers:
            reading.warn(where, f"the list of {whose} in {path} is of no authority of `ca`")
    return b"".join(found)


def stapled(reading: Reading, where: str, path: str, leaf: x509.Certificate) -> tuple[bytes, int]:
    """An OCSP response to staple, and until when (Unix time, 0: it does not say); empty, and said,
    if it cannot be."""
    data = reading.read(where, path)
    if data is None:
        return b"", 0
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            status = response.response_status.name.lower()
            reading.error(where, f"the OCSP response in {path} says {status}")
            return b"", 0
        serial, until = response.serial_number, response.next_update_utc
    except (ValueError, UnsupportedAlgorithm) as error:
        text = f"there is no OCSP response in {path}: {_short(error)}"
        reading.error(where, text, "it should be DER, as openssl ocsp -respout writes it")
        return b"", 0
    if serial != leaf.serial_number:
        reading.error(where, f"the OCSP response in {path} is about another certificate")
        return b"", 0
    if until is None:
        return data, 0
    if until.timestamp() < reading.now:
        reading.warn(where, f"the OCSP response in {path} was good until {day(until)}: not stapled")
        return b"", 0
    return data, int(until.timestamp())


def about_of(leaf: x509.Certificate, file: str = "") -> About:
    """What people are shown of it."""
    return About(
        names=names_of(leaf),
        issuer=issuer_of(leaf),
        kind=kind_of(leaf),
        not_before=int(leaf.not_valid_before_utc.timestamp()),
        not_after=int(leaf.not_valid_after_utc.timestamp()),
        file=file,
    )
