"""Certificates of clients: who must show one, whose is believed, where it counts (TL8, B3 30)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fastproxy.tls.keyring import ClientAuth, ListenerKeys
from tests.running import Backend
from tests.tls.certs import DAY, Authority
from tests.tls.secure import Secure, ask, showing, trusting

AUTHORITY = Authority()
PEOPLE, STRANGERS = Authority("people"), Authority("strangers")
ALICE, MALLORY = PEOPLE.sign("alice"), PEOPLE.sign("mallory", kind="rsa")
OLD = PEOPLE.sign("old", since=-9 * DAY, until=-DAY)
BETWEEN = Authority("between", above=PEOPLE)
ISSUED = BETWEEN.sign("bob")
ISSUED.above = BETWEEN.pem
STRANGER = STRANGERS.sign("alice")
PAIR = AUTHORITY.sign(
    "open.test", "maybe.test", "guarded.test", "x.guarded.test", "strange.test",
    "x.y.guarded.test", "free.guarded.test", "between.test",
    "direct.test", "near.test",
)  # fmt: skip
WILD = AUTHORITY.sign("*.wild.test")
REVOKED = PEOPLE.revoke(MALLORY)
KEYS = ListenerKeys(
    [PAIR.pair(), WILD.pair()],
    client_auth=[
        ClientAuth("optional", PEOPLE.pem, REVOKED, hosts=["maybe.test"]),
        ClientAuth("required", PEOPLE.pem, REVOKED, hosts=["guarded.test", "*.guarded.test"]),
        ClientAuth("required", STRANGERS.pem, hosts=["strange.test", "admin.wild.test"]),
        ClientAuth("off", hosts=["free.guarded.test"]),
        ClientAuth("required", BETWEEN.pem, hosts=["between.test"]),
        ClientAuth("required", PEOPLE.pem, depth=0, hosts=["direct.test"]),
        ClientAuth("required", PEOPLE.pem, depth=1, hosts=["near.test"]),
    ],
)
SHUT = ListenerKeys(
    [PAIR.pair()],
    unknown_sni="refuse",
    client_auth=[ClientAuth("required", PEOPLE.pem, hosts=["guarded.test", "unheld.test"])],
)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
CARDS = {
    "none": None, "alice": ALICE, "revoked": MALLORY, "expired": OLD, "stranger": STRANGER,
    "issued": ISSUED,
}  # fmt: skip
ALLOWED = {
    "open.test": set(CARDS),
    "maybe.test": {"none", "alice"},
    "guarded.test": {"alice"},
    "x.guarded.test": {"alice"},
    "x.y.guarded.test": {"alice"},
    "free.guarded.test": set(CARDS),
    "strange.test": {"stranger"},
    "admin.wild.test": {"stranger"},
    "between.test": {"issued"},
    "direct.test": {"alice", "revoked"},
    "near.test": {"alice", "revoked", "issued"},
    "other.wild.test": set(CARDS),
}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Secure]:
    every = ListenerKeys([PAIR.pair()], client_auth=[ClientAuth("required", PEOPLE.pem)])
    with Backend() as backend:
        with Secure([KEYS, every, SHUT], upstreams=[backend.url]) as running:
            yield running


def context_for(version: ssl.TLSVersion, card: str) -> ssl.SSLContext:
    context = trusting(AUTHORITY)
    context.minimum_version = context.maximum_version = version
    own = CARDS[card]
    return showing(context, own) if own else context


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("host", ALLOWED)
def test_who_comes_in(proxy: Secure, host: str, card: str, version: ssl.TLSVersion) -> None:
    """In TLS 1.3 the client thinks that it is in before we have seen its certificate: what counts
    is whether it gets an answer."""
    context = context_for(version, card)
    if card in ALLOWED[host]:
        with proxy.talk(context, host) as client:
            assert ask(client, host=host).startswith(b"HTTP/1.1 200 ")
        return
    with pytest.raises((OSError, AssertionError)):
        with proxy.talk(context, host) as client:
            ask(client, host=host)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rule_for_every_host(proxy: Secure, version: ssl.TLSVersion) -> None:
    second = proxy.ports()[1]
    for name in ("open.test", None):
        context = context_for(version, "alice")
        context.check_hostname = False
        with proxy.talk(context, name, port=second) as client:
            assert ask(client).startswith(b"HTTP/1.1 200 ")
        context = context_for(version, "none")
        context.check_hostname = False
        with pytest.raises((OSError, AssertionError)):
            with proxy.talk(context, name, port=second) as client:
                ask(client)


@pytest.mark.parametrize(
    ("name", "host", "status"),
    [
        ("open.test", "open.test", 200),
        ("open.test", "elsewhere.test", 200),
        ("open.test", "guarded.test", 421),
        ("open.test", "GUARDED.test:8443", 421),
        ("open.test", "x.guarded.test", 421),
        ("open.test", "maybe.test", 421),
        ("open.test", "x.y.guarded.test", 421),
        ("open.test", "x.y.guarded.test.", 421),
        ("x.guarded.test", "x.y.z.guarded.test", 200),
        ("guarded.test", "free.guarded.test", 421),
        ("open.test", "free.guarded.test", 200),
        ("open.test", "x.free.guarded.test", 421),
        ("open.test", f"{'a.' * 120}guarded.test", 421),
        ("maybe.test", "open.test", 421),
        ("maybe.test", "maybe.test", 200),
        ("guarded.test", "guarded.test", 200),
        ("guarded.test", "x.guarded.test", 200),
        ("guarded.test", "open.test", 421),
        ("other.wild.test", "admin.wild.test", 421),
        ("other.wild.test", "open.test", 200),
        (None, "guarded.test", 421),
    ],
)
def test_the_host_asked_for_is_the_one_of_the_handshake(
    proxy: Secure, name: str | None, host: str, status: int
) -> None:
    context = context_for(VERSIONS[1], "alice")
    context.check_hostname = False
    with proxy.talk(context, name) as client:
        for _ in range(2):  # 421 is no reason to close
            assert ask(client, host=host).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_no_certificate_has_are_guarded_too(
    proxy: Secure, version: ssl.TLSVersion
) -> None:
    for card, fine in (("alice", True), ("none", False)):
        context = context_for(version, card)
        context.check_hostname = False
        with ExitStack() as stack:
            if not fine:
                stack.enter_context(pytest.raises((OSError, AssertionError)))
            client = stack.enter_context(proxy.talk(context, "un.held.guarded.test"))
            assert ask(client, host="un.held.guarded.test").startswith(b"HTTP/1.1 200 ")


def test_a_host_that_nobody_gets_by_its_name_is_guarded_too(proxy: Secure) -> None:
    """Where unknown names are refused, a rule's name may have no certificate: its Host has."""
    context = context_for(VERSIONS[1], "none")
    with proxy.talk(context, "open.test", port=proxy.ports()[2]) as client:
        assert ask(client, host="unheld.test").startswith(b"HTTP/1.1 421 ")
        assert ask(client, host="open.test").startswith(b"HTTP/1.1 200 ")


def test_a_handshake_without_the_right_card_is_counted(proxy: Secure) -> None:
    before = proxy.totals()["tls_failed"]
    for card in ("none", "stranger", "expired"):
        with pytest.raises((OSError, AssertionError)):
            with proxy.talk(context_for(VERSIONS[0], card), "guarded.test") as client:
                ask(client)
    assert proxy.totals()["tls_failed"] - before == 3
