"""Chunked bodies again: the twin of http1/chunked.pxd."""

from __future__ import annotations

import re

from tests.oracle.http1 import FIELD, FIELD_SO_FAR, T, V

QUOTED_SO_FAR = rb'"(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\%s)*' % V
EXTENSION = rb';%s+(?:=(?:%s+|%s"))?' % (T, T, QUOTED_SO_FAR)
EXTENSION_SO_FAR = rb';(?:%s+(?:=(?:%s+|%s(?:"|\\)?)?)?)?' % (T, T, QUOTED_SO_FAR)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?P<ext>(?:%s)*)\r\n" % EXTENSION)
CHUNK_LINE_SO_FAR = re.compile(
    rb"(?:[0-9A-Fa-f]{1,15}(?P<ext>(?:%s)*(?:\r|%s)?))?" % (EXTENSION, EXTENSION_SO_FAR)
)
LATE = re.compile(
    rb"(?i)(?:host|content-.*|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|"
    rb"upgrade|http2-settings|expect|max-forwards|range|if-.*|cache-control|pragma|origin|referer|"
    rb"user-agent|accept.*|access-control-.*|sec-.*|early-data|authorization|proxy-authorization|"
    rb"proxy-authenticate|www-authenticate|authentication-info|cookie|set-cookie|x-forwarded-.*|"
    rb"x-real-ip|x-request-id|x-correlation-id|forwarded|via|traceparent|tracestate|age|date|"
    rb"expires|last-modified|location|retry-after|vary|warning|allow|strict-transport-security|"
    rb"x-frame-options|x-content-type-options|.*_.*)"
)
EXT_MAX, EXT_TOTAL_MAX, TRAILER_MAX = 256, 4096, 8192


def chunked(data: bytes) -> tuple[object, ...]:
    """("more", payload), ("fault",) or ("done", consumed, payload, trailer lines)."""
    at, payload, extensions = 0, b"", 0
    while True:
        m = CHUNK_LINE.match(data, at)
        so_far = m or CHUNK_LINE_SO_FAR.fullmatch(data, at)
        if not so_far:
            return ("fault",)
        ext = len((so_far["ext"] or b"").removesuffix(b"\r"))
        if ext > EXT_MAX or extensions + ext > EXT_TOTAL_MAX:
            return ("fault",)
        if not m:
            return ("more", payload)
        extensions += ext
        at, size = m.end(), int(m[1], 16)
        if size == 0:
            return _trailers(data, at, payload)
        payload += data[at : at + size]
        end = data[at + size : at + size + 2]
        if not b"\r\n".startswith(end):
            return ("fault",)
        if end != b"\r\n":
            return ("more", payload)
        at += size + 2


def _trailers(data: bytes, at: int, payload: bytes) -> tuple[object, ...]:
    end = at + TRAILER_MAX
    lines = b""
    while True:
        line = data[at:end]
        if line.startswith(b"\r\n"):
            return ("done", at + 2, payload, lines)
        m = FIELD.match(line)
        if m:
            if not LATE.fullmatch(m[1]):
                lines += m[1] + b": " + m[2].strip(b" \t") + b"\r\n"
            at += m.end()
            continue
        if line != b"\r" and not FIELD_SO_FAR.fullmatch(line):
            return ("fault",)
        return ("fault",) if len(data) > end else ("more", payload)
