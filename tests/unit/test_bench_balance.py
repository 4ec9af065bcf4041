"""The simulation behind docs/balancing.md: deterministic, and what the page says of it is so."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.balance import figures, pictures
from bench.balance.__main__ import main
from bench.balance.figures import SMALL
from bench.balance.queueing import Server, Traffic, mixed, simulate, steady
from bench.balance.world import World, backend, backends
from fastproxy.balance.settings import Balance, Upstream

PAGE = pictures.DIRECTORY.parent / "balancing.md"


# ---- the queueing itself ----------------------------------------------------------------------


def test_a_queue_is_as_theory_has_it() -> None:
    """One place, steady service of 10 ms, half busy: M/D/1 waits 10 ms x 0.5 / (2 x 0.5) = 5 ms
    on average before it is served."""
    traffic = Traffic(rate=50, count=20_000, service=lambda _: 10.0)
    world = World(Upstream(backends=backends(1)), workers=1)
    outcome = simulate(world, [Server(places=1)], traffic)
    assert sum(outcome.waits_ms) / len(outcome.waits_ms) == pytest.approx(15.0, rel=0.05)
    assert min(outcome.waits_ms) == pytest.approx(10.0)


def test_every_request_is_answered_once_and_nothing_stays_under_way() -> None:
    world = World(Upstream(backends=backends(3), balance="least_conn"), workers=3)
    traffic = Traffic(rate=2_000, count=3_000, service=mixed(1, 11, 0.1), warm=1_000)
    outcome = simulate(world, [Server(places=2) for _ in range(3)], traffic)
    assert sum(outcome.sent.values()) == 2_000
    assert 2_000 <= len(outcome.waits_ms) <= 3_000
    assert [world.table.probe.inflight_total(row) for row in world.rows] == [0, 0, 0]


@pytest.mark.parametrize("balance", ["random", "round_robin", "p2c", "least_conn"])
@pytest.mark.parametrize("rate", [2, 2_000])
def test_weights_hold_idle_and_busy(balance: Balance, rate: float) -> None:
    """Hardly ever one request under way, and about twenty."""
    members = [backend(0, weight=3), backend(1, weight=1)]
    world = World(Upstream(backends=[*members], balance=balance), workers=2)
    traffic = Traffic(rate, count=8_000, service=steady(10))
    servers = [Server(places=1 << 30) for _ in members]
    sent = simulate(world, servers, traffic).sent
    assert sent[0] / sent.total() == pytest.approx(0.75, abs=0.05)


# ---- what the page says -----------------------------------------------------------------------


def test_the_same_comes_out_each_time() -> None:
    first = [(one.name, one.drawing.render()) for one in pictures.draw(scale=SMALL)]
    assert first == [(one.name, one.drawing.render()) for one in pictures.draw(scale=SMALL)]


def test_who_counts_spreads_better_than_who_does_not() -> None:
    found = figures.under_way(SMALL)
    assert 1 < found["least_conn"] < found["p2c"] < found["round_robin"] < found["random"]


def test_a_slow_member_costs_ewma_the_least() -> None:
    found = figures.slow_member()
    shares = {name: one.sent[2] / one.sent.total() for name, one in found.items()}
    assert shares["ewma"] < 0.01 < shares["p2c"] < 0.1 < 0.3 < shares["round_robin"]
    assert found["ewma"].percentile(99) < 10 < 50 < found["p2c"].percentile(99)


def test_requests_of_different_length_are_best_counted() -> None:
    found = figures.long_requests(SMALL)
    tails = {name: one.percentile(99) for name, one in found.items()}
    assert tails["least_conn"] < tails["round_robin"] < tails["random"]
    assert tails["p2c"] < tails["round_robin"]


def test_hashes_move_what_must_move() -> None:
    found = figures.moved(SMALL)
    for method in figures.METHODS:
        lost, added = found[method]
        assert lost == pytest.approx(10, abs=3)
        assert added == pytest.approx(9.1, abs=3)
    assert min(found["modulo"]) > 80


def test_the_bound_holds_for_a_hot_key() -> None:
    found = figures.hot_key(SMALL)
    for method in figures.METHODS:
        assert found[method] > 3
        assert found[f"{method}, 1.25"] < 1.5


def test_priorities_spill_by_the_rule() -> None:
    for able, first, second in figures.spill():
        assert first == pytest.approx(min(100, able * 1.4), abs=1)
        assert first + second == pytest.approx(100, abs=1)


def test_a_slow_start_rises() -> None:
    ramps = {one: dict(figures.ramp(one, SMALL)) for one in pictures.AGGRESSIONS}
    for ramp in ramps.values():
        assert ramp[0] == pytest.approx(10, abs=4)
        assert ramp[40] == pytest.approx(100, abs=15)
    assert ramps[0.5][15] < ramps[1.0][15] < ramps[2.0][15]
    assert ramps[1.0][15] == pytest.approx(50, abs=10)


# ---- the pictures -----------------------------------------------------------------------------


def test_every_picture_is_there_and_on_the_page() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(balancing/([\w-]+)\.png\)", PAGE.read_text())
    assert Counter(shown) == Counter(list(pictures.ALL))
    files = {one.stem: one for one in pictures.DIRECTORY.glob("*")}
    assert files.keys() == pictures.ALL.keys()
    for one in files.values():
        data = one.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 100_000


def test_the_command_draws_and_tells(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path), "--only", "tiers"])
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/tiers.png\n")
    done = CliRunner().invoke(main, ["--help"])
    assert "--figures" in done.output
