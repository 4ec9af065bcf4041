"""One instance until its stop: signals, hand-over, control socket, rights. Real processes."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from fastproxy.process import client
from tests.running import Backend, Proxy, alive, held_files, proxy_of, wait_until


def log_until(proxy: Proxy, text: str) -> str:
    return wait_until(lambda: proxy.log() if text in proxy.log() else "")


# -- rights -------------------------------------------------------------------------------------


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: " ".join(value.split()) for key, _, value in (one.partition(":") for one in lines)}


def test_workers_give_up_what_they_do_not_need(backend: Backend) -> None:
    nobody = pwd.getpwnam("nobody")
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with proxy_of(backend, f"--user={user}") as proxy:
        for pid in proxy.worker_pids():
            found = facts(pid)
            assert found["NoNewPrivs"] == "1"
            if user == "nobody":
                assert set(found["Uid"].split()) == {str(nobody.pw_uid)}
                assert set(found["Gid"].split()) == {str(nobody.pw_gid)}
                assert "0" not in found["Groups"].split()
                assert int(found["CapEff"], 16) == 0
            limits = Path(f"/proc/{pid}/limits").read_text()
            (line,) = [one for one in limits.splitlines() if one.startswith("Max open files")]
            assert line.split()[3] == line.split()[4]
        assert set(facts(proxy.status()["control_pid"])["Uid"].split()) == {str(os.geteuid())}


def test_children_hold_only_what_is_theirs(backend: Backend) -> None:
    """No child may hold a lock file, and control no listening socket."""
    with proxy_of(backend, workers=2) as proxy:
        control = proxy.status()["control_pid"]
        port = f":{proxy.port:04X} "
        sockets = {
            line.split()[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if port in line and line.split()[3] == "0A"
        }
        assert len(sockets) == 2
        for pid in (control, *proxy.worker_pids()):
            held = held_files(pid)
            assert not any(".lock" in one for one in held)
            listening = {one[8:-1] for one in held if one.startswith("socket:[")} & sockets
            assert listening == (set() if pid == control else sockets)


# -- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_drained_stop_exits_0_and_leaves_nothing(
    backend: Backend, tmp_path: Path, number: signal.Signals
) -> None:
    pid_file = tmp_path / "pid"
    with proxy_of(backend, f"--pid-file={pid_file}") as proxy:
        assert pid_file.read_text() == f"{proxy.pid}\n"
        assert stat.S_IMODE(os.stat(proxy.control).st_mode) == 0o600
        assert proxy.get("/").status == 200
        pids = proxy.worker_pids()
        assert proxy.stop(number) == 0
        assert not any(alive(pid) for pid in pids)
        assert set(os.listdir(proxy.directory)) == {"stderr", "stdout"}
    assert os.listdir(tmp_path) == []


def test_a_request_under_way_is_finished_and_new_ones_are_refused(backend: Backend) -> None:
    with proxy_of(backend, workers=2) as proxy:
        port = proxy.port
        line = proxy.connect()
        line.sendall(b"GET /slow/2 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert proxy.process
        proxy.process.send_signal(signal.SIGTERM)
        log_until(proxy, "draining")

        def door_shut() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
            except ConnectionRefusedError:
                return True
            return False

        # While the slow one still runs. Who asks in the 100 ms in which handshakes under way are
        # completed is not heard; TCP asks again after a second and is refused.
        wait_until(door_shut, 2)
        assert proxy.status()["state"] == "draining"
        answer = line.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert proxy.process.wait(10) == 0


def test_what_waits_in_the_queue_at_the_stop_is_served(backend: Backend) -> None:
    """Connections queued before the signal are answered, though no worker has seen them."""
    with proxy_of(backend, workers=1) as proxy:
        (worker,) = proxy.worker_pids()
        address = ("127.0.0.1", proxy.port)
        os.kill(worker, signal.SIGSTOP)
        lines = [socket.create_connection(address, 5) for _ in range(20)]
        for line in lines:
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert proxy.process
        proxy.process.send_signal(signal.SIGTERM)
        log_until(proxy, "draining")
        os.kill(worker, signal.SIGCONT)
        for line in lines:
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
        assert proxy.process.wait(5) == 0


def test_the_drain_time_is_a_bound(backend: Backend) -> None:
    with proxy_of(backend, "--drain-timeout=500ms") as proxy:
        line = proxy.connect()
        line.sendall(b"GET /slow/20 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        started = time.monotonic()
        assert proxy.stop() == 0
        assert 0.4 < time.monotonic() - started < 4
        assert "drain time is over with 1 connections open" in proxy.log()


def test_the_second_int_is_fast(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        line = proxy.connect()
        line.sendall(b"GET /slow/20 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert proxy.process
        proxy.process.send_signal(signal.SIGINT)
        log_until(proxy, "SIGINT: draining")
        assert proxy.process.poll() is None
        started = time.monotonic()
        assert proxy.stop(signal.SIGINT) == 130
        assert time.monotonic() - started < 3


def test_a_stuck_worker_does_not_keep_it_from_stopping(backend: Backend) -> None:
    with proxy_of(backend, "--drain-timeout=500ms") as proxy:
        os.kill(proxy.worker_pids()[0], signal.SIGSTOP)
        started = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - started < 5
        assert "killing what did not leave in time: worker 0" in proxy.log()


@pytest.mark.parametrize("name", ["USR2", "TTIN", "TTOU", "WINCH"])
def test_signals_of_the_future_are_named_and_harmless(backend: Backend, name: str) -> None:
    with proxy_of(backend, workers=1) as proxy:
        assert proxy.process
        proxy.process.send_signal(getattr(signal, f"SIG{name}"))
        log_until(proxy, f"SIG{name} caught; not there yet")
        assert proxy.get("/").status == 200


def test_children_leave_signals_to_the_master(backend: Backend) -> None:
    """Ctrl-C, Ctrl-\\ and a hang-up go to the whole group of the terminal."""
    with proxy_of(backend) as proxy:
        before = proxy.status()
        children = [before["control_pid"], *proxy.worker_pids()]
        for pid in children:
            for number in ("INT", "TERM", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
                os.kill(pid, getattr(signal, f"SIG{number}"))
        time.sleep(0.2)
        after = proxy.status()
        assert [after["control_pid"], *(one["pid"] for one in after["workers"])] == children
        assert proxy.get("/").status == 200


def test_usr1_reopens_the_logs(backend: Backend, tmp_path: Path) -> None:
    access, errors = tmp_path / "access.log", tmp_path / "error.log"
    with proxy_of(backend, f"--access-log={access}", f"--error-log={errors}") as proxy:
        proxy.get("/before")
        wait_until(lambda: "/before" in access.read_text())
        access.rename(tmp_path / "access.1")
        errors.rename(tmp_path / "error.1")
        assert proxy.process
        proxy.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: errors.exists() and "logs reopened" in errors.read_text())

        def every_worker_writes_there() -> bool:
            for _ in range(8):
                proxy.get("/after")
            old = (tmp_path / "access.1").read_text().count("/after")
            time.sleep(0.05)
            return old == (tmp_path / "access.1").read_text().count("/after")

        wait_until(every_worker_writes_there)
        seen = access.read_text().count("/after")
        old = (tmp_path / "access.1").read_text().count("/after")
        for _ in range(20):
            proxy.get("/after")
        wait_until(lambda: access.read_text().count("/after") == seen + 20)
        assert (tmp_path / "access.1").read_text().count("/after") == old
        for pid in (proxy.pid, proxy.status()["control_pid"], *proxy.worker_pids()):
            held = held_files(pid)
            assert not any(one.endswith(("access.1", "error.1")) for one in held)
        os.kill(proxy.worker_pids()[0], signal.SIGKILL)  # a successor has the new one as well
        wait_until(lambda: proxy._serving())
        for _ in range(20):
            proxy.get("/later")
        wait_until(lambda: access.read_text().count("/later") == 20)
        proxy.stop()
        assert "stopped" in errors.read_text()
        assert "/before" not in access.read_text()


def test_a_log_that_cannot_be_reopened_stays(backend: Backend, tmp_path: Path) -> None:
    home = tmp_path / "logs"
    home.mkdir()
    with proxy_of(backend, f"--access-log={home}/access.log") as proxy:
        home.rename(tmp_path / "moved")
        assert proxy.process
        proxy.process.send_signal(signal.SIGUSR1)
        log_until(proxy, "cannot reopen")
        proxy.get("/still")
        wait_until(lambda: "/still" in (tmp_path / "moved" / "access.log").read_text())


# -- control ------------------------------------------------------------------------------------


def talk(proxy: Proxy, *lines: bytes) -> list[dict[str, object]]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(proxy.control)
        line.sendall(b"".join(lines))
        with line.makefile("rb") as answers:
            return [json.loads(answers.readline()) for _ in lines]


def test_control_answers_lines(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        answers = talk(
            proxy,
            b'{"verb": "ping"}\n',
            b'{"verb": "version", "more": [1]}\n',
            b'{"verb": "dance"}\n',
            b"junk\n",
            b"[]\n",
            b"\xff\xfe\n",
            b'{"verb": "status"}\n',
        )
        assert [one["ok"] for one in answers] == [True, True, False, False, False, False, True]
        assert answers[0]["pid"] == proxy.status()["control_pid"]
        assert "dance" in str(answers[2]["error"])


def test_a_line_without_end_is_cut_off_and_others_go_on(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(proxy.control)
            endless = b"x" * (1 << 26)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                line.sendall(endless)
        assert talk(proxy, b'{"verb": "ping"}\n')[0]["ok"]


def test_control_stops_and_reopens_by_way_of_the_master(backend: Backend, tmp_path: Path) -> None:
    with proxy_of(backend, f"--access-log={tmp_path}/access.log") as proxy:
        assert talk(proxy, b'{"verb": "reopen"}\n')[0]["ok"]
        log_until(proxy, "logs reopened: log")
        assert talk(proxy, b'{"verb": "stop"}\n')[0]["ok"]
        assert proxy.process
        assert proxy.process.wait(10) == 0


def test_stop_works_without_control(backend: Backend) -> None:
    with proxy_of(backend) as proxy:
        os.kill(proxy.status()["control_pid"], signal.SIGSTOP)
        found = client.stop(proxy.control, wait=10)
        assert found.pid == proxy.pid
        assert proxy.process
        assert proxy.process.wait(5) == 0
        with pytest.raises(client.NotRunningError, match="no fastproxy runs at"):
            client.stop(proxy.control)


def test_a_name_that_resolves_anew_makes_a_new_roster(backend: Backend) -> None:
    """The command line saw another address of `localhost`; control sees the real one."""
    port = int(backend.url.rpartition(":")[2])
    url = f"http://localhost:{port}"
    with Proxy(
        upstreams=[url],
        workers=2,
        inject={
            "addresses": {url: [["127.0.0.9", port]]},
        },
    ) as proxy:
        wait_until(lambda: [w["roster_epoch"] for w in proxy.status()["workers"]] == [2, 2])
        status = proxy.status()
        names = [one["name"] for one in status["upstreams"][0]["backends"]]
        assert names == [f"{url}#127.0.0.1"]
        assert status["roster_epoch"] == 2
        time.sleep(0.8)
        assert proxy.status()["roster_epoch"] == 2  # the same answer is no news
        os.kill(proxy.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: proxy.status()["workers"][0]["restarts"] == 1 and proxy._serving())
        assert [w["roster_epoch"] for w in proxy.status()["workers"]] == [2, 2]
