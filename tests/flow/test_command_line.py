"""The command line with a real proxy behind it: demo, status, stop, what a file does to traffic."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.running import ROOT, Backend, Proxy, alive, wait_until


def program(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        timeout=30,
        check=False,
    )


class Demo:
    """`fastproxy demo` on a free port."""

    def __init__(self, folder: Path) -> None:
        self.control = str(folder / "control.sock")
        self.output = folder / "out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fastproxy", "demo", "--listen", "127.0.0.1:0",
                 "--workers", "1", "--control-socket", self.control],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def text(self) -> str:
        return self.output.read_text()

    def status(self) -> dict[str, Any]:
        done = program("status", "--json", "--control-socket", self.control)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def start(self) -> str:
        wait_until(lambda: self.process.poll() is not None or "master: ready" in self.text(), 15)
        assert self.process.poll() is None, self.text()
        return f"http://{self.status()['listeners'][0]}"

    def backend_pids(self) -> list[int]:
        """Who still runs as it was started, but is not the master."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if self.control in path.read_text() and int(path.parts[2]) != self.process.pid:
                    found.append(int(path.parts[2]))
        return found

    def inflight(self) -> int:
        (upstream,) = self.status()["upstreams"]
        return sum(one["inflight"] for one in upstream["backends"])

    def backends(self) -> list[str]:
        return re.findall(r"http://127\.0\.0\.1:\d{2,5}", self.text().split("goes to")[1])[:2]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def get(url: str, data: bytes | None = None) -> tuple[dict[str, str], bytes]:
    with urllib.request.urlopen(url, data, timeout=10) as answer:
        return dict(answer.headers), answer.read()


def get_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def connectable(url: str) -> bool:
    try:
        get(url + "/hello")
    except OSError:
        return False
    return True


def test_demo_shows_what_it_promises_and_ends_with_ctrl_c(demo: Demo) -> None:
    url = demo.start()
    _, page = get(url + "/")
    assert b"A subrequest to <code>/hello</code> was answered 200" in page
    assert b"Up for" in page
    assert b"serving" in page
    seen = Counter(get(url + "/hello")[0]["X-Backend"] for _ in range(6))
    assert sorted(seen.values()) == [3, 3]
    echoed = json.loads(get(url + "/echo?x=1", b"some <text>")[1])
    assert (echoed["method"], echoed["target"], echoed["body"]) == (
        "POST", "/echo?x=1", "some <text>",
    )  # fmt: skip
    assert dict(echoed["headers"])["X-Forwarded-For"] == "127.0.0.1"
    assert len(get(url + "/bytes?n=3000000")[1]) == 3_000_000
    began = time.monotonic()
    assert b"waited 300 ms" in get(url + "/slow?ms=300")[1]
    assert time.monotonic() - began >= 0.3
    backends = demo.backends()
    assert all(connectable(backend) for backend in backends)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(10) == 0, demo.text()
    wait_until(lambda: not any(connectable(backend) for backend in backends), 5)


def test_demo_says_nothing_of_connections_it_cuts(demo: Demo) -> None:
    """SIGTERM to its backends while requests run there and kept connections wait."""
    url = demo.start()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(get_status, f"{url}/slow?ms=20000") for _ in range(4)]
        for _ in range(4):
            assert get_status(f"{url}/hello") == 200
        wait_until(lambda: demo.inflight() == 4)
        (pid,) = demo.backend_pids()
        os.kill(pid, signal.SIGTERM)
        assert {one.result() for one in waiting} == {502}
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(10) == 0, demo.text()
    assert "Traceback" not in demo.text()
    assert "CancelledError" not in demo.text()


def test_demo_escapes_what_a_request_brings(demo: Demo) -> None:
    url = demo.start()
    request = urllib.request.Request(url + "/", headers={"X-A": "<script>alert(1)</script>"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        page = answer.read()
    assert b"<script>" not in page
    assert b"&lt;script&gt;" in page


def test_demo_backends_end_when_the_master_is_killed(demo: Demo) -> None:
    demo.start()
    backends = demo.backends()
    workers = [row["pid"] for row in demo.status()["workers"]]
    demo.process.send_signal(signal.SIGKILL)
    demo.process.wait(5)
    wait_until(lambda: not any(connectable(backend) for backend in backends), 5)
    wait_until(lambda: not any(alive(pid) for pid in workers), 10)


def test_status_and_stop_of_a_running_instance() -> None:
    with Backend() as backend, Proxy(upstreams=[backend.url], workers=2) as proxy:
        for _ in range(5):
            assert proxy.get("/").status == 200
        place = ("--control-socket", proxy.control)
        shown = program("status", *place)
        assert shown.returncode == 0
        assert f"pid {proxy.pid}, running" in shown.stdout
        assert backend.url in shown.stdout
        assert "\x1b" not in shown.stdout
        wait_until(lambda: json.loads(program("status", "--json", *place).stdout)["totals"]
                   ["requests"] == 5)  # fmt: skip
        assert program("reopen", *place).stdout == f"pid {proxy.pid} reopens its logs\n"
        by_environment = program("-s", "reopen", FASTPROXY_CONTROL_SOCKET=proxy.control)
        assert by_environment.returncode == 0
        stopped = program("stop", "--wait", "10", *place)
        assert stopped.stdout == f"pid {proxy.pid} stopped\n"
        assert proxy.process is not None
        assert proxy.process.wait(5) == 0
        assert program("status", *place).returncode == 1


def test_watching_as_json_gives_a_line_a_second() -> None:
    with Backend() as backend, Proxy(upstreams=[backend.url], workers=1) as proxy:
        watching = subprocess.Popen(
            [sys.executable, "-m", "fastproxy", "status", "--json", "--watch",
             "--control-socket", proxy.control],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert second["uptime_seconds"] >= first["uptime_seconds"] + 0.9
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0
        watching.stdout.close()


def test_a_file_with_routes_reaches_traffic(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    with Backend() as one:
        path.write_text(
            'listeners = ["127.0.0.1:0"]\naccess_log = "off"\n'
            '[[routes]]\npath = "/old/"\nredirect = "https://example.com{path}{args}"\n'
            '[[routes]]\npath = "= /ping"\nreply = { body = "pong {client_ip}" }\n'
            '[[routes]]\nupstream = "api"\nmethods = ["GET"]\n'
            f'[upstreams.api]\nbackends = ["{one.url}"]\n'
        )
        with Proxy(config=path, workers=1) as proxy:
            moved = proxy.get("/old/x?y=1")
            assert moved.status == 308
            assert moved.headers["Location"] == "https://example.com/old/x?y=1"
            assert proxy.get("/ping").body == b"pong 127.0.0.1"
            assert proxy.get("/").status == 200
            asked = program("explain", "-c", str(path), "GET", "/old/x?y=1", "--json")
            assert json.loads(asked.stdout)["hit"]["redirect"] == {
                "status": 308,
                "location": "https://example.com/old/x?y=1",
            }


def test_weights_reach_traffic(tmp_path: Path) -> None:
    """3:1 over one worker, exactly, and neither backend twice its due in a row."""
    with Backend() as one, Backend() as two:
        path = tmp_path / "f.toml"
        path.write_text(
            'listeners = ["127.0.0.1:0"]\naccess_log = "off"\nroutes = [{ upstream = "api" }]\n'
            f'[upstreams.api]\nbackends = [{{ url = "{one.url}", weight = 3 }}, "{two.url}"]\n'
            'balance = "round_robin"\n'
        )
        with Proxy(config=path, workers=1) as proxy:
            for _ in range(16):
                assert proxy.get("/").status == 200

            def counts() -> dict[str, int]:
                rows = proxy.status()["upstreams"][0]["backends"]
                return {row["name"]: row["requests"] for row in rows}

            wait_until(lambda: sum(counts().values()) == 16)
            assert counts() == {one.url: 12, two.url: 4}


@pytest.mark.measures
def test_start_to_first_answer_is_under_a_second() -> None:
    """Best of three: the machine may be busy, our own work may not be slow."""
    times = []
    with Backend() as backend:
        for _ in range(3):
            proxy = Proxy(upstreams=[backend.url], workers=1)
            began = time.monotonic()
            proxy.start()
            try:
                assert proxy.get("/").status == 200
                times.append(time.monotonic() - began)
            finally:
                proxy.close()
            if times[-1] < 1:
                break
    assert min(times) < 1, times
