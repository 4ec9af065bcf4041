"""A reload of the configuration seen through TLS and HTTP/2: connections, tickets, certificates."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest

from fastproxy.process import client
from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.running import Backend, wait_until
from tests.tls.certs import Authority
from tests.tls.files import PAIR, Filed
from tests.tls.secure import ask, trusting

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def change(proxy: Filed, **keys: Any) -> None:
    """Reload with these keys of the configuration as they are now."""
    assert proxy.config
    proxy.settings |= keys
    proxy.config.write_text(json.dumps(proxy.settings))  # type: ignore[union-attr]
    found = client.reload(proxy.control)
    assert found["done"], found["problems"]
    assert found["in_force"]


def reply(text: str) -> dict[str, Any]:
    return {"path": "/new", "reply": {"status": 200, "body": text}}


DEFAULT = {"path": "/", "upstream": "default"}


@pytest.mark.parametrize("version", VERSIONS)
def test_tickets_and_connections_outlive_it(authority: Authority, version: ssl.TLSVersion) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    site = authority.sign("a.test")
    with (
        Backend() as backend,
        Filed(site, backend.url, [{"tls": PAIR}], workers=2) as proxy,
        proxy.talk(context) as line,
    ):
        assert ask(line).endswith(b"hello\n")
        kept = line.session
        for number in range(3):
            change(proxy, routes=[reply(f"{number}\n"), DEFAULT])
            assert ask(line, "/new").endswith(f"{number}\n".encode())
            for _ in range(8):
                with proxy.talk(context, session=kept) as other:
                    assert ask(other).endswith(b"hello\n")
                    assert other.session_reused


def test_another_certificate_is_named(authority: Authority) -> None:
    context = trusting(authority)
    old, new = authority.sign("a.test"), authority.sign("a.test", "b.test")
    with Backend() as backend, Filed(old, backend.url, [{"tls": PAIR}], workers=2) as proxy:
        proxy.put("new.pem", new.cert)
        proxy.put("new.key", new.key)
        pair = {"certificates": [{"cert": "new.pem", "key": "new.key"}]}
        change(proxy, listeners=[{"bind": "127.0.0.1:0", "tls": pair}])
        serials = {proxy.serial(context) for _ in range(12)}
        assert serials == {new.certificate.serial_number}
        # Its files are watched now, in the place of the old ones.
        third = authority.sign("a.test")
        proxy.put("new.pem", third.cert)
        proxy.put("new.key", third.key)
        wait_until(lambda: proxy.serial(context) == third.certificate.serial_number)
        (entry,) = proxy.status()["certificates"]
        assert entry["names"] == ["a.test"]


def test_a_bad_certificate_refuses_it_all(authority: Authority) -> None:
    context = trusting(authority)
    old = authority.sign("a.test")
    with Backend() as backend, Filed(old, backend.url, [{"tls": PAIR}], workers=1) as proxy:
        assert proxy.config
        wrong = {"certificates": [{"cert": "none.pem", "key": "site.key"}]}
        given = proxy.settings | {
            "listeners": [{"bind": "127.0.0.1:0", "tls": wrong}],
            "routes": [reply("x"), DEFAULT],
        }
        proxy.config.write_text(json.dumps(given))  # type: ignore[union-attr]
        found = client.reload(proxy.control)
        assert not found["done"]
        assert "none.pem" in found["problems"][0]["text"]
        with proxy.talk(context) as line:
            assert ask(line, "/new").endswith(b"hello\n")


def test_an_upstream_becomes_https_and_goes(authority: Authority) -> None:
    """It is reached by TLS from then on; and where it is gone, its files may be, too."""
    context = trusting(authority)
    site, near = authority.sign("a.test"), authority.sign("127.0.0.1")
    with (
        Backend() as plain,
        Backend() as secured,
        Filed(site, plain.url, [{"tls": PAIR}], workers=2) as proxy,
        proxy.talk(context) as line,
    ):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        proxy.put("near.pem", near.cert)
        proxy.put("near.key", near.key)
        server.load_cert_chain(proxy.directory / "near.pem", proxy.directory / "near.key")
        secured.server.socket = server.wrap_socket(secured.server.socket, server_side=True)
        proxy.put("ca.pem", authority.pem)
        url = secured.url.replace("http:", "https:")
        upstream = {"backends": [url], "tls": {"ca": "ca.pem"}}
        change(proxy, upstreams={"safe": upstream}, routes=[{"path": "/", "upstream": "safe"}])
        assert ask(line).endswith(b"hello\n")
        assert proxy.totals()["tls_upstream_handshakes"] == 1
        change(proxy, upstreams={"default": {"backends": [plain.url]}}, routes=[DEFAULT])
        (proxy.directory / "ca.pem").unlink()
        change(proxy, routes=[reply("x"), DEFAULT])
        assert ask(line).endswith(b"hello\n")


def test_an_http2_connection_lives_on(authority: Authority) -> None:
    site = authority.sign("a.test")
    with Backend() as backend, Filed(site, backend.url, [{"tls": PAIR}], workers=1) as proxy:
        with Client(("127.0.0.1", proxy.port), tls=True) as line:
            for number, stream in enumerate((1, 3, 5)):
                line.send(h2.get(stream, path=b"/new"))
                assert line.outcome(stream) == "200"
                said = b"hello\n" if number == 0 else f"{number}\n".encode()
                assert line.stream(stream).body == said
                change(proxy, routes=[reply(f"{number + 1}\n"), DEFAULT])
