"""Real programs on both sides of the proxy, each in its own processes on free ports.

    with Origin() as origin, Gateway(upstreams=[origin.url]) as gateway:
        ...

`Origin` (tests/flow/origin.py), `Nginx` and `Granian` are backends; `Gateway` is fastproxy itself,
with the real engine and, if wanted, a whole configuration. `wrk` and memory gauges are here too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.flow.wire import Answered, Line
from tests.running import FOREIGN, ROOT, Proxy, alive, wait_until

START_SECONDS = 20.0
WHOLE_FDS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def free_port() -> int:
    """A port that was free a moment ago. Taken outside the kernel's ephemeral range, so that no
    outgoing connection of a busy test gets it meanwhile."""
    low, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    while True:
        port = int.from_bytes(os.urandom(2)) % (low - 10000) + 10000
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Peer:
    """A process with a port; `kill`, `stop` and `go` are what tests do to it."""

    process: subprocess.Popen[bytes]
    port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        """Itself and its children."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [pid, *map(int, children)]
        return [pid]

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """SIGSTOP: its kernel still takes connections, it never answers."""
        self.signal(signal.SIGSTOP)

    def go(self) -> None:
        self.signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        raise NotImplementedError

    def close(self) -> None:
        """Let it go, whatever state it is in."""
        pids = self.pids()
        self.go()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait(5)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Origin(Peer):
    """tests/flow/origin.py. `address`: 127.0.0.1:PORT or unix:/path."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.address = address
        self.name = ""

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow.origin", self.address],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.name = self.process.stdout.readline().decode().strip()
        assert self.name, "the origin did not start"
        if not self.address.startswith("unix:"):
            self.port = int(self.name)
        return self

    @property
    def url(self) -> str:
        if self.address.startswith("unix:"):
            return f"http+unix:{self.address[5:]}"
        return super().url

    def ask(self, target: str) -> Any:
        """JSON straight from it, past the proxy."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            line.request("GET", target)
            return json.loads(line.getresponse().read())
        finally:
            line.close()


NGINX = """
worker_processes 1;
worker_rlimit_nofile {fds};
error_log {home}/error.log warn;
pid {home}/pid;
daemon off;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {home}/www;
        location /small {{ return 200 "{small}"; }}
        location /empty {{ return 204; }}
        location /moved {{ return 301 /small; }}
        location /put/ {{ dav_methods PUT; create_full_put_path on; alias {home}/www/; }}
        gzip_static off;
    }}
}}
"""
SMALL = "x" * 100


class Nginx(Peer):
    """Debian's nginx: static files under `www`, `/small` (100 bytes), PUT below /put/."""

    def start(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="fastproxy-nginx-"))
        self.home.chmod(0o755)
        self.www = self.home / "www"
        self.www.mkdir()
        self.www.chmod(0o777)
        for _ in range(5):
            self.port = free_port()
            conf = NGINX.format(fds=WHOLE_FDS, home=self.home, port=self.port, small=SMALL)
            if os.geteuid() == 0:
                conf = f"user root;\n{conf}"
            (self.home / "nginx.conf").write_text(conf)
            command = ["nginx", "-p", str(self.home), "-c", "nginx.conf", "-e", "stderr"]
            self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=FOREIGN)
            wait_until(lambda: self.process.poll() is not None or accepts(self.port), START_SECONDS)
            if self.process.poll() is None:
                return self
        raise AssertionError((self.home / "error.log").read_text())

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.home, ignore_errors=True)


class Granian(Peer):
    """tests/flow/asgi.py under granian, one worker."""

    def start(self) -> Self:
        for _ in range(5):
            self.port = free_port()
            command = [sys.executable, "-m", "granian", "--interface", "asgi", "--http", "1"]
            command += ["--host", "127.0.0.1", "--port", str(self.port), "--no-log"]
            self.process = subprocess.Popen(
                [*command, "tests.flow.asgi:app"], cwd=ROOT, env=FOREIGN
            )
            wait_until(lambda: self.process.poll() is not None or accepts(self.port), START_SECONDS)
            if self.process.poll() is None:
                return self
        raise AssertionError("granian did not start")


class Gateway(Proxy):
    """fastproxy with the real engine. `settings`: a whole configuration; listeners, workers and the
    access log (off) are filled in if absent."""

    def __init__(
        self,
        *args: str,
        settings: dict[str, Any] | None = None,
        limits: dict[int, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.limits = limits or {}
        if not any(arg.startswith("--access-log") for arg in args):
            self.args.append("--access-log=off")
        if settings is not None:
            self.settings = {"listeners": ["127.0.0.1:0"], "access_log": "off", **settings}
            self.config = self.directory / "fastproxy.json"
            self.config.write_text(json.dumps(self.settings))
            self.args = list(args)

    def command(self) -> list[str]:
        flags = ["--workers", str(self.workers), "--control-socket", self.control]
        if self.config:
            flags += ["-c", str(self.config)]
        else:
            flags += [f"--listen={one}" for one in self.listen]
            flags += [f"--upstream={one}" for one in self.upstreams]
        limit = [f"--nofile={count}" for count in self.limits.values()]
        before = ["prlimit", *limit] if limit else []
        return [*before, sys.executable, "-m", "fastproxy", "run", *flags, *self.args]

    def spawn(self) -> subprocess.Popen[bytes]:
        self.env.setdefault("PYTHONPATH", str(ROOT))
        return super().spawn()

    # -- what the tests look at -----------------------------------------------------------------

    @property
    def port(self) -> int:
        """Kept: control may be busy, or killed."""
        if not hasattr(self, "_port"):
            self._port = super().port
        return self._port

    def totals(self) -> dict[str, int]:
        return dict(self.status()["totals"])

    def backends(self) -> dict[str, dict[str, Any]]:
        """By URL."""
        return {one["name"]: one for up in self.status()["upstreams"] for one in up["backends"]}

    def inflight(self) -> int:
        return sum(one["inflight"] for one in self.backends().values())

    def family(self) -> list[int]:
        """Master, control and workers."""
        return [self.pid, *self._family()]

    def settle(self) -> None:
        """Until no connection of a client is open (then gauges and counters are final)."""
        wait_until(lambda: self.totals()["connections"] == 0 and self.inflight() == 0, 20)


# ---- gauges -----------------------------------------------------------------------------------


def proc_number(pid: int, file: str, name: str) -> int:
    """A `Name:  N kB` line of a /proc file, in bytes."""
    text = Path(f"/proc/{pid}/{file}").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found, f"no {name} in {file}"
    return int(found[1]) * 1024


def pss(pids: list[int]) -> int:
    """Proportional set size of these processes together, bytes."""
    return sum(proc_number(pid, "smaps_rollup", "Pss") for pid in pids)


class Peak:
    """How far a process's resident memory rises above where it was: `with Peak(pid) as peak`."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.before = 0
        self.growth = 0

    def __enter__(self) -> Self:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM := VmRSS
        self.before = self.now()
        return self

    def now(self) -> int:
        return sum(proc_number(pid, "status", "VmHWM") for pid in self.pids)

    def __exit__(self, *_: object) -> None:
        self.growth = self.now() - self.before


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# ---- wrk --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    requests: int
    seconds: float
    socket_errors: str
    bad_status: int

    @property
    def clean(self) -> bool:
        return not self.socket_errors and not self.bad_status and self.requests > 0


def wrk(url: str, connections: int, seconds: float, *more: str) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout=20s", *more, url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, env=FOREIGN
    )
    assert done.returncode == 0, done.stderr
    return read_wrk(done.stdout)


def read_wrk(text: str) -> Load:
    total = re.search(r"(\d+) requests in ([\d.]+)s", text)
    assert total, text
    errors = re.search(r"Socket errors: (.*)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Load(
        int(total[1]), float(total[2]), errors[1] if errors else "", int(bad[1]) if bad else 0
    )


def gone(pid: int, seconds: float = 10.0) -> None:
    wait_until(lambda: not alive(pid), seconds)


def now_ms() -> float:
    return time.monotonic() * 1000


def get(proxy: Gateway, target: str, *lines: str, method: str = "GET") -> Answered:
    """One request on a connection of its own."""
    with Line(proxy.port) as line:
        return line.ask(method, target, *lines)
