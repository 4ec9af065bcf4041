"""The walk over frames: where one ends, however the bytes come."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import _probe
from tests.oracle.websocket import frame, frames_state

MASK = b"\x01\x80\xff\x00"
FRAMES = st.builds(
    frame,
    st.one_of(st.binary(max_size=140), st.sampled_from([b"x" * 65535, b"y" * 65536])),
    st.sampled_from([0, 1, 2, 8, 9, 10]),
    final=st.booleans(),
    mask=st.sampled_from([b"", MASK]),
)


@pytest.mark.parametrize("mask", [b"", MASK])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 70000])
def test_a_frame_ends_where_it_ends(size: int, mask: bytes) -> None:
    data = frame(b"x" * size, mask=mask)
    head = len(data) - size
    assert _probe.frames_state(data) == "between"
    for n in {*range(1, head + 1), len(data) - 1} - {len(data), 0}:
        assert _probe.frames_state(data[:n]) == "inside", n
    assert _probe.frames_state(data, range(1, head + 1)) == "between"
    assert _probe.frames_state(data + data[:1]) == "inside"


@pytest.mark.parametrize("said", [b"", struct.pack("!H", 1000) + b"bye"])
def test_nothing_comes_behind_a_close_frame(said: bytes) -> None:
    data = frame(b"hello") + frame(said, 8, mask=MASK)
    assert _probe.frames_state(data) == "over"
    assert _probe.frames_state(data[:-1]) == "inside"
    assert _probe.frames_state(data + frame(b"more")) == "over"


def test_control_frames_stand_between_fragments() -> None:
    parts = [
        frame(b"a", 1, final=False), frame(b"p", 9), frame(b"b", 0, final=False), frame(b"c", 0)
    ]  # fmt: skip
    for n in range(len(parts) + 1):
        assert _probe.frames_state(b"".join(parts[:n])) == "between"


@given(st.lists(FRAMES, max_size=6), st.data())
def test_like_the_twin_at_every_split(frames: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(frames)
    data = data[: draw.draw(st.integers(0, len(data)))]
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    assert _probe.frames_state(data) == _probe.frames_state(data, cuts) == frames_state(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_at_all(data: bytes, cuts: list[int]) -> None:
    """It judges nothing, and never reads on behind what it was given."""
    places = sorted(min(cut, len(data)) for cut in cuts)
    assert _probe.frames_state(data, places) == frames_state(data)


@pytest.mark.parametrize("key", [0, 1, 0x01020304, 0xFFFFFFFF])
def test_goodbye(key: int) -> None:
    """1001, "going away" (RFC 6455 7.4.1), masked by a client."""
    mask = struct.pack("<I", key) if key else b""
    assert _probe.goodbye(key) == frame(struct.pack("!H", 1001), 8, mask=mask)


def test_a_walk_is_small() -> None:
    assert _probe.frame_walk_bytes() == 16
