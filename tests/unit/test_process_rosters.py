"""Control's rosters: new answers make a new roster, rows stay with their members."""

from __future__ import annotations

import pytest

from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.process import rosters
from fastproxy.process.rosters import Rosters
from fastproxy.scoreboard import segment

URL = "http://api.test:80"
UPSTREAMS = rosters.upstreams_of(
    {
        "web": {
            "backends": [
                {"url": "http://127.0.0.1:8001", "weight": 2},
                "http://127.0.0.1:8002",
            ]
        },
        "api": {"backends": [{"url": URL, "weight": 3}]},
    }
)


def at(*hosts: str) -> list[bytes]:
    return sorted(build.sockaddr_inet(host, 80) for host in hosts)


def first_roster(*hosts: str) -> bytes:
    upstreams = UPSTREAMS
    addresses = {
        "http://127.0.0.1:8001": [build.sockaddr_inet("127.0.0.1", 8001)],
        "http://127.0.0.1:8002": [build.sockaddr_inet("127.0.0.1", 8002)],
        URL: at(*hosts),
    }
    rows = build.assign_rows(build.members(upstreams, addresses))
    return build.build_roster(upstreams, addresses, rows, 1)


@pytest.fixture
def board() -> Board:
    return Board(segment.create(1))


def rows_of(roster: bytes) -> dict[str, tuple[int, int]]:
    return {one["name"]: (one["row"], one["generation"]) for one in build.read_roster(roster)}


def test_the_same_answer_or_none_is_no_news(board: Board) -> None:
    kept = Rosters(UPSTREAMS, first_roster("10.0.0.1"), board)
    assert [str(name) for name in kept.names] == [URL]
    assert kept.next({URL: at("10.0.0.1")}) is None
    assert kept.next({URL: []}) is None
    assert kept.next({}) is None
    assert kept.epoch == 1


def test_a_new_address_gets_a_new_row_and_the_old_keep_theirs(board: Board) -> None:
    first = first_roster("10.0.0.1")
    kept = Rosters(UPSTREAMS, first, board)
    kept.publish()
    second = kept.next({URL: at("10.0.0.1", "10.0.0.2")})
    assert second is not None
    assert kept.epoch == 2
    before, after = rows_of(first), rows_of(second)
    assert {name: after[name] for name in before} == before
    assert after[f"{URL}#10.0.0.2"] == (3, 1)
    row = segment.backend(board, 3)
    assert (row["name"], row["upstream"], row["weight"]) == (f"{URL}#10.0.0.2", 1, 3)


def test_a_member_that_comes_back_finds_its_row(board: Board) -> None:
    kept = Rosters(UPSTREAMS, first_roster("10.0.0.1"), board)
    second = kept.next({URL: at("10.0.0.2")})
    third = kept.next({URL: at("10.0.0.1")})
    assert second is not None
    assert third is not None
    assert rows_of(third)[f"{URL}#10.0.0.1"] == (2, 1)
    assert rows_of(second)[f"{URL}#10.0.0.2"] == (3, 1)


def test_a_control_started_anew_knows_what_the_one_before_knew(board: Board) -> None:
    kept = Rosters(UPSTREAMS, first_roster("10.0.0.1"), board)
    kept.publish()
    second = kept.next({URL: at("10.0.0.2")})
    assert second is not None
    heir = Rosters(UPSTREAMS, second, board)
    assert heir.epoch == 2
    assert heir.next({URL: at("10.0.0.2")}) is None
    third = heir.next({URL: at("10.0.0.1", "10.0.0.3")})
    assert third is not None
    assert rows_of(third)[f"{URL}#10.0.0.1"] == (2, 1)  # from the scoreboard
    assert rows_of(third)[f"{URL}#10.0.0.3"] == (4, 1)


def test_a_full_table_gives_on_rows_of_members_that_are_no_more(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BACKENDS_MAX", 4)
    kept = Rosters(UPSTREAMS, first_roster("10.0.0.1"), board)
    kept.publish()
    assert kept.next({URL: at("10.0.0.2")}) is not None
    third = kept.next({URL: at("10.0.0.3")})
    assert third is not None
    row, generation = rows_of(third)[f"{URL}#10.0.0.3"]
    assert generation == 2
    assert row in (2, 3)
    assert segment.backend(board, row)["generation"] == 2
    with pytest.raises(ValueError, match="table full"):
        kept.next({URL: at("10.0.1.1", "10.0.1.2", "10.0.1.3")})


def test_what_is_no_roster_is_refused(board: Board) -> None:
    sound = first_roster("10.0.0.1")
    for bad in (b"", b"junk" * 100, b"\0" + sound[1:], sound[:8] + b"\0" * 8 + sound[16:]):
        with pytest.raises(ValueError, match="no roster"):
            Rosters(UPSTREAMS, bad, board)
