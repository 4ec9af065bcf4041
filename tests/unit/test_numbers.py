"""Numbers of upstreams and routes over reloads, against what a table would do by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.numbers import RETIRED, Numbers

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


def test_upstreams_keep_their_places() -> None:
    numbers = Numbers(["a", "b", "c"])
    assert numbers.order(["c", "d", "a"]) == ["a", "b", "c", "d"]
    assert numbers.names(["c", "d", "a"]) == ["a", RETIRED, "c", "d"]
    assert Numbers().order(["x", "y"]) == ["x", "y"]


def test_routes_keep_their_rows_and_new_ones_get_unused_ones_first() -> None:
    numbers = Numbers(routes={"a": 0, "gone": 1, "c": 2})
    assert numbers.rows(["new", "c", "a", "newer"], 10) == [3, 2, 0, 4]


def test_a_full_table_gives_on_rows_of_routes_that_are_gone() -> None:
    numbers = Numbers(routes={"a": 0, "gone": 1, "c": 2, "too": 3})
    assert numbers.rows(["x", "c", "a", "y"], 4) == [1, 2, 0, 3]


@given(st.lists(NAMES, max_size=6), st.integers(8, 12))
def test_any_history(history: list[list[str]], most: int) -> None:
    """No two share a row; who stays keeps it; an upstream keeps its number for good."""
    upstreams: list[str] = []
    routes: dict[str, int] = {}
    current: dict[str, int] = {}
    for names in history:
        numbers = Numbers(upstreams, routes)
        order = numbers.order(names)
        assert order[: len(upstreams)] == upstreams
        assert set(order) == set(upstreams) | set(names)
        assert [name for name in numbers.names(names) if name] == [n for n in order if n in names]
        rows = numbers.rows(names, most)
        assert len(set(rows)) == len(rows)
        assert all(0 <= row < most for row in rows)
        found = dict(zip(names, rows, strict=True))
        assert all(found[name] == row for name, row in current.items() if name in found)
        kept = {n: r for n, r in routes.items() if n not in found and r not in rows}
        upstreams, routes, current = order, kept | found, found
