"""RFC 7541: field blocks, well made and badly made. A block that cannot be decoded ends the
connection with COMPRESSION_ERROR (RFC 9113 section 4.3)."""

from __future__ import annotations

import hpack

from tests.h2 import frames as h2
from tests.h2.case import ANY, NEVER, ONCE, Case, done, field_is
from tests.h2.frames import INDEXED_LITERAL, NEVER_INDEXED, PLAIN, indexed, literal, table_size

BASE = h2.block(*h2.fields())
STATIC = indexed(2) + indexed(6) + indexed(4) + literal(1, b"a.test")
"""GET, http, /, and the authority by the index of its name."""
X = literal(b"x", b"1", INDEXED_LITERAL)
LAST = 61
"""The static table ends here; the newest entry of the dynamic table is 62."""
BROKEN = {"goaway COMPRESSION_ERROR"}


def good(section: str, name: str, fragment: bytes, *values: str) -> Case:
    """This block is a request; `x` has these values at the origin."""
    check = field_is("x", *values) if values else None
    return Case(f"7541 {section}", name, h2.headers(1, fragment), {"200"}, ONCE, check=check)


def bad(section: str, name: str, fragment: bytes) -> Case:
    return Case(f"7541 {section}", name, h2.headers(1, fragment), BROKEN, NEVER)


def later(section: str, name: str, first: bytes, second: bytes, *values: str) -> Case:
    """Two requests; of the second, `x` has these values at the origin."""
    return Case(
        f"7541 {section}",
        name,
        [h2.headers(1, first), done(1), h2.headers(3, second)],
        {"200"} if values else BROKEN,
        ANY,
        watch=3,
        check=(lambda _, seen: _same(seen[-1].all("x"), list(values))) if values else None,
    )


def _same(found: list[str], wanted: list[str]) -> None:
    assert found == wanted


def huffman(raw: bytes) -> bytes:
    """As the library codes it, padded as it has to be."""
    encoder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    return bytes(encoder.encode(raw))


def coded(octets: bytes) -> bytes:
    """A field `x` whose value is these bytes of Huffman code."""
    return BASE + b"\x00" + h2.text(b"x") + h2.text(octets, coded=True)


EVERY = bytes(range(0x21, 0x7F))
SIZES = [table_size(0) + table_size(4096), table_size(0), table_size(100)]
BIG = literal(b"x-big", b"v" * 5000, INDEXED_LITERAL)

TABLES = [
    good("2.3.1", "static table", STATIC),
    good("2.3.1", "static field with a value", STATIC + indexed(16)),
    bad("2.3.3", "index one behind the static table", BASE + indexed(LAST + 1)),
    bad("2.3.3", "index one behind the dynamic table", BASE + X + indexed(LAST + 2)),
    bad("2.3.3", "index far behind", BASE + indexed(1 << 20)),
    bad("2.3.3", "name one behind the static table", BASE + literal(LAST + 1, b"1")),
    bad("2.3.3", "name far behind, incremental", BASE + literal(9999, b"1", INDEXED_LITERAL)),
    bad("2.3.3", "name far behind, never indexed", BASE + literal(9999, b"1", NEVER_INDEXED)),
    later(
        "2.3.2",
        "newest first",
        BASE + X + literal(b"y", b"2", INDEXED_LITERAL),
        BASE + indexed(LAST + 2),
        "1",
    ),
    good("2.3.2", "twice the same entry", BASE + X + X + indexed(62) + indexed(63), *"1111"),
    good("4.2", "size update to 0 and back", SIZES[0] + BASE + X + indexed(62), "1", "1"),
    good("4.2", "size update to 0", SIZES[1] + BASE + X, "1"),
    bad("4.2", "size update at the end", BASE + table_size(100)),
    bad("4.2", "size update in the middle", indexed(2) + table_size(0) + BASE),
    bad("4.2", "size update alone, above the limit", table_size(4097) + BASE),
    bad("4.2", "size update of 2^30", table_size(1 << 30) + BASE),
    later("4.3", "size update evicts", BASE + X, SIZES[0] + BASE + indexed(62)),
    later(
        "4.3",
        "a small table evicts",
        BASE + X + literal(b"y", b"2", INDEXED_LITERAL),
        table_size(40) + BASE + indexed(63),
    ),
    later(
        "4.3",
        "a small table keeps the newest",
        BASE + literal(b"y", b"2", INDEXED_LITERAL) + X,
        table_size(40) + BASE + indexed(62),
        "1",
    ),
    later("4.4", "too large an entry empties the table", BASE + X + BIG, BASE + indexed(62)),
    later("4.4", "and is a field all the same", BASE + X + BIG, BASE + X, "1"),
]

INTEGERS = [
    good("5.1", "zeros in front of the end", BASE + b"\x00\x01x\x7f\x00" + b"v" * 127, "v" * 127),
    good("5.1", "more zeros", BASE + b"\x00\x01x\x7f\x80\x80\x00" + b"v" * 127, "v" * 127),
    bad("5.1", "index without an end", BASE + b"\xff\x80\x80\x80"),
    bad("5.1", "index above 2^32", BASE + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    bad("5.1", "length above 2^32", BASE + b"\x00\x7f\xff\xff\xff\xff\xff\x7fx"),
    bad("5.1", "size above 2^64", b"\x3f" + b"\xff" * 12 + b"\x01" + BASE),
    bad("5.1", "endless zeros", BASE + b"\xff" + b"\x80" * 200 + b"\x00"),
]

STRINGS = [
    good("5.2", "Huffman", coded(huffman(EVERY)), EVERY.decode()),
    good(
        "5.2",
        "Huffman, name and value",
        BASE + b"\x00" + h2.text(huffman(b"x"), True) + h2.text(huffman(b"1"), True),
        "1",
    ),
    good("5.2", "an empty Huffman string", coded(b""), ""),
    bad("5.2", "padding with zeros", coded(b"\x08")),
    bad("5.2", "padding of 8 bits", coded(huffman(b"ab")[:-1] + huffman(b"ab")[-1:] + b"\xff")),
    bad("5.2", "padding of 16 bits", coded(b"\x0f\xff\xff")),
    bad("5.2", "EOS", coded(b"\xff\xff\xff\xff")),
    bad("5.2", "EOS behind a character", coded(b"\x1f\xff\xff\xff\xff")),
    bad("5.2", "a code cut off", coded(b"\xff\xff\xf6")),
    bad("5.2", "value longer than the block", BASE + b"\x00\x01x\x05abc"),
    bad("5.2", "name longer than the block", BASE + b"\x00\x7f\x10abc"),
    bad("5.2", "name without value", BASE + b"\x00\x01x"),
]

FIELDS = [
    bad("6.1", "index 0", BASE + indexed(0)),
    good("6.1", "dynamic entry in the same block", BASE + X + indexed(62), "1", "1"),
    later("6.1", "dynamic entry of an earlier block", BASE + X, BASE + indexed(62), "1"),
    good("6.2.1", "incremental, name as text", BASE + X, "1"),
    later(
        "6.2.1",
        "incremental, name by index",
        BASE + X,
        BASE + literal(62, b"2", INDEXED_LITERAL) + indexed(62),
        "2",
        "2",
    ),
    good("6.2.2", "without indexing, name as text", BASE + literal(b"x", b"1", PLAIN), "1"),
    good("6.2.2", "without indexing, name by index", BASE + X + literal(62, b"2"), "1", "2"),
    later(
        "6.2.2", "without indexing is not indexed", BASE + literal(b"x", b"1"), BASE + indexed(62)
    ),
    good("6.2.3", "never indexed, name as text", BASE + literal(b"x", b"1", NEVER_INDEXED), "1"),
    good(
        "6.2.3",
        "never indexed, name by index",
        BASE + X + literal(62, b"2", NEVER_INDEXED),
        "1",
        "2",
    ),
    later(
        "6.2.3",
        "never indexed is not indexed",
        BASE + literal(b"x", b"1", NEVER_INDEXED),
        BASE + indexed(62),
    ),
    bad("6.3", "size update above the limit", table_size(65536) + BASE),
    good("6.3", "size update to the limit", table_size(4096) + BASE + X, "1"),
]

CASES = [*TABLES, *INTEGERS, *STRINGS, *FIELDS]
