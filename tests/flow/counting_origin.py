"""A backend that counts its requests under way: `python -m tests.flow.counting_origin HOST:PORT`.

It prints its port and serves, one thread and one epoll set, until its standard input ends. A
request counts from its head to just before its answer is sent, or to the end of its connection:
those ends are looked at before new requests of the same moment. Bodies are not read. Counted:

    /hold?ms=N      "NAME ID" after N ms; ID is the request's X-Ledger field
    /hold           the same at once

Asked by tests directly, not counted:

    /seen           JSON: "worst" so far, "now", and "log": [Unix time, ID, code] as they came in
    /code?N         from now on /hold is answered with status N; 0: its connection is closed
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import sys
import time
import urllib.parse

ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Counting:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.door = socket.create_server((host, int(port)), backlog=1024)
        self.door.setblocking(False)
        self.name = str(self.door.getsockname()[1])
        self.epoll = select.epoll()
        self.epoll.register(self.door, select.EPOLLIN)
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self.lines: dict[int, socket.socket] = {}
        self.kept: dict[int, bytes] = {}
        self.busy: dict[int, tuple[str, int]] = {}
        """fd -> (ID, code) of what it is working on."""
        self.due: list[tuple[float, int, str]] = []
        self.worst = 0
        self.code = 200
        self.log: list[tuple[float, str, int]] = []

    def serve(self) -> None:
        while True:
            wait = max(0.0, self.due[0][0] - time.monotonic()) if self.due else -1
            events = self.epoll.poll(wait)
            for fd, what in events:
                if fd in self.lines and what & ENDED:
                    self.drop(fd)
            self.answer_those_due()
            for fd, _ in events:
                if fd == self.door.fileno():
                    self.accept()
                elif fd == sys.stdin.fileno():
                    os._exit(0)
                elif fd in self.lines:
                    self.read(fd)

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                line, _ = self.door.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.lines[line.fileno()] = line
                self.kept[line.fileno()] = b""
                self.epoll.register(line, select.EPOLLIN | select.EPOLLRDHUP)

    def drop(self, fd: int) -> None:
        self.epoll.unregister(fd)
        self.busy.pop(fd, None)
        del self.kept[fd]
        self.lines.pop(fd).close()

    def read(self, fd: int) -> None:
        try:
            data = self.lines[fd].recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop(fd)
            return
        self.kept[fd] += data
        head, end, rest = self.kept[fd].partition(b"\r\n\r\n")
        if end and fd not in self.busy:
            self.kept[fd] = rest
            self.request(fd, head.decode("latin-1").split("\r\n"))

    def request(self, fd: int, head: list[str]) -> None:
        path, _, query = head[0].split(" ")[1].partition("?")
        if path == "/hold":
            fields = dict(line.lower().split(": ", 1) for line in head[1:])
            name = fields.get("x-ledger", "-")
            self.busy[fd] = (name, self.code)
            self.worst = max(self.worst, len(self.busy))
            self.log.append((time.time(), name, self.code))
            ms = float(dict(urllib.parse.parse_qsl(query)).get("ms", 0))
            heapq.heappush(self.due, (time.monotonic() + ms / 1000, fd, name))
            self.answer_those_due()
        elif path == "/seen":
            found = {"worst": self.worst, "now": len(self.busy), "log": self.log}
            self.say(fd, 200, json.dumps(found))
        else:
            self.code = int(query)
            self.say(fd, 200, "{}")

    def answer_those_due(self) -> None:
        while self.due and self.due[0][0] <= time.monotonic():
            _, fd, name = heapq.heappop(self.due)
            if self.busy.get(fd, ("", 0))[0] != name:
                continue  # the connection of that one is gone
            code = self.busy.pop(fd)[1]
            if code:
                self.say(fd, code, f"{self.name} {name}")
            else:
                self.drop(fd)

    def say(self, fd: int, code: int, text: str) -> None:
        body = text.encode()
        head = f"HTTP/1.1 {code} So\r\nContent-Length: {len(body)}\r\n\r\n"
        line = self.lines[fd]
        try:
            line.setblocking(True)
            line.sendall(head.encode() + body)
        except OSError:
            self.drop(fd)


def main() -> None:
    one = Counting(sys.argv[1])
    print(one.name, flush=True)
    one.serve()


if __name__ == "__main__":
    main()
