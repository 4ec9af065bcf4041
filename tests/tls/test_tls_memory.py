"""What an idle TLS connection costs the worker.

libssl 3.0 itself has 13.2 KiB in about 35 objects for one (7.4 KiB of it the SSL, 1.9 KiB two
contexts of AES-GCM, 0.9 KiB the session), when its buffers are released; what is ours must stay
small beside that.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from fastproxy.tls.keyring import ListenerKeys
from tests.running import Backend
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting

AUTHORITY = Authority()
KIB = 1024
MOST = 16 * KIB


def pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no Pss")


def grown(proxy: Secure, context: ssl.SSLContext, few: int, many: int) -> float:
    """Bytes for each connection between the `few`th and the last."""
    (pid,) = proxy.worker_pids()
    lines = []
    before = 0
    for number in range(many):
        if number == few:
            before = pss(pid)
        plain = socket.create_connection(("127.0.0.1", proxy.port), 10)
        line = context.wrap_socket(plain, server_hostname="a.test")
        assert ask(line).endswith(b"hello\n")
        lines.append(line)
    cost = (pss(pid) - before) / (many - few)
    assert proxy.totals()["connections"] == many
    assert all(ask(line).endswith(b"hello\n") for line in lines[::50])
    for line in lines:
        line.close()
    return cost


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_an_idle_connection(version: ssl.TLSVersion, kind: str) -> None:
    keys = ListenerKeys([AUTHORITY.sign("a.test", kind=kind).pair()])
    context = trusting(AUTHORITY)
    context.minimum_version = context.maximum_version = version
    with Backend() as backend, Secure([keys], upstreams=[backend.url]) as proxy:
        cost = grown(proxy, context, 300, 1300)
    print(f"\n{version.name}, {kind}: {cost / KIB:.1f} KiB for each idle connection")
    assert cost <= MOST
