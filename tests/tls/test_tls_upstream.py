"""TLS toward backends: whom we believe, what we offer, when a connection is used again."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fastproxy.tls.keyring import UpstreamKeys
from fastproxy.tls.making import self_signed
from tests.running import Answer, wait_until
from tests.tls.certs import DAY, Authority, Signed
from tests.tls.origin import Origin, context_of, hello
from tests.tls.secure import Secure

OURS, THEIRS = Authority("ours"), Authority("theirs")
GOOD = OURS.sign("localhost", "api.internal", "127.0.0.1")
BY_NAME = OURS.sign("api.internal")
BY_ADDRESS = OURS.sign("127.0.0.1")
WILD = OURS.sign("*.svc.internal")
EXPIRED = OURS.sign("127.0.0.1", since=-9 * DAY, until=-DAY)
EARLY = OURS.sign("127.0.0.1", since=DAY)
FOREIGN = THEIRS.sign("127.0.0.1")
NAME_ONLY = OURS.sign("127.0.0.1.internal")
BETWEEN = Authority("between", above=OURS)
ISSUED = BETWEEN.sign("127.0.0.1")
COMMON = OURS.sign_common("localhost")
CARD = OURS.sign("we ourselves")
CAUSE = b"the upstream's certificate is not valid"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def through(origin: Origin, keys: UpstreamKeys, count: int = 1) -> tuple[list[Answer], Secure]:
    with Secure([None], [keys], upstreams=[origin.url]) as proxy:
        answers = [proxy.get("/") for _ in range(count)]
        proxy.said = proxy.log()  # type: ignore[attr-defined]
        proxy.counted = proxy.totals()  # type: ignore[attr-defined]
        return answers, proxy


@pytest.mark.parametrize(
    ("signed", "keys", "fine"),
    [
        (GOOD, UpstreamKeys(ca=OURS.pem), True),
        (BY_ADDRESS, UpstreamKeys(ca=OURS.pem), True),
        (BY_NAME, UpstreamKeys(ca=OURS.pem, server_name="api.internal"), True),
        (BY_NAME, UpstreamKeys(ca=OURS.pem, server_name="API.internal"), True),
        (WILD, UpstreamKeys(ca=OURS.pem, server_name="api.svc.internal"), True),
        (GOOD, UpstreamKeys(verify=False), True),
        (EXPIRED, UpstreamKeys(verify=False), True),
        (FOREIGN, UpstreamKeys(verify=False), True),
        (BY_NAME, UpstreamKeys(ca=OURS.pem), False),
        (BY_ADDRESS, UpstreamKeys(ca=OURS.pem, server_name="api.internal"), False),
        (WILD, UpstreamKeys(ca=OURS.pem, server_name="a.b.svc.internal"), False),
        (NAME_ONLY, UpstreamKeys(ca=OURS.pem), False),
        (EXPIRED, UpstreamKeys(ca=OURS.pem), False),
        (EARLY, UpstreamKeys(ca=OURS.pem), False),
        (FOREIGN, UpstreamKeys(ca=OURS.pem), False),
        (GOOD, UpstreamKeys(), False),
        (COMMON, UpstreamKeys(ca=OURS.pem, server_name="localhost"), False),
        (ISSUED, UpstreamKeys(ca=OURS.pem), False),
        (ISSUED, UpstreamKeys(ca=BETWEEN.pem), True),
        (ISSUED, UpstreamKeys(ca=ISSUED.cert), True),
        (BY_ADDRESS, UpstreamKeys(ca=ISSUED.cert), False),
    ],
    ids=[
        "good", "address", "name", "upper", "wildcard", "off", "off-expired", "off-foreign",
        "other name", "other address", "two labels", "address as name", "expired", "not yet",
        "unknown authority", "not the system's", "common name", "a gap", "intermediate", "itself",
        "another one's own",
    ],
)  # fmt: skip
def test_whom_we_believe(signed: object, keys: UpstreamKeys, fine: bool) -> None:
    with Origin(context_of(signed)) as origin:  # type: ignore[arg-type]
        answers, proxy = through(origin, keys, 3)
    if fine:
        assert [one.status for one in answers] == [200] * 3
        assert proxy.counted["tls_upstream_failed"] == 0  # type: ignore[attr-defined]
        return
    assert [one.status for one in answers] == [502] * 3
    assert CAUSE in answers[0].body
    assert not origin.heads
    lines = proxy.said.splitlines()  # type: ignore[attr-defined]
    said = [line for line in lines if "not valid" in line]
    assert len(said) == 1
    assert "warning worker 0: http://127.0.0.1:" in said[0]
    assert proxy.counted["tls_upstream_failed"] == 3  # type: ignore[attr-defined]


def test_self_signed() -> None:
    """What `fastproxy cert self-signed` makes, each for itself alone."""
    cert, key = self_signed(["localhost"])
    other, _ = self_signed(["localhost"])
    private: Any = load_pem_private_key(key, None)
    own = Signed(x509.load_pem_x509_certificate(cert), private, [])
    for ca, status in ((cert, 200), (other, 502)):
        with Origin(context_of(own)) as origin:
            answers, _ = through(origin, UpstreamKeys(ca=ca, server_name="localhost"))
        assert answers[0].status == status


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (UpstreamKeys(ca=OURS.pem), None),
        (UpstreamKeys(ca=OURS.pem, server_name="api.internal"), "api.internal"),
    ],
)
def test_the_server_name_that_is_sent(keys: UpstreamKeys, name: str | None) -> None:
    """An address is none (RFC 6066 3)."""
    with Origin(context_of(GOOD)) as origin:
        answers, _ = through(origin, keys)
        assert answers[0].status == 200
        assert origin.seen[0][0] == name


def test_a_name_that_ends_with_a_dot() -> None:
    """It is for the resolver: neither SNI (RFC 6066 3) nor certificates have it."""
    with Origin(context_of(GOOD)) as origin:
        origin.url = f"http://localhost.:{origin.port}"
        answers, _ = through(origin, UpstreamKeys(ca=OURS.pem))
        assert answers[0].status == 200
        assert [seen[0] for seen in origin.seen] == ["localhost"]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_certificate(version: ssl.TLSVersion) -> None:
    with Origin(context_of(GOOD, clients=OURS, newest=version)) as origin:
        answers, _ = through(origin, UpstreamKeys(ca=OURS.pem, chain=CARD.cert, key=CARD.key))
        assert answers[0].status == 200
        assert origin.seen[0][3] == CARD.der
        assert through(origin, UpstreamKeys(ca=OURS.pem))[0][0].status == 502


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03\x03\x00\x50\x02"], ids=["nothing", "half a record"]
)
def test_a_handshake_that_does_not_end(said: bytes) -> None:
    """Its time is that of connecting."""
    settings = {"timeouts": {"upstream_connect": "300ms"}}
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as lines:

        def accept() -> None:
            lines.enter_context(silent.accept()[0]).sendall(said)

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Secure([None], [UpstreamKeys(ca=OURS.pem)], settings=settings, upstreams=[url]) as one:
            answer = one.get("/")
            assert answer.status == 504
            assert 0.25 < answer.seconds < 5
            wait_until(lambda: one.totals()["upstream_open"] == 0)
        thread.join(10)


def test_upstreams_share_neither_connections_nor_sessions() -> None:
    """One backend, asked as somebody else, by another name, or believed more easily (B3 31)."""
    other = OURS.sign("somebody else")
    toward = {
        "plain": UpstreamKeys(ca=OURS.pem),
        "card": UpstreamKeys(ca=OURS.pem, chain=CARD.cert, key=CARD.key),
        "other": UpstreamKeys(ca=OURS.pem, chain=other.cert, key=other.key),
        "named": UpstreamKeys(ca=OURS.pem, server_name="api.internal"),
        "blind": UpstreamKeys(verify=False),
    }
    context = context_of(GOOD)
    context.load_verify_locations(cadata=OURS.pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    with Origin(context) as origin:
        settings = {
            "upstreams": {name: {"backends": [origin.url]} for name in toward},
            "routes": [{"path": f"/{name}", "upstream": name} for name in toward],
        }
        with Secure([None], list(toward.values()), settings=settings) as proxy:
            for _ in range(2):
                for name in toward:
                    assert proxy.get(f"/{name}").status == 200
            assert proxy.totals()["upstream_connects"] == len(toward)
        assert [resumed for _, resumed, _, _ in origin.seen] == [False] * len(toward)
        assert [name for name, _, _, _ in origin.seen] == [None, None, None, "api.internal", None]
        shown = [card for _, _, _, card in origin.seen]
        assert shown == [None, CARD.der, other.der, None, None]


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"\x00", b"x"]
)
def test_plain_text_before_the_handshake(first: bytes) -> None:
    """nginx's CVE-2026-1642: it must never be taken for an answer."""
    with Origin(context_of(GOOD), first=first) as origin:
        answers, _ = through(origin, UpstreamKeys(ca=OURS.pem))
        assert answers[0].status == 502
        assert b"hi" not in answers[0].body


@pytest.mark.parametrize(
    ("protocol", "theirs", "status", "chosen"),
    [
        ("auto", ("http/1.1",), 200, "http/1.1"),
        ("auto", (), 200, None),
        ("http1", ("h2", "http/1.1"), 200, "http/1.1"),
        ("http1", (), 200, None),
    ],
)
def test_alpn(protocol: str, theirs: tuple[str, ...], status: int, chosen: str | None) -> None:
    with Origin(context_of(GOOD, alpn=theirs)) as origin:
        answers, _ = through(origin, UpstreamKeys(ca=OURS.pem, protocol=protocol))
        assert answers[0].status == status
        assert origin.seen[0][2] == chosen


# ---- connections and sessions ---------------------------------------------------------------


def closing(line: ssl.SSLSocket, _: bytes) -> bool:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
    line.unwrap()
    return False


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_are_resumed(version: ssl.TLSVersion) -> None:
    with Origin(context_of(GOOD, newest=version), closing) as origin:
        answers, proxy = through(origin, UpstreamKeys(ca=OURS.pem), 6)
        assert [one.status for one in answers] == [200] * 6
        assert [one[1] for one in origin.seen] == [False, *[True] * 5]
        counted = proxy.counted  # type: ignore[attr-defined]
        assert (counted["tls_upstream_handshakes"], counted["tls_upstream_resumed"]) == (6, 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_connection_serves_many(version: ssl.TLSVersion) -> None:
    """Tickets of TLS 1.3 come after the handshake, unasked: no reason to give it up."""
    with Origin(context_of(GOOD, newest=version)) as origin:
        answers, proxy = through(origin, UpstreamKeys(ca=OURS.pem), 20)
        assert [one.status for one in answers] == [200] * 20
        assert len(origin.seen) == 1
        assert proxy.counted["upstream_reused"] == 19  # type: ignore[attr-defined]


def late(line: ssl.SSLSocket, head: bytes) -> bool:
    """Says something more when nothing was asked."""
    hello(line, head)
    threading.Timer(0.05, lambda: line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"))
    time.sleep(0.05)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
    return True


def test_what_comes_unasked_ends_it() -> None:
    """B3 17, in TLS: it is never the answer to the next request."""
    with Origin(context_of(GOOD), late) as origin:
        with Secure([None], [UpstreamKeys(ca=OURS.pem)], upstreams=[origin.url]) as proxy:
            for _ in range(4):
                assert proxy.get("/").body == b"hello\n"
                time.sleep(0.15)
            assert len(origin.seen) == 4


def goodbye(line: ssl.SSLSocket, head: bytes) -> bool:
    """close_notify on the kept connection, but the socket stays open."""
    hello(line, head)
    time.sleep(0.02)
    try:
        line.settimeout(0.2)
        line.unwrap()
    except OSError:
        pass
    time.sleep(0.5)
    return False


def test_a_close_notify_ends_a_kept_one() -> None:
    with Origin(context_of(GOOD), goodbye) as origin:
        with Secure([None], [UpstreamKeys(ca=OURS.pem)], upstreams=[origin.url]) as proxy:
            for _ in range(3):
                assert proxy.get("/").status == 200
                time.sleep(0.15)
            assert len(origin.seen) == 3
            wait_until(lambda: proxy.totals()["upstream_idle"] == 0)


def short(line: ssl.SSLSocket, _: bytes) -> bool:
    """An answer that a close ends, and a close without close_notify."""
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50_000)
    time.sleep(0.1)
    line.shutdown(2)
    return False


def test_an_answer_that_is_cut_is_not_taken_for_whole() -> None:
    with Origin(context_of(GOOD), short) as origin:
        with Secure([None], [UpstreamKeys(ca=OURS.pem)], upstreams=[origin.url]) as proxy:
            with pytest.raises((OSError, EOFError, Exception)) as caught:
                proxy.get("/")
            assert "IncompleteRead" in repr(caught.value) or "reset" in str(caught.value).lower()


def whole(line: ssl.SSLSocket, _: bytes) -> bool:
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50_000)
    line.unwrap()
    return False


def test_an_answer_that_close_notify_ends_is_whole() -> None:
    with Origin(context_of(GOOD), whole) as origin:
        answers, _ = through(origin, UpstreamKeys(ca=OURS.pem))
        assert answers[0].body == b"x" * 50_000


@pytest.fixture
def big() -> Iterator[Origin]:
    def answer(line: ssl.SSLSocket, head: bytes) -> bool:
        left = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        while left:
            left -= len(line.recv(min(left, 65536)))
        size = 8 << 20
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(range(256)) * 1024
        for _ in range(size // len(block)):
            line.sendall(block)
        return True

    with Origin(context_of(GOOD), answer) as origin:
        yield origin


def test_big_answers(big: Origin) -> None:
    answers, _ = through(big, UpstreamKeys(ca=OURS.pem), 3)
    for one in answers:
        assert one.body == bytes(range(256)) * (8 << 12)
