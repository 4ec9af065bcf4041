"""Health checks of https:// backends trust whom requests trust, unless they say otherwise."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.flow.orders import rows
from tests.running import Backend, wait_until
from tests.tls.certs import Authority
from tests.tls.files import PAIR, Filed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost."])
@pytest.mark.parametrize(
    ("toward", "check", "good"),
    [
        ({"ca": "ca.pem"}, {}, True),
        ({"ca": "ca.pem"}, {"tls": {}}, False),
        ({"ca": "between.pem"}, {}, True),
        ({"verify": False}, {}, True),
        ({"ca": "ca.pem", "cert": "own.pem", "key": "own.key"}, {}, True),
    ],
)
def test_checks_by_tls(
    toward: dict[str, Any], check: dict[str, Any], good: bool, host: str
) -> None:
    authority = Authority()
    between = Authority("between", above=authority)
    site, own = (authority.sign(name) for name in ("a.test", "proxy"))
    near = between.sign("127.0.0.1", "localhost")
    with Backend() as backend:
        files = {
            "ca.pem": authority.pem,
            "between.pem": between.pem,
            "near.pem": near.cert + between.pem,
            "near.key": near.key,
            "own.pem": own.cert,
            "own.key": own.key,
        }
        url = backend.url.replace("http://127.0.0.1", f"https://{host}")
        upstream = {
            "backends": [url],
            "tls": toward,
            "health": {"kind": "https", "interval": "100ms", "jitter": 0, **check},
        }
        settings = {"upstreams": {"default": upstream}}
        proxy = Filed(site, "", [{"tls": PAIR}], files=files, settings=settings, workers=1)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(proxy.directory / "near.pem", proxy.directory / "near.key")
        if "cert" in toward:
            server.verify_mode = ssl.CERT_REQUIRED
            server.load_verify_locations(cadata=authority.pem.decode())
        backend.server.socket = server.wrap_socket(backend.server.socket, server_side=True)
        with proxy:

            def found() -> list[str]:
                """Of every address of the host that answers."""
                checks = [row["check"] or {} for row in rows(proxy).values()]
                ends = [check["last"] for check in checks if check.get("last")]
                return [end for end in ends if "refused" not in end]

            (last,) = wait_until(found)
            assert last.startswith("200") if good else "certificate" in last
