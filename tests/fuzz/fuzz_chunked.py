"""Chunked bodies: whole against cut in pieces, ours against the twin's."""

from __future__ import annotations

import random
import zlib

from fastproxy import _probe
from tests.oracle import compare

ROOM = 16384
DICTIONARY = [b"0\r\n\r\n", b"5\r\nhello\r\n", b";a=b", b';a="', b'"', b"\\", b"fffffffffffffff"]
DICTIONARY += [b"0\r\n", b"A: b\r\n", b"Host: a\r\n", b"1\r\nx\r\n", b"00000000"]


def run(data: bytes) -> object:
    chance = random.Random(zlib.crc32(data))
    whole = _probe.body_decode(data, trailer_room=ROOM)
    pieces = sorted({chance.randint(0, len(data)) for _ in range(chance.randint(1, 6))})
    cut = _probe.body_decode(data, [*pieces, len(data)], trailer_room=ROOM)
    compare.differ(f"cut at {pieces},", data, cut[:5], whole[:5])
    if len(data) < 400:
        steps = _probe.body_decode(data, range(1, len(data) + 1), trailer_room=ROOM)
        compare.differ("byte by byte,", data, steps[:5], whole[:5])
    compare.body(data, whole)
    if whole[0] == "fault":
        return whole[:3]
    return (whole[0], min(len(whole[2]), 8), min(whole[3].count(b"\n"), 4))
