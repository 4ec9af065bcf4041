"""What is computed of a run, its schema, and the data of scenarios and peers."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from bench import peers, report
from bench.__main__ import QUICK, QUICK_PEERS, chosen
from bench.certificates import Certificate
from bench.measure import Bench
from bench.measures import BY_NAME as MEASURES
from bench.measures import COLUMNS
from bench.methods import METHODS
from bench.peers.base import Installed, Job, Peer
from bench.results import Machine, Plan, Result, Row, Run, dump, judge, load
from bench.scenarios import ALL, BY_NAME, OURS, REAL, Scenario, Setting, Target
from bench.stand import entries

MACHINE = Machine("2026-11-22 12:00 UTC", "a CPU", 2, "6.1", "3.11", 0.5)


def row(name: str, *cpu: float, **once: float) -> Row:
    peer, _, variant = name.partition(" ")
    return Row(
        name, peer, variant, "1.0", [{"cpu_us": one, "rate": 100 / one} for one in cpu], once
    )


def result(*targets: Target, rows: list[Row] | None = None) -> Result:
    scenario = Scenario("s", "some text", targets=targets)
    three = [row("fastproxy", 10, 12, 8, syscalls=4.5), row("nginx", 20, 15, 10), row("x", 9, 9, 9)]
    return Result(scenario, rows or three)


def test_ratios_are_of_neighbours_and_the_median_counts() -> None:
    found = result()
    assert found.ratios(found.rows[1]) == [0.5, 0.8, 0.8]
    assert found.ratio("nginx") == 0.8
    assert found.ratio("nobody") is None
    assert found.ratio("nginx", "rate") == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("target", "found", "reached"),
    [
        (Target("cpu_us", ("nginx",), most=0.8), 0.8, True),
        (Target("cpu_us", ("nginx",), most=0.79), 0.8, False),
        (Target("cpu_us", ("nginx", "x"), most=1.0), 10 / 9, False),
        (Target("rate", ("nginx", "x"), least=1.0), 0.9, False),
        (Target("cpu_us", ("x",), most=1.0, difference=True), 1.0, True),
        (Target("cpu_us", most=10), 10.0, True),
        (Target("syscalls", most=4.4), 4.5, False),
        (Target("p99_ms", most=4.4), None, None),
        (Target("cpu_us", ("nobody",), most=4.4), None, None),
    ],
)
def test_targets(target: Target, found: float | None, reached: bool | None) -> None:
    """The best of the rows counts: the least CPU, the highest rate."""
    (verdict,) = judge(result(target))
    assert verdict.found == (None if found is None else pytest.approx(found))
    assert verdict.reached is reached


def test_targets_in_words() -> None:
    three = Target("cpu_us", ("a", "b", "c"), most=0.8)
    (verdict,) = judge(result(three))
    assert verdict.text == "CPU time per request, us: at most 0.8 x the best of a, b and c"
    (verdict,) = judge(result(Target("rate", REAL, least=1)))
    assert verdict.text == "requests per second: at least 1 x the best peer"


def run() -> Run:
    found = result(Target("cpu_us", ("nginx",), most=0.7), Target("cpu_us", ("envoy",), most=0.7))
    found.verdicts = judge(found)
    found.notes = ["x is odd"]
    found.rows[0].curve = [(100, 7), (200, 1)]
    return Run(MACHINE, Plan(), [found], ["envoy is left out"])


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_bytes(dump(run()))
    assert load(file) == run()


@pytest.mark.parametrize("text", ["[]", '{"format": 2}', '{"format": 1}', "{"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(ValueError):
        load(file)


def test_the_schema_can_be_told() -> None:
    schema = msgspec.json.schema(Run)
    assert {"Run", "Result", "Row", "Verdict", "Machine"} <= schema["$defs"].keys()


def test_markdown() -> None:
    text = report.markdown(run())
    assert "| fastproxy | 10.0 |  |  | 10 | 4.5 |" in text
    assert "| nginx | 15.0 | 0.80 | 0.50-0.80 | 7 |  |" in text
    assert "- MISSED: CPU time per request, us: at most 0.7 x nginx (0.80)" in text
    assert "- not measured: CPU time per request, us: at most 0.7 x envoy" in text
    assert "- x is odd" in text
    assert report.summary(run()) == "targets: 0 reached, 1 MISSED, 1 not measured"


# ---- data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_a_scenario_names_only_what_there_is(scenario: Scenario) -> None:
    every = [Installed(one, "", "1") for one in (peers.OURS, *peers.ALL)]
    rows, _ = entries(scenario, every)
    names = {f"{one.name} {variant}".strip() for one, variant, _ in rows}
    assert scenario.method in METHODS
    assert scenario.figure in COLUMNS
    assert rows[0][0].name == OURS
    for target in scenario.targets:
        assert target.measure in MEASURES
        assert (target.most is None) != (target.least is None)
        known = set(target.against) & names
        assert known == set(target.against) - ({"h2o"} if scenario.setting.backends > 1 else set())
    if scenario.setting.routes > 1:
        assert scenario.request.routes == scenario.setting.routes


def test_the_api_request_has_20_fields() -> None:
    request = BY_NAME["api"].request
    assert len(request.headers) + len(("Host", "Content-Length")) == 20
    assert (request.method, request.body, request.answer_bytes) == ("POST", 1024, 4096)


def test_quick_is_planned_below_three_minutes() -> None:
    """A third is left for starting, verifying and stopping."""
    bench = Bench(QUICK, lambda _text, _seconds: None)
    compared = [peers.OURS, *(peers.BY_NAME[name] for name in QUICK_PEERS)]
    found = [Installed(one, "", "1") for one in compared]
    assert bench.total_seconds(chosen((), True), found) < 120


@pytest.mark.parametrize("peer", [peers.OURS, *peers.ALL], ids=lambda one: one.name)
def test_a_peer_takes_its_setting_into_its_configuration(peer: Peer, tmp_path: Path) -> None:
    """Two settings differ in what is written or said; what it cannot do it refuses."""
    plain = configuration(peer, tmp_path / "plain", BY_NAME["small"], Setting())
    assert re.search(r"\b8999\b", plain)
    for name, setting in {
        "workers": Setting(workers=2),
        "backends": Setting(backends=2),
        "routes": Setting(routes=10),
        "log": Setting(log=True),
        "tuned": Setting(tuned=True),
        "fields": Setting(same_fields=True),
        "tls": Setting(tls="ecdsa"),
        "http2": Setting(tls="ecdsa", http2=True),
        "h2c": Setting(http2=True),
        "grpc": Setting(http2=True, http2_upstream=True),
    }.items():
        scenario = BY_NAME["many-routes" if name == "routes" else "small"]
        if peer.cannot(scenario, setting) or (peer is peers.OURS and name in ("tuned", "fields")):
            continue
        if name == "h2c" and peer.name in ("nghttpx", "h2o"):
            continue  # understood without a word
        if peer.name == "limit" and name == "tuned":
            scenario = BY_NAME["large"]
        other = configuration(peer, tmp_path / name, scenario, setting)
        assert other.replace(name, "plain") != plain, name


def configuration(peer: Peer, directory: Path, scenario: Scenario, setting: Setting) -> str:
    directory.mkdir()
    backends = tuple((f"127.0.0.{n + 1}", 9001) for n in range(setting.backends))
    made = Certificate("a.pem", "a.key", "both.pem") if setting.tls else None
    job = Job(directory, 8999, backends, setting, scenario.request, made)
    command = peer.command(job, "program")
    files = sorted(directory.iterdir())
    return "\n".join([*command, *(one.read_text() for one in files)])
