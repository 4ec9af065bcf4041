"""HTTPS through a real instance."""

from __future__ import annotations

from fastproxy.tls.keyring import ListenerKeys
from tests.running import Backend
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting


def test_each_name_has_its_certificate() -> None:
    authority = Authority()
    one, two = authority.sign("a.test"), authority.sign("b.test", "*.c.test", kind="rsa")
    with Backend() as backend:
        with Secure([ListenerKeys([one.pair(), two.pair()])], upstreams=[backend.url]) as proxy:
            for name, expected in [("a.test", one), ("b.test", two), ("x.c.test", two)]:
                with proxy.talk(trusting(authority), name) as client:
                    assert client.getpeercert(True) == expected.der
                    assert client.selected_alpn_protocol() == "http/1.1"
                    for _ in range(3):
                        assert ask(client, host=name).endswith(b"hello\n")
