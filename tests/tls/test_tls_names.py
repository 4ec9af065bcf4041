"""Which certificate, which protocol, which version: what the ClientHello asks (TL1, TL2)."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest

from fastproxy.tls.keyring import ListenerKeys
from tests.running import FOREIGN, Backend, wait_until
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting

AUTHORITY = Authority()
FIRST = AUTHORITY.sign("a.test")
SECOND = AUTHORITY.sign("b.test", "*.c.test", kind="rsa")
BOTH_EC = AUTHORITY.sign("both.test")
BOTH_RSA = AUTHORITY.sign("both.test", kind="rsa")
STAPLED = AUTHORITY.sign("ocsp.test")
STAPLE = b"\x30\x03\x0a\x01\x06"  # an OCSPResponse that says "unauthorized"
PAIRS = [one.pair() for one in (FIRST, SECOND, BOTH_RSA, BOTH_EC)] + [STAPLED.pair(STAPLE)]
DEFAULT, STRICT, MODERN, PLAIN1 = range(4)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Secure]:
    listeners = [
        ListenerKeys(PAIRS),
        ListenerKeys(PAIRS, unknown_sni="refuse"),
        ListenerKeys(PAIRS, profile="modern"),
        ListenerKeys(PAIRS, http2=False),
    ]
    with Backend() as backend, Secure(listeners, upstreams=[backend.url]) as running:
        running.known = running.ports()  # type: ignore[attr-defined]
        yield running


def port(proxy: Secure, which: int) -> int:
    return int(proxy.known[which])  # type: ignore[attr-defined]


def shown(proxy: Secure, which: int, name: str | None, context: ssl.SSLContext) -> bytes | None:
    with proxy.talk(context, name, port=port(proxy, which)) as client:
        return client.getpeercert(True)


def unchecked() -> ssl.SSLContext:
    return trusting()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.test", FIRST),
        ("A.TEST", FIRST),
        ("b.test", SECOND),
        ("x.c.test", SECOND),
        ("X.c.Test", SECOND),
        ("y.x.c.test", FIRST),  # a wildcard stands for one label
        ("c.test", FIRST),
        ("nobody.test", FIRST),
        (None, FIRST),
    ],
)
def test_the_name_decides(proxy: Secure, name: str | None, expected: object) -> None:
    assert shown(proxy, DEFAULT, name, unchecked()) == expected.der  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["nobody.test", "c.test", "y.x.c.test", None])
def test_unknown_names_may_be_refused(proxy: Secure, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized[_ ]name"):
        shown(proxy, STRICT, name, unchecked())


@pytest.mark.parametrize(("name", "expected"), [("a.test", FIRST), ("x.c.test", SECOND)])
def test_known_names_are_not(proxy: Secure, name: str, expected: object) -> None:
    assert shown(proxy, STRICT, name, unchecked()) == expected.der  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ciphers", "expected"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", BOTH_EC),
        ("ECDHE-RSA-AES128-GCM-SHA256", BOTH_RSA),
        ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256", None),
    ],
)
def test_a_name_with_two_kinds_of_key(proxy: Secure, ciphers: str, expected: object) -> None:
    context = unchecked()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    found = shown(proxy, DEFAULT, "both.test", context)
    wanted = [expected] if expected else [BOTH_EC, BOTH_RSA]
    assert found in [one.der for one in wanted]  # type: ignore[attr-defined]


AES_128, AES_256, CHACHA = "AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([AES_256, CHACHA, AES_128], AES_128),
        ([AES_128, AES_256], AES_128),
        ([CHACHA, AES_256, AES_128], CHACHA),
        ([AES_256, CHACHA], AES_256),
    ],
)
def test_our_order_of_ciphers_but_for_who_lacks_aes(
    proxy: Secure, offered: list[str], chosen: str
) -> None:
    context = trusting(AUTHORITY)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(f"ECDHE-ECDSA-{one}" for one in offered))
    with proxy.talk(context, port=port(proxy, DEFAULT)) as client:
        assert client.cipher()[0] == f"ECDHE-ECDSA-{chosen}"  # type: ignore[index]


@pytest.mark.parametrize(
    ("which", "version", "fine"),
    [
        (DEFAULT, ssl.TLSVersion.TLSv1_1, False),
        (DEFAULT, ssl.TLSVersion.TLSv1_2, True),
        (DEFAULT, ssl.TLSVersion.TLSv1_3, True),
        (MODERN, ssl.TLSVersion.TLSv1_2, False),
        (MODERN, ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions(proxy: Secure, which: int, version: ssl.TLSVersion, fine: bool) -> None:
    context = unchecked()
    if version == ssl.TLSVersion.TLSv1_1:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if not fine:
        with pytest.raises(OSError):
            shown(proxy, which, "a.test", context)
        return
    with proxy.talk(context, "a.test", port=port(proxy, which)) as client:
        assert ask(client).endswith(b"hello\n")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["http/1.1"], "http/1.1"),
        (["spdy/3", "http/1.1"], "http/1.1"),
        ([], None),
    ],
)
def test_alpn(proxy: Secure, offered: list[str], chosen: str | None) -> None:
    with proxy.talk(trusting(AUTHORITY, alpn=offered), port=port(proxy, PLAIN1)) as client:
        assert client.selected_alpn_protocol() == chosen
        assert ask(client).endswith(b"hello\n")


@pytest.mark.parametrize("offered", [["h2"], ["acme-tls/1"], ["spdy/3"]])
def test_nothing_in_common_ends_the_handshake(proxy: Secure, offered: list[str]) -> None:
    """RFC 7301 3.2, and the defence against ALPACA."""
    with pytest.raises(ssl.SSLError, match=r"(?i)no[_ ]application[_ ]protocol"):
        with proxy.talk(trusting(AUTHORITY, alpn=offered), port=port(proxy, PLAIN1)):
            pass


def stapled(port: int, name: str) -> bool:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-status"],
        input=b"", capture_output=True, timeout=20, check=False, env=FOREIGN,
    )  # fmt: skip
    found = b"OCSP Response Status: unauthorized" in done.stdout
    assert (b"OCSP response: no response sent" in done.stdout) is not found
    return found


def test_a_staple_for_its_certificate_alone(proxy: Secure) -> None:
    assert stapled(port(proxy, DEFAULT), "ocsp.test")
    assert not stapled(port(proxy, DEFAULT), "a.test")


def test_a_staple_that_expires_is_shown_no_more() -> None:
    pair = AUTHORITY.sign("a.test").pair(STAPLE)
    pair.ocsp_until = int(time.time()) + 4
    with Secure([ListenerKeys([pair])]) as proxy:
        assert stapled(proxy.port, "a.test")
        wait_until(lambda: not stapled(proxy.port, "a.test"))


def test_what_is_no_client_hello_is_refused_and_counted(proxy: Secure) -> None:
    before = proxy.totals()["tls_failed"]
    junk = [
        bytes(range(256)),
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\xff\xff" + bytes(70000),
        b"\x80\x2e\x01\x00\x02" + bytes(60),
    ]
    for one in junk:
        with socket.create_connection(("127.0.0.1", port(proxy, DEFAULT)), 10) as line:
            line.sendall(one)
            data = b""
            try:
                while piece := line.recv(4096):
                    data += piece
            except ConnectionResetError:
                pass
            assert b"HTTP/" not in data
    assert proxy.totals()["tls_failed"] - before == len(junk)
    assert shown(proxy, DEFAULT, "a.test", unchecked()) == FIRST.der


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_plain_http_is_told_so(proxy: Secure, method: str) -> None:
    with socket.create_connection(("127.0.0.1", port(proxy, DEFAULT)), 10) as line:
        line.sendall(f"{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        head, _, body = line.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert body == b"This port speaks TLS: use https://.\n"


def test_an_open_port_that_says_nothing_is_closed_in_time() -> None:
    """The handshake's time is absolute: bytes that trickle do not stretch it."""
    settings = {"timeouts": {"tls_handshake": "500ms"}}
    with Secure([ListenerKeys(PAIRS)], settings=settings) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as line:
            line.settimeout(5)
            sent = 0
            try:
                for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
                    line.sendall(bytes([byte]))
                    sent += 1
                    line.settimeout(0.05)
                    try:
                        assert line.recv(1) == b""
                        break
                    except TimeoutError:
                        pass
            except (ConnectionResetError, BrokenPipeError):
                pass
            assert sent < 40
