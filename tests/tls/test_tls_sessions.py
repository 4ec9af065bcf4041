"""Session tickets: between workers, after a worker's death, by age of the key, and never into
another host's context (B3 30, TL2)."""

from __future__ import annotations

import datetime
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy._core import Board
from fastproxy.scoreboard import segment
from fastproxy.tls.keyring import ClientAuth, ListenerKeys
from tests.running import Backend, wait_until
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, showing, trusting

AUTHORITY = Authority()
PEOPLE = Authority("people")
ALICE = PEOPLE.sign("alice")
PAIR = AUTHORITY.sign("a.test", "b.test", "guarded.test")
OTHER = AUTHORITY.sign("other.test")
KEYS = ListenerKeys(
    [PAIR.pair(), OTHER.pair()],
    client_auth=[ClientAuth("required", PEOPLE.pem, hosts=["guarded.test"])],
)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def proxy() -> Iterator[Secure]:
    keys = [KEYS, ListenerKeys([PAIR.pair()]), ListenerKeys([PAIR.pair()], tickets=False)]
    with Backend() as backend, Secure(keys, upstreams=[backend.url], workers=2) as running:
        yield running


def context_for(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A session can only be used with the context that it was made with."""
    context = showing(trusting(AUTHORITY), ALICE)
    context.minimum_version = context.maximum_version = version
    return context


def session(
    proxy: Secure, context: ssl.SSLContext, name: str, port: int, old: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSession, bool]:
    """(the session that a connection leaves behind, whether it was resumed)."""
    with proxy.talk(context, name, port=port, session=old) as client:
        assert ask(client, host=name).startswith(b"HTTP/1.1 200 ")
        assert client.session is not None
        return client.session, bool(client.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
def test_all_workers_resume(proxy: Secure, version: ssl.TLSVersion) -> None:
    """With two workers and a hash of the port, sixteen connections reach both."""
    before = proxy.totals()["tls_resumed"]
    context = context_for(version)
    kept, resumed = session(proxy, context, "a.test", proxy.port)
    assert not resumed
    for _ in range(16):
        assert session(proxy, context, "a.test", proxy.port, kept)[1]
    counts = [one["tls_handshakes"] for one in proxy.status()["workers"]]
    assert all(counts), counts
    wait_until(lambda: proxy.totals()["tls_resumed"] - before == 16)


def test_a_resumed_connection_gets_a_new_ticket(proxy: Secure) -> None:
    """Clients use one once in TLS 1.3 (RFC 8446 C.4)."""
    context = context_for(ssl.TLSVersion.TLSv1_3)
    kept, _ = session(proxy, context, "a.test", proxy.port)
    seen = [kept.id]
    for _ in range(6):
        kept, resumed = session(proxy, context, "a.test", proxy.port, kept)
        assert resumed
        seen.append(kept.id)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("first", "then"),
    [("a.test", "b.test"), ("a.test", "guarded.test"), ("guarded.test", "a.test"),
     ("a.test", "other.test")],
)  # fmt: skip
def test_not_for_another_name(
    proxy: Secure, version: ssl.TLSVersion, first: str, then: str
) -> None:
    context = context_for(version)
    kept, _ = session(proxy, context, first, proxy.port)
    assert not session(proxy, context, then, proxy.port, kept)[1]
    assert session(proxy, context, first, proxy.port, kept)[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_not_at_another_listener(proxy: Secure, version: ssl.TLSVersion) -> None:
    context = context_for(version)
    first, second, _ = proxy.ports()
    kept, _ = session(proxy, context, "a.test", first)
    assert not session(proxy, context, "a.test", second, kept)[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_keeps_who_the_client_is(proxy: Secure, version: ssl.TLSVersion) -> None:
    """Whoever resumes needs no certificate again; who has no such session does."""
    context = context_for(version)
    kept, _ = session(proxy, context, "guarded.test", proxy.port)
    assert session(proxy, context, "guarded.test", proxy.port, kept)[1]
    bare = trusting(AUTHORITY)
    bare.minimum_version = bare.maximum_version = version
    kept, _ = session(proxy, bare, "a.test", proxy.port)
    with pytest.raises(OSError):
        session(proxy, bare, "guarded.test", proxy.port, kept)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_ends_with_the_clients_certificate(
    proxy: Secure, version: ssl.TLSVersion
) -> None:
    brief = PEOPLE.sign("brief", until=datetime.timedelta(seconds=6))
    context = showing(trusting(AUTHORITY), brief)
    context.minimum_version = context.maximum_version = version
    kept, _ = session(proxy, context, "guarded.test", proxy.port)
    assert session(proxy, context, "guarded.test", proxy.port, kept)[1]

    def refused() -> bool:
        try:
            session(proxy, context, "guarded.test", proxy.port, kept)
        except (OSError, AssertionError):
            return True
        return False

    wait_until(refused, 20)
    assert datetime.datetime.now(datetime.UTC) > brief.certificate.not_valid_after_utc


@pytest.mark.parametrize("version", VERSIONS)
def test_none_where_they_are_off(proxy: Secure, version: ssl.TLSVersion) -> None:
    context = context_for(version)
    port = proxy.ports()[2]
    with proxy.talk(context, port=port) as client:
        ask(client)
        assert client.session is None or not client.session.has_ticket


@pytest.mark.parametrize("version", VERSIONS)
def test_after_a_workers_death(version: ssl.TLSVersion) -> None:
    with Backend() as backend, Secure([KEYS], upstreams=[backend.url], workers=2) as proxy:
        context = context_for(version)
        kept, _ = session(proxy, context, "a.test", proxy.port)
        pids = proxy.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(proxy.worker_pids()) & set(pids), 20)
        wait_until(proxy._serving, 20)
        for _ in range(8):
            assert session(proxy, context, "a.test", proxy.port, kept)[1]


def board_of(proxy: Secure) -> Board:
    """The running instance's own scoreboard."""
    for link in Path(f"/proc/{proxy.pid}/fd").iterdir():
        if "fastproxy-scoreboard" in os.readlink(link):
            fd = os.open(link, os.O_RDWR)
            try:
                return Board(fd)
            finally:
                os.close(fd)
    raise AssertionError("no scoreboard")


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_are_rotated(version: ssl.TLSVersion) -> None:
    """The newest three open tickets; one opened with an older key is renewed (TLS 1.2 does it only
    then; TLS 1.3 sends a new one with every handshake)."""
    with Backend() as backend, Secure([KEYS], upstreams=[backend.url]) as proxy:
        board = board_of(proxy)
        context = context_for(version)
        kept, _ = session(proxy, context, "a.test", proxy.port)
        board.rotate_tickets(segment.ticket_key())
        renewed, resumed = session(proxy, context, "a.test", proxy.port, kept)
        assert resumed
        board.rotate_tickets(segment.ticket_key())
        assert session(proxy, context, "a.test", proxy.port, kept)[1]
        board.rotate_tickets(segment.ticket_key())
        assert not session(proxy, context, "a.test", proxy.port, kept)[1]
        assert session(proxy, context, "a.test", proxy.port, renewed)[1]


def test_a_key_has_its_length() -> None:
    board = segment.made(1)
    with pytest.raises(ValueError, match="80 bytes"):
        board.rotate_tickets(b"short")
    assert board.ticket_age_ms() < 60_000
