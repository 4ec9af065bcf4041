"""Instruction budgets: what is refused, what is only said, and that the count is worth a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import budgets, counting
from bench.budgets import check, compare, nearest, table
from bench.micro.rooms import all_probes
from fastproxy import _probe

KEY = "gcc-12-x86_64"
COUNTED = {"any": {"log line json": 1000.0, "pick": 71.0}, "avx2": {"parse small": 1480.0}}


def file_of(**changes: dict[str, float]) -> dict[str, Any]:
    """Budgets as they were counted, but for some."""
    paths = {path: probes | changes.get(path, {}) for path, probes in COUNTED.items()}
    return {KEY: {"written_with": "gcc 12.2.0", **paths}}


def test_what_costs_as_much_as_before_passes() -> None:
    code, text = check(file_of(), KEY, COUNTED)
    assert code == 0
    assert "3 budgets kept" in text


@pytest.mark.parametrize(("budget", "code"), [(1000.0, 0), (971.0, 0), (970.0, 1), (500.0, 1)])
def test_over_three_percent_more_fails_and_is_named(budget: float, code: int) -> None:
    got, text = check(file_of(any={"log line json": budget}), KEY, COUNTED)
    assert got == code
    assert ("OVER BUDGET" in text) is bool(code)
    if code:
        last = text.split("\n")[-1]
        assert last.split() == [
            "any", "log", "line", "json", f"{budget:,.1f}", "1,000.0",
            f"{1000 / budget - 1:+.1%}", "OVER", "BUDGET",
        ]  # fmt: skip
        assert "1 of 3 do not keep their budget" in text


def test_less_by_over_three_percent_is_said() -> None:
    code, text = check(file_of(any={"log line json": 1040.0}), KEY, COUNTED)
    assert code == 0
    assert "-3.8%  lower the budget" in text
    assert "lower" not in check(file_of(any={"log line json": 1020.0}), KEY, COUNTED)[1]


def test_a_probe_without_a_budget_and_a_budget_without_a_probe_fail() -> None:
    code, text = check(file_of(any={"gone": 5.0}), KEY, COUNTED)
    assert code == 1
    assert "GONE" in text
    new = {**COUNTED, "any": {**COUNTED["any"], "new": 7.0}}
    code, text = check(file_of(), KEY, new)
    assert code == 1
    assert "NO BUDGET" in text
    # What is left out by --only is not gone.
    assert check(file_of(), KEY, {"any": {"pick": 71.0}, "avx2": {}}, only="pick")[0] == 0


def test_a_path_that_this_cpu_does_not_have_is_not_judged() -> None:
    code, text = check(file_of(), KEY, {"any": COUNTED["any"]})
    assert code == 0
    assert "not checked: avx2" in text


def test_an_unknown_compiler_is_judged_by_nobody_and_told_so() -> None:
    code, text = check(file_of(any={"pick": 1.0}), "gcc-14-x86_64", COUNTED)
    assert code == 0
    assert "NOTHING IS JUDGED: gcc-14-x86_64 is not in budgets.toml" in text
    assert "those of gcc-12-x86_64" in text
    assert "OVER BUDGET" in text  # shown all the same
    code, text = check(file_of(), "gcc-12-aarch64", COUNTED)
    assert code == 0
    assert "those of" not in text


def test_the_nearest_is_of_the_same_machine_then_of_the_same_compiler() -> None:
    keys: dict[str, Any] = dict.fromkeys(
        ["gcc-12-x86_64", "gcc-9-x86_64", "clang-14-x86_64", "gcc-14-aarch64"]
    )
    assert nearest(keys, "gcc-14-x86_64") == "gcc-12-x86_64"
    assert nearest(keys, "gcc-8-x86_64") == "gcc-9-x86_64"
    assert nearest(keys, "clang-18-x86_64") == "clang-14-x86_64"
    assert nearest(keys, "icc-1-aarch64") == "gcc-14-aarch64"
    assert nearest(keys, "gcc-12-riscv64") == ""


def test_what_is_written_is_read_back_and_other_keys_stay(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    budgets.write("gcc-9-x86_64", "gcc 9.1", {"any": {"pick": 70.0}}, file)
    budgets.write(KEY, "gcc 12.2.0", COUNTED, file)
    budgets.write("gcc-9-x86_64", "gcc 9.2", {"any": {"pick": 60.0}}, file)
    found = budgets.read(file)
    assert budgets.of_key(found, KEY) == COUNTED
    assert found["gcc-9-x86_64"] == {"written_with": "gcc 9.2", "any": {"pick": 60.0}}
    assert budgets.read(tmp_path / "none.toml") == {}


def test_the_table_has_a_line_for_each() -> None:
    rows = compare(budgets.of_key(file_of(), KEY), COUNTED)
    assert [line.split()[0] for line in table(rows).split("\n")] == ["path", "any", "any", "avx2"]


# ---- with valgrind --------------------------------------------------------------------------


def test_a_count_is_the_same_again_and_a_lowered_budget_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: the command, callgrind, the file. One probe of the true ones."""
    first = counting.count("rooms", "pick round_robin, 10")["any"]
    assert list(first) == ["pick round_robin, 10"]
    assert 20 < first["pick round_robin, 10"] < 500
    monkeypatch.setattr(budgets, "built", lambda: (KEY, "whatever it is, debug or not"))
    file = tmp_path / "budgets.toml"
    monkeypatch.setattr(budgets, "FILE", file)
    monkeypatch.setattr(budgets, "KINDS", ["rooms"])
    lowered = {name: number * 0.96 for name, number in first.items()}
    for wanted, code in ((first, 0), (lowered, 1)):
        budgets.write(KEY, "gcc", {"any": wanted}, file)
        assert budgets.main(["--only", "pick round_robin, 10"]) == code
        assert ("OVER BUDGET" in capsys.readouterr().out) is bool(code)


def test_whole_requests_count_the_same_within_a_percent() -> None:
    both = [counting.count("whole", "request small, JSON") for _ in range(2)]
    assert set(both[0]) >= {"sse2", "swar"}
    for path, probes in both[0].items():
        for name, number in probes.items():
            assert 5_000 < number < 100_000
            assert abs(both[1][path][name] / number - 1) < 0.01


def test_a_debug_build_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_probe, "built", lambda: ("gcc-12", "12.2.0", True))
    assert budgets.main([]) == 2
    assert "debug build, which costs more: make build" in capsys.readouterr().err


def test_without_valgrind_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budgets, "built", lambda: (KEY, "gcc"))
    monkeypatch.setattr(counting.shutil, "which", lambda _name: None)
    assert budgets.main([]) == 2
    assert "ci/install-deps test-servers" in capsys.readouterr().err


def test_where_names_the_requests_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budgets, "count", lambda *_: {})
    assert budgets.main(["--where", "smal"]) == 2
    assert "no whole request's name holds 'smal': request browser; " in capsys.readouterr().err


def test_the_kept_file_knows_every_probe() -> None:
    """A probe that is new is found before CI finds it."""
    counted = {(probe.simd or "any", probe.name) for probe in all_probes() if probe.counted}
    for key, paths in budgets.read(budgets.FILE).items():
        kept = {(path, name) for path in budgets.of_key({key: paths}, key) for name in paths[path]}
        assert counted <= kept, key


@pytest.mark.parametrize(
    "probe", [p for p in all_probes() if p.counted], ids=lambda p: f"{p.name} {p.simd}".rstrip()
)
def test_every_probe_runs(probe: Any) -> None:
    assert probe.make()(5) > 0
