"""Paths, targets and hosts."""

from __future__ import annotations

import pytest

from fastproxy import _core, _probe
from tests.oracle import compare
from tests.unit.http1_cases_path import HOSTS, NORMAL, REFUSED, TARGETS

MERGE, REFUSE_SLASH = 1, 2


@pytest.mark.parametrize("case", NORMAL, ids=[repr(c[0]) for c in NORMAL])
def test_normal_form(case: tuple[bytes, ...]) -> None:
    raw, plain, merged = case[0], case[1], case[-1]
    for front in (False, True):
        assert _probe.path_form(raw, front=front)[0] == plain
        assert _probe.path_form(raw, MERGE, front=front)[0] == merged
    compare.path(raw)


@pytest.mark.parametrize("case", REFUSED, ids=[repr(c[0]) for c in REFUSED])
def test_refused(case: tuple[bytes, str]) -> None:
    raw, reason = case
    for options in range(4):
        assert _probe.path_form(raw, options)[:3] == ("fault", 400, reason)
    compare.path(raw)


@pytest.mark.parametrize("raw", [b"/a%2Fb", b"/%2f", b"/a/%2F.."])
def test_encoded_slash_is_data_unless_refused(raw: bytes) -> None:
    assert _probe.path_form(raw)[0] == raw
    assert _probe.path_form(raw, REFUSE_SLASH)[:3] == ("fault", 400, "PATH_SLASH")


@pytest.mark.parametrize("raw", [b"/", b"/a/b.c", b"/a;b", b"/" + b"x" * 300, b"*"])
def test_nothing_to_do_copies_nothing(raw: bytes) -> None:
    assert _probe.path_form(raw, MERGE, cap=0) == (raw, True)


def test_a_room_too_small_is_a_fault_not_an_overrun() -> None:
    raw = b"/a/../" + b"b" * 50
    assert _probe.path_form(raw, cap=len(raw))[0] == b"/" + b"b" * 50
    assert _probe.path_form(raw, cap=len(raw) - 1)[:3] == ("fault", 414, "PATH_LONG")


def test_the_fault_points_at_the_escape() -> None:
    assert _probe.path_form(b"/abc/%00")[3] == 5


@pytest.mark.parametrize("case", HOSTS, ids=[repr(c[0][:30]) for c in HOSTS])
def test_host(case: tuple[bytes, tuple[bytes, int] | None]) -> None:
    text, want = case
    assert _probe.host_form(text) == want
    assert _core.split_host(text) == want
    compare.host(text)


@pytest.mark.parametrize("case", TARGETS, ids=[c[0].decode() for c in TARGETS])
def test_target(case: tuple[bytes, dict[str, object] | None]) -> None:
    line, want = case
    data = line + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    parts = _probe.target_parts(data)
    if want is None:
        assert parts[:3] == ("fault", 400, "AUTHORITY_BAD")
    else:
        assert {key: parts[key] for key in want} == want
    compare.head(_probe.head_parse(True, data), True, data)
