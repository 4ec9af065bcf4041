"""Backends changed while the proxy runs: every order, its errors, and that nobody loses a request.

Real processes, two workers; the load is a ledger that writes down the fate of every request.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import click.testing
import pytest

from fastproxy import cli
from fastproxy.process import client
from tests.flow.ledger import Ledger
from tests.running import ROOT, Backend, Proxy, alive, halt, wait_until

IN_FORCE_SECONDS = 0.1


class Timed:
    """An origin for ledgers that writes down when each request came, and whose it was."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.seen: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                self.times.append(time.monotonic())
                if length := re.search(r"content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                found = re.search(r"x-ledger: (\S+)", head)
                name = found[1] if found else "-"
                self.seen[name] += 1
                body = f"timed {name}".encode()
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                writer.write(answer + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def __enter__(self) -> Self:
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.name}"
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture(scope="module")
def timed() -> Iterator[list[Timed]]:
    with Timed() as one, Timed() as two, Timed() as three:
        yield [one, two, three]


def order(proxy: Proxy, action: str, *backends: str, **more: Any) -> dict[str, Any]:
    given = {"action": action, "backends": list(backends), **more}
    return client.ask(proxy.control, "backend", given)


def rows(proxy: Proxy, upstream: str = "") -> dict[str, dict[str, Any]]:
    found = client.backends(proxy.control, upstream)["upstreams"]
    return {row["name"]: row for one in found for row in one["backends"]}


def states(proxy: Proxy) -> dict[str, tuple[str, int]]:
    return {name: (row["state"], row["weight"]) for name, row in rows(proxy).items()}


def call(proxy: Proxy, *args: str) -> click.testing.Result:
    """The command line, in this process."""
    place = ["--control-socket", proxy.control]
    return click.testing.CliRunner().invoke(cli.cli, [*args, *place], prog_name="fastproxy")


# -- in force everywhere, and nobody loses a request ---------------------------------------------


def way_back(action: str) -> str:
    return {"remove": "add", "drain": "enable", "disable": "enable", "weight": "weight"}[action]


@pytest.mark.parametrize("action", ["remove", "drain", "disable", "weight"])
def test_when_the_answer_is_there_the_last_request_has_been(
    timed: list[Timed], action: str, record_property: Any
) -> None:
    """From the answer to the last request that the backend sees: at most 100 ms, in all workers."""
    late = []
    zero, one = ({"weight": 0}, {"weight": 1}) if action == "weight" else ({}, {})
    with (
        Proxy(upstreams=[origin.url for origin in timed], workers=2) as proxy,
        Ledger(proxy.port, lines=16) as ledger,
    ):
        ledger.until(200)
        for turn in range(9):
            origin = timed[turn % 3]
            answer = order(proxy, action, origin.name, **zero)
            returned = time.monotonic()
            assert answer["in_force"]
            ledger.until(300)
            time.sleep(IN_FORCE_SECONDS)
            late.append(max(0.0, origin.times[-1] - returned))
            count = len(origin.times)
            back = origin.url if action == "remove" else origin.name
            assert order(proxy, way_back(action), back, **one)["in_force"]
            wait_until(lambda: len(origin.times) > count + 10)  # noqa: B023
        used = [row["requests"] for row in rows(proxy).values()]
    assert not ledger.failed, ledger.count()
    assert min(used) > 0
    record_property("seconds_to_the_last_request", max(late))
    print(f"{action}: last request {max(late) * 1000:.1f} ms after the answer, 9 turns")
    assert max(late) <= IN_FORCE_SECONDS, late


def test_two_hundred_changes_under_load_lose_nothing(timed: list[Timed]) -> None:
    """Adds and removes in a row, by keep-alive clients and by new connections."""
    before = Counter[str]()
    for origin in timed:
        before += origin.seen
    with (
        Proxy(upstreams=[origin.url for origin in timed[:2]], workers=2) as proxy,
        Ledger(proxy.port, lines=8) as kept,
        Ledger(proxy.port, lines=2, fresh=True, pause=0.002) as fresh,
    ):
        kept.until(100)
        for turn in range(100):
            goes, comes = timed[turn % 3], timed[(turn + 2) % 3]
            assert order(proxy, "add", comes.url)["in_force"], turn
            assert order(proxy, "remove", goes.name)["in_force"], turn
        kept.until(100)
        epochs = {row["roster_epoch"] for row in proxy.status()["workers"]}
        assert epochs == {201}
        assert len(rows(proxy)) == 2
    assert not kept.failed, kept.count()
    assert not fresh.failed, fresh.count()
    seen = Counter[str]()
    for origin in timed:
        seen += origin.seen
    for ledger in (kept, fresh):
        ledger.check_origin(dict(seen - before))


def test_callers_at_the_same_time_do_not_mix(timed: list[Timed]) -> None:
    """Two at once, each with a backend of its own, and a third that looks: all are served, and what
    each was told is so."""
    faults: list[str] = []

    def work(proxy: Proxy, url: str) -> None:
        for turn in range(40):
            for action, there in (("add", True), ("remove", False)):
                answer = order(proxy, action, url)
                if answer["changed"] != [url] or (url in rows(proxy)) != there:
                    faults.append(f"{turn} {action} {url}")

    with Proxy(upstreams=[timed[0].url], workers=2) as proxy, Ledger(proxy.port, 4) as ledger:
        threads = [threading.Thread(target=work, args=(proxy, origin.url)) for origin in timed[1:]]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
            assert not one.is_alive()
        assert list(rows(proxy)) == [timed[0].url]
        assert client.backends(proxy.control)["roster_epoch"] == 1 + 2 * 80
    assert not faults
    assert not ledger.failed, ledger.count()


def test_a_stuck_worker_is_named_and_gets_it_when_it_is_back(timed: list[Timed]) -> None:
    with Proxy(upstreams=[timed[0].url], workers=2) as proxy:
        stuck = proxy.worker_pids()[1]
        halt(stuck)
        try:
            answer = order(proxy, "add", timed[1].url)
            assert (answer["in_force"], answer["late_workers"]) == (False, [1])
            done = call(proxy, "backend", "add", timed[2].url)
            assert done.exit_code == 1
            assert "not in force yet in worker 1: it is stuck" in done.output
        finally:
            os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: {row["roster_epoch"] for row in proxy.status()["workers"]} == {3})
        assert len(rows(proxy)) == 3


# -- what survives ------------------------------------------------------------------------------


def changed(proxy: Proxy, timed: list[Timed]) -> dict[str, Any]:
    """Something of everything, and what `backends` shows of it (without its counters)."""
    one, two, three = timed
    order(proxy, "add", three.url, settings={"weight": 4, "max_connections": 50, "zone": "b"})
    order(proxy, "add", "http://127.0.0.1:9", "http://127.0.0.1:10")
    order(proxy, "disable", "127.0.0.1:9", "127.0.0.1:10")
    order(proxy, "weight", two.name, weight=7)
    order(proxy, "drain", one.name)
    order(proxy, "remove", "127.0.0.1:10")
    return standing(proxy)


def standing(proxy: Proxy) -> dict[str, Any]:
    found = client.backends(proxy.control)
    shown = ("name", "weight", "state", "operator", "max_connections", "zone", "source")
    (upstream,) = found["upstreams"]
    members = [{key: row[key] for key in shown} for row in upstream["backends"]]
    return {"epoch": found["roster_epoch"], "changes": upstream["changes"], "members": members}


def test_a_control_that_is_killed_leaves_everything_as_it_was(timed: list[Timed]) -> None:
    one, two, three = timed
    with Proxy(upstreams=[one.url, two.url], workers=2) as proxy, Ledger(proxy.port, 4) as ledger:
        before = changed(proxy, timed)
        assert before["changes"] == {
            "added": [three.url, "http://127.0.0.1:9"],
            "removed": [],
            "weights": {two.url: 7},
            "provided": {},
        }
        assert {row["name"]: (row["state"], row["weight"]) for row in before["members"]} == {
            one.url: ("drain", 1),
            two.url: ("up", 7),
            three.url: ("up", 4),
            "http://127.0.0.1:9": ("maint", 1),
        }
        for _ in range(2):
            old = proxy.status()["control_pid"]
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: not alive(old))  # noqa: B023
            wait_until(lambda: proxy.status()["control_pid"] != old)  # noqa: B023
            assert standing(proxy) == before
        for pid in proxy.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(row["restarts"] for row in proxy.status()["workers"]))
        wait_until(lambda: {row["state"] for row in proxy.status()["workers"]} == {"serving"})
        assert standing(proxy) == before
        assert {row["roster_epoch"] for row in proxy.status()["workers"]} == {before["epoch"]}
        drained = len(one.times)
        busy = len(three.times)
        wait_until(lambda: len(three.times) > busy + 50 or not ledger.thread.is_alive())
        assert len(one.times) == drained
        order(proxy, "remove", "127.0.0.1:9")
        order(proxy, "enable", one.name)
        wait_until(lambda: len(one.times) > drained)


def test_names_that_move_keep_what_was_said(backend: Backend) -> None:
    """`localhost` was 127.0.0.9 at the start; control sees the real one."""
    port = int(backend.url.rpartition(":")[2])
    url = f"http://localhost:{port}"
    inject = {"addresses": {url: [["127.0.0.9", port]]}, "handover": {"resolve_seconds": 1.0}}
    with Proxy(upstreams=[url, backend.url], workers=2, inject=inject) as proxy:
        with pytest.raises(client.ControlError, match=r"has no backend \"127.0.0.8:"):
            order(proxy, "drain", f"127.0.0.8:{port}")
        order(proxy, "drain", url)
        order(proxy, "weight", url, weight=6)
        assert states(proxy) == {
            f"{url}#127.0.0.9": ("drain", 6),
            backend.url: ("up", 1),
        }
        wait_until(lambda: f"{url}#127.0.0.1" in rows(proxy))
        found = states(proxy)
        assert found[f"{url}#127.0.0.1"] == ("drain", 6)
        assert f"{url}#127.0.0.9" not in found
        with pytest.raises(client.ControlError, match="may be .* or .*: name one of them"):
            order(proxy, "enable", f"127.0.0.1:{port}")
        order(proxy, "enable", f"{url}#127.0.0.1")
        assert states(proxy)[f"{url}#127.0.0.1"] == ("up", 6)


def test_a_name_is_looked_up_when_it_is_added(backend: Backend) -> None:
    port = int(backend.url.rpartition(":")[2])
    with Proxy(upstreams=["http://127.0.0.1:9"], workers=2) as proxy:
        answer = order(proxy, "add", f"http://localhost:{port}")
        assert f"http://localhost:{port}#127.0.0.1" in answer["changed"]
        order(proxy, "remove", "127.0.0.1:9")
        assert proxy.get("/").status == 200
        with pytest.raises(client.ControlError, match=r"nowhere.invalid:1 does not resolve \("):
            order(proxy, "add", "http://nowhere.invalid:1")


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
        (["add", "https://127.0.0.1:5"], 1, "TLS to upstreams is not there yet"),
        (["weight", "127.0.0.1:9", "257"], 1, "weight 257 is not within 0 to 256"),
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
            "action": "drain", "upstream": "default", "changed": [], "roster_epoch": 2,
            "in_force": True, "late_workers": [], "note": "",
        }.items()  # fmt: skip
        assert told["backends"][0]["state"] == "drain"
        watching = subprocess.Popen(
            [*program("backends", "--json", "--watch"), "--control-socket", proxy.control],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["roster_epoch"] == 2
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0
        watching.stdout.close()


def program(*args: str) -> list[str]:
    return [sys.executable, "-m", "fastproxy", *args]


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
