"""The layout of table structs, as Python sees it."""

import pytest

from fastproxy.memory import pack


def test_pack_and_read_are_inverse() -> None:
    row = pack.pack("RouteRow", {"name": (7, 3), "status": 301, "max_body": 1 << 40})
    back = pack.read("RouteRow", row)
    assert back["name"] == (7, 3)
    assert back["status"] == 301
    assert back["max_body"] == 1 << 40
    assert back["target"] == 0


def test_pack_refuses_what_does_not_fit() -> None:
    with pytest.raises(OverflowError):
        pack.pack("RouteRow", {"status": 65536})
    with pytest.raises(KeyError):
        pack.pack("RouteRow", {"colour": 1})


def test_rows_for_shared_memory_fill_whole_cache_lines() -> None:
    for name in ("WorkerRow", "BackendRow", "BackendCount", "RouteCount"):
        assert pack.size(name) % 64 == 0, name
