"""Keyrings: OCSP, certificates of clients, those toward upstreams, self-signed ones."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from fastproxy.tls import build, making
from fastproxy.tls.build import build_keyring, certificates_report
from fastproxy.tls.files import mark
from fastproxy.tls.settings import Certificate, ClientAuthSettings, UpstreamTls
from tests.tls.certs import DAY, Authority, Signed
from tests.tls.keyrings import PAIR, Place, told


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


@pytest.fixture
def place(tmp_path: Path, authority: Authority) -> Place:
    made = Place(tmp_path, authority)
    made.pair("a", authority.sign("a.test", "*.a.test", "192.0.2.1", "2001:db8::1"))
    return made


# ---- OCSP, clients' certificates, upstreams -------------------------------------------------


def staple(place: Place, leaf: Signed, until: datetime.timedelta = DAY) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    made = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.certificate,
        issuer=place.authority.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now - 2 * DAY,
        next_update=now + until,
        revocation_time=None,
        revocation_reason=None,
    )
    made = made.responder_id(ocsp.OCSPResponderEncoding.NAME, place.authority.certificate)
    done = made.sign(place.authority.private, hashes.SHA256())
    return done.public_bytes(serialization.Encoding.DER)


def test_ocsp(place: Place) -> None:
    leaf = place.authority.sign("a.test")
    place.pair("a", leaf)
    place.put("a.ocsp", staple(place, leaf))
    wanted = Certificate(cert="a.pem", key="a.key", ocsp="a.ocsp")
    built = place.build(wanted)
    assert built.problems == []
    keys = built.keyring.listeners[1]
    assert keys is not None
    assert keys.pairs[0].ocsp == (place.path / "a.ocsp").read_bytes()
    assert abs(keys.pairs[0].ocsp_until - time.time() - DAY.total_seconds()) < 60
    place.put("a.ocsp", staple(place, leaf, -DAY))
    built = place.build(wanted)
    assert "ocsp: the OCSP response in a.ocsp was good until" in told(built)[0]
    assert built.keyring.listeners[1].pairs[0].ocsp == b""  # type: ignore[union-attr]
    place.put("a.ocsp", staple(place, place.authority.sign("b.test")))
    assert "ocsp: the OCSP response in a.ocsp is about another certificate" in place.said(wanted)[0]
    place.put("a.ocsp", b"no")
    assert "ocsp: there is no OCSP response in a.ocsp" in place.said(wanted)[0]
    refused = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    place.put("a.ocsp", refused.public_bytes(serialization.Encoding.DER))
    assert "the OCSP response in a.ocsp says try_later" in place.said(wanted)[0]


def test_clients_certificates(place: Place) -> None:
    authority, stranger = place.authority, Authority("Stranger")
    place.put("ca.pem", authority.pem)
    place.put("crl.pem", authority.revoke(authority.sign("gone")))
    auth = ClientAuthSettings(ca="ca.pem", crl="crl.pem", hosts=["A.test"])
    built = place.build(PAIR, client_auth=auth)
    assert built.problems == []
    made = built.keyring.listeners[1].client_auth[0]  # type: ignore[union-attr]
    assert (made.mode, made.hosts, made.depth) == ("required", ["a.test"], 9)
    assert b"X509 CRL" in made.crl
    place.put("crl.pem", stranger.revoke())
    (said,) = place.said(PAIR, client_auth=auth)
    assert 'crl: the list of "Stranger" in crl.pem is of no authority of `ca`' in said
    place.put("crl.pem", b"")
    assert "crl: there is no revocation list in crl.pem" in place.said(PAIR, client_auth=auth)[0]
    off = ClientAuthSettings(ca="no.pem", mode="off")
    built = place.build(PAIR, client_auth=off)
    assert built.problems == []
    assert built.keyring.listeners[1].client_auth == []  # type: ignore[union-attr]
    both = [auth, ClientAuthSettings(mode="off", hosts=["X.A.test"])]
    place.put("crl.pem", authority.revoke())
    built = place.build(PAIR, client_auth=both)
    assert built.problems == []
    made = built.keyring.listeners[1].client_auth[1]  # type: ignore[union-attr]
    assert (made.mode, made.hosts, made.ca) == ("off", ["x.a.test"], b"")


def test_entries_for_clients_that_clash(place: Place) -> None:
    place.put("ca.pem", place.authority.pem)
    both = [ClientAuthSettings(ca="ca.pem"), ClientAuthSettings(ca="ca.pem", mode="optional")]
    (said,) = place.said(PAIR, client_auth=both)
    assert said.endswith("client_auth[1]: client_auth[0] is for every other name already")
    hosts = [
        ClientAuthSettings(ca="ca.pem", hosts=["a.test"], client_cert_header="xfcc"),
        ClientAuthSettings(ca="ca.pem", hosts=["b.test", "A.test"]),
    ]
    found = place.said(PAIR, client_auth=hosts)
    assert "client_auth[1].client_cert_header: differs from the other entries" in found[0]
    assert 'client_auth[1].hosts: client_auth[0] is for "a.test" already' in found[1]


def test_an_old_authority(place: Place) -> None:
    old = Authority("Old CA")
    old.certificate = old._sign(
        old.subject, old.private.public_key(), -9 * DAY, -DAY, [], authority=True
    )
    place.put("ca.pem", old.pem)
    (said,) = place.said(PAIR, client_auth=ClientAuthSettings(ca="ca.pem"))
    assert 'every authority in ca.pem has expired, "Old CA" first of all' in said


def test_upstreams(place: Place) -> None:
    place.put("ca.pem", place.authority.pem)
    upstream = UpstreamTls(ca="ca.pem", cert="a.pem", key="a.key", server_name="API.internal")
    built = place.build(upstream=upstream)
    assert built.problems == []
    (keys,) = built.keyring.upstreams
    assert keys is not None
    assert (keys.verify, keys.server_name, keys.protocol) == (True, "api.internal", "auto")
    assert keys.ca == place.authority.pem
    assert keys.key == (place.path / "a.key").read_bytes()
    (said,) = place.said(upstream=UpstreamTls(verify=False))
    assert said.startswith("warning upstreams.api.tls.verify: is off: whoever answers is believed")
    (said,) = place.said(upstream=UpstreamTls(key="a.key"))
    assert said.startswith("error upstreams.api.tls.key: is of no use without `cert`")
    (said,) = place.said(upstream=UpstreamTls(ca="cb.pem"))
    assert 'upstreams.api.tls.ca: there is no file cb.pem (did you mean "ca.pem"?)' in said


def test_without_http2(place: Place) -> None:
    def spoken(protocol: str, http2: bool) -> str:
        other = SimpleNamespace(tls=None, protocol=protocol, scheme="https")
        config = SimpleNamespace(listeners=[], upstreams={"api": other})
        (keys,) = build_keyring(config, 1, http2=http2).keyring.upstreams
        assert keys is not None
        return keys.protocol

    assert [spoken("auto", True), spoken("auto", False)] == ["auto", "http1"]
    assert [spoken("http1", True), spoken("http2", False)] == ["http1", "http2"]


# ---- self-signed ones -----------------------------------------------------------------------


@pytest.mark.parametrize("rsa_key", [False, True])
def test_self_signed(place: Place, rsa_key: bool) -> None:
    names = ["x.test", "*.x.test", "127.0.0.1", "::1"]
    cert, key = making.self_signed(names, 30, rsa_key=rsa_key)
    paths = making.write_pair(str(place.path / "x"), cert, key)
    assert [os.stat(path).st_mode & 0o777 for path in paths] == [0o644, 0o600]
    built = place.build(Certificate(cert="x.pem", key="x.key"))
    assert built.problems == []
    (shown,) = certificates_report(built.keyring, ["", ""], [])
    assert (shown["names"], shown["issuer"], shown["days_left"]) == (names, "self-signed", 29)
    assert shown["kind"] == ("RSA 2048" if rsa_key else "EC P-256")
    with pytest.raises(FileExistsError):
        making.write_pair(str(place.path / "x"), cert, key)
    making.write_pair(str(place.path / "x"), cert, key, over=True)


@pytest.mark.parametrize("name", ["", "a b", "*", "*.*.a", "a/b", "1.2.3", "a..b", "-"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="neither a name nor an address"):
        making.self_signed([name])


def test_marks(tmp_path: Path) -> None:
    path = tmp_path / "f"
    missing = mark(str(path))
    path.write_text("a")
    first = mark(str(path))
    other = tmp_path / "g"
    other.write_text("b")
    other.rename(path)
    assert len({missing, first, mark(str(path))}) == 3
    (tmp_path / "link").symlink_to(path)
    assert mark(str(tmp_path / "link")) == mark(str(path))


def test_no_tls_no_keyring(place: Place) -> None:
    built = place.build()
    assert built.keyring.listeners == [None, None]
    assert not build.wants_tls(SimpleNamespace(listeners=[], upstreams={"a": None}))
