"""A backend that knows how many requests it had at once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any, Self

from tests.flow.peers import Peer
from tests.running import ROOT


class Counting(Peer):
    """tests/flow/counting_origin.py: a backend that knows how many requests it had at once."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow.counting_origin", f"{self.host}:{self.port}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        return self

    @property
    def worst(self) -> int:
        """The most requests at once so far."""
        return int(self.ask("/seen")["worst"])

    def log(self) -> list[tuple[float, str, int]]:
        """(Unix time, X-Ledger, status) of each request, as they came."""
        return [(at, name, code) for at, name, code in self.ask("/seen")["log"]]

    def code(self, status: int) -> None:
        """Answer so from now on; 0: close the connection instead."""
        self.ask(f"/code?{status}")

    def ask(self, target: str) -> Any:
        """JSON straight from it, past the proxy."""
        with socket.create_connection((self.host, self.port), 10) as line:
            line.sendall(f"GET {target} HTTP/1.1\r\nHost: c\r\n\r\n".encode())
            reader = line.makefile("rb")
            length = 0
            while (field := reader.readline()) != b"\r\n":
                name, _, value = field.partition(b":")
                length = int(value) if name == b"Content-Length" else length
            return json.loads(reader.read(length))
