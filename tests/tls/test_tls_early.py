"""Early data: off by default; when on, safe methods alone; the backend is told (B3 44, TL12)."""

from __future__ import annotations

from collections.abc import Iterator

import hpack
import pytest

from fastproxy.tls.keyring import ListenerKeys
from tests.h2 import frames as h2
from tests.raw.recorder import Recorder
from tests.tls import libssl
from tests.tls.certs import Authority
from tests.tls.secure import Secure

PAIR = Authority().sign("a.test").pair()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(recorder: Recorder) -> Iterator[Secure]:
    keys = [ListenerKeys([PAIR], early_data=16384), ListenerKeys([PAIR])]
    with Secure(keys, upstreams=[recorder.url]) as running:
        yield running


def request(method: bytes = b"GET", body: bytes = b"", more: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return method + b" /x HTTP/1.1\r\nHost: a.test\r\n" + length + more + b"\r\n" + body


UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
H2 = b"\x02h2"


def session(port: int, alpn: bytes = b"") -> object:
    """`alpn`: the session is one of this protocol, h2."""
    with libssl.Client(port, alpn=alpn) as client:
        client.shake()
        if alpn:
            client.write(h2.PREFACE + h2.settings() + h2.get(path=b"/x"))
            client.read_until(b"ok")
        else:
            client.write(request())
            assert client.read().startswith(b"HTTP/1.1 200")
        return client.session()


def begun(port: int, kept: object, data: bytes, alpn: bytes = b"") -> libssl.Client:
    """A connection that has sent early data, its handshake not finished."""
    client = libssl.Client(port, session=kept, alpn=alpn)
    assert client.early(data)
    return client


def test_off_by_default(proxy: Secure) -> None:
    kept = session(proxy.ports()[1])
    with libssl.Client(proxy.ports()[1], session=kept) as client:
        assert not client.early(request())


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_safe_methods_are_answered_early(proxy: Secure, recorder: Recorder, method: bytes) -> None:
    kept = session(proxy.port)
    recorder.clear()
    with begun(proxy.port, kept, request(method)) as client:
        client.shake()
        assert client.early_status == libssl.EARLY_ACCEPTED
        assert client.read().startswith(b"HTTP/1.1 200")
        assert [one.all("early-data") for one in recorder.requests] == [["1"]]
        # The handshake is over now: the next one is like any other.
        assert client.write(request(b"POST", b"hello"))
        assert client.read().startswith(b"HTTP/1.1 200")
        assert [one.all("early-data") for one in recorder.requests] == [["1"], []]


@pytest.mark.parametrize(
    "data",
    [request(b"POST", b"hello"), request(b"PUT", b"x"), request(b"DELETE"), request(b"PATCH"),
     request(b"GET", b"body"), request(b"PURGE"), request(more=UPGRADE)],
)  # fmt: skip
def test_all_others_are_told_to_come_again(proxy: Secure, recorder: Recorder, data: bytes) -> None:
    kept = session(proxy.port)
    recorder.clear()
    with begun(proxy.port, kept, data) as client:
        client.shake()
        assert client.early_status == libssl.EARLY_ACCEPTED
        assert client.read().startswith(b"HTTP/1.1 425 Too Early\r\n")
        assert not recorder.requests
    with libssl.Client(proxy.port, session=kept) as client:
        client.shake()
        assert client.resumed
        client.write(data)
        assert client.read().startswith(b"HTTP/1.1 ")
        assert len(recorder.requests) == 1


@pytest.mark.parametrize(
    ("method", "status", "told"), [(b"GET", b"200", [["1"]]), (b"POST", b"425", [])]
)
def test_streams_are_early_too(
    proxy: Secure, recorder: Recorder, method: bytes, status: bytes, told: list[list[str]]
) -> None:
    kept = session(proxy.port, H2)
    recorder.clear()
    data = h2.PREFACE + h2.settings() + h2.get(path=b"/x", method=method)
    with begun(proxy.port, kept, data, H2) as client:
        client.shake()
        assert client.early_status == libssl.EARLY_ACCEPTED
        got, decoder, fields = b"", hpack.Decoder(), []
        while not fields:
            piece = client.read()
            assert piece
            got += piece
            while len(got) >= 9 and len(got) >= 9 + (size := int.from_bytes(got[:3], "big")):
                if got[3] == h2.HEADERS:
                    fields = decoder.decode(got[9 : 9 + size], raw=True)
                got = got[9 + size :]
        assert fields[0] == (b":status", status)
        assert [one.all("early-data") for one in recorder.requests] == told


def test_a_backends_425_is_passed_on(proxy: Secure, recorder: Recorder) -> None:
    kept = session(proxy.port)
    recorder.on("/x", b"HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\n\r\n")
    try:
        with begun(proxy.port, kept, request()) as client:
            client.shake()
            assert client.read().startswith(b"HTTP/1.1 425 Too Early\r\n")
    finally:
        recorder.clear()


def test_a_request_that_comes_half_early_is_not_early(proxy: Secure, recorder: Recorder) -> None:
    """Its end proves that the client is there: it came after the handshake (RFC 8470 3)."""
    kept = session(proxy.port)
    recorder.clear()
    data = request(b"POST", b"hello")
    with begun(proxy.port, kept, data[:20]) as client:
        client.shake()
        client.write(data[20:])
        assert client.read().startswith(b"HTTP/1.1 200")
        assert [one.all("early-data") for one in recorder.requests] == [[]]


def test_two_requests_in_early_data(proxy: Secure, recorder: Recorder) -> None:
    kept = session(proxy.port)
    recorder.clear()
    with begun(proxy.port, kept, request() * 2) as client:
        client.shake()
        data = b""
        while data.count(b"HTTP/1.1 200") < 2:
            piece = client.read()
            assert piece
            data += piece
        assert [one.all("early-data") for one in recorder.requests] == [["1"], ["1"]]


def test_who_never_finishes_gets_one_answer_and_is_no_more(proxy: Secure) -> None:
    """A replay by somebody who has only seen it pass: the answer is for who has the keys."""
    before = proxy.totals()
    kept = session(proxy.port)
    with begun(proxy.port, kept, request()) as client:
        client.socket.shutdown(1)
    after = proxy.totals()
    assert after["tls_handshakes"] - before["tls_handshakes"] == 1  # that of session()
