"""Certificates of clients that speak HTTP/2: one handshake, many streams, and each is asked anew
whether its host is one that this certificate was shown for; backends hear whose it was."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import Field
from tests.h2.server import Server
from tests.running import wait_until
from tests.tls.certs import DAY, Authority, Signed
from tests.tls.files import PAIR, Filed
from tests.tls.secure import showing, trusting
from tests.tls.test_tls_http import CLAIMED, Echo

AUTHORITY, PEOPLE, STRANGERS = Authority(), Authority("people"), Authority("strangers")
SITE = AUTHORITY.sign("open.test", "maybe.test", "guarded.test", "x.guarded.test")
ALICE, BOB = PEOPLE.sign("alice", "spiffe://a/alice"), PEOPLE.sign("bob")
CARDS = {
    "none": None,
    "alice": ALICE,
    "expired": PEOPLE.sign("old", since=-9 * DAY, until=-DAY),
    "stranger": STRANGERS.sign("alice"),
}
ALLOWED = {
    "open.test": set(CARDS),
    "maybe.test": {"none", "alice"},
    "guarded.test": {"alice"},
    "x.guarded.test": {"alice"},
}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def auth(header: str) -> dict[str, Any]:
    """Rules per host; backends are told in this way."""
    both = {"ca": "people.pem", "client_cert_header": header}
    rules = [
        {"mode": "optional", "hosts": ["maybe.test"], **both},
        {"mode": "required", "hosts": ["guarded.test", "*.guarded.test"], **both},
    ]
    return {"tls": {**PAIR, "client_auth": rules}}


def before(url: str) -> Filed:
    """RFC 9440 on the first listener, XFCC on the second."""
    listeners = [auth("rfc9440"), auth("xfcc")]
    return Filed(SITE, url, listeners, {"people.pem": PEOPLE.pem}, workers=1)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Filed]:
    with Echo() as echo, before(echo.url) as one:
        yield one


def come(
    proxy: Filed,
    name: str | None,
    own: Signed | None,
    number: int = 0,
    version: ssl.TLSVersion = VERSIONS[1],
) -> Client:
    """One who has shaken hands, so far as he can tell (TLS 1.3 tells him of a refusal later)."""
    context = trusting(AUTHORITY, alpn=["h2"])
    context.check_hostname = name is not None
    context.minimum_version = context.maximum_version = version
    if own is not None:
        showing(context, own)
    return Client(("127.0.0.1", proxy.ports()[number]), context, name=name)


def asks(client: Client, stream: int, host: str, *more: Field) -> None:
    fields = h2.fields(authority=host.encode(), scheme=b"https")
    client.send(h2.headers(stream, h2.block(*fields, *more)))


def about(client: Client, stream: int = 1) -> dict[str, list[str]]:
    """The fields about certificates that the backend got."""
    assert client.outcome(stream) == "200"
    found: dict[str, list[str]] = {}
    for line in client.stream(stream).body.decode().splitlines():
        name, _, value = line.partition(": ")
        if "cert" in name.lower():
            found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("host", ALLOWED)
def test_who_comes_in(proxy: Filed, host: str, card: str, version: ssl.TLSVersion) -> None:
    own = CARDS[card]
    if card not in ALLOWED[host]:
        try:
            client = come(proxy, host, own, version=version)
        except OSError:
            return
        with client:
            asks(client, 1, host)
            assert client.outcome(1) == "close"
            assert not client.frames
        return
    with come(proxy, host, own, version=version) as client:
        for stream in (1, 3, 5):
            asks(client, stream, host)
        assert [client.outcome(stream) for stream in (1, 3, 5)] == ["200"] * 3


@pytest.mark.parametrize(
    ("name", "host", "status"),
    [
        ("open.test", "open.test", "200"),
        ("open.test", "elsewhere.test", "200"),
        ("open.test", "guarded.test", "421"),
        ("open.test", "GUARDED.test:8443", "421"),
        ("open.test", "x.guarded.test", "421"),
        ("open.test", "maybe.test", "421"),
        ("maybe.test", "guarded.test", "421"),
        ("maybe.test", "maybe.test", "200"),
        ("guarded.test", "guarded.test", "200"),
        ("guarded.test", "x.guarded.test", "200"),
        ("guarded.test", "open.test", "421"),
        (None, "guarded.test", "421"),
        (None, "open.test", "200"),
    ],
)
def test_the_host_of_a_stream_is_the_one_of_the_handshake(
    proxy: Filed, name: str | None, host: str, status: str
) -> None:
    """Browsers put every host of a certificate on one connection (RFC 9113 9.1.1): 421 makes them
    open another one. What else goes on here is not disturbed."""
    mine = name or "open.test"
    with come(proxy, name, ALICE) as client:
        for stream, one in ((1, mine), (3, host), (5, mine), (7, host)):
            asks(client, stream, one)
        found = [client.outcome(stream) for stream in (1, 3, 5, 7)]
        assert found == ["200", status, "200", status]
        assert not client.goaways


def test_host_does_not_say_more_than_authority(proxy: Filed) -> None:
    """A Host field beside :authority is no way around it."""
    with come(proxy, "open.test", ALICE) as client:
        asks(client, 1, "open.test", (b"host", b"guarded.test"))
        assert client.outcome(1) in ("400", "reset PROTOCOL_ERROR")
        fields = [one for one in h2.fields(scheme=b"https") if one[0] != b":authority"]
        client.send(h2.headers(3, h2.block(*fields, (b"host", b"guarded.test"))))
        assert client.outcome(3) == "421"


# ---- what backends hear -----------------------------------------------------------------------

FORGED = [
    (name.lower().encode(), value.encode())
    for name, _, value in (line.partition(": ") for line in CLAIMED.split("\r\n") if line)
]


def test_each_stream_carries_its_connections_certificate(proxy: Filed) -> None:
    """Two clients at once, streams in turn: nobody is taken for the other."""
    with come(proxy, "guarded.test", ALICE) as alice, come(proxy, "guarded.test", BOB) as bob:
        for stream in range(1, 21, 2):
            asks(alice, stream, "guarded.test", *FORGED)
            asks(bob, stream, "x.guarded.test", *FORGED)
        for client, own in ((alice, ALICE), (bob, BOB)):
            told = {"client-cert": [f":{base64.b64encode(own.der).decode()}:"]}
            assert [about(client, stream) for stream in range(1, 21, 2)] == [told] * 10


def test_xfcc(proxy: Filed) -> None:
    with come(proxy, "guarded.test", ALICE, 1) as client:
        asks(client, 1, "guarded.test", *FORGED)
        [told] = about(client)["x-forwarded-client-cert"]
    digest = hashlib.sha256(ALICE.der).hexdigest()
    assert told == f'Hash={digest};Subject="CN=alice";URI=spiffe://a/alice;DNS=alice'


@pytest.mark.parametrize("number", [0, 1])
def test_claims_of_who_has_none_are_taken_out(proxy: Filed, number: int) -> None:
    for host in ("open.test", "maybe.test"):
        with come(proxy, host, None, number) as client:
            asks(client, 1, host, *FORGED)
            assert about(client) == {}


@pytest.mark.parametrize("protocol", [None, b"websocket"])
def test_an_http2_backend_hears_it_too(protocol: bytes | None) -> None:
    """HTTP/2 on both sides: a plain request, and a WebSocket."""
    with Server() as server, before(server.url) as proxy:
        server.reset((h2.ENABLE_CONNECT, 1))
        with come(proxy, "guarded.test", ALICE) as client:
            method = b"CONNECT" if protocol else b"GET"
            fields = h2.fields(b"/", method, b"guarded.test", b"https")
            more = [(b":protocol", protocol)] if protocol else []
            flags = h2.END_HEADERS if protocol else h2.WHOLE
            client.send(h2.headers(1, h2.block(*fields, *more, *FORGED), flags))
            wait_until(server.asked)
            [(_, asked)] = server.asked()
            told = f":{base64.b64encode(ALICE.der).decode()}:".encode()
            assert asked.fields[b"client-cert"] == told
            assert not [name for name in asked.fields if b"cert" in name and name != b"client-cert"]
