"""A listener that asks for kTLS. Where the kernel has none (as where tests mostly run) it says so
and goes on; the way by libssl's own socket, which kTLS needs, is the same without it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import pytest

from fastproxy import _tls
from fastproxy.tls.keyring import ListenerKeys
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting
from tests.tls.shim import Line
from tests.tls.stand import Stand
from tests.tls.test_tls_streams import GET, HUGE, Plain, answered_after_updates, pattern

AUTHORITY = Authority()
KEYS = ListenerKeys([AUTHORITY.sign("a.test").pair()], ktls=True, http2=False)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def test_what_the_kernel_cannot_is_said() -> None:
    trouble = _tls.ktls_trouble()
    plain = Plain()
    with Secure([KEYS], upstreams=[plain.url]) as proxy:
        with proxy.talk(trusting(AUTHORITY)) as client:
            assert ask(client).endswith(pattern(6))
        said = [line for line in proxy.log().splitlines() if "ktls" in line]
    assert len(said) == (1 if trouble else 0)
    if trouble:
        assert f"worker 0: ktls is asked for, and not used: {trouble}" in said[0]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with Stand(KEYS, Plain().url, kernel=True) as running:
        yield running


def context_for(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting(AUTHORITY)
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("step", [0, 1, 7, 100])
def test_in_pieces(stand: Stand, version: ssl.TLSVersion, step: int) -> None:
    with Line(stand.port, context_for(version), step=step) as line:
        for _ in range(3):
            line.send(GET)
            assert line.answer().endswith(pattern(6))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [16384, 100_000, HUGE // 4])
def test_bodies(stand: Stand, version: ssl.TLSVersion, size: int) -> None:
    with Line(stand.port, context_for(version)) as line:
        line.send(f"GET /{size} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        time.sleep(0.05)  # so that it has to wait for us
        assert line.answer().partition(b"\r\n\r\n")[2] == pattern(size)
        line.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)
        line.send(pattern(size))
        assert f"{size} ".encode() in line.answer()


@pytest.mark.parametrize(("count", "fine"), [(50, True), (400, False)])
def test_key_updates_are_limited_here_too(stand: Stand, count: int, fine: bool) -> None:
    """libssl reads the socket, and what is no data does not bring it back to us."""
    assert answered_after_updates(stand.port, count) is fine


def test_close_ends_with_close_notify(stand: Stand) -> None:
    with Line(stand.port, context_for(VERSIONS[1])) as line:
        line.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert line.answer().endswith(pattern(6))
        assert line.recv() == b""
