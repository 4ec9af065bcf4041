# SPDX-License-Identifier: MIT
"""Fill table structs from Python, by the offsets the C compiler chose.

`_core.layout()` says where each field of each table struct lies; nothing here or in any `build.py`
knows an offset by heart. A value may be an integer, a pair for Text and Slice, a dict for another
struct, bytes for a byte array, or a sequence for any array. What is not named stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastproxy import _core

LAYOUT: dict[str, tuple[int, dict[str, tuple[int, int, str]]]] = _core.layout()
SCALARS = {
    "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8,
    "int8_t": 1, "int16_t": 2, "int32_t": 4, "int64_t": 8, "char": 1, "bint": 4,
}  # fmt: skip
PAIRS = ("Text", "Slice")


def size(struct: str) -> int:
    """Bytes of one row."""
    return LAYOUT[struct][0]


def pack(struct: str, values: Mapping[str, Any]) -> bytes:
    """One row as bytes. KeyError for a field the struct does not have, OverflowError for a value
    that does not fit."""
    total, fields = LAYOUT[struct]
    row = bytearray(total)
    for name, value in values.items():
        offset, length, kind = fields[name]
        row[offset : offset + length] = _value(kind, length, value)
    return bytes(row)


def read(struct: str, data: bytes | memoryview, base: int = 0) -> dict[str, Any]:
    """The reverse of `pack`, for tests and readers of shared memory."""
    _, fields = LAYOUT[struct]
    return {
        name: _read(kind, data[base + offset : base + offset + length])
        for name, (offset, length, kind) in fields.items()
    }


def _value(kind: str, length: int, value: Any) -> bytes:
    if type(value) is int and length == SCALARS.get(kind):
        return value.to_bytes(length, "little", signed=not kind.startswith("u"))
    if isinstance(value, (bytes, bytearray)):
        if len(value) > length:
            raise OverflowError(f"{len(value)} bytes do not fit in {length}")
        return bytes(value).ljust(length, b"\0")
    if kind in SCALARS:
        width = SCALARS[kind]
        values = value if isinstance(value, (list, tuple)) else [value]
        if len(values) * width > length:
            raise OverflowError(f"{len(values)} values do not fit in {length // width}")
        signed = not kind.startswith("u")
        packed = b"".join(int(v).to_bytes(width, "little", signed=signed) for v in values)
        return packed.ljust(length, b"\0")
    if kind in PAIRS and isinstance(value, tuple):
        return b"".join(int(v).to_bytes(4, "little") for v in value)
    return pack(kind, value)


def _read(kind: str, data: bytes | memoryview) -> Any:
    if kind in SCALARS:
        width = SCALARS[kind]
        signed = not kind.startswith("u")
        if kind == "uint8_t" and len(data) > 1:
            return list(data)
        values = [
            int.from_bytes(data[i : i + width], "little", signed=signed)
            for i in range(0, len(data), width)
        ]
        return values[0] if len(values) == 1 else values
    if kind in PAIRS:
        return (int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little"))
    return read(kind, data)


class Blob:
    """A growing plan: rows and texts are put in, (offset, length) pairs come out."""

    def __init__(self, header_size: int) -> None:
        self.data = bytearray(header_size)
        self._texts: dict[bytes, tuple[int, int]] = {}

    def text(self, text: str | bytes) -> tuple[int, int]:
        """Text: stored once however often it is asked for."""
        raw = text.encode() if isinstance(text, str) else bytes(text)
        found = self._texts.get(raw)
        if found is None:
            found = self._texts[raw] = (self.raw(raw, align=1), len(raw))
        return found

    def rows(self, struct: str, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Slice over packed rows."""
        return (self.raw(b"".join(pack(struct, row) for row in rows)), len(rows))

    def raw(self, data: bytes, align: int = 8) -> int:
        """Any bytes; the offset of the first one."""
        self.data.extend(bytes(-len(self.data) % align))
        offset = len(self.data)
        self.data.extend(data)
        return offset

    def finish(self, header_struct: str, header: Mapping[str, Any]) -> bytes:
        """The whole blob with its header row in front (`length` and `layout_hash` are added)."""
        self.data.extend(bytes(-len(self.data) % 8))
        full = {**header, "length": len(self.data), "layout_hash": _core.layout_hash()}
        row = pack(header_struct, full)
        self.data[: len(row)] = row
        return bytes(self.data)
