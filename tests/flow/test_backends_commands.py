"""`fastproxy backends` and `backend` against a real instance of two workers: what they say, their
exit codes, their JSON, how `drain` waits."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import click.testing
import pytest

from fastproxy import cli
from fastproxy.process import client
from tests.flow.orders import Timed, call, order, rows
from tests.running import ROOT, Backend, Proxy, wait_until


@pytest.fixture(scope="module")
def timed() -> Iterator[list[Timed]]:
    with Timed() as one, Timed() as two, Timed() as three:
        yield [one, two, three]


def program(*args: str) -> list[str]:
    return [sys.executable, "-m", "fastproxy", *args]


# -- the command line ---------------------------------------------------------------------------


def test_what_each_command_says(timed: list[Timed]) -> None:
    one, two, three = (origin.url for origin in timed)
    with Proxy(upstreams=[one, two], workers=2) as proxy:
        for words, said in (
            (["add", three, "--weight", "3", "--label", "v=2"], f"default: {three} is added\n"),
            (["drain", "default", one], f"default: {one} drains, no request under way\n"),
            (["drain", one], f"default: {one} drains already, no request under way\n"),
            (["enable", one], f"default: {one} is enabled\n"),
            (["enable", one], f"default: {one} is already enabled\n"),
            (["disable", one, two], f"default: {one} is disabled, no request under way\n"
                                    f"default: {two} is disabled, no request under way\n"),
            (["weight", two, "9"], f"default: {two} has weight 9, maint\n"),
            (["weight", two, "9"], f"default: {two} has already weight 9, maint\n"),
            (["remove", two], f"default: {two} is removed, no request under way\n"),
            (["add", two], f"default: {two} is added\n"),
        ):  # fmt: skip
            done = call(proxy, "backend", *words)
            assert (done.exit_code, done.output) == (0, said)
        done = call(proxy, "backend", "remove", one, two, three)
        assert done.exit_code == 0
        assert 'note: upstream "default" has no backend any more: its requests get 503' in (
            done.output
        )
        assert proxy.get("/").status == 503
        assert call(proxy, "backends").output == "upstream default has no backend\n"
        assert call(proxy, "backend", "add", one).exit_code == 0
        assert proxy.get("/").status == 200
        assert "operator: remove default: " in proxy.log()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["drain", "127.0.0.1:7"], 1, 'has no backend "127.0.0.1:7"; did you mean "127.0.0.1:9"?'),
        (["drain", "defualt", "127.0.0.1:9"], 1,
         'no upstream "defualt"; did you mean "default"?'),
        (["add", "http://127.0.0.1:9"], 1, 'http://127.0.0.1:9 is in upstream "default" already'),
        (["add", "127.0.0.1:5"], 1, 'did you mean "http://127.0.0.1:5"?'),
        (["add", "https://127.0.0.1:5"], 1, "https://127.0.0.1:5: backends of"),
        (["weight", "127.0.0.1:9", "257"], 1, "weight 257 is not within 0 to 256"),
        (["weight", "127.0.0.1:9", "-1"], 1, "weight -1 is not within 0 to 256"),
        (["weight", "--wait", "127.0.0.1:9", "1"], 2, "No such option '--wait'"),
        (["weight", "127.0.0.1:9", "much"], 2, "the last word is the weight"),
        (["weight", "127.0.0.1:9"], 2, "the last word is the weight"),
        (["drain", "default"], 2, "which backend of default?"),
        (["drain"], 2, "Missing argument '[UPSTREAM] ADDRESS...'"),
        (["drain", "127.0.0.1:9", "--timeout", "1"], 2, "--timeout goes with --wait"),
        (["add", "http://127.0.0.1:5", "--weight", "257"], 2, "257 is not in the range 0<=x<=256"),
        (["add", "http://127.0.0.1:5", "--label", "x"], 2, "write NAME=VALUE"),
        (["drian", "127.0.0.1:9"], 2, "No such command 'drian'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_with_a_code(
    quiet: Proxy, words: list[str], code: int, text: str
) -> None:
    done = call(quiet, "backend", *words)
    assert done.exit_code == code, done.output
    assert text in done.output
    assert client.backends(quiet.control)["roster_epoch"] == 1


@pytest.fixture(scope="module")
def quiet() -> Iterator[Proxy]:
    """One that is only asked what it refuses."""
    with Proxy(upstreams=["http://127.0.0.1:9"], workers=2) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"verb": "backend"}, "not a request: Object missing required field `action`"),
        ({"verb": "backend", "action": "drain", "backends": "x"},
         "not a request: Expected `array`"),
        ({"verb": "backend", "action": "fly", "backends": ["x"]},
         'backends cannot be told to "fly"; there are add, remove, drain'),
        ({"verb": "backend", "action": "add", "backends": ["http://127.0.0.1:5"],
          "settings": {"weight": "much", "prority": 1}},
         'unknown key (did you mean "priority"?)'),
        ({"verb": "backends", "upstream": "x"}, 'no upstream "x"; there are default'),
        ({"verb": "backendz"}, "no verb 'backendz'; there are status, version"),
    ],
)  # fmt: skip
def test_what_programs_are_told(quiet: Proxy, request_: dict[str, Any], error: str) -> None:
    with pytest.raises(client.ControlError) as found:
        client.ask(quiet.control, request_.pop("verb"), request_)
    assert error in str(found.value)


def test_a_full_upstream_takes_no_more() -> None:
    most = 1024
    urls = [f"http://127.0.{at // 250}.{at % 250 + 1}:9" for at in range(most + 1)]
    with Proxy(upstreams=urls[:most], workers=2) as proxy:
        text = "upstream 'default' has 1025 addresses, at most 1024 are possible"
        with pytest.raises(client.ControlError, match=text):
            order(proxy, "add", urls[most])
        order(proxy, "remove", urls[0])
        assert order(proxy, "add", urls[most])["changed"] == [urls[most]]
        assert len(rows(proxy)) == most


def test_no_instance_is_exit_code_1(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none.sock")
    for words in (["backends"], ["backend", "drain", "127.0.0.1:9"]):
        done = click.testing.CliRunner().invoke(cli.cli, [*words, "--control-socket", nowhere])
        assert done.exit_code == 1
        assert "no fastproxy runs at" in done.output


def test_every_command_teaches() -> None:
    runner = click.testing.CliRunner()
    group = cli.cli.commands["backend"]
    assert isinstance(group, click.Group)
    assert set(group.commands) == {"add", "remove", "drain", "enable", "disable", "weight"}
    for name in group.commands:
        text = runner.invoke(cli.cli, ["backend", name, "--help"]).output
        assert f"fastproxy backend {name} " in text
    assert "fastproxy backend drain web" in runner.invoke(cli.cli, ["backend", "--help"]).output


def test_json_of_backends_and_status(timed: list[Timed]) -> None:
    one, two = timed[0].url, timed[1].url
    with Proxy(upstreams=[one], workers=2) as proxy:
        call(proxy, "backend", "add", two, "--max-connections", "7", "--zone", "b", "--backup")
        assert proxy.get("/").status == 200
        wait_until(lambda: rows(proxy)[one]["requests"] == 1)
        shown = json.loads(call(proxy, "backends", "--json").output)
        (upstream,) = shown["upstreams"]
        first, second = upstream["backends"]
        assert (shown["roster_epoch"], upstream["name"], upstream["balance"]) == (
            2,
            "default",
            "p2c",
        )
        assert upstream["changes"]["added"] == [two]
        assert (first["source"], second["source"]) == ("configuration", "operator")
        assert second.items() >= {
            "name": two, "state": "up", "weight": 1, "health": "up", "admin": "up",
            "operator": "up", "agent": "up", "percent": 100, "ejected_seconds": 0.0,
            "ejections": 0, "max_connections": 7, "inflight": 0, "priority": 0, "backup": True,
            "zone": "b", "requests": 0,
        }.items()  # fmt: skip
        assert first["p99_ms"] > 0
        status = json.loads(call(proxy, "status", "--json").output)
        assert status["upstreams"] == shown["upstreams"]
        order(proxy, "drain", one)
        told = json.loads(call(proxy, "backend", "drain", one, "--json").output)
        assert told.items() >= {
            "action": "drain", "upstream": "default", "changed": [], "roster_epoch": 3,
            "in_force": True, "late_workers": [], "note": "",
        }.items()  # fmt: skip
        assert told["backends"][0]["state"] == "drain"
        watching = subprocess.Popen(
            [*program("backends", "--json", "--watch"), "--control-socket", proxy.control],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["roster_epoch"] == 3
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0
        watching.stdout.close()


# -- drain --wait -------------------------------------------------------------------------------


def test_drain_waits_until_nothing_is_under_way(backend: Backend, timed: list[Timed]) -> None:
    with Proxy(upstreams=[backend.url], workers=2) as proxy:
        lines = []
        for seconds in (1, 2):
            line = proxy.connect()
            line.sendall(f"GET /slow/{seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            lines.append(line)
        wait_until(lambda: rows(proxy)[backend.url]["inflight"] == 2)
        order(proxy, "add", timed[0].url)
        early = call(proxy, "backend", "drain", backend.url, "--wait", "--timeout", "0.2")
        assert early.exit_code == 1
        assert "fastproxy: 2 requests under way still, after 0.2 s" in early.output
        started = time.monotonic()
        done = call(proxy, "backend", "drain", backend.url, "--wait")
        assert done.exit_code == 0
        assert time.monotonic() - started > 0.5
        assert done.output == (
            f"default: {backend.url} drains already, 2 requests under way\n"
            "2 requests under way\n1 request under way\ndrained: no request under way\n"
        )
        for line in lines:
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line.close()
        assert rows(proxy)[backend.url]["inflight"] == 0


def test_a_removed_backend_is_shown_until_it_is_empty(backend: Backend) -> None:
    with Proxy(upstreams=[backend.url, "http://127.0.0.1:9"], workers=2) as proxy:
        order(proxy, "disable", "127.0.0.1:9")
        line = proxy.connect()
        line.sendall(b"GET /slow/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: rows(proxy)[backend.url]["inflight"] == 1)
        done = call(proxy, "backend", "remove", backend.url)
        assert f"{backend.url} is removed, 1 request under way" in done.output
        assert rows(proxy)[backend.url]["state"] == "removed"
        assert line.recv(1000).startswith(b"HTTP/1.1 200")
        wait_until(lambda: backend.url not in rows(proxy))


def on_a_terminal(args: list[str], until: str, seconds: float = 15) -> tuple[int, str]:
    """Run it on a pseudo terminal until it has written that; then Ctrl-C. (code, all it wrote)"""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="140", LINES="40")
        os.environ.pop("NO_COLOR", None)
        os.chdir(ROOT)
        os.execv(sys.executable, args)
    text, end, asked = "", time.monotonic() + seconds, False
    while time.monotonic() < end:
        try:
            text += os.read(fd, 65536).decode(errors="replace")
        except OSError:  # its end is closed
            break
        if until in text and not asked:
            asked = True
            os.write(fd, b"\x03")
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def test_on_a_terminal_there_are_colours_and_one_line_of_progress(backend: Backend) -> None:
    with Proxy(upstreams=[backend.url, "http://127.0.0.1:9"], workers=2) as proxy:
        order(proxy, "disable", "127.0.0.1:9")
        place = ["--control-socket", proxy.control]
        code, text = on_a_terminal([*program("backends"), *place], "never")
        assert code == 0
        assert "\x1b[33mmaint" in text
        assert "\x1b[32mup" in text
        code, text = on_a_terminal([*program("backends", "--watch"), *place], "maint")
        assert code == 0
        assert "\x1b[?1049h" in text  # a screen of its own, as `status --watch`
        line = proxy.connect()
        line.sendall(b"GET /slow/2 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: rows(proxy)[backend.url]["inflight"] == 1)
        words = ["backend", "drain", backend.url, "--wait"]
        code, text = on_a_terminal([*program(*words), *place], "never")
        assert code == 0, text
        assert "\r1 request under way" in text
        assert text.endswith("\rdrained: no request under way\r\n")
        line.close()
