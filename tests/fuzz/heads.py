"""What the targets for request and response heads share."""

from __future__ import annotations

import random
import zlib

from fastproxy import _probe
from tests.oracle import compare

LIMITS = [(8192, 8192, 32768, 128)] * 3 + [(64, 48, 160, 4)]
DICTIONARY = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"OPTIONS * ",
    b"CONNECT a:1 ",
    b"http://a",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"HTTP/1.1 ",
    b"101 ",
    b"204 ",
    b"304 ",
    b"\r\n\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade, x\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Key: x\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n",
    b"X: y\r\n",
    b": ",
    b",",
    b"_",
    b"chunked",
    b"999999999999999999",
    b"[::1]",
]


def run_head(request: bool, data: bytes) -> object:
    """Whole against cut in pieces, one width against another, ours against the twin's."""
    chance = random.Random(zlib.crc32(data))
    limits = chance.choice(LIMITS)
    method = chance.choice([b"GET", b"HEAD"]) if not request else b"GET"
    how = {"limits": limits, "request_method": compare.METHODS[method]}
    whole = _probe.head_parse(request, data, **how)
    pieces = sorted({chance.randint(0, len(data)) for _ in range(chance.randint(1, 6))})
    for simd in ("avx2", "sse2", "swar"):
        cut = _probe.head_parse(request, data, [*pieces, len(data)], simd=simd, front=True, **how)
        compare.differ(f"{simd}, cut at {pieces},", data, cut, whole)
    if len(data) < 400:
        steps = _probe.head_parse(request, data, range(1, len(data) + 1) or [0], **how)
        compare.differ("byte by byte,", data, steps, whole)
    compare.head(whole, request, data, limits, method)
    if whole[0] != "head":
        return whole[:3]
    framing = whole[3][:3] if isinstance(whole[3], tuple) else tuple(whole[3].values())[1:6]
    return (whole[2]["ids"], min(len(whole[2]["fields"]), 6), framing)
