"""How an instance starts, and why it does not: ports, places, plans that cannot be."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.running import ROOT, Backend, answers, proxy_of, wait_until

# -- start --------------------------------------------------------------------------------------


@pytest.mark.measures
def test_start_to_first_answer_is_under_a_second(backend: Backend) -> None:
    """From exec of Python to the answer, the best of three. On a busy machine the clock measures
    the others too: then the CPU time of all our processes must be within the second."""
    spent = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        proxy = proxy_of(backend, listen=[f"127.0.0.1:{port}"])
        started = time.monotonic()
        try:
            proxy.spawn()

            wait_until(partial(answers, proxy, port), 10, step=0.005)
            spent.append(min(time.monotonic() - started, proxy.cpu_seconds()))
        finally:
            proxy.close()
    assert min(spent) < 1.0, spent


def test_the_master_carries_little() -> None:
    code = "import sys, fastproxy.process.master; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    heavy = {"asyncio", "uvloop", "click", "rich", "ctypes", "argparse", "ssl", "multiprocessing"}
    assert heavy & set(run.stdout.split()) == set()


def test_it_is_not_started_by_hand() -> None:
    command = [sys.executable, "-m", "fastproxy.process.master"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert "fastproxy run" in run.stderr


def test_titles_states_and_answers(backend: Backend) -> None:
    with proxy_of(backend, workers=2) as proxy:
        assert proxy.get("/").status == 200
        wait_until(lambda: proxy.status()["totals"]["requests"])
        status = proxy.status()
        titles = {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
            for pid in (status["pid"], status["control_pid"], *proxy.worker_pids())
        }
        assert status["pid"] == proxy.pid
        assert [titles[status["pid"]], titles[status["control_pid"]]] == [
            "fastproxy: master",
            "fastproxy: control",
        ]
        assert [titles[pid] for pid in proxy.worker_pids()] == [
            "fastproxy: worker 0",
            "fastproxy: worker 1",
        ]
        assert status["state"] == "running"
        assert status["plan_generation"] in (0, 1)
        assert [one["roster_epoch"] for one in status["workers"]] == [1, 1]
        assert [one["name"] for one in status["upstreams"][0]["backends"]] == [backend.url]
        assert status["uptime_seconds"] < 30
        assert sum(one["accepted"] for one in status["workers"]) == 1
        assert status["totals"]["requests"] == 1


def test_several_listeners(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with proxy_of(backend, listen=["127.0.0.1:0", ":0", f"unix:{path}"], workers=2) as proxy:
        names = proxy.status()["listeners"]
        assert names[2] == f"unix:{path}"
        ports = [int(name.rpartition(":")[2]) for name in names[:2]]
        assert all(ports)
        assert len(set(ports)) == 2
        for port in ports:
            assert proxy.get("/", port).status == 200
        for family, address in ((socket.AF_INET6, ("::1", ports[1])), (socket.AF_UNIX, str(path))):
            with socket.socket(family) as line:
                line.settimeout(5)
                line.connect(address)
                line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert line.recv(100).startswith(b"HTTP/1.1 200")
        assert proxy.stop() == 0
    assert not path.exists()


# -- a second one -------------------------------------------------------------------------------


def test_a_second_instance_on_the_port_exits_3(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        second = proxy_of(backend, listen=[f"127.0.0.1:{proxy.port}"])
        second.spawn()
        assert second.process
        assert second.process.wait(10) == 3
        assert f"{proxy.port}: the port is taken" in second.log()
        second.close()
        for _ in range(10):
            assert proxy.get("/").status == 200  # none went to the second


def test_a_second_instance_on_the_control_socket_exits_3(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        second = proxy_of(backend)
        second.control = proxy.control
        second.spawn()
        assert second.process
        assert second.process.wait(10) == 3
        said = f"held by pid {proxy.pid}.* give this one --control-socket PATH"
        assert re.search(said, second.log())
        second.process = None
        second.close()
        assert proxy.status()["pid"] == proxy.pid


def test_two_that_start_together_never_share_the_port(backend: Backend) -> None:
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pair = [proxy_of(backend, listen=[f"127.0.0.1:{port}"], workers=1) for _ in range(2)]
        try:
            processes = [one.spawn() for one in pair]
            wait_until(lambda: any(one.poll() is not None for one in processes))  # noqa: B023
            time.sleep(0.2)
            codes = sorted(str(one.poll()) for one in processes)
            assert codes in (["3", "None"], ["3", "3"])  # never both; at worst neither
        finally:
            for one in pair:
                one.close()


# -- it cannot start ----------------------------------------------------------------------------


def test_no_worker_comes_up_and_it_says_why(backend: Backend) -> None:
    proxy = proxy_of(backend, inject={"plan": "junk"})
    started = time.monotonic()
    proxy.spawn()
    assert proxy.process
    assert proxy.process.wait(10) == 1
    assert time.monotonic() - started < 5
    assert "no worker came up" in proxy.log()
    assert "ValueError" in proxy.log()
    assert set(os.listdir(proxy.directory)) == {"stderr", "stdout"}
    proxy.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "no-such-user"),
        ("group", "no-such-group"),
        ("access_log", "/no/such/dir/access.log"),
        ("error_log", "/no/such/dir/error.log"),
        ("pid_file", "/no/such/dir/pid"),
    ],
)
def test_what_was_there_when_checked_and_is_gone_is_said(
    backend: Backend, field: str, value: str
) -> None:
    """The command line has checked all this; between the two anything may happen."""
    proxy = proxy_of(backend, inject={"handover": {field: value}})
    proxy.spawn()
    assert proxy.process
    assert proxy.process.wait(10) == 1
    assert value in proxy.log()
    assert "error master: " in proxy.log()
    proxy.close()
