"""The state file: what operators changed, for the next start."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fastproxy import start
from fastproxy._core import Board
from fastproxy.balance.build import read_roster
from fastproxy.balance.settings import Backend
from fastproxy.config.model import Config
from fastproxy.errors import ConfigError
from fastproxy.process import rosters, state
from fastproxy.process.changes import Change
from fastproxy.process.rosters import Rosters
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin, Health

ONE, TWO, THREE = (f"http://127.0.0.1:800{n}" for n in (1, 2, 3))
GIVEN: dict[str, Any] = {"web": {"backends": [ONE, TWO]}, "api": {"backends": [ONE]}}


def backend(url: str, **settings: Any) -> Backend:
    return Backend(url=UpstreamUrl(url), **settings)


def test_what_is_saved_is_loaded_as_far_as_it_means_anything(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    upstreams = rosters.upstreams_of(GIVEN)
    assert state.load(path, upstreams) == {"web": Change(), "api": Change()}
    assert state.load("", upstreams) == {"web": Change(), "api": Change()}
    change = Change(
        provided={"file": [backend(THREE)]},
        added=[backend("http://new:1", weight=3, labels={"a": "b"})],
        removed=[ONE],
        weights={TWO: 0},
        words={TWO: "drain", "http://new:1": "maint"},
    )
    state.save(path, {"web": change, "api": Change()})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    kept = Change(added=change.added, removed=[ONE], weights={TWO: 0}, words=change.words)
    assert state.load(path, upstreams) == {"web": kept, "api": Change()}
    # the next configuration has neither ONE nor TWO in web, and no api
    other = rosters.upstreams_of({"web": {"backends": [THREE]}})
    left = Change(added=change.added, words={"http://new:1": "maint"})
    assert state.load(path, other) == {"web": left}
    state.save(path, {"web": Change()})
    assert Path(path).read_text() == "{}\n"
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize("text", ["", "nonsense", '{"web": 1}', '{"web": {"words": {"a": "b"}}}'])
def test_what_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    config = Config(upstreams=rosters.upstreams_of(GIVEN), state_file=str(path))
    if not text:
        assert start.prepare(config).roster
        return
    with pytest.raises(ConfigError) as error:
        start.prepare(config)
    (problem,) = error.value.problems
    assert problem.path == "state_file"
    assert "is no state of ours" in problem.text


def test_who_was_taken_out_comes_when_that_is_on_the_scoreboard(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    change = Change(added=[backend(THREE, weight=3)], removed=[ONE], weights={THREE: 5})
    change.say(TWO, Health.MAINT)
    state.save(path, {"web": change})
    config = Config(upstreams=rosters.upstreams_of(GIVEN), state_file=path)
    first = start.prepare(config).roster
    assert [(one["name"], one["weight"]) for one in read_roster(first)] == [(THREE, 5), (ONE, 1)]
    kept = Rosters(config.upstreams, first, Board(segment.create(1)))
    kept.publish()
    second = kept.catch_up()
    assert second is not None
    assert [one["name"] for one in read_roster(second)] == [TWO, THREE, ONE]
    assert kept.said(kept.rows[("web", TWO)]) == Admin(Health.MAINT)
    assert kept.catch_up() is None
    heir = Rosters(config.upstreams, second, kept.board)
    heir.publish()
    assert heir.catch_up() is None


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{}")
    (tmp_path / "state.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        state.save(str(path), {"web": Change(removed=[ONE])})
    assert path.read_text() == "{}"
