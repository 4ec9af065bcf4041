"""What TLS means for HTTP: the way to https://, HSTS, and whose certificate upstreams hear of."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.running import Backend
from tests.tls.certs import Authority, Signed
from tests.tls.files import PAIR, Filed
from tests.tls.secure import answer, ask, showing, trusting

HSTS = "max-age=31536000; includeSubDomains"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def proxy(authority: Authority) -> Iterator[Filed]:
    """HTTPS with HSTS; plain text that leads to port 443; and to 8443; and that serves."""
    listeners: list[dict[str, Any]] = [
        {"tls": {**PAIR, "hsts": {"include_subdomains": True}}},
        {"redirect_https": True},
        {"redirect_https": 8443},
        {},
    ]
    settings = {
        "routes": [
            {"path": "/", "upstream": "default"},
            {"path": "/own", "upstream": "default",
             "response_headers": {"set": {"Strict-Transport-Security": "max-age=1"}}},
            {"path": "/none", "upstream": "default",
             "response_headers": {"remove": ["Strict-Transport-Security"]}},
            {"path": "/fixed", "reply": {"status": 200, "body": "fixed"}},
        ],
        "forwarding": {"trusted_proxies": ["127.0.0.2"]},
    }  # fmt: skip
    with (
        Backend() as backend,
        Filed(authority.sign("a.test"), backend.url, listeners, settings=settings) as one,
    ):
        yield one


def plain(proxy: Filed, number: int, request: str, source: str = "127.0.0.1") -> bytes:
    """The answer of that listener to raw bytes."""
    address = ("127.0.0.1", proxy.ports()[number])
    with socket.create_connection(address, 10, source_address=(source, 0)) as line:
        line.sendall(request.encode())
        return answer(line)  # type: ignore[arg-type]


def location(got: bytes) -> str:
    assert got.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n"), got
    return got.partition(b"\r\nLocation: ")[2].partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    ("number", "target", "host", "where"),
    [
        (1, "/", "a.test", "https://a.test/"),
        (1, "/a/b?c=d%20e&f", "A.Test:8080", "https://a.test/a/b?c=d%20e&f"),
        (2, "/x?", "a.test:80", "https://a.test:8443/x?"),
        (2, "/", "[::1]:8080", "https://[::1]:8443/"),
        (1, "http://b.test:81/y", "b.test:81", "https://b.test/y"),
        (1, "//evil.test/%2e%2e/x", "a.test", "https://a.test//x"),
        (1, "/.well-known/acme-challenge", "a.test", "https://a.test/.well-known/acme-challenge"),
        (1, "/.well-known/acme-challenge/../x", "a.test", "https://a.test/.well-known/x"),
    ],
)
def test_the_way_to_https(proxy: Filed, number: int, target: str, host: str, where: str) -> None:
    got = plain(proxy, number, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert location(got) == where
    assert b"Strict-Transport-Security" not in got


def test_any_method_and_a_body(proxy: Filed) -> None:
    head = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
    again = head + "GET /y HTTP/1.1\r\nHost: a.test\r\n\r\n"
    address = ("127.0.0.1", proxy.ports()[1])
    with socket.create_connection(address, 10) as line:
        line.sendall(again.encode())
        data = b""
        while data.count(b"\r\n\r\n") < 2:
            data += line.recv(65536)
    assert [location(b"HTTP/1.1" + one) for one in data.split(b"HTTP/1.1")[1:]] == [
        "https://a.test/x",
        "https://a.test/y",
    ]


def test_without_a_host(proxy: Filed) -> None:
    got = plain(proxy, 1, "GET / HTTP/1.0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 ")


def test_what_is_left_to_the_routes(proxy: Filed) -> None:
    path = "/.well-known/acme-challenge/token"
    got = plain(proxy, 1, f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert got.endswith(b"hello\n")
    trusted = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n"
    assert plain(proxy, 1, trusted, "127.0.0.2").endswith(b"hello\n")
    assert location(plain(proxy, 1, trusted)) == "https://a.test/"
    untold = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    assert location(plain(proxy, 1, untold, "127.0.0.2")) == "https://a.test/"
    assert plain(proxy, 3, untold).endswith(b"hello\n")


@pytest.mark.parametrize(
    ("target", "value"),
    [("/", HSTS), ("/fixed", HSTS), ("/own", "max-age=1"), ("/none", "")],
)
def test_hsts(proxy: Filed, authority: Authority, target: str, value: str) -> None:
    with proxy.talk(trusting(authority)) as line:
        got = ask(line, target)
    lines = [one for one in got.split(b"\r\n") if one.lower().startswith(b"strict-transport")]
    wanted = [f"Strict-Transport-Security: {value}".encode()] if value else []
    assert lines == wanted
    request = f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"
    assert (b"Strict" in plain(proxy, 3, request)) == (target == "/own")


def test_hsts_of_errors(proxy: Filed, authority: Authority) -> None:
    with proxy.talk(trusting(authority)) as line:
        line.sendall(b"GET /\x01 HTTP/1.1\r\n\r\n")
        got = answer(line)
    assert got.startswith(b"HTTP/1.1 400")
    assert HSTS.encode() in got


class Strict(Backend):
    """Says it itself."""

    class Handler(Backend.Handler):
        def do_GET(self) -> None:  # noqa: N802
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: a\r\n\r\n"
            )


def test_a_backends_hsts_gives_way(authority: Authority) -> None:
    """One field, ours: clients look at the first one only (RFC 6797 8.1)."""
    listeners: list[dict[str, Any]] = [{"tls": {**PAIR, "hsts": HSTS}}, {"tls": PAIR}]
    with Strict() as backend, Filed(authority.sign("a.test"), backend.url, listeners) as proxy:
        found = []
        for port in proxy.ports():
            with proxy.talk(trusting(authority), port=port) as line:
                got = ask(line).decode()
                found.append(re.findall("(?i)strict-transport-security: (.*)\r", got))
    assert found == [[HSTS], ["a"]]


# ---- whose certificate ----------------------------------------------------------------------

CLAIMED = (
    "Client-Cert: :Zm9yZ2Vk:\r\nclient-cert-chain: :Zm9yZ2Vk:\r\n"
    "X-Forwarded-Client-Cert: Hash=forged\r\nClient_Cert: :Zm9yZ2Vk:\r\n"
)


@pytest.fixture(scope="module")
def client(authority: Authority) -> Signed:
    return authority.sign('client "x", y', "client.test", "spiffe://a/b,c=d")


@pytest.fixture(scope="module")
def telling(authority: Authority) -> Iterator[Filed]:
    """RFC 9440; XFCC; asks and does not tell; asks nobody; plain text."""

    def auth(header: str, mode: str = "optional") -> dict[str, Any]:
        entry = {"mode": mode, "ca": "ca.pem", "client_cert_header": header}
        return {"tls": {**PAIR, "client_auth": entry}}

    listeners = [auth("rfc9440"), auth("xfcc"), auth("off"), {"tls": PAIR}, {}]
    settings = {"forwarding": {"trusted_proxies": ["127.0.0.2"], "keep_underscores": True}}
    files = {"ca.pem": authority.pem}
    with (
        Echo() as echo,
        Filed(authority.sign("a.test"), echo.url, listeners, files, settings) as one,
    ):
        yield one


class Echo(Backend):
    """Answers with the lines of the request's head."""

    class Handler(Backend.Handler):
        def do_GET(self) -> None:  # noqa: N802
            body = "".join(f"{name}: {value}\n" for name, value in self.headers.items()).encode()
            self.wfile.write(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )


def heard(
    proxy: Filed, authority: Authority, number: int, own: Signed | None, source: str = "127.0.0.1"
) -> dict[str, list[str]]:
    """The fields about certificates that the backend gets, whatever the client claims."""
    context = trusting(authority)
    if own is not None:
        showing(context, own)
    port = proxy.ports()[number]
    with socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0)) as line:
        if number < 4:
            line = context.wrap_socket(line, server_hostname="a.test")
        with line:
            got = ask(line, more=CLAIMED)  # type: ignore[arg-type]
    found: dict[str, list[str]] = {}
    for text in got.partition(b"\r\n\r\n")[2].decode().splitlines():
        name, _, value = text.partition(": ")
        if "cert" in name.lower():
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("number", range(5))
def test_claims_of_clients_are_taken_out(telling: Filed, authority: Authority, number: int) -> None:
    assert heard(telling, authority, number, None) == {}


@pytest.mark.parametrize("number", range(5))
def test_a_trusted_proxy_may_tell(telling: Filed, authority: Authority, number: int) -> None:
    found = heard(telling, authority, number, None, "127.0.0.2")
    assert found == {
        "Client-Cert": [":Zm9yZ2Vk:"],
        "client-cert-chain": [":Zm9yZ2Vk:"],
        "X-Forwarded-Client-Cert": ["Hash=forged"],
    }


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_rfc_9440(telling: Filed, authority: Authority, client: Signed, source: str) -> None:
    shown = Signed(client.certificate, client.private, [], above=authority.pem)
    found = heard(telling, authority, 0, shown, source)
    ours = base64.b64encode(client.der).decode()
    above = base64.b64encode(authority.certificate.public_bytes(Encoding.DER)).decode()
    assert found == {"Client-Cert": [f":{ours}:"], "Client-Cert-Chain": [f":{above}:"]}


def test_xfcc(telling: Filed, authority: Authority, client: Signed) -> None:
    digest = hashlib.sha256(client.der).hexdigest()
    element = (
        f'Hash={digest};Subject="CN=client \\"x\\"\\, y";URI="spiffe://a/b,c=d"'
        ';DNS="client \\"x\\", y";DNS=client.test'
    )
    assert heard(telling, authority, 1, client) == {"X-Forwarded-Client-Cert": [element]}
    behind = heard(telling, authority, 1, client, "127.0.0.2")
    assert behind == {"X-Forwarded-Client-Cert": [f"Hash=forged, {element}"]}


def test_not_told(telling: Filed, authority: Authority, client: Signed) -> None:
    assert heard(telling, authority, 2, client) == {}
    assert heard(telling, authority, 3, client) == {}


@pytest.mark.parametrize("extra", range(3))
def test_base64_of_every_length(telling: Filed, authority: Authority, extra: int) -> None:
    own = authority.sign("c" * (10 + extra))
    found = heard(telling, authority, 0, own)
    assert found["Client-Cert"] == [f":{base64.b64encode(own.der).decode()}:"]
