"""Copying while testing (clib/clean.h), at every length and every place, against the slow way."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import _probe

CLEAN = re.compile(rb"[ !#-\[\]-~]*")


def slow(text: bytes) -> int:
    found = CLEAN.match(text)
    assert found
    return found.end()


@pytest.mark.parametrize("front", [False, True])
def test_every_byte_at_every_length(front: bool) -> None:
    for byte in range(256):
        for length in range(1, 20):
            text = bytes([byte]) * length
            clean, copy = _probe.clean_copy(text, front)
            assert clean == slow(text), (byte, length)
            assert copy[:clean] == text[:clean]
            assert _probe.clean_whole(text, front) == (text if clean == length else None)


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("byte", [0x00, 0x1F, 0x20, 0x22, 0x5C, 0x7E, 0x7F, 0x80, 0xFF])
def test_every_place_at_every_length(byte: int, front: bool) -> None:
    for length in range(70):
        whole = bytes(range(0x23, 0x23 + 50)) * 2
        for at in range(length):
            text = whole[:at] + bytes([byte]) + whole[at + 1 : length]
            clean, copy = _probe.clean_copy(text, front)
            assert clean == slow(text), (at, length)
            assert copy[:clean] == text[:clean]
            assert _probe.clean_whole(text, front) == (text if clean == length else None)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(text: bytes, front: bool) -> None:
    clean, copy = _probe.clean_copy(text, front)
    assert clean == slow(text)
    assert copy[:clean] == text[:clean]


@given(st.integers(0, 2**64 - 1))
def test_numbers(number: int) -> None:
    """Two digits a step is right for every number of digits."""
    for wanted in (number, number >> 10, number >> 32, number >> 50, number >> 60):
        assert _probe.decimal(wanted) == b"%d" % wanted


def test_numbers_at_the_edges() -> None:
    for power in range(20):
        for wanted in (10**power - 1, 10**power, 10**power + 1):
            assert _probe.decimal(wanted) == b"%d" % wanted
            assert _probe.decimal(wanted, len(str(wanted)) - 1) is None
    assert _probe.decimal(2**64 - 1) == b"18446744073709551615"
