"""Chunked bodies: whole, byte by byte, at every split, with junk after; and the twin."""

from __future__ import annotations

from typing import Any

import pytest

from fastproxy import _probe
from tests.oracle import compare
from tests.unit.http1_cases_chunked import ACCEPTED, LAST, OPEN, REFUSED

ROOM = 16384
accepted = pytest.mark.parametrize("case", ACCEPTED, ids=[c[0] for c in ACCEPTED])
refused = pytest.mark.parametrize("case", REFUSED, ids=[c[0] for c in REFUSED])


def feeds(data: bytes) -> list[Any]:
    """Ways to cut an input: whole, byte by byte, in two at (nearly) every place."""
    n = len(data)
    places = {*range(1, min(n, 600)), *range(max(1, n - 600), n)}
    return [None, list(range(1, n + 1)), *[[cut, n] for cut in sorted(places)]]


@accepted
def test_accepted(case: tuple[str, bytes, bytes, bytes]) -> None:
    _, data, payload, trailers = case
    for cuts in feeds(data):
        answer = _probe.body_decode(data, cuts, trailer_room=ROOM)
        assert answer[:5] == ("done", len(data), payload, trailers, False), cuts


@accepted
def test_junk_after_belongs_to_the_next_message(case: tuple[str, bytes, bytes, bytes]) -> None:
    _, data, payload, _ = case
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\0", b"0\r\n\r\n"):
        answer = _probe.body_decode(data + junk)
        assert answer[:3] == ("done", len(data), payload)


@accepted
def test_trailers_are_dropped_unless_asked_for(case: tuple[str, bytes, bytes, bytes]) -> None:
    assert _probe.body_decode(case[1])[2:5] == (case[2], None, False)


@accepted
def test_every_beginning_is_unfinished(case: tuple[str, bytes, bytes, bytes]) -> None:
    data = case[1]
    for n in {*range(min(len(data), 600)), *range(max(0, len(data) - 600), len(data))}:
        assert _probe.body_decode(data[:n])[:2] == ("more", n)


@refused
def test_refused(case: tuple[str, bytes, str]) -> None:
    _, data, reason = case
    whole = _probe.body_decode(data)
    assert whole[:3] == ("fault", 400, reason)
    for cuts in feeds(data):
        assert _probe.body_decode(data, cuts) == whole, cuts
    assert _probe.body_decode(data + b"\r\n0\r\n\r\n") == whole
    assert _probe.body_decode(data, side=1)[:3] == ("fault", 502, reason)


@pytest.mark.parametrize("data", [c[1] for c in ACCEPTED] + [c[1] for c in REFUSED])
def test_the_twin_agrees(data: bytes) -> None:
    for n in {*range(0, len(data), max(1, len(data) // 50)), len(data)}:
        compare.body(data[:n], _probe.body_decode(data[:n], trailer_room=ROOM))


def test_data_of_one_chunk_is_not_moved() -> None:
    big = b"1000\r\n" + b"x" * 4096 + b"\r\n" + LAST
    assert _probe.body_decode(big)[5] is False
    # Also with the end of one chunk before it and the beginning of another behind it.
    two = OPEN + b"1000\r\n" + bytes(range(256)) * 16 + b"\r\n" + OPEN + LAST
    cut = len(OPEN) - 1
    assert _probe.body_decode(two, [cut, cut + 4096 + 9, len(two)])[5] is False


def test_trailers_that_do_not_fit_are_left_out_whole() -> None:
    data = b"0\r\nA: 1\r\nLong: " + b"x" * 50 + b"\r\nB: 2\r\n\r\n"
    for room in range(80):
        answer = _probe.body_decode(data, trailer_room=room)
        assert answer[:3] == ("done", len(data), b"")
        lines = answer[3].splitlines(keepends=True)
        assert set(lines) <= {b"A: 1\r\n", b"Long: " + b"x" * 50 + b"\r\n", b"B: 2\r\n"}
        assert answer[4] is (len(lines) < 3)
