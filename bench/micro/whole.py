# SPDX-License-Identifier: MIT
"""Whole requests through a worker's engine, in this process and in lockstep.

The engine is the real one, on real loopback sockets, with a configuration compiled as `fastproxy
run` does it. Clients ask, the engine is turned until the backends have all requests, they answer,
it is turned until the clients have all answers. Nothing runs beside it, so what the engine does is
the same in every run, batches of events and all.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import Any

from bench.micro.heads import ANSWER, SMALL
from fastproxy import _core, start
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.process.handover import sealed
from fastproxy.scoreboard import segment

CLIENTS = 64
TURNS_MAX = 1000
"""Loopback delivers within the call: one turn each way would do. More mean that something hangs."""
READ_BYTES = 65536
LOGGED = {"access_log": os.devnull, "log_format": "json"}


class Whole:
    """An engine between CLIENTS kept connections and as many to two backends, or to more: addresses
    of 127.0.0.0/16 behind which the same two listen."""

    def __init__(
        self, changes: dict[str, Any] | None = None, request: bytes = SMALL, backends: int = 2
    ) -> None:
        self.request, self.answer = request, ANSWER + b"x" * 100
        self.stack = ExitStack()
        door = self._server("127.0.0.1")
        self.servers = [self._server("0.0.0.0"), self._server("0.0.0.0")]
        self.backends = backends
        self.ends: list[socket.socket] = []
        self.engine = self._engine(door, changes or {})
        self.clients = [self._client(door) for _ in range(CLIENTS)]
        self.run(2 + backends // 10)  # connections to the backends are made in the first rounds

    def close(self) -> None:
        self.stack.close()

    def run(self, rounds: int) -> None:
        """CLIENTS requests, `rounds` times. AssertionError for an answer that is not right."""
        for _ in range(rounds):
            for client in self.clients:
                client.sendall(self.request)
            for end in self._asked():
                end.sendall(self.answer)
            self._answered()

    def _asked(self) -> list[socket.socket]:
        """Turn until every request has come to a backend; the connections it came on."""
        asked: list[socket.socket] = []
        for _ in range(TURNS_MAX):
            self.engine.turn()
            self._accept()
            asked += [end for end in self.ends if b"\r\n\r\n" in received(end)]
            if len(asked) == CLIENTS:
                return asked
        raise TimeoutError(f"{len(asked)} of {CLIENTS} requests came to the backends")

    def _answered(self) -> None:
        """Turn until every client has its answer."""
        waiting = list(self.clients)
        for _ in range(TURNS_MAX):
            self.engine.turn()
            waiting = [client for client in waiting if not self._is_answer(received(client))]
            if not waiting:
                return
        raise TimeoutError(f"{len(waiting)} of {CLIENTS} clients wait for an answer")

    @staticmethod
    def _is_answer(data: bytes) -> bool:
        assert not data or (data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(b"x" * 100))
        return bool(data)

    def _accept(self) -> None:
        for server in self.servers:
            while True:
                try:
                    end, _ = server.accept()
                except BlockingIOError:
                    break
                end.setblocking(False)
                self.ends.append(self.stack.enter_context(end))

    def _server(self, host: str) -> socket.socket:
        one = self.stack.enter_context(socket.create_server((host, 0), backlog=CLIENTS))
        one.setblocking(False)
        return one

    def _client(self, door: socket.socket) -> socket.socket:
        one = self.stack.enter_context(socket.create_connection(door.getsockname()))
        one.setblocking(False)
        return one

    def _engine(self, door: socket.socket, changes: dict[str, Any]) -> _core.WorkerEngine:
        ports = [port(one) for one in self.servers]
        urls = [
            f"http://127.0.{at // 250}.{at % 250 + 1}:{ports[at % 2]}"
            for at in range(self.backends)
        ]
        given = {
            "listeners": [{"bind": f"127.0.0.1:{port(door)}"}],
            "upstreams": {"app": {"backends": urls}},
            "routes": [{"path": "/", "upstream": "app"}],
            "access_log": "off",
        } | changes
        config, _ = check.sound(from_data(given))
        ready = start.prepare(config)
        board = segment.create(1)
        engine = _core.WorkerEngine(0, board)
        self.stack.callback(engine.close)
        self._made(engine)
        if config.access_log != "off":
            hand(engine.log_to, os.open(config.access_log, os.O_WRONLY | os.O_APPEND))
        hand(engine.plan, sealed("plan", ready.plan))
        hand(engine.roster, sealed("roster", ready.roster))
        engine.listen(0, 0, door.fileno())
        os.close(board)
        return engine

    def _made(self, engine: _core.WorkerEngine) -> None:
        """What else it shall understand."""


def port(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def hand(give: Any, fd: int) -> None:
    """The engine keeps a copy of its own."""
    give(fd)
    os.close(fd)


def received(one: socket.socket) -> bytes:
    """What is there; nothing of it is an answer, too."""
    try:
        return one.recv(READ_BYTES)
    except BlockingIOError:
        return b""
