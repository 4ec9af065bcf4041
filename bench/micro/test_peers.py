# SPDX-License-Identifier: MIT
"""The same heads and bodies through what a Python server would take: httptools (llhttp) and h11.

They are called as their users call them, and build Python objects where we fill a struct: the ratio
says what such a server saves, not that llhttp's C is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import h11
import httptools
import pytest

from bench.micro.heads import BODIES, HEADS

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Listener:
    """A user that looks at nothing, but is told."""

    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_body(self, body: bytes) -> None: ...


def by_httptools(head: bytes, pieces: Sequence[bytes]) -> float:
    """Nanoseconds for `pieces`, behind a head that is not counted."""
    answer = pieces[0].startswith(b"HTTP/")
    parser = (httptools.HttpResponseParser if answer else httptools.HttpRequestParser)(Listener())
    if head:
        parser.feed_data(head)
    began = perf_counter()
    for piece in pieces:
        parser.feed_data(piece)
    return (perf_counter() - began) * 1e9


def by_h11(head: bytes, pieces: Sequence[bytes]) -> float:
    answer = pieces[0].startswith(b"HTTP/")
    connection = h11.Connection(h11.CLIENT if answer else h11.SERVER, 65536)
    if head:
        connection.receive_data(head)
        connection.next_event()
    began = perf_counter()
    for piece in pieces:
        connection.receive_data(piece)
        while type(connection.next_event()) is h11.Data:
            pass
    return (perf_counter() - began) * 1e9


PEERS = {"httptools": by_httptools, "h11": by_h11}
Parse = Callable[[bytes, Sequence[bytes]], float]


def mean(parse: Parse, head: bytes, pieces: Sequence[bytes]) -> Callable[[int], float]:
    return lambda n: sum(parse(head, pieces) for _ in range(n)) / n


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", HEADS)
def test_parse(benchmark: Any, timing: Any, name: str, count: int, peer: str) -> None:
    data = HEADS[name]
    pieces = [data] if count == 1 else [data[: len(data) // 2], data[len(data) // 2 :]]
    what = f"parse {name}" + ", 2 pieces" * (count == 2)
    benchmark.group = what
    timing(what, peer, mean(PEERS[peer], b"", pieces), len(data))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", BODIES)
def test_decode(benchmark: Any, timing: Any, name: str, peer: str) -> None:
    benchmark.group = what = f"decode {name}"
    timing(what, peer, mean(PEERS[peer], POST, [BODIES[name]]), len(BODIES[name]))
