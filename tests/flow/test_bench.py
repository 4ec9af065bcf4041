"""The benchmark works, measures what it says, notices wrong answers, and leaves nothing behind.

No figure is asserted here: tests run on loaded machines. The figures are in docs/performance.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from bench import install, load, methods, peers, verify
from bench.build import program
from bench.measure import Bench
from bench.peers.base import Installed
from bench.processes import Processes, StartError, cpus
from bench.results import Plan, Result
from bench.scenarios import BY_NAME, Request
from tests.running import alive, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_TURN = Plan(seconds=1, pairs=1, warm=0)


def quiet(_text: str, _seconds: float) -> None: ...


def found(*names: str) -> list[Installed]:
    """Ours and these; they are test servers: ci/install-deps test-servers."""
    there, notes = peers.find(only=names or ["limit"])
    assert notes == []
    return there if names else there[:1]


def measured(name: str, *names: str, plan: Plan = ONE_TURN) -> Result:
    return Bench(plan, quiet).scenario(BY_NAME[name], found(*names))


def test_ratio_to_nginx_is_measured() -> None:
    result = measured("small", "nginx")
    assert [one.name for one in result.rows] == ["fastproxy", "nginx"]
    for row in result.rows:
        sample = row.samples[0]
        assert sample["requests"] > 100
        assert 1 < sample["cpu_us"] < 10_000
        assert sample["cpu_us"] == pytest.approx(sample["user_us"] + sample["system_us"])
        assert sample["p50_ms"] <= sample["p90_ms"] <= sample["p99_ms"] <= sample["p999_ms"]
        assert row.once["pss_bytes"] > 1 << 20
        assert row.once["rss_bytes"] >= row.once["pss_bytes"]
    ratio = result.ratio("nginx")
    assert ratio is not None
    assert 0.05 < ratio < 5


def test_system_calls_are_counted_where_perf_may() -> None:
    bench = Bench(ONE_TURN, quiet)
    result = bench.scenario(BY_NAME["small"], found())
    calls = result.rows[0].once.get("syscalls")
    if bench.why_not:
        assert calls is None
        assert "perf" in bench.why_not
    else:
        assert calls is not None
        assert 4 <= calls < 20


def test_with_a_log_every_request_must_have_left_a_line() -> None:
    result = measured("log-on", "nginx", "haproxy")
    assert all(one.samples[0]["requests"] > 100 for one in result.rows)


def test_a_missing_line_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "LOG_SECONDS", 0.0)
    log = tmp_path / "access.log"
    log.write_text("one\ntwo\n")
    methods.check_log("x", log, 2)
    with pytest.raises(verify.WrongAnswerError, match="x logged 2 lines for 3 requests"):
        methods.check_log("x", log, 3)


def test_bodies_are_told_for_a_mib_and_buffers_tuned_and_shipped() -> None:
    result = measured("upload", "nginx")
    assert [one.name for one in result.rows] == ["fastproxy", "nginx", "nginx tuned"]
    for row in result.rows:
        sample = row.samples[0]
        mib = sample["mib_rate"] / sample["rate"]
        assert 0.9 < mib < 2  # what was not answered at the end counts too
        assert sample["cpu_us_per_mib"] == pytest.approx(sample["cpu_us"] / mib, rel=0.3)


@pytest.mark.measures
def test_memory_of_idle_connections() -> None:
    result = measured("idle", "nginx")
    nginx = result.rows[1].samples[0]
    assert 100 < nginx["idle_bytes"] < 5_000
    assert nginx["pss_bytes"] > nginx["pss_before"]


def test_latency_at_half_of_what_saturates_nginx() -> None:
    result = measured("latency", "nginx")
    for row in result.rows:
        sample = row.samples[0]
        assert sample["requests"] == pytest.approx(sample["rate"] * 1, rel=0.01)
        assert sum(count for _, count in row.curve) == sample["requests"]
        assert sample["p50_ms"] <= sample["p99_ms"] <= sample["max_ms"]
    assert any("half of what saturates nginx" in note for note in result.notes)


def test_one_backend_of_three_is_slow() -> None:
    """Who counts requests asks it now and then; nobody waits for it every third time."""
    result = measured("slow-backend", "nginx")
    for row in result.rows:
        assert row.samples[0]["p50_ms"] < result.scenario.slow_ms
    assert result.rows[1].samples[0]["max_ms"] >= result.scenario.slow_ms


def test_one_backend_of_three_fails() -> None:
    """It does, and is taken out: a tenth of all would fail else."""
    result = measured("failing-backend", "nginx")
    for row in result.rows:
        assert 0 < row.samples[0]["errors"] < 0.03
    assert [one.text.partition(":")[0] for one in result.verdicts] == [
        "share of requests that failed",
        "latency, 99th percentile, ms",
    ]


def test_what_fastproxy_costs_in_another_setting() -> None:
    """Rows of ours beside each other; the target is their difference."""
    result = measured("log-cost")
    assert [one.name for one in result.rows] == ["fastproxy", "fastproxy no log"]
    (verdict,) = result.verdicts
    on, off = (row.samples[0]["cpu_us"] for row in result.rows)
    assert verdict.found == pytest.approx(on - off)


def test_a_wrong_answer_is_noticed() -> None:
    spoiled = Plan(seconds=1, pairs=1, warm=0, spoil=True)
    with pytest.raises(verify.WrongAnswerError, match=r"fastproxy in small: body: .* byte 99 on"):
        measured("small", plan=spoiled)


def test_an_upload_that_arrives_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is right; what is sent is not what was meant."""
    right = load.pattern
    monkeypatch.setattr(zlib, "crc32", lambda data: len(data))
    assert right(64)[63] == 10
    with pytest.raises(verify.WrongAnswerError, match="fastproxy in upload: body at the origin"):
        measured("upload", plan=Plan(pairs=0))


def test_a_proxy_that_does_less_is_noticed(tmp_path: Path) -> None:
    """No proxy at all: the answers are right, but the origin was not told the client's address."""
    with Processes() as processes:
        command = [str(program("origin")), "0"]
        child = processes.start(command, cpus()[:1], tmp_path / "log", subprocess.PIPE)
        port = int(child.output.readline())
        with pytest.raises(verify.WrongAnswerError, match="X-Forwarded-For at the origin: None"):
            verify.check(port, Request())


def test_cpu_time_of_the_whole_family_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    forking = f"import os, time\nos.fork()\n{burn}\ntime.sleep(60)"
    with Processes() as processes:
        child = processes.start([sys.executable, "-c", forking], cpus()[:1], tmp_path / "log")
        wait_until(lambda: child.usage().total >= 0.5, 20)  # one alone never gets there
        assert len(child.family()) == 2


def test_a_peer_that_is_missing_is_left_out_with_a_line() -> None:
    there, notes = peers.find({"nginx": "/nowhere/nginx"}, ["nginx"])
    assert [one.name for one in there] == ["fastproxy"]
    assert notes == ["nginx is left out: no program /nowhere/nginx here"]


def test_a_peer_that_fails_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "nginx"
    broken.write_text('#!/bin/sh\n[ "$1" = -v ] && exec echo 9.9\necho is broken\nexit 3\n')
    broken.chmod(0o755)
    there, _ = peers.find({"nginx": str(broken)}, ["nginx"])
    assert there[1].version == "9.9"
    result = Bench(ONE_TURN, quiet).scenario(BY_NAME["small"], there)
    assert [one.name for one in result.rows] == ["fastproxy"]
    assert result.notes[0] == "nginx is left out, it FAILED: nginx ended with 3:\nis broken"
    with pytest.raises(StartError, match="ended with 3"):
        Bench(Plan(pairs=0), quiet).scenario(BY_NAME["small"], there)


def test_installing_what_is_there_does_nothing() -> None:
    nginx = peers.BY_NAME["nginx"]
    (line,) = install.install([nginx])
    found = nginx.find()
    assert found
    assert line == f"nginx {found.version}: {found.program}"


def test_who_is_not_root_is_told_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(install.InstallError) as told:
        install.debian(["h2o", "haproxy"])
    line = "run: sudo apt-get install -y --no-install-recommends h2o haproxy"
    assert str(told.value) == line


def test_another_tree_is_compared(tmp_path: Path) -> None:
    there, notes = peers.find(trees=[str(ROOT), str(tmp_path)])
    assert [one.name for one in there] == ["fastproxy", f"@{ROOT.name}"]
    assert there[0].version == there[1].version
    assert notes == [f"{tmp_path} is left out: no fastproxy there"]
    result = Bench(Plan(pairs=0), quiet).scenario(BY_NAME["log-cost"], there)
    names = ["fastproxy", "fastproxy no log", f"@{ROOT.name}", f"@{ROOT.name} no log"]
    assert [one.name for one in result.rows] == names


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


def test_a_result_is_shown_again(tmp_path: Path) -> None:
    file, page = tmp_path / "result.json", tmp_path / "page.md"
    once = command("--pairs", "1", "--seconds", "1", "--json", str(file))
    first = subprocess.run(once, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    again = [sys.executable, "-m", "bench", "report", str(file), "--markdown", str(page)]
    second = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    table = first.stdout.partition("small: 100-byte answers, 64 kept connections\n")[2]
    assert table
    assert table in second.stdout
    assert page.read_text().count("| nginx |") == 1


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
