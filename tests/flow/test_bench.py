"""The benchmark works, measures what it says, notices wrong answers, and leaves nothing behind.

No figure is asserted here: tests run on loaded machines. The figures are in docs/performance.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure, peers, verify
from bench.build import program
from bench.measure import Bench, Plan
from bench.processes import Processes, cpus
from bench.scenarios import ALL, BY_NAME, Scenario
from tests.running import alive, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_TURN = Plan(seconds=1, pairs=1, warm=0)


def quiet(_text: str, _seconds: float) -> None: ...


def test_ratio_to_nginx_is_measured() -> None:
    nginx = peers.nginx()
    assert nginx, "nginx is one of the test servers: ci/install-deps test-servers"
    result = Bench(ONE_TURN, quiet).scenario(BY_NAME["small"], [peers.fastproxy(), nginx])
    assert [one.peer for one in result.series] == ["fastproxy", "nginx"]
    for series in result.series:
        assert series.samples[0].requests > 100
        assert 1 < series.samples[0].cpu_us < 10_000
        assert series.samples[0].p50_ms <= series.samples[0].p99_ms
        assert series.memory_bytes > 1 << 20
    assert 0.05 < result.ratio("nginx") < 5


def test_with_a_log_every_request_must_have_left_a_line() -> None:
    found, _ = peers.find({}, [])
    result = Bench(ONE_TURN, quiet).scenario(BY_NAME["log-on"], found)
    assert all(one.samples[0].requests > 100 for one in result.series)


def test_a_missing_line_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LOG_SECONDS", 0.0)
    log = tmp_path / "access.log"
    log.write_text("one\ntwo\n")
    measure.check_log("x", log, 2)
    with pytest.raises(verify.WrongAnswerError, match="x logged 2 lines for 3 requests"):
        measure.check_log("x", log, 3)


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_all_peers_serve_every_scenario_rightly(scenario: Scenario) -> None:
    found, _ = peers.find({}, [])
    result = Bench(Plan(pairs=0, warm=0), quiet).scenario(scenario, found)
    assert len(result.series) >= 2


def test_a_wrong_answer_is_noticed() -> None:
    spoiled = Plan(seconds=1, pairs=1, warm=0, spoil=True)
    with pytest.raises(verify.WrongAnswerError, match=r"fastproxy in small: body: .* byte 99 on"):
        Bench(spoiled, quiet).scenario(BY_NAME["small"], [peers.fastproxy()])


def test_a_proxy_that_does_less_is_noticed(tmp_path: Path) -> None:
    """No proxy at all: the answers are right, but the origin was not told the client's address."""
    with Processes() as processes:
        command = [str(program("origin")), "0"]
        child = processes.start(command, cpus()[0], tmp_path / "log", subprocess.PIPE)
        port = int(child.output.readline())
        with pytest.raises(verify.WrongAnswerError, match="X-Forwarded-For at the origin: None"):
            verify.check(port, BY_NAME["small"])


def test_cpu_time_of_the_whole_family_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    forking = f"import os, time\nos.fork()\n{burn}\ntime.sleep(60)"
    with Processes() as processes:
        child = processes.start([sys.executable, "-c", forking], cpus()[0], tmp_path / "log")
        wait_until(lambda: child.cpu().total >= 0.5, 20)  # one alone never gets there
        assert len(child.family()) == 2


def test_a_peer_that_is_missing_is_left_out_with_a_line() -> None:
    found, notes = peers.find({"nginx": "/nowhere/nginx"}, ["nginx"])
    assert [one.name for one in found] == ["fastproxy"]
    assert notes == ["nginx is left out: no program /nowhere/nginx here"]


def test_another_tree_is_compared(tmp_path: Path) -> None:
    found, notes = peers.find({}, [], [str(ROOT), str(tmp_path)])
    assert [one.name for one in found] == ["fastproxy", f"@{ROOT.name}"]
    assert found[0].version == found[1].version
    assert notes == [f"{tmp_path} is left out: no fastproxy there"]


# ---- the command ----------------------------------------------------------------------------


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "bench", "small", "--peer", "nginx", *args]


def test_a_wrong_answer_ends_the_command_with_1() -> None:
    done = subprocess.run(
        command("--spoil"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "body: 100 bytes, 100 expected; they differ from byte 99 on" in " ".join(
        done.stdout.split()
    )


def descendants(pid: int) -> list[int]:
    pids = [pid]
    for one in pids:
        path = Path(f"/proc/{one}/task/{one}/children")
        try:
            pids += [int(text) for text in path.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids[1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives(number: signal.Signals) -> None:
    """Guard, origin, fastproxy (three), nginx (two), wrk: gone, even after kill -9 of the run."""
    process = subprocess.Popen(
        command("--seconds", "60"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: running(process.pid, "wrk"), 30, 0.05)
        children = descendants(process.pid)
        assert len(children) >= 8
        os.kill(process.pid, number)
        assert process.wait(30) == (-9 if number == signal.SIGKILL else 130)
        wait_until(lambda: not any(alive(pid) for pid in children), 15)
    finally:
        process.kill()
        process.wait()


def running(pid: int, name: str) -> bool:
    for one in descendants(pid):
        try:
            if Path(f"/proc/{one}/comm").read_text().strip() == name:
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False
