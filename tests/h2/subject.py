"""Who is asked: fastproxy with a plain and a TLS listener, before a recording HTTP/1.1 origin.

While the tables are developed, others may be asked instead: `FASTPROXY_FRAMES_AGAINST=nghttpx` or
`=nginx` starts that one (Debian: nghttp2-proxy, nginx) with both listeners before the same origin.
What differs then is a question for the RFC, not for these tests: they answer for fastproxy only.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.flow.peers import Gateway, accepts, cpu_seconds, free_port, proc_number
from tests.h2.client import Address, Client
from tests.h2.frames import get
from tests.raw.recorder import BODY, HANG, Recorder, Seen, Step, pattern, sized
from tests.running import FOREIGN, wait_until

AGAINST = os.environ.get("FASTPROXY_FRAMES_AGAINST", "")
KINDS = ("plain", "tls")
FENCES = itertools.count(1)


def greets(seen: Seen) -> list[Step]:
    """The origin's side of a WebSocket: the right 101, and a greeting."""
    key = seen.one("sec-websocket-key").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    proof = base64.b64encode(hashlib.sha1(key).digest())
    return [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\nhello",
        HANG,
    ]


BIG = sized(pattern(5_000_000))
SCRIPTS: dict[str, Sequence[Step]] = {
    "/hang": [BODY, HANG],
    "/deaf": [0.0, 20.0],
    "/early": [sized(b"no")],
    "/big": [BODY, BIG],
    "/head": [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"],
    "/hints": [BODY, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", sized(b"ok")],
    "/continue": [b"HTTP/1.1 100 Continue\r\n\r\n", BODY, sized(b"ok")],
    "/101": [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"],
    "/ws": [greets],
    "*": [BODY, sized(b"ok")],
}
"""What the origin does for these paths; `/hang` reads and never answers, `/deaf` does not read,
`/early` answers before it reads, `/big` is of 5 MB."""


def make_pair(directory: Path) -> tuple[str, str]:
    """A certificate of our own and its key, as files."""
    cert, key = str(directory / "site.pem"), str(directory / "site.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=a.test", "-keyout", key, "-out", cert]
    command += ["-addext", "subjectAltName=DNS:a.test,DNS:b.test,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, env=FOREIGN)
    return cert, key


class Subject:
    """One instance with both listeners. `settings`: more of a configuration."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self.more = settings or {}
        self.recorder = Recorder()
        self.directory = Path(tempfile.mkdtemp(prefix="fastproxy-h2-"))
        self.addresses: dict[str, Address] = {}

    def __enter__(self) -> Self:
        self.recorder.__enter__()
        cert, key = make_pair(self.directory)
        self.gateway = Gateway(
            workers=1,
            settings={
                "listeners": [
                    {"bind": "127.0.0.1:0", "http2": True},
                    {
                        "bind": "127.0.0.1:0",
                        "tls": {"certificates": [{"cert": cert, "key": key}]},
                    },
                ],
                "upstreams": {"main": {"backends": [self.recorder.url]}},
                "routes": [{"host": ["a.test", "b.test"], "path": "/", "upstream": "main"}],
                **self.more,
            },
        ).start()
        for kind, address in zip(KINDS, self.gateway.status()["listeners"], strict=True):
            self.addresses[kind] = ("127.0.0.1", int(str(address).rpartition(":")[2]))
        self.workers = self.gateway.worker_pids()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.gateway.close()
        finally:
            self.recorder.__exit__()
            shutil.rmtree(self.directory, ignore_errors=True)

    def clear(self) -> None:
        """A new case begins."""
        self.recorder.clear()
        for path, steps in SCRIPTS.items():
            self.recorder.on(path, *steps)

    def forget(self) -> None:
        """The origin closes what it has open, read or not."""
        for line in self.recorder.lines:
            if not line.ended:
                self.recorder.end(line.index)

    def client(self, kind: str, hello: bytes | None = b"") -> Client:
        return Client(self.addresses[kind], kind == "tls", hello)

    def bystander(self, kind: str) -> str:
        """A good request on a connection of its own is answered; its path, as the origin saw it."""
        path = f"/fence/{next(FENCES)}"
        with self.client(kind) as client:
            client.send(get(path=path.encode()))
            outcome = client.outcome(1)
            assert outcome == "200", f"a bystander: {outcome}"
        self.recorder.settle()
        return path

    # -- what it costs, what it counts ------------------------------------------------------------

    def alive(self) -> bool:
        """The same workers as at the start: none crashed."""
        return self.gateway.worker_pids() == self.workers

    def cpu(self) -> float:
        return sum(map(cpu_seconds, self.workers))

    def memory(self) -> int:
        """Resident bytes."""
        return sum(proc_number(pid, "status", "VmRSS") for pid in self.workers)

    def counter(self, name: str) -> int:
        """How often that limit was met."""
        return int(self.gateway.status()["limits"][name])


class Other(Subject):
    """nghttpx or nginx in its place. It has no counters: they always grow."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.counted = 0

    def __enter__(self) -> Self:
        self.recorder.__enter__()
        self.addresses = {kind: ("127.0.0.1", free_port()) for kind in KINDS}
        command = {"nghttpx": self.nghttpx, "nginx": self.nginx}[self.name]()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=FOREIGN
        )
        wait_until(lambda: all(accepts(port) for _, port in self.addresses.values()))
        self.workers = self.children()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.recorder.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)

    def children(self) -> list[int]:
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(one) for one in text.split()] or [pid]

    def alive(self) -> bool:
        return self.process.poll() is None and self.children() == self.workers

    def counter(self, name: str) -> int:
        self.counted += 1
        return self.counted

    def nghttpx(self) -> list[str]:
        cert, key = make_pair(self.directory)
        plain, tls = self.addresses["plain"][1], self.addresses["tls"][1]
        return [
            "nghttpx",
            f"--frontend=127.0.0.1,{plain};no-tls",
            f"--frontend=127.0.0.1,{tls}",
            f"--backend=127.0.0.1,{self.recorder.port}",
            "--conf=/dev/null",
            "--workers=1",
            "--no-ocsp",
            key,
            cert,
        ]

    def nginx(self) -> list[str]:
        cert, key = make_pair(self.directory)
        self.directory.chmod(0o755)
        plain, tls = self.addresses["plain"][1], self.addresses["tls"][1]
        path = self.directory / "nginx.conf"
        path.write_text(f"""
user root; worker_processes 1; daemon off; error_log {self.directory}/error.log;
pid {self.directory}/pid;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{plain} http2;
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {cert}; ssl_certificate_key {key};
        location / {{
            proxy_pass http://127.0.0.1:{self.recorder.port};
            proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
            proxy_set_header Host $http_host; proxy_set_header Connection "";
        }}
    }}
}}
""")
        return ["nginx", "-p", str(self.directory), "-c", str(path)]


def make(settings: dict[str, Any] | None = None) -> Subject:
    return Other(AGAINST) if AGAINST else Subject(settings)
