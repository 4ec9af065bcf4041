"""The command line: what it says, what it hands to the master, what it exits with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import click.testing
import pytest

from fastproxy import cli, flags, start
from fastproxy.balance.build import read_roster
from fastproxy.memory import pack
from fastproxy.process import handover
from fastproxy.process.handover import Handover

ROOT = Path(__file__).resolve().parents[2]
SOUND = """\
listeners = ["127.0.0.1:8080"]
routes = [{ upstream = "api" }]
[upstreams.api]
backends = ["http://127.0.0.1:9001", { url = "http://127.0.0.1:9002", weight = 3 }]
"""


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No FASTPROXY_* from outside, no ./fastproxy.toml."""
    for name in [name for name in os.environ if name.startswith("FASTPROXY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def call(*args: str, env: dict[str, str] | None = None) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.cli, list(args), env=env, prog_name="fastproxy")


class LaunchedError(Exception):
    """In place of becoming the master."""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `run` would have handed over."""
    got: dict[str, Any] = {}

    def launch(given: Handover, plan: bytes, roster: bytes, keyring: bytes) -> NoReturn:
        got.update(handover=given, plan=plan, roster=roster, keyring=keyring)
        raise LaunchedError

    monkeypatch.setattr(handover, "launch", launch)
    return got


def process(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program itself."""
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        timeout=30,
        check=False,
    )


def test_run_with_flags_only(launched: dict[str, Any]) -> None:
    result = call(
        "run", "--listen", "127.0.0.1:0", "--listen", ":8081", "--upstream", "http://127.0.0.1:1",
        "--upstream", "http+unix:/tmp/x", "--workers", "3", "--balance", "round_robin",
        "--backlog", "77", "--keepalive", "7s", "--upstream-keepalive", "8s",
        "--buffer-size", "64KiB", "--max-connections", "500", "--access-log", "off",
        "--log-format", "json", "--pid-file", "p.pid", "--control-socket", "c.sock",
        "--drain-timeout", "3s", "--client-header-timeout", "1s", "--trusted-proxy", "10.0.0.0/8",
        "--set", "limits.header=1KiB", "--set", "forwarding.via=true", "--max-body", "5MB",
    )  # fmt: skip
    assert isinstance(result.exception, LaunchedError), result.output
    given: Handover = launched["handover"]
    assert [(one.bind, one.backlog) for one in given.listeners] == [
        ("127.0.0.1:0", 77),
        (":8081", 77),
    ]
    assert given.workers == 3
    assert given.drain_seconds == 3.0
    assert given.access_log == "off"
    assert given.pid_file == os.path.abspath("p.pid")
    assert given.control_socket == os.path.abspath("c.sock")
    assert given.upstreams["default"]["backends"] == ["http://127.0.0.1:1", "http+unix:/tmp/x"]
    header = pack.read("PlanHeader", launched["plan"])
    settings = header["settings"]
    assert settings["keepalive_ms"] == 7000
    assert settings["upstream_keepalive_ms"] == 8000
    assert settings["read_bytes"] == 65536
    assert settings["connections"] == 500
    assert settings["client_header_ms"] == 1000
    assert settings["header_bytes"] == 1024
    route = pack.read("RouteRow", launched["plan"], header["routes"]["rows"][0])
    assert route["max_body"] == 5_000_000
    assert (settings["via"], settings["access_log"], settings["trusted"][1]) == (1, 0, 1)
    assert [row["name"] for row in read_roster(launched["roster"])] == [
        "http://127.0.0.1:1",
        "http+unix:/tmp/x",
    ]


def test_run_with_a_file_and_flags_over_it(launched: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("workers = 5\n" + SOUND + "[timeouts]\ndrain = '9s'\n")
    result = call("run", "-c", "my.toml", "--workers", "2", "--listen", "127.0.0.1:1")
    assert isinstance(result.exception, LaunchedError), result.output
    given: Handover = launched["handover"]
    assert (given.workers, given.drain_seconds) == (2, 9.0)
    assert [one.bind for one in given.listeners] == ["127.0.0.1:1"]
    assert given.config_path == str(tmp_path / "my.toml")
    assert [(row["name"], row["weight"]) for row in read_roster(launched["roster"])] == [
        ("http://127.0.0.1:9001", 1),
        ("http://127.0.0.1:9002", 3),
    ]


def test_the_file_in_the_working_directory_is_found(
    launched: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "fastproxy.toml").write_text(SOUND)
    assert isinstance(call("run").exception, LaunchedError)
    assert launched["handover"].config_path == str(tmp_path / "fastproxy.toml")
    # --upstream is a whole configuration: the file is not looked for
    assert isinstance(call("run", "--upstream", "http://127.0.0.1:1").exception, LaunchedError)
    assert launched["handover"].config_path == ""
    assert launched["handover"].listeners[0].bind == "127.0.0.1:8080"


def test_flags_from_the_environment(launched: dict[str, Any]) -> None:
    env = {
        "FASTPROXY_UPSTREAM": "http://127.0.0.1:1 http://127.0.0.1:2",
        "FASTPROXY_WORKERS": "4",
        "FASTPROXY_KEEPALIVE_TIMEOUT": "3s",
    }
    assert isinstance(call("run", env=env).exception, LaunchedError)
    assert launched["handover"].workers == 4
    assert len(launched["handover"].upstreams["default"]["backends"]) == 2
    # the command line wins
    assert isinstance(call("run", "--workers", "1", env=env).exception, LaunchedError)
    assert launched["handover"].workers == 1
    wrong = call("run", env={**env, "FASTPROXY_WORKERS": "x"})
    assert wrong.exit_code == 2
    assert 'FASTPROXY_WORKERS: error: expected "auto" or a whole number, got "x"' in wrong.stderr


def test_names_that_do_not_resolve_are_said_and_do_not_stop(launched: dict[str, Any]) -> None:
    result = call(
        "run", "--upstream", "http://no-such-host.invalid", "--upstream", "http://127.0.0.1:1"
    )
    assert isinstance(result.exception, LaunchedError)
    assert "note: http://no-such-host.invalid does not resolve yet" in result.stderr
    assert [row["name"] for row in read_roster(launched["roster"])] == ["http://127.0.0.1:1"]


ALONE = [flag for flag in flags.FLAGS if not flag.name.startswith("--tls-")]
"""What needs no files: for the others see test_tls_commands.py."""


@pytest.mark.parametrize("flag", ALONE, ids=lambda flag: flag.name)
def test_every_flag_changes_something(flag: flags.Flag, launched: dict[str, Any]) -> None:
    values = {
        "TIME": "17s", "N": "3", "SIZE": "20KiB", "ADDRESS": "127.0.0.1:17", "CIDR": "10.0.0.0/8",
        "URL": "http://127.0.0.1:17", "NAME": "root", "PATH": "some.file", "LEVEL": "debug",
        "FORMAT": "json", "POLICY": "upstream", "ALGORITHM": "random",
    }  # fmt: skip
    base = ["run", "--upstream", "http://127.0.0.1:1"]
    assert isinstance(call(*base).exception, LaunchedError)
    before = dict(launched, handover=repr(launched["handover"]))
    assert isinstance(call(*base, flag.name, values[flag.metavar]).exception, LaunchedError)
    assert dict(launched, handover=repr(launched["handover"])) != before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--balance", "p2d"], '"ewma" or "hash", got "p2d" (did you mean "p2c"?)'),
        (["--workers", "0"], "--workers: error: must be from 1 to 128, got 0"),
        (["--listen", "8080"], '--listen: error: "8080" has no port; did you mean ":8080"?'),
        (["--keepalive", "soon"], '--keepalive: error: "soon" is not a duration'),
        (["--set", "limits.headr=1"], "--set limits.headr: error: unknown key (did you mean"),
        (["--set", "x"], "--set x: error: write --set KEY=VALUE"),
        (["--set", "a b=1"], '--set a b: error: "a b" is not a key'),
        (["--backlog", "0"], "--backlog: error: must be from 1 to 65535, got 0"),
    ],
)
def test_wrong_flags_are_usage_errors(args: list[str], said: str) -> None:
    result = call("run", "--upstream", "http://127.0.0.1:1", *args)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--nonsense"], ["nonsense"], ["run"],
        ["run", "-c", "x.toml", "--upstream", "http://a"],
        ["-s", "restart"], ["-t", "-s", "stop"], ["-t", "version"], ["stop", "--wait", "x"], [],
        ["run", "-c"], ["explain"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2(args: list[str]) -> None:
    assert call(*args).exit_code == 2


def test_check_tells_all_and_exits_1(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(SOUND.replace('"api" }', '"ap" }') + 'worker = 1\ntimeouts.drain = "x"\n')
    result = call("check", "-c", str(path))
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert (
        lines[0] == f"{path}:2: error: routes[0].upstream: no upstream 'ap' (did you mean 'api'?)"
    )
    assert len(lines) == 4
    assert lines[-1] == "3 errors"
    assert "\x1b" not in result.stderr
    assert call("-t", "-c", str(path)).exit_code == 1
    assert call("run", "-c", str(path)).exit_code == 1


def test_check_of_a_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(SOUND + "[upstreams.spare]\nbackends = ['http://127.0.0.1:9']\n")
    result = call("check", "-c", str(path))
    assert result.exit_code == 0
    assert result.stdout == f"{path} is sound, 1 warning\n"
    assert "warning: upstreams.spare: no route uses it" in result.stderr
    assert call("-t", "-c", str(path)).stdout == result.stdout


def test_check_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("worker = 1\n" + SOUND)
    result = call("check", "--json", "-c", str(path))
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "ok": False,
        "errors": [
            {
                "file": str(path), "line": 1, "path": "worker", "text": "unknown key",
                "hint": 'did you mean "workers"?',
            }
        ],
        "warnings": [],
    }  # fmt: skip
    path.write_text(SOUND)
    assert json.loads(call("check", "--json", "-c", str(path)).stdout)["ok"] is True


def test_dump_merges_and_keeps_secrets(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(
        'include = ["more.toml"]\nuser = "${env:WHO}"\n' + SOUND.replace("9002", "${file:port}")
    )
    (tmp_path / "port").write_text("9002\n")
    (tmp_path / "more.toml").write_text('[upstreams.b]\nbackends = ["http://127.0.0.1:1"]\n')
    result = call("-T", "-c", str(tmp_path / "f.toml"), env={"WHO": "root"})
    assert result.exit_code == 0
    shown = tomllib.loads(result.stdout)
    assert shown["user"] == "${env:WHO}"
    assert shown["upstreams"]["b"]["backends"] == ["http://127.0.0.1:1"]
    assert "9002" not in result.stdout
    assert call("check", "--dump", "-c", str(tmp_path / "f.toml"), env={"WHO": "root"}).stdout == (
        result.stdout
    )


def test_a_missing_file() -> None:
    result = call("run", "-c", "none.toml")
    assert result.exit_code == 1
    assert "none.toml: error: cannot be read: No such file or directory" in result.stderr


def test_help_teaches() -> None:
    for args, words in [
        (["--help"], ["Examples:", "fastproxy run --listen", "FASTPROXY_WORKERS", "docs/"]),
        (["run", "--help"], ["--listen ADDRESS", "Repeatable", "SIGUSR1", "default: 75s", "--set"]),
        (["check", "-h"], ["Exit code 0", "--json"]),
        (["explain", "--help"], ["METHOD URL", "-H"]),
        (["demo", "--help"], ["Ctrl-C", "127.0.0.1:8080"]),
        (["status", "--help"], ["--watch", "--json"]),
    ]:
        result = call(*args)
        assert result.exit_code == 0, (args, result.output)
        for word in words:
            assert word in result.output, (args, word)


def test_schema_and_version() -> None:
    schema = json.loads(call("schema").stdout)
    assert schema["properties"]["workers"]["default"] == "auto"
    assert call("version").stdout.startswith("fastproxy 0.1.0\npython 3.")
    assert call("--version").stdout == "fastproxy 0.1.0\n"


def test_no_instance_to_talk_to(tmp_path: Path) -> None:
    place = ["--control-socket", str(tmp_path / "c.sock")]
    for args in (["status", *place], ["status", "--json", *place], ["stop", *place],
                 ["reopen", *place]):  # fmt: skip
        result = call(*args)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"fastproxy: no fastproxy runs at {tmp_path}/c.sock")
    env = {"FASTPROXY_CONTROL_SOCKET": str(tmp_path / "d.sock")}
    assert f"{tmp_path}/d.sock" in call("-s", "stop", env=env).stderr


def test_the_program_itself(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(SOUND)
    done = process("check", "-c", "f.toml")
    assert (done.returncode, done.stdout) == (0, "f.toml is sound\n")
    assert process("check", "-c", "none.toml").returncode == 1
    assert process("run", "--nonsense").returncode == 2
    assert process("run", "--upstream", "x").returncode == 2


def test_a_taken_port_is_exit_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = process(
            "run", "--listen", f"127.0.0.1:{port}", "--upstream", "http://127.0.0.1:1",
            "--workers", "1", "--control-socket", str(tmp_path / "c.sock"),
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert str(port) in done.stderr


def test_the_master_carries_neither_click_nor_rich() -> None:
    code = (
        "import sys, fastproxy.process.master, fastproxy.process.worker, fastproxy.process.control;"
        "print([m for m in ('click', 'rich', 'fastproxy.config', 'yaml') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "[]\n"


def test_cpus_are_at_least_one_and_at_most_the_affinity() -> None:
    assert 1 <= start.cpus() <= len(os.sched_getaffinity(0))
