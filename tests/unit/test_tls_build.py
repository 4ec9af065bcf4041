"""Files of certificates and keys: what is taken, and everything that is said of the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from fastproxy.process.status import expiry
from fastproxy.tls.build import certificates_report
from fastproxy.tls.files import rights
from fastproxy.tls.keyring import decode, encode
from fastproxy.tls.settings import Certificate, UpstreamTls
from tests.tls.certs import DAY, Authority, Signed, pem_of
from tests.tls.keyrings import PAIR, Place


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


@pytest.fixture
def place(tmp_path: Path, authority: Authority) -> Place:
    made = Place(tmp_path, authority)
    made.pair("a", authority.sign("a.test", "*.a.test", "192.0.2.1", "2001:db8::1"))
    return made


def test_a_sound_pair(place: Place) -> None:
    built = place.build(PAIR, profile="modern")
    assert built.problems == []
    keyring = decode(encode(built.keyring))
    assert keyring.listeners[0] is None
    assert keyring.upstreams == [None]
    made = keyring.listeners[1]
    assert made is not None
    assert (made.profile, made.unknown_sni, made.http2, made.tickets) == (
        "modern", "default", True, True,
    )  # fmt: skip
    (pair,) = made.pairs
    assert pair.names == ["a.test", "*.a.test", "192.0.2.1", "2001:db8::1"]
    assert pair.chain == (place.path / "a.pem").read_bytes()
    assert pair.key == (place.path / "a.key").read_bytes()
    assert pair.about is not None
    assert (pair.about.issuer, pair.about.kind) == ("Test CA", "EC P-256")
    assert list(keyring.files) == [str(place.path / name) for name in ("a.pem", "a.key")]


def test_key_and_certificate_in_one_file(place: Place) -> None:
    signed = place.authority.sign("one.test", kind="rsa")
    place.put("one.pem", signed.key + signed.cert)
    built = place.build(Certificate(cert="one.pem"))
    assert built.problems == []
    keys = built.keyring.listeners[1]
    assert keys is not None
    assert b"PRIVATE" not in keys.pairs[0].chain
    assert b"CERTIFICATE" not in keys.pairs[0].key


def test_what_is_shown_of_them(place: Place) -> None:
    built = place.build(PAIR, upstream=UpstreamTls(cert="a.pem", key="a.key"))
    (first, second) = certificates_report(built.keyring, [":80", ":443"], ["api"])
    assert (first["listener"], first["upstream"], first["days_left"]) == (":443", "", 89)
    assert (second["listener"], second["upstream"], second["issuer"]) == ("", "api", "Test CA")
    assert not any("key" in entry or "chain" in entry for entry in (first, second))
    place.pair("a", place.authority.sign("a.test", until=-DAY / 2))
    (third,) = certificates_report(place.build(PAIR).keyring, [":80", ":443"], [])
    assert expiry([first, third]) == {
        "tls_certificates": 2,
        "tls_certificates_expired": 1,
        "tls_first_expiry": third["not_after"],
    }
    assert expiry([])["tls_first_expiry"] == 0


def of_rsa(bits: int) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        key = rsa.generate_private_key(65537, bits)
        place.pair("a", signed_over(place.authority, key, "a.test"))

    return make


def signed_over(authority: Authority, key: Any, *names: str) -> Signed:
    made = authority._sign(
        x509.Name([]), key.public_key(), -DAY, 90 * DAY, list(names)
    )  # a key of our own
    return Signed(made, key, list(names))


def text(name: str, data: bytes) -> Callable[[Place], None]:
    return lambda place: place.put(name, data)


def encrypted(place: Place) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    place.put("a.key", locked)


def encrypted_as_of_old(place: Place) -> None:
    key = rsa.generate_private_key(65537, 2048)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    place.put("a.key", locked)


def between(since: int, until: int) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        place.pair("a", place.authority.sign("a.test", since=since * DAY, until=until * DAY))

    return make


def nameless(place: Place) -> None:
    place.pair("a", signed_over(place.authority, ec.generate_private_key(ec.SECP256R1())))


def other_key(place: Place) -> None:
    place.put("a.key", place.authority.sign("b.test").key)


def swapped(place: Place) -> None:
    signed = place.authority.sign("a.test")
    place.put("a.pem", signed.key)
    place.put("a.key", signed.cert)


def with_chain(*order: int) -> Callable[[Place], None]:
    """Of leaf (0), intermediate (1) and root (2)."""

    def make(place: Place) -> None:
        middle = Authority("Middle CA")
        middle.certificate = place.authority._sign(
            middle.subject, middle.private.public_key(), -DAY, DAY, [], authority=True
        )
        leaf = middle.sign("a.test")
        parts = [leaf.cert, middle.pem, place.authority.pem]
        place.put("a.pem", b"".join(parts[at] for at in order))
        place.put("a.key", leaf.key)

    return make


def in_der(place: Place) -> None:
    place.put("a.pem", place.authority.sign("a.test").der)


def as_request(place: Place) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    place.put("a.pem", request)


def of_ed448(place: Place) -> None:
    place.put("a.key", pem_of(ed448.Ed448PrivateKey.generate()))  # type: ignore[arg-type]


FLAWS: list[tuple[Callable[[Place], None], str]] = [
    (of_rsa(1024), "error listeners[1].tls.certificates[0].cert: the RSA key of a.pem has 1024 bi"),
    (text("a.pem", b"hello"), "cert: there is no certificate in a.pem (it should hold -----BEGIN"),
    (text("a.pem", b""), "cert: there is no certificate in a.pem (it should hold -----BEGIN CERT"),
    (text("a.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
     "cert: a certificate in a.pem cannot be read: "),
    (in_der, "cert: there is no certificate in a.pem (it is DER: openssl x509 -inform der -in a."),
    (as_request, "cert: there is no certificate in a.pem (it is a request; the authority's answer"),
    (swapped, "error listeners[1].tls.certificates[0].cert: there is no certificate in a.pem (it "
              "is a private key)"),
    (swapped, "error listeners[1].tls.certificates[0].key: there is no private key in a.key (it "
              "is a certificate)"),
    (text("a.key", b"hello"), "key: there is no private key in a.key (it should hold -----BEGIN P"),
    (text("a.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
     "key: the key in a.key cannot be read: "),
    (encrypted, "key: the key in a.key is encrypted: nobody is there to type its passphrase (open"),
    (encrypted_as_of_old, "key: the key in a.key is encrypted: nobody is there to type its passph"),
    (of_ed448, "key: the key in a.key is a Ed448 key; RSA, EC and Ed25519 can be used"),
    (other_key, "error listeners[1].tls.certificates[0].key: the key in a.key does not belong to "
                "the certificate in a.pem (the key of another certificate, or one of them was not"),
    (nameless, "error listeners[1].tls.certificates[0].cert: the certificate in a.pem has no name "
               "(SAN): no client would accept it"),
    (between(-9, -1), "warning listeners[1].tls.certificates[0].cert: a.pem expired on "),
    (between(1, 9), "warning listeners[1].tls.certificates[0].cert: a.pem is valid from "),
    (between(-60, 5), "warning listeners[1].tls.certificates[0].cert: a.pem expires on "),
    (with_chain(0, 2, 1), "warning listeners[1].tls.certificates[0].cert: the chain in a.pem is out"
                          ' of order: "a.test" is not followed by its issuer "Middle CA"'),
    (with_chain(0, 2), "warning listeners[1].tls.certificates[0].cert: the chain in a.pem has a "
                       'gap: the issuer of "a.test", "Middle CA", does not follow it'),
    (with_chain(1, 0), "key: the key in a.key does not belong to the certificate in a.pem"),
    (lambda place: (place.path / "a.key").chmod(0o644),
     "warning listeners[1].tls.certificates[0].key: a.key holds a private key and can be read by "
     "everybody (0644) (chmod 600 a.key)"),
    (lambda place: (place.path / "a.key").chmod(0o660),
     "a.key holds a private key and can be changed by others (0660)"),
    (lambda place: (place.path / "a.pem").rename(place.path / "aa.pem"),
     'cert: there is no file a.pem (did you mean "aa.pem"?)'),
    (lambda place: (place.path / "a.key").unlink(), "key: there is no file a.key ("),
    (lambda place: ((place.path / "a.pem").unlink(), (place.path / "a.pem").mkdir()),
     "cert: a.pem cannot be read: Is a directory"),
    (text("a.pem", b"x" * (4 << 20) + b"x"), "cert: a.pem is larger than 4 MiB"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), FLAWS, ids=[said[:60] for _, said in FLAWS])
def test_flaws_are_told(make: Callable[[Place], None], said: str, place: Place) -> None:
    make(place)
    found = place.said(PAIR)
    assert any(said in one for one in found), found
    assert not any("BEGIN PRIVATE" in one and "hold" not in one for one in found)


SOUND: list[Callable[[Place], None]] = [
    of_rsa(2048), with_chain(0, 1), with_chain(0, 1, 2), between(-1, 6), between(-1, 20),
    lambda place: (place.path / "a.key").chmod(0o640),
    lambda place: place.pair(
        "a", signed_over(place.authority, ed25519.Ed25519PrivateKey.generate(), "a.test")
    ),
]  # fmt: skip


@pytest.mark.parametrize("make", SOUND, ids=range(len(SOUND)))
def test_these_are_sound(make: Callable[[Place], None], place: Place) -> None:
    make(place)
    assert place.said(PAIR) == []


def test_a_key_that_may_not_be_read(place: Place) -> None:
    # Tests run as root, too, who may read everything: so only what is said about it.
    (place.path / "a.key").chmod(0o600)
    assert rights(str(place.path / "a.key"), PermissionError()) == (
        f"its permissions are 0600, we are user {os.geteuid()}"
    )
    assert rights(str(place.path / "a.key"), IsADirectoryError()) == ""


def test_every_flaw_is_told_at_once(place: Place) -> None:
    place.put("b.pem", b"nothing")
    found = place.said(Certificate(cert="b.pem", key="c.key"), Certificate(), PAIR)
    assert len(found) == 3
    assert found[2].startswith("error listeners[1].tls.certificates[1]: `cert` is missing")


def test_the_same_name_twice(place: Place) -> None:
    place.pair("b", place.authority.sign("b.test", "*.a.test"))
    (said,) = place.said(PAIR, Certificate(cert="b.pem", key="b.key"))
    assert "*.a.test: both" in said
    assert said.endswith("have an EC key for it (the first one is used)")
    place.pair("c", place.authority.sign("a.test", kind="rsa"))
    assert place.said(PAIR, Certificate(cert="c.pem", key="c.key")) == []


def test_a_directory_of_pairs(place: Place) -> None:
    authority = place.authority
    for name in ("x/b", "x/live/c", "x/.old/d"):
        (place.path / name).parent.mkdir(parents=True, exist_ok=True)
        place.pair(name, authority.sign(f"{name[-1]}.test"))
    (place.path / "x/b.pem").rename(place.path / "x/b.crt")
    place.put("x/lonely.key", b"?")
    place.put("x/readme.txt", b"?")
    renewed = authority.sign("e.test")
    place.put("x/e.test/fullchain.pem", renewed.cert)
    place.put("x/e.test/privkey.pem", renewed.key)
    place.put("x/e.test/cert.pem", renewed.cert)
    built = place.build(Certificate(dir="x"))
    assert built.problems == []
    keys = built.keyring.listeners[1]
    assert keys is not None
    assert sorted(name for pair in keys.pairs for name in pair.names) == [
        "b.test", "c.test", "e.test",
    ]  # fmt: skip
    assert {str(place.path / "x"), str(place.path / "x/live")} < built.keyring.files.keys()
    place.put("x/b.key", b"")
    assert "certificates[0].dir: there is no private key in" in place.said(Certificate(dir="x"))[0]


def test_directories_that_are_none(place: Place) -> None:
    assert "there is no directory y" in place.said(Certificate(dir="y"))[0]
    (place.path / "z").mkdir()
    assert "there is no certificate with a key in z" in place.said(Certificate(dir="z"))[0]
    both = place.said(Certificate(dir="z", cert="a.pem"))
    assert "certificates[0].cert: does not go with `dir`" in both[0]
