# SPDX-License-Identifier: MIT
"""A check by the gRPC health protocol: `grpc.health.v1.Health/Check` must answer SERVING.

One unary call over HTTP/2 with prior knowledge, by hand: the frames that a client has to send, and
of the server's only what decides. Its header blocks are not decoded: a good answer is a message on
our stream that says SERVING, and a call that failed has no message. So there is nothing here of
HPACK's decoder, and no library is needed.

Not accepted: padding that is longer than its frame, frames above the 16 KiB that a client gets
unless it asks for more, compressed messages (none was offered), more than one message.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from fastproxy.health.probe import Probe

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_MAX = 16384
ANSWER_MAX = 65536
"""Bytes of DATA of one answer; a health message has two."""
END_STREAM, ACK = 0x1, 0x1
END_HEADERS = 0x4
PADDED = 0x8
STREAM = 1
METHOD = "/grpc.health.v1.Health/Check"


class Frame(IntEnum):
    """Types of RFC 9113 that matter here."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7


class Serving(IntEnum):
    """ServingStatus of health.proto."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


def frame(kind: Frame, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def varint(value: int) -> bytes:
    """As protobuf writes a length."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def literal(text: str) -> bytes:
    """A string of HPACK, without Huffman (RFC 7541, 5.1 and 5.2)."""
    raw = text.encode()
    length = len(raw)
    if length < 127:
        return bytes([length]) + raw
    return b"\x7f" + varint(length - 127) + raw


def headers(authority: str, secure: bool, timeout_ms: int) -> bytes:
    """The header block: indexed where HPACK's static table has it, else literal, never added."""
    fields = {"te": "trailers", "content-type": "application/grpc",
              "user-agent": "fastproxy-health", "grpc-timeout": f"{timeout_ms}m"}  # fmt: skip
    block = b"\x83" + (b"\x87" if secure else b"\x86")
    block += b"\x04" + literal(METHOD) + b"\x01" + literal(authority)
    return block + b"".join(b"\0" + literal(n) + literal(v) for n, v in fields.items())


class GrpcProbe(Probe):
    """See above."""

    def question(self) -> bytes:
        settings = self.check.settings
        name = settings.service.encode()
        request = b"\x0a" + varint(len(name)) + name if name else b""
        self.message = bytearray()
        self.greeted = False
        block = headers(
            settings.host or self.target.authority,
            self.check.tls is not None,
            min(settings.timeout.ms, 99_999_999),
        )
        return (
            PREFACE
            + frame(Frame.SETTINGS, 0, 0)
            + frame(Frame.HEADERS, END_HEADERS, STREAM, block)
            + frame(Frame.DATA, END_STREAM, STREAM, struct.pack("!BI", 0, len(request)) + request)
        )

    def look(self, ended: bool) -> None:
        while len(self.data) >= 9 and not self.seen.done():
            length = int.from_bytes(self.data[:3], "big")
            kind, flags, stream = struct.unpack_from("!BBI", self.data, 3)
            if length > FRAME_MAX or (not self.greeted and kind != Frame.SETTINGS):
                return self.say("the answer is no HTTP/2")
            if len(self.data) < 9 + length:
                break
            payload = bytes(self.data[9 : 9 + length])
            del self.data[: 9 + length]
            self.greeted = True
            self.frame(kind, flags, stream & 0x7FFFFFFF, payload)
        if ended:
            self.say("the connection ended before an answer")
        return None

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One whole frame."""
        if kind == Frame.SETTINGS and not flags & ACK:
            self.answer(frame(Frame.SETTINGS, ACK, 0))
        elif kind == Frame.PING and not flags & ACK:
            self.answer(frame(Frame.PING, ACK, 0, payload))
        elif kind == Frame.GOAWAY:
            (code,) = struct.unpack_from("!I", payload.ljust(8, b"\0"), 4)
            if code:
                self.say(f"the server goes away with HTTP/2 error {code}")
        elif stream == STREAM and kind == Frame.RST_STREAM:
            (code,) = struct.unpack("!I", payload[:4].ljust(4, b"\0"))
            self.say(f"the call was reset with HTTP/2 error {code}")
        elif stream == STREAM and kind in (Frame.DATA, Frame.HEADERS):
            if kind == Frame.DATA:
                self.piece(flags, payload)
            if flags & END_STREAM:
                self.verdict()

    def answer(self, what: bytes) -> None:
        if self.transport:
            self.transport.write(what)

    def piece(self, flags: int, payload: bytes) -> None:
        """A part of the message."""
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                return self.say("the answer is no HTTP/2")
            payload = payload[1 : len(payload) - payload[0]]
        self.message += payload
        if len(self.message) > ANSWER_MAX:
            self.say("the answer is no health message")
        return None

    def verdict(self) -> None:
        """The stream is over: what does the message say?"""
        if not self.message:
            return self.say("the call failed: no such service, or no health service at all")
        try:
            status = read_status(bytes(self.message))
        except ValueError as error:
            return self.say(str(error))
        name = status.name if isinstance(status, Serving) else f"status {status}"
        return self.say("" if status is Serving.SERVING else name, name)


def read_status(message: bytes) -> Serving | int:
    """The status in a gRPC frame with a HealthCheckResponse. ValueError if it is none."""
    if len(message) < 5 or int.from_bytes(message[1:5], "big") != len(message) - 5:
        raise ValueError("the answer is no health message")
    if message[0]:
        raise ValueError("the answer is compressed, which was not offered")
    status = 0
    at = 5
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 0:
            value, at = _read_varint(message, at)
            if key >> 3 == 1:
                status = value
        elif key & 7 == 2:
            length, at = _read_varint(message, at)
            at += length
        else:
            raise ValueError("the answer is no health message")
    if at != len(message):
        raise ValueError("the answer is no health message")
    return Serving(status) if status in set(Serving) else status


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("the answer is no health message")
