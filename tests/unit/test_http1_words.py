"""The small parts: scanning, names, faults, Connection's nominations, limits of guards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import _core, _probe
from tests.oracle import http1
from tests.unit.http1_cases import get

SIMD = ("avx2", "sse2", "swar")
TOKEN = set(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
VALUE = {9, *range(32, 127), *range(128, 256)}
TARGET = set(range(0x21, 0x7F)) - {ord("#")}


def first_not_in(data: bytes, allowed: set[int]) -> int:
    return next((i for i, c in enumerate(data) if c not in allowed), len(data))


def check_scan(data: bytes) -> None:
    want = (first_not_in(data, VALUE), first_not_in(data, TARGET))
    for simd in SIMD:
        for front in (False, True):
            assert _probe.scan_ends(data, simd, front=front)[:2] == want, (simd, data)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100])
def test_scan_finds_every_byte_at_every_place(length: int) -> None:
    check_scan(b"x" * length)
    for at in range(length):
        for byte in (0, 9, 10, 13, 31, 32, 33, 35, 126, 127, 128, 255):
            check_scan(b"x" * at + bytes([byte]) + b"x" * (length - at - 1))


def test_scan_knows_every_byte() -> None:
    for byte in range(256):
        for before in (0, 40):
            check_scan(b"y" * before + bytes([byte]) + b"y" * 40)


@given(st.binary(max_size=150))
def test_scan_on_anything(data: bytes) -> None:
    check_scan(data)


def test_scan_tables_differ_and_can_be_forced() -> None:
    best = _probe.scan_ends(b"", "no such")[2]
    assert best in ("avx2", "sse2", "swar")
    assert _probe.scan_ends(b"", "swar")[2] == "swar"
    code = "from fastproxy import _probe; print(_probe.scan_ends(b'')[2])"
    for forced, want in (("swar", "swar"), ("nonsense", best)):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "FASTPROXY_SIMD": forced},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == want


def test_character_classes() -> None:
    unreserved = {c for c in TOKEN if chr(c).isalnum()} | set(b"-._~")
    quoted = {9, 0x20, 0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F), *range(0x80, 0x100)}
    odd = set(range(0x21)) | set(range(0x7F, 0x100)) | set(b"%\\?#")
    for byte, word in enumerate(_probe.char_classes()):
        said = tuple(bool(word & bit) for bit in (1, 2, 4, 8, 16, 32, 64))
        assert said == (
            byte in TOKEN,
            byte in VALUE,
            byte in TARGET,
            byte == ord("_"),
            byte in unreserved,
            byte in odd,
            byte in quoted,
        ), byte


def test_every_known_name_is_found_in_any_case() -> None:
    table = _probe.field_table()
    assert len(set(table)) == len(table) == 38
    for number, name in enumerate(table):
        for form in (name, name.lower(), name.upper(), name.swapcase()):
            assert _probe.name_to_id(form.encode()) == number
            assert _core.field_id(form.encode()) == number


def test_near_names_are_not_known() -> None:
    """One byte changed, added or taken away: another name."""
    known = {n.lower().encode() for n in _probe.field_table()}
    for name in known - {b""}:
        near = {name[:i] + c + name[i + 1 :] for i in range(len(name)) for c in (b"x", b"_", b"~")}
        near |= {name[:i] + name[i + 1 :] for i in range(len(name))} | {name + b"s", b"x" + name}
        for other in near - known:
            assert _probe.name_to_id(other) == 0, other


@given(st.binary(max_size=30).map(lambda b: bytes(c for c in b if c in TOKEN)))
def test_unknown_names(name: bytes) -> None:
    known = [n.lower().encode() for n in _probe.field_table()]
    want = known.index(name.lower()) if name.lower() in known else 0
    assert _probe.name_to_id(name) == want


def test_methods_are_case_sensitive() -> None:
    ours = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]
    for number, name in enumerate(ours, start=1):
        assert _probe.method_to_id(name.encode()) == (number, name)
        assert _core.method_id(name.encode()) == number
        for other in (name.lower(), name.capitalize(), name + "X", name[:-1], "X" + name[1:]):
            assert _probe.method_to_id(other.encode()) == (0, "")


def test_every_fault_has_a_text_and_a_status() -> None:
    table = _probe.fault_table()
    assert table[0] == ("NONE", 0, "no fault")
    assert len({name for name, _, _ in table}) == len(table)
    for name, status, text in table[1:]:
        assert status in (400, 413, 414, 417, 431, 501, 505), name
        assert text
        assert status == http1.STATUS.get(name, 400), name


def test_door_for_configuration() -> None:
    assert _core.is_token(b"X-Env")
    assert not any(_core.is_token(t) for t in (b"", b"a b", b"a:", b"\xe4", b"a\n"))
    assert _core.is_field_value(b"")
    assert _core.is_field_value(b"a \t\xe4")
    assert not any(_core.is_field_value(t) for t in (b"\r", b"a\nb", b"\0", b"\x7f"))


GUARDED = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Set-Cookie",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Anything",
    "Forwarded",
    "X-Real-IP",
    "Via",
    "X-Request-ID",
    "Date",
    "Cache-Control",
    "Content-Type",
    "Accept-Encoding",
    "If-None-Match",
    "Range",
    "Sec-WebSocket-Key",
    "Expect",
    "Origin",
]


# ---- what Connection may name away (B3 22) -----------------------------------------------------


def nominated(*fields: bytes) -> set[bytes]:
    head = _probe.head_parse(True, get(*fields))
    assert head[0] == "head"
    return {f[0] for f in head[2]["fields"] if f[3] & 1}


def test_nominated_fields_are_marked_in_any_case_and_number() -> None:
    assert nominated(b"X-Hop: 1", b"Connection: x-HOP, y", b"x-hop: 2", b"Y: 1", b"Z: 1") == {
        b"X-Hop",
        b"x-hop",
        b"Y",
    }
    assert nominated(b"A: 1", b"B: 2", b"Connection: a", b"Connection: close,b") == {b"A", b"B"}
    assert nominated(b"A: 1", b"AB: 2", b"Connection: abc") == set()


@pytest.mark.parametrize("name", GUARDED)
def test_end_to_end_fields_cannot_be_named_away(name: str) -> None:
    value = {"Host": b"a", "Content-Length": b"1", "Transfer-Encoding": b"chunked"}.get(name, b"x")
    if name == "Expect":
        value = b"100-continue"
    field = name.encode() + b": " + value
    data = b"POST / HTTP/1.1\r\n" + (b"" if name == "Host" else b"Host: a\r\n")
    data += field + b"\r\nConnection: close, " + name.upper().encode() + b", x-hop\r\nX-Hop: 1\r\n"
    head = _probe.head_parse(True, data + b"\r\n")
    assert head[0] == "head"
    assert isinstance(head[3], dict), head[3]
    assert {f[0] for f in head[2]["fields"] if f[3] & 1} == {b"X-Hop"}


def test_underscore_names_are_marked() -> None:
    head = _probe.head_parse(True, get(b"X_User: a", b"X-User: b", b"_: c", b"n" * 40 + b"_: d"))
    assert [bool(f[3] & 2) for f in head[2]["fields"]] == [False, True, False, True, True]


def test_a_connection_field_of_many_options_costs_little() -> None:
    """32 KiB of options against 128 fields: the budget ends the walk, and it is refused."""
    fields = [b"X%d: 1" % i for i in range(120)]
    options = b"Connection: " + b"a," * 4000
    answer = _probe.head_parse(True, get(*fields, options))
    assert answer[3][:3] == ("fault", 400, "CONNECTION_BAD")
