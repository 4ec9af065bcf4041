"""Control's rosters: what changes them, rows stay with their members, an heir goes on from them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fastproxy._core import Board
from fastproxy.balance import build
from fastproxy.balance.build import Endpoint, Place
from fastproxy.balance.settings import Backend
from fastproxy.memory import pack
from fastproxy.process import changes as changing
from fastproxy.process import rosters
from fastproxy.process.changes import Change
from fastproxy.process.rosters import Rosters
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin, Health, WorkerState

URL = "http://api.test:80"
ONE, TWO, THREE = (f"http://127.0.0.1:800{n}" for n in (1, 2, 3))
GIVEN: dict[str, Any] = {
    "web": {"backends": [{"url": ONE, "weight": 2}, TWO]},
    "api": {"backends": [{"url": URL, "weight": 3}]},
}


def at(*hosts: str) -> list[bytes]:
    return sorted(build.sockaddr_inet(host, 80) for host in hosts)


def backend(url: str, **settings: Any) -> Backend:
    return Backend(url=UpstreamUrl(url), **settings)


def first_roster(*hosts: str) -> bytes:
    upstreams = rosters.upstreams_of(GIVEN)
    addresses = {
        ONE: [build.sockaddr_inet("127.0.0.1", 8001)],
        TWO: [build.sockaddr_inet("127.0.0.1", 8002)],
        URL: at(*hosts),
    }
    rows = build.assign_rows(build.members(upstreams, addresses))
    return build.build_roster(upstreams, addresses, rows, 1)


@pytest.fixture
def board() -> Board:
    return Board(segment.create(2))


def rosters_at(board: Board, roster: bytes) -> Rosters:
    """As a control that has come up."""
    kept = Rosters(rosters.upstreams_of(GIVEN), roster, board)
    kept.publish()
    return kept


def take(board: Board, epoch: int) -> None:
    """Both workers serve with the roster of this epoch."""
    for slot in range(2):
        board.set_state(slot, WorkerState.SERVING)
        start = segment._head(board, "workers_off") + slot * pack.size("WorkerRow")
        segment._set_words(board, "WorkerRow", start, {"roster_epoch": epoch})


def rows_of(roster: bytes | None) -> dict[str, tuple[int, int]]:
    assert roster is not None
    return {one["name"]: (one["row"], one["generation"]) for one in build.read_roster(roster)}


def weights_of(roster: bytes | None) -> dict[str, int]:
    assert roster is not None
    return {one["name"]: one["weight"] for one in build.read_roster(roster)}


def admin_of(kept: Rosters, key: tuple[str, str]) -> Admin:
    return kept.said(kept.rows[key])


def test_all_of_an_upstream_speak_the_same(board: Board) -> None:
    """Others are refused, whoever names them, and nothing has changed."""
    kept = rosters_at(board, first_roster())
    for url in ("https://127.0.0.1:8003", "h2c://127.0.0.1:8003"):
        with pytest.raises(ValueError, match=f"{url}: backends of web are http://"):
            kept.provide("web", "file", [backend(url)])
    assert kept.epoch == 1
    assert "http://127.0.0.1:8003" in rows_of(
        kept.provide("web", "file", [backend("http://127.0.0.1:8003")])
    )


# -- names --------------------------------------------------------------------------------------


def test_the_same_answer_is_no_news(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    assert kept.names == [URL]
    assert kept.next({URL: at("10.0.0.1")}) is None
    assert kept.next({}) is None
    assert kept.epoch == 1


def test_an_answer_that_is_too_old_leaves_nobody(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    assert f"{URL}#10.0.0.1" not in rows_of(kept.next({URL: []}))
    assert kept.next({URL: []}) is None
    assert rows_of(kept.next({URL: at("10.0.0.1")}))[f"{URL}#10.0.0.1"] == (2, 1)


def test_what_srv_records_say_outlives_control(board: Board) -> None:
    """A control started anew reads weights, priorities and targets out of the roster; what an
    operator says of a weight goes before the records."""
    url = UpstreamUrl.parse("http+srv://_http._tcp.api.test")
    upstreams = rosters.upstreams_of({"api": {"backends": [str(url)]}})
    places: list[Place] = [
        Endpoint(build.sockaddr_inet("10.0.0.1", 8001), 5, 0, "a.test:8001"),
        Endpoint(build.sockaddr_inet("10.0.0.2", 8001), 2, 1, "b.test:8001"),
    ]
    members = build.members(upstreams, {str(url): places})
    roster = build.build_roster(upstreams, {str(url): places}, build.assign_rows(members), 1)
    kept = Rosters(upstreams, roster, board)
    assert kept.members == members
    assert kept.next({str(url): places}) is None
    change = changing.copied(kept.changes["api"])
    change.weights[f"{url}#10.0.0.1:8001"] = 9
    assert weights_of(kept.change("api", change)) == {
        f"{url}#10.0.0.1:8001": 9,
        f"{url}#10.0.0.2:8001": 2,
    }


def test_a_new_address_gets_a_new_row_and_the_old_keep_theirs(board: Board) -> None:
    first = first_roster("10.0.0.1")
    kept = rosters_at(board, first)
    second = kept.next({URL: at("10.0.0.1", "10.0.0.2")})
    assert kept.epoch == 2
    before, after = rows_of(first), rows_of(second)
    assert {name: after[name] for name in before} == before
    assert after[f"{URL}#10.0.0.2"] == (3, 1)
    row = segment.backend(board, 3)
    assert (row["name"], row["upstream"], row["weight"]) == (f"{URL}#10.0.0.2", 1, 3)
    assert row["up_since_ms"] > 0  # it starts slowly, those from the start do not
    assert segment.backend(board, 2)["up_since_ms"] == 0


def test_a_member_that_comes_back_finds_its_row_and_what_was_said(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    key = ("api", f"{URL}#10.0.0.1")
    kept.change("api", Change(words={key[1]: "maint"}))
    kept.next({URL: at("10.0.0.2")})
    assert admin_of(kept, key) == Admin(Health.MAINT, 0, gone=True)
    third = kept.next({URL: at("10.0.0.1")})
    assert rows_of(third)[key[1]] == (2, 1)
    assert admin_of(kept, key) == Admin(Health.MAINT)
    assert admin_of(kept, ("api", f"{URL}#10.0.0.2")).gone


def test_what_is_said_of_a_name_is_said_of_its_new_addresses(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    change = Change()
    change.say(URL, Health.DRAIN)
    kept.change("api", change)
    kept.next({URL: at("10.0.0.2", "10.0.0.3")})
    assert admin_of(kept, ("api", f"{URL}#10.0.0.2")) == Admin(Health.DRAIN)
    change = changing.copied(change)
    change.say(f"{URL}#10.0.0.2", Health.UP)
    kept.change("api", change)
    kept.next({URL: at("10.0.0.2", "10.0.0.3", "10.0.0.4")})
    assert admin_of(kept, ("api", f"{URL}#10.0.0.2")) == Admin()
    assert admin_of(kept, ("api", f"{URL}#10.0.0.4")) == Admin(Health.DRAIN)
    change = changing.copied(change)
    change.say(URL, Health.UP)
    assert change == Change()


# -- operators and sources ----------------------------------------------------------------------


def test_operators_add_remove_and_weigh(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    added = kept.change("web", Change(added=[backend(THREE, weight=7)]))
    assert weights_of(added) == {ONE: 2, TWO: 1, THREE: 7, f"{URL}#10.0.0.1": 3}
    assert segment.backend(board, 3)["name"] == THREE
    removed = kept.change("web", Change(removed=[ONE], weights={TWO: 0}))
    assert weights_of(removed) == {TWO: 0, f"{URL}#10.0.0.1": 3}
    assert rows_of(removed)[TWO] == (1, 1)
    for name in (ONE, THREE):
        assert admin_of(kept, ("web", name)).gone
    assert segment.backend(board, 1)["weight"] == 0
    back = kept.change("web", Change())
    assert rows_of(back) == rows_of(first_roster("10.0.0.1"))
    assert not admin_of(kept, ("web", ONE)).gone
    assert kept.epoch == 4


def test_one_address_of_a_name_can_go_and_be_weighed(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    change = Change(removed=[f"{URL}#10.0.0.1"], weights={URL: 5, f"{URL}#10.0.0.3": 9})
    roster = kept.change("api", change)
    found = {name: one for name, one in weights_of(roster).items() if name.startswith(URL)}
    assert found == {f"{URL}#10.0.0.2": 5, f"{URL}#10.0.0.3": 9}
    assert kept.next({URL: at("10.0.0.1", "10.0.0.2", "10.0.0.3")}) is None


def test_a_source_names_all_it_has(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    first = kept.provide("web", "hosts.txt", [backend(THREE), backend(TWO, weight=9)])
    assert weights_of(first)[THREE] == 1
    assert weights_of(first)[TWO] == 1  # the configuration's own stays as it is written
    assert kept.provide("web", "hosts.txt", [backend(THREE), backend(TWO, weight=9)]) is None
    removed = kept.changes["web"]
    kept.change("web", Change(provided=removed.provided, removed=[THREE]))
    assert THREE not in rows_of(kept.provide("web", "hosts.txt", [backend(THREE, weight=2)]))
    kept.provide("web", "hosts.txt", [])
    assert kept.changes["web"] == Change()  # nobody names it: the removal is over too
    assert THREE in rows_of(kept.provide("web", "hosts.txt", [backend(THREE)]))


def test_a_name_from_a_source_waits_for_its_addresses(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    named = backend("http://new.test:80")
    assert "http://new.test:80" not in str(rows_of(kept.provide("web", "file", [named])))
    assert set(kept.names) == {URL, "http://new.test:80"}
    roster = kept.next({"http://new.test:80": at("10.0.9.9")})
    assert "http://new.test:80#10.0.9.9" in rows_of(roster)


def test_who_named_a_url_first_is_believed() -> None:
    web = rosters.upstreams_of(GIVEN)["web"]
    change = Change(
        added=[backend(ONE, weight=8)],
        provided={"b": [backend(THREE, weight=3)], "a": [backend(THREE, weight=4)]},
    )
    sources = {url: (one.weight, who) for url, (one, who) in change.sources(web).items()}
    assert sources == {
        ONE: (8, changing.OPERATOR),
        TWO: (1, changing.CONFIGURED),
        THREE: (4, "a"),
    }
    assert [(one.url, one.weight) for one in change.backends(web)] == [
        (TWO, 1),
        (ONE, 8),
        (THREE, 4),
    ]


def test_what_does_not_fit_changes_nothing(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    monkeypatch.setattr(build, "BACKENDS_PER_UPSTREAM_MAX", 2)
    before = (kept.epoch, kept.members, kept.changes, dict(kept.rows))
    with pytest.raises(ValueError, match="upstream 'web' has 3 addresses, at most 2 are possible"):
        kept.change("web", Change(added=[backend(THREE)]))
    assert (kept.epoch, kept.members, kept.changes, dict(kept.rows)) == before
    assert segment.backends_used(board) == [0, 1, 2]


def test_words_of_probes_and_agents_outlive_a_new_roster(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    agent = Admin(agent=Health.DRAIN).word
    segment.set_backend(board, 0, health=Health.DOWN, percent=75, max_connections=9, admin=agent)
    kept.change("web", Change(weights={ONE: 9}, words={ONE: "maint"}))
    row = segment.backend(board, 0)
    assert (row["health"], row["percent"], row["max_connections"]) == (Health.DOWN, 75, 9)
    assert Admin.of(row["admin"]) == Admin(Health.MAINT, Health.DRAIN)
    kept.change("web", Change())
    assert admin_of(kept, ("web", ONE)) == Admin(agent=Health.DRAIN)


def test_who_is_enabled_starts_slowly(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    kept.change("web", Change(words={ONE: "maint"}))
    assert segment.backend(board, 0)["up_since_ms"] == 0
    kept.change("web", Change(words={ONE: "drain"}))
    assert segment.backend(board, 0)["up_since_ms"] == 0
    kept.change("web", Change())
    assert segment.backend(board, 0)["up_since_ms"] > 0


# -- heirs --------------------------------------------------------------------------------------


def test_a_control_started_anew_knows_what_the_one_before_knew(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    second = kept.next({URL: at("10.0.0.2")})
    assert second is not None
    heir = rosters_at(board, second)
    assert heir.epoch == 2
    assert heir.next({URL: at("10.0.0.2")}) is None
    third = heir.next({URL: at("10.0.0.1", "10.0.0.3")})
    assert rows_of(third)[f"{URL}#10.0.0.1"] == (2, 1)  # from the scoreboard
    assert rows_of(third)[f"{URL}#10.0.0.3"] == (4, 1)


def test_an_heir_goes_on_from_what_operators_and_sources_changed(board: Board) -> None:
    kept = rosters_at(board, first_roster("10.0.0.1"))
    change = Change(added=[backend(THREE, zone="b")], removed=[ONE], weights={TWO: 9})
    change.say(TWO, Health.DRAIN)
    kept.change("web", change)
    roster = kept.provide("api", "file", [backend(ONE, labels={"v": "1"})])
    assert roster is not None
    heir = rosters_at(board, roster)
    assert heir.changes == kept.changes
    assert heir.members == kept.members
    assert heir.rows == kept.rows
    assert admin_of(heir, ("web", TWO)) == Admin(Health.DRAIN)
    assert admin_of(heir, ("web", ONE)) == Admin(gone=True)
    assert heir.change("web", Change()) is not None
    assert [one.name for one in heir.members if one.upstream == "web"] == [ONE, TWO]


def test_an_heir_undoes_what_never_reached_the_master(board: Board) -> None:
    """Control died after it wrote to the scoreboard and before it handed the roster on."""
    first = first_roster("10.0.0.1")
    kept = rosters_at(board, first)
    kept.change("web", Change(added=[backend(THREE)], removed=[ONE]))
    heir = rosters_at(board, first)
    assert not admin_of(heir, ("web", ONE)).gone
    assert admin_of(heir, ("web", THREE)).gone


# -- rows that are given on ---------------------------------------------------------------------


def test_a_full_table_gives_on_rows_of_members_that_are_no_more(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BACKENDS_MAX", 4)
    kept = rosters_at(board, first_roster("10.0.0.1"))
    take(board, 1)
    assert kept.next({URL: at("10.0.0.2")}) is not None
    with pytest.raises(ValueError, match="table full.*2 of it for removed ones"):
        kept.next({URL: at("10.0.0.3")})  # a worker may still choose 10.0.0.1
    take(board, 2)
    segment.set_backend(board, 2, health=Health.DOWN, admin=Admin(Health.DRAIN, gone=True).word)
    count_at = segment._head(board, "backend_counts_off") + 2 * pack.size("BackendCount")
    memoryview(board)[count_at] = 5
    third = kept.next({URL: at("10.0.0.3")})
    assert rows_of(third)[f"{URL}#10.0.0.3"] == (2, 2)
    row = segment.backend(board, 2)
    assert (row["generation"], row["health"], row["admin"], row["percent"]) == (2, 0, 0, 100)
    assert row["name"] == f"{URL}#10.0.0.3"
    assert segment.counts(board, "backend", 2, 2)["requests"] == 0
    take(board, 3)
    with pytest.raises(ValueError, match="table full"):
        kept.next({URL: at("10.0.1.1", "10.0.1.2", "10.0.1.3")})


def test_a_row_with_requests_under_way_is_not_given_on(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BACKENDS_MAX", 4)
    kept = rosters_at(board, first_roster("10.0.0.1"))
    kept.next({URL: at("10.0.0.2")})
    take(board, 2)
    cell = segment._head(board, "inflight_off") + 2 * 4
    memoryview(board)[cell] = 1
    with pytest.raises(ValueError, match="table full"):
        kept.next({URL: at("10.0.0.3")})
    memoryview(board)[cell] = 0
    assert rows_of(kept.next({URL: at("10.0.0.3")}))[f"{URL}#10.0.0.3"] == (2, 2)


def test_a_change_among_a_thousand_takes_its_time_once(board: Board) -> None:
    """In force within 100 ms, workers and all, also there: nothing here may grow with the square
    of the members."""
    urls = [f"http://10.0.{at // 250}.{at % 250}:80" for at in range(1000)]
    upstreams = rosters.upstreams_of({"web": {"backends": urls, "balance": "hash"}})
    addresses = {url: build.resolve(url) for url in urls}
    rows = build.assign_rows(build.members(upstreams, addresses))
    kept = Rosters(upstreams, build.build_roster(upstreams, addresses, rows, 1), board)
    kept.publish()
    took = []
    for weight in (2, 3, 4):
        change = changing.copied(kept.changes["web"])
        change.weigh(urls[3], weight)
        began = time.process_time()
        assert kept.change("web", change) is not None
        took.append(time.process_time() - began)
    assert min(took) < 0.15


def test_what_is_no_roster_is_refused(board: Board) -> None:
    sound = first_roster("10.0.0.1")
    for bad in (b"", b"junk" * 100, b"\0" + sound[1:], sound[:8] + b"\0" * 8 + sound[16:]):
        with pytest.raises(ValueError, match="no roster"):
            rosters_at(board, bad)
