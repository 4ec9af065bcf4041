"""A real fastproxy in its own processes, for flow and chaos tests.

    with Backend() as backend, Proxy(upstreams=[backend.url], workers=2) as proxy:
        assert proxy.get("/").status == 200

`Proxy` starts `python -m fastproxy run` with a control socket of its own in a temporary directory,
on a free port, waits until every worker serves, and on leaving stops it and insists that no process
of it is left. What it wrote to standard error is in `proxy.log()`.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from fastproxy.process import client

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 15.0
# A MUST that failed, a sanitizer's report, a death by SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE or
# SIGSEGV.
CRASH = re.compile(r"MUST failed|ERROR: AddressSanitizer|by signal (?:4|5|6|7|8|11)\b")
T = TypeVar("T")
FOREIGN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
"""The environment of programs that are not ours: with a sanitizer preloaded (ci/asan) some hang."""


def wait_until(what: Callable[[], T], seconds: float = 10.0, step: float = 0.01) -> T:
    """The first true answer; AssertionError if there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(step)


def state_of(pid: int) -> str:
    """The letter of proc(5): R, S, T (stopped), Z ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    """Does this process run (a zombie does not)?"""
    try:
        return state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def halt(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped: a signal that is only sent lets a process that sleeps
    take one more event."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T")


def held_files(pid: int) -> set[str]:
    """What a process has open, as /proc names it."""
    held = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            held.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass  # closed while we looked
    return held


@dataclass
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Proxy:
    """See above. `args` are more flags of `fastproxy run`; `config` is a file for `-c` (naming
    listeners and upstreams). `inject`: what tests/handing.py takes, instead of all that.
    """

    def __init__(
        self,
        *args: str,
        listen: Sequence[str] = ("127.0.0.1:0",),
        upstreams: Sequence[str] = ("http://127.0.0.1:9",),
        workers: int = 2,
        config: Path | str | None = None,
        env: dict[str, str] | None = None,
        inject: dict[str, Any] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fastproxy-test-"))
        self.directory.chmod(0o755)
        self.control = str(self.directory / "control.sock")
        self.args = list(args)
        self.listen = list(listen)
        self.upstreams = list(upstreams)
        self.workers = workers
        self.config = config
        self.env = env or {}
        self.inject = inject or {}
        self.process: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------------------------

    def command(self) -> list[str]:
        """What is run: the command line, or, to inject something, tests/handing.py."""
        if self.inject:
            config = {
                "workers": self.workers,
                "listeners": self.listen,
                "upstreams": {"default": {"backends": self.upstreams}},
                "routes": [{"path": "/", "upstream": "default"}],
                "control_socket": self.control,
                "access_log": "off",
            }
            given = json.dumps({"config": config, **self.inject})
            return [sys.executable, "-m", "tests.handing", given]
        flags = ["--workers", str(self.workers), "--control-socket", self.control]
        if self.config:
            flags += ["-c", str(self.config)]
        else:
            flags += [f"--listen={one}" for one in self.listen]
            flags += [f"--upstream={one}" for one in self.upstreams]
        return [sys.executable, "-m", "fastproxy", "run", *flags, *self.args]

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        with (
            open(self.directory / "stderr", "ab") as errors,
            open(self.directory / "stdout", "ab") as output,
        ):
            self.process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.env},
            )
        return self.process

    def start(self) -> Self:
        """Start it and wait until every worker serves."""
        process = self.spawn()
        try:
            wait_until(lambda: process.poll() is not None or self._serving(), START_SECONDS)
            assert process.poll() is None, f"exit code {process.returncode}:\n{self.log()}"
        except BaseException:
            self.close()
            raise
        return self

    def _serving(self) -> bool:
        try:
            workers = self.status()["workers"]
        except (client.NotRunningError, client.ControlError):
            return False
        return all(one["state"] == "serving" for one in workers[: self.workers])

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Ask it to stop; its exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Stop it if it runs, take its directory away, insist that nothing of it is left."""
        left: list[int] = []
        if self.process:
            pids = self._family()
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            end = time.monotonic() + 5
            while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
                time.sleep(0.02)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        crashed = self._crashes()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not left, f"processes were left behind: {left}"
        assert not crashed, "\n".join(crashed)

    def _crashes(self) -> list[str]:
        """What standard error says of processes that fell. The master respawns them, as it should,
        so that a test may not have noticed; no test makes one fall by these signals itself."""
        path = self.directory / "stderr"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [line for line in lines if CRASH.search(line)]

    def _family(self) -> list[int]:
        """Pids of its children now."""
        assert self.process
        try:
            path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            return [int(pid) for pid in Path(path).read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def cpu_seconds(self) -> float:
        """CPU time of the master and all that runs below it, up to now."""
        ticks = 0
        for pid in [self.pid, *self._family()]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- looking --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return client.status(self.control)

    def log(self) -> str:
        """All it said on standard error."""
        return (self.directory / "stderr").read_text()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Pids of all workers. A slot that waits for its respawn has pid 0, and a signal to 0 goes
        to ourselves: so wait until each has one."""

        def pids() -> list[int]:
            found = [int(one["pid"]) for one in self.status()["workers"]]
            return found if all(found) else []

        return wait_until(pids, 20)

    @property
    def address(self) -> str:
        """The first listener, its real port included."""
        return str(self.status()["listeners"][0])

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- using ----------------------------------------------------------------------------------

    def connect(self, seconds: float = 10.0) -> socket.socket:
        """A raw connection to the first listener."""
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    def get(self, target: str = "/", port: int = 0, seconds: float = 10.0) -> Answer:
        """One GET on a connection of its own."""
        started = time.monotonic()
        line = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=seconds)
        try:
            line.request("GET", target, headers={"Connection": "close"})
            answer = line.getresponse()
            body = answer.read()
        finally:
            line.close()
        spent = time.monotonic() - started
        return Answer(answer.status, dict(answer.getheaders()), body, spent)


class Backend:
    """An origin in this process: 200 for everything, `/slow/SECONDS` after a while."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/slow/"):
                time.sleep(float(self.path.split("/")[2]))
            body = b"hello\n"
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + body)
            except OSError:
                self.close_connection = True  # the proxy (or a worker of it) is gone

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024  # with the default of 5, a burst waits a second for its SYN

        def handle_error(self, *_: object) -> None:
            pass  # a connection that broke: tests break them on purpose

    def __init__(self) -> None:
        self.server = self.Server(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def proxy_of(backend: Backend, *args: str, **options: object) -> Proxy:
    """One before this backend."""
    return Proxy(*args, upstreams=[backend.url], **options)  # type: ignore[arg-type]


def answers(proxy: Proxy, port: int) -> bool:
    """Does it answer at all by now?"""
    try:
        return proxy.get("/", port).status == 200
    except OSError:
        return False
