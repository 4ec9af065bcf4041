"""HTTP/2 frames and HPACK as bytes, made by hand: what a library would refuse to send, too.

`frame` is the one builder; the others name its types. Field blocks are literals without indexing
and without Huffman coding (`block`), so that a block stands for itself, whatever came before.
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
UNKNOWN = 0xBA

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
WHOLE = END_HEADERS | END_STREAM

TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 1, 2, 3, 4, 5, 6
ENABLE_CONNECT = 8

ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
CANCEL = 8
BIGGEST = 0x7FFFFFFF

Field = tuple[bytes, bytes]


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else f"code {code:#x}"


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


# ---- frames -----------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame; `stream` may have the reserved bit set."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + u32(stream) + payload


def data(stream: int, payload: bytes = b"", flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream, payload)


def padded(payload: bytes, pad: int, said: int | None = None) -> bytes:
    """A payload with `pad` octets of padding; `said`: the length that is told instead."""
    return bytes((pad if said is None else said,)) + payload + bytes(pad)


def headers(stream: int, fragment: bytes, flags: int = WHOLE) -> bytes:
    return frame(HEADERS, flags, stream, fragment)


def continuation(stream: int, fragment: bytes = b"", flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, fragment)


def priority(stream: int, parent: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, 0, stream, u32(parent) + bytes((weight,)))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, u32(code))


def values(*pairs: tuple[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join(key.to_bytes(2, "big") + u32(value) for key, value in pairs)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, values(*pairs))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def goaway(code: int = 0, last: int = 0, debug: bytes = b"", stream: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream, u32(last) + u32(code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, u32(increment))


# ---- HPACK ------------------------------------------------------------------------------------

PLAIN, INDEXED_LITERAL, NEVER_INDEXED = (0x00, 4), (0x40, 6), (0x10, 4)
"""Kinds of literals: first bits, and how many bits are left for the index of the name."""


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541 section 5.1, behind the bits `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(raw: bytes, coded: bool = False) -> bytes:
    """A string; `coded`: these bytes are Huffman code already."""
    return integer(len(raw), 7, 0x80 if coded else 0) + raw


def literal(name: bytes | int, value: bytes, kind: tuple[int, int] = PLAIN) -> bytes:
    """A literal field; the name as text or as an index."""
    first, bits = kind
    if isinstance(name, int):
        return integer(name, bits, first) + text(value)
    return bytes((first,)) + text(name) + text(value)


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


def table_size(size: int) -> bytes:
    """A dynamic table size update."""
    return integer(size, 5, 0x20)


def block(*fields: Field) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


# ---- requests ---------------------------------------------------------------------------------


def fields(
    path: bytes = b"/",
    method: bytes = b"GET",
    authority: bytes = b"a.test",
    scheme: bytes = b"http",
) -> list[Field]:
    """The pseudo-header fields of a good request."""
    return [
        (b":method", method),
        (b":scheme", scheme),
        (b":path", path),
        (b":authority", authority),
    ]


def get(stream: int = 1, *more: Field, path: bytes = b"/", method: bytes = b"GET") -> bytes:
    """A whole request without content."""
    return headers(stream, block(*fields(path, method), *more))


def post(stream: int = 1, *more: Field, path: bytes = b"/back") -> bytes:
    """The head of a request whose content is to come."""
    return headers(stream, block(*fields(path, b"POST"), *more), END_HEADERS)


def ask(*these: Field, stream: int = 1) -> bytes:
    """A request of exactly these fields."""
    return headers(stream, block(*these))


def without(name: bytes) -> bytes:
    """A request that lacks one pseudo-header field."""
    return ask(*(field for field in fields() if field[0] != name))


def instead(name: bytes, value: bytes, method: bytes = b"GET") -> bytes:
    """A request with one pseudo-header field of another value."""
    return ask(*((key, value if key == name else old) for key, old in fields(method=method)))
