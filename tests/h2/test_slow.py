"""Slowloris over HTTP/2: what begins a request is due whole in `client_header`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import get, post
from tests.h2.subject import KINDS, Subject, make

HEADER = 1.0
"""`client_header`."""
BLOCK = h2.block(*h2.fields())
TRAILERS = h2.block((b"x-a", b"1"), (b"x-b", b"2"))
HALVES = {
    "head of HEADERS": get()[:9],
    "HEADERS": get()[:20],
    "HEADERS with padding": h2.headers(1, h2.padded(BLOCK, 9), h2.WHOLE | h2.PADDED)[:15],
    "HEADERS with priority": h2.headers(1, bytes(5) + BLOCK, h2.WHOLE | h2.WITH_PRIORITY)[:16],
    "HEADERS without CONTINUATION": h2.headers(1, BLOCK, h2.END_STREAM),
    "CONTINUATION": h2.headers(1, BLOCK[:9], h2.END_STREAM) + h2.continuation(1, BLOCK[9:])[:20],
    "trailers": post(path=b"/hang") + h2.headers(1, TRAILERS)[:12],
}


@pytest.fixture(scope="module")
def dull() -> Iterator[Subject]:
    with make({"timeouts": {"client_header": f"{HEADER:.0f}s", "lingering": "500ms"}}) as one:
        one.clear()
        yield one


def ends_in_time(client: Client, started: float) -> None:
    assert client.until(lambda: client.ended, 5), client.frames
    assert HEADER * 0.9 < time.monotonic() - started < HEADER + 2.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", HALVES)
def test_half_a_head(dull: Subject, half: str, kind: str) -> None:
    with dull.client(kind) as client:
        assert client.sync()
        started = time.monotonic()
        client.send(HALVES[half])
        client.silent = True
        ends_in_time(client, started)
    dull.bystander(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4, 20, 24, 30])
def test_half_a_preface(dull: Subject, size: int, kind: str) -> None:
    with dull.client(kind, None) as client:
        started = time.monotonic()
        client.send((h2.PREFACE + h2.settings())[:size])
        client.silent = True
        ends_in_time(client, started)


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_now_and_then(dull: Subject, kind: str) -> None:
    """Does not put it off; nor do other requests."""
    with dull.client(kind) as client:
        client.send(get(1, path=b"/hang"))
        assert client.sync()
        started = time.monotonic()
        for octet in get(3)[:40]:
            client.send(bytes((octet,)))
            if client.until(lambda: client.ended, 0.1):
                break
        ends_in_time(client, started)


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_begun_may_pause(dull: Subject, kind: str) -> None:
    """A head that is whole, or is passed over, is not waited for any more."""
    with dull.client(kind) as client:
        client.send(post(1, (b"te", b"gzip")))
        assert client.outcome(1) == "reset PROTOCOL_ERROR"
        late = h2.headers(1, TRAILERS[:5], h2.END_STREAM) + h2.continuation(1, TRAILERS[5:])
        client.send(late + post(3, path=b"/hang"))
        assert not client.until(lambda: client.ended, HEADER + 1.5), client.frames
        assert client.sync()
