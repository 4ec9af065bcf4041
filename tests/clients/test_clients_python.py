"""Python's clients: httpx, niquests, and http.client on the ssl module."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import ssl
from collections.abc import AsyncIterator

import httpx
import niquests
import pytest

from tests.clients.ways import BEHIND, MIB, Ways, body, digest
from tests.flow.origin import pattern_hash

PIECE = 65_537
every_way = pytest.mark.parametrize("behind", BEHIND)
every_version = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])


def trusting(ways: Ways) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ways.ca)


# ---- httpx ------------------------------------------------------------------------------------


@every_version
@every_way
def test_httpx(ways: Ways, behind: str, http2: bool) -> None:
    with httpx.Client(verify=trusting(ways), http2=http2, timeout=30, base_url=ways.tls) as client:
        for size in (0, 1, 16384, 100_001, 3 * MIB):
            answer = client.get(f"/{behind}/bytes?n={size}&framing=chunked")
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert digest(answer.content) == pattern_hash(size)
        data = body(MIB + 3)
        pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
        assert client.put(f"/{behind}/echo", content=pieces).content == data
        assert client.head(f"/{behind}/www/file").content == b""
        assert client.get(f"/{behind}/nothing").status_code == 404


@every_way
def test_httpx_side_by_side(ways: Ways, behind: str) -> None:
    """A hundred streams of one connection, up and down at once."""

    async def one(client: httpx.AsyncClient, number: int) -> bool:
        data = body(1000 * number + 1)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 10_000):
                yield data[at : at + 10_000]

        answer = await client.put(f"/{behind}/echo", content=pieces())
        return bool(answer.content == data)

    async def all_of_them() -> list[bool]:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(verify=trusting(ways), http2=True, http1=False, timeout=60,
                                     limits=limits, base_url=ways.tls) as client:  # fmt: skip
            return await asyncio.gather(*(one(client, number) for number in range(100)))

    assert all(asyncio.run(all_of_them()))


# ---- niquests ---------------------------------------------------------------------------------

# Which listener, what is switched off, what comes of it.
NIQUESTS = {
    "tls-h2": ("tls", {}, 20),
    "tls-http1": ("tls", {"disable_http2": True}, 11),
    "h2c": ("plain", {"disable_http1": True}, 20),
    "http1": ("plain", {}, 11),
}


@every_way
@pytest.mark.parametrize("kind", NIQUESTS)
def test_niquests(ways: Ways, behind: str, kind: str) -> None:
    listener, options, version = NIQUESTS[kind]
    base = f"{getattr(ways, listener)}/{behind}"
    with niquests.Session(disable_http3=True, **options) as session:
        session.verify, session.trust_env = ways.ca, False
        for size in (0, 1, 16384, 100_001, 3 * MIB):
            answer = session.get(f"{base}/bytes?n={size}", timeout=30)
            assert answer.http_version == version
            assert digest(answer.content or b"") == pattern_hash(size)
        data = body(MIB + 3)
        pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
        answer = session.put(f"{base}/hash", data=pieces, timeout=30)
        assert answer.text == f"{len(data)} {digest(data)}"
        answer = session.get(f"{base}/www/file", headers={"Range": "bytes=7-19"}, timeout=30)
        assert (answer.status_code, answer.content) == (206, body(20)[7:])


@every_way
def test_niquests_many_at_once(ways: Ways, behind: str) -> None:
    """Its `multiplexed`: asked all at once, looked at later."""
    with niquests.Session(multiplexed=True, disable_http3=True) as session:
        session.verify, session.trust_env = ways.ca, False
        sizes = [3000 * number for number in range(60)]
        answers = [session.get(f"{ways.tls}/{behind}/bytes?n={size}") for size in sizes]
        session.gather()
        assert [digest(one.content or b"") for one in answers] == [pattern_hash(n) for n in sizes]


# ---- http.client ------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http_client(ways: Ways, behind: str, version: ssl.TLSVersion) -> None:
    """Without ALPN: HTTP/1.1, kept alive."""
    context = trusting(ways)
    context.minimum_version = context.maximum_version = version
    line = http.client.HTTPSConnection("localhost", ways.tls_port, timeout=30, context=context)
    for size, method in itertools.product((0, 1, 16385, MIB), ("GET", "PUT")):
        if method == "GET":
            line.request("GET", f"/{behind}/bytes?n={size}")
            assert digest(line.getresponse().read()) == pattern_hash(size)
        else:
            line.request("PUT", f"/{behind}/hash", body=body(size))
            assert line.getresponse().read().decode() == f"{size} {pattern_hash(size)}"
    line.close()
