"""A small engine in plain Python, so that processes can be tested before the real one is merged.

It serves HTTP/1.1 well enough for a test: any GET is answered 200, `/slow/SECONDS` after a while,
keep-alive is honoured. It keeps the engine's promises to worker and scoreboard: beat, adoption,
drain. `tests/running.py` uses it only while `_core` has no Engine.

    python -m tests.standin --handover FD       a master whose workers use it
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
import time

from fastproxy._probe import BoardProbe

from fastproxy._core import Board
from fastproxy.balance.build import read_roster
from fastproxy.memory import pack
from fastproxy.process.handover import contents
from fastproxy.process.master import main
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import BEAT_STALE_MS, WorkerState

TICK_SECONDS = 0.025
LIBC = ctypes.CDLL(None, use_errno=True)


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.due = 0.0
        self.requests = 0


class StandIn:
    def __init__(self, slot: int, board_fd: int) -> None:
        self.slot = slot
        self.board = Board(board_fd)
        self.probe = BoardProbe(board_fd, os.fstat(board_fd).st_size)
        self.poll = select.epoll()
        self.timer = LIBC.timerfd_create(1, 0o2004000)
        tick = struct.pack("qqqq", 0, int(TICK_SECONDS * 1e9), 0, int(TICK_SECONDS * 1e9))
        assert LIBC.timerfd_settime(self.timer, 0, tick, None) == 0
        self.poll.register(self.timer, select.EPOLLIN)
        self.listeners: dict[int, int] = {}
        self.armed: set[int] = set()
        self.clients: dict[int, Client] = {}
        self.log_fd = -1
        self.draining = False

    def fileno(self) -> int:
        return self.poll.fileno()

    def plan(self, fd: int) -> int:
        data = contents(fd)
        if not data.startswith(b"plan "):
            raise ValueError("this is no plan")
        generation = int(data.split()[1])
        self._note(plan_generation=generation)
        return generation

    def roster(self, fd: int) -> int:
        data = contents(fd)
        read_roster(data)
        epoch: int = pack.read("RosterHeader", data)["epoch"]
        self._note(roster_epoch=epoch)
        return epoch

    def _note(self, **words: int) -> None:
        at = segment.header(self.board)["workers_off"] + self.slot * pack.size("WorkerRow")
        segment._set_words(self.board, "WorkerRow", at, words)

    def listen(self, slot: int, listener: int, fd: int) -> None:
        self.listeners[fd] = slot
        self._arm(fd, slot in (self.slot, -1))

    def _arm(self, fd: int, wanted: bool) -> None:
        if wanted and fd not in self.armed:
            self.poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            self.armed.add(fd)
        elif not wanted and fd in self.armed:
            self.poll.unregister(fd)
            self.armed.discard(fd)

    def log_to(self, fd: int) -> None:
        if self.log_fd >= 0:
            os.close(self.log_fd)
        self.log_fd = fd

    def adopt(self) -> None:
        for fd, slot in self.listeners.items():
            if slot in (self.slot, -1) or self.draining:
                continue
            state = self.board.state(slot)
            stuck = state == WorkerState.SERVING and self.board.beat_age_ms(slot) > BEAT_STALE_MS
            self._arm(fd, state == WorkerState.GONE or stuck)

    def drain(self) -> None:
        self.draining = True
        for fd in list(self.armed):
            while self._accept(fd):
                pass
            self._arm(fd, False)
        for client in list(self.clients.values()):
            if not client.due and not client.data and client.requests:
                self._close(client)

    def drained(self) -> bool:
        return self.draining and not self.clients

    def connections(self) -> int:
        return len(self.clients)

    def responder(self, name: str, handler: object) -> None:
        pass

    def close(self) -> None:
        for client in list(self.clients.values()):
            self._close(client)

    def turn(self) -> bool:
        for fd, _ in self.poll.poll(0, 64):
            if fd == self.timer:
                os.read(self.timer, 8)
                self.board.beat(self.slot)
                self.adopt()
            elif fd in self.listeners:
                self._accept(fd)
            elif fd in self.clients:
                self._read(self.clients[fd])
        now = time.monotonic()
        for client in list(self.clients.values()):
            if client.due and client.due <= now:
                self._answer(client)
        self._note(connections=len(self.clients))
        return False

    def _accept(self, fd: int) -> bool:
        listener = socket.socket(fileno=fd)
        try:
            sock, _ = listener.accept()
        except OSError:
            return False
        finally:
            listener.detach()
        sock.setblocking(False)
        self.clients[sock.fileno()] = Client(sock)
        self.poll.register(sock.fileno(), select.EPOLLIN)
        row = segment.worker(self.board, self.slot)
        self._note(accepted=row["accepted"] + 1)
        if self.listeners[fd] not in (self.slot, -1):
            self._note(adopted=row["adopted"] + 1)
        return True

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(client)
            return
        client.data += data
        if b"\r\n\r\n" in client.data and not client.due:
            target = client.data.split(b" ", 2)[1].decode()
            wait = float(target.split("/")[2]) if target.startswith("/slow/") else 0.0
            client.due = time.monotonic() + wait
            self.probe.inflight(self.slot, 0, 1)

    def _answer(self, client: Client) -> None:
        head, _, client.data = client.data.partition(b"\r\n\r\n")
        client.due = 0.0
        client.requests += 1
        close = self.draining or b"connection: close" in head.lower()
        field = b"Connection: close\r\n" if close else b""
        self.probe.inflight(self.slot, 0, -1)
        self.probe.request(self.slot, 0, 0, 2, 100)
        if self.log_fd >= 0:
            os.write(self.log_fd, head.split(b"\r\n")[0] + b"\n")
        body = b"worker %d\n" % self.slot
        answer = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (field, len(body), body)
        try:
            client.sock.send(answer)
        except OSError:
            close = True
        if close:
            self._close(client)

    def _close(self, client: Client) -> None:
        self.poll.unregister(client.sock.fileno())
        del self.clients[client.sock.fileno()]
        client.sock.close()


if __name__ == "__main__":
    sys.exit(main(engine_factory=StandIn))
