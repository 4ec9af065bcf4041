"""A backend that does as it is told, a process of its own: `python -m tests.flow.origin ADDRESS`.

ADDRESS is `127.0.0.1:0`, `[::1]:0` or `unix:/path`. It prints its real address and serves one
thread a connection until its standard input ends. Written on bare sockets, so that bodies can be
sent and read in any way. The target tells what to do:

    /id                      "NAME ID": its name, and the request's X-Ledger field
    /slow?ms=N               the same after N ms
    /bytes?n=N&framing=F     N bytes of the pattern; F: length, chunked or close
         &piece=P&pause=MS   in writes of P bytes, MS ms between them
    /hash?piece=P&pause=MS   reads the body so, answers "LENGTH SHA256"
    /echo                    the body comes back chunked while it is still being read
    /early?status=N          answers before it has read the body, then reads it all
    /cut?n=N&framing=F       says 2N bytes, sends N, closes
    /die?n=N                 says 2N bytes, sends N, kills its own process
    /mute                    never answers
    /headless                closes without an answer
    /seen                    JSON: how often each X-Ledger came in
    /counts                  JSON: connections accepted, requests
    /hints                   103 Early Hints with a Link, then 200

The pattern: byte i of every body is byte i % PERIOD of `BLOCK`, whose length is no power of two, so
that a lost, doubled or swapped piece changes the hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator

PERIOD = 1_000_003
BLOCK = random.Random(2026).randbytes(PERIOD)
WIDE = memoryview(BLOCK * 3)
READ_BYTES = 1 << 18


def pattern(size: int, piece: int) -> Iterator[memoryview]:
    """The body of that size in pieces (the last may be shorter)."""
    at = 0
    while at < size:
        start = at % PERIOD
        now = min(piece, size - at, len(WIDE) - start)
        yield WIDE[start : start + now]
        at += now


def pattern_hash(size: int) -> str:
    found = hashlib.sha256()
    for part in pattern(size, PERIOD):
        found.update(part)
    return found.hexdigest()


class Closed(Exception):
    """The other side is done."""


class Reader:
    """Lines and bytes of a socket, and bodies by their framing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.kept = b""

    def more(self, size: int = READ_BYTES) -> bytes:
        """What is there, at least one byte."""
        if self.kept:
            data, self.kept = self.kept[:size], self.kept[size:]
            return data
        data = self.sock.recv(size)
        if not data:
            raise Closed
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.kept:
            data = self.sock.recv(65536)
            if not data:
                raise Closed
            self.kept += data
        found, _, self.kept = self.kept.partition(mark)
        return found

    def body(
        self, fields: dict[str, str], piece: int, until_close: bool = False
    ) -> Iterator[bytes]:
        """Payload as it comes, by Content-Length, chunked, or to the end."""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            yield from self.chunks(piece)
        elif "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                data = self.more(min(piece, left))
                left -= len(data)
                yield data
        elif until_close:
            with contextlib.suppress(Closed):
                while True:
                    yield self.more(piece)

    def chunks(self, piece: int) -> Iterator[bytes]:
        while left := int(self.until(b"\r\n"), 16):
            while left:
                data = self.more(min(piece, left))
                left -= len(data)
                yield data
            assert self.until(b"\r\n") == b""
        assert self.until(b"\r\n") == b"", "trailers were not expected"


class Origin:
    def __init__(self, address: str) -> None:
        if address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(address[5:])
        else:
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
            self.sock = socket.create_server((host.strip("[]"), int(port)), family=family)
        self.sock.listen(1024)
        self.is_unix = address.startswith("unix:")
        self.name = address if self.is_unix else str(self.sock.getsockname()[1])
        self.seen: Counter[str] = Counter()
        self.accepted = 0
        self.requests = 0
        self.lock = threading.Lock()

    def serve(self) -> None:
        while True:
            sock, _ = self.sock.accept()
            self.accepted += 1
            threading.Thread(target=self.connection, args=(sock,), daemon=True).start()

    def connection(self, sock: socket.socket) -> None:
        if not self.is_unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, contextlib.suppress(Closed, OSError):
            reader = Reader(sock)
            while self.request(sock, reader):
                pass

    def request(self, sock: socket.socket, reader: Reader) -> bool:
        """One request; False: close."""
        head = reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        target = head[0].split(" ")[1]
        fields = {name.lower(): value.strip() for name, _, value in
                  (line.partition(":") for line in head[1:])}  # fmt: skip
        path, _, query = target.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        with self.lock:
            self.requests += 1
            if "x-ledger" in fields:
                self.seen[fields["x-ledger"]] += 1
        what = getattr(self, "do_" + path.strip("/").split("/")[0], None)
        if what is None:
            return self.text(sock, "404 Not Found", "no such thing\n")
        if path in ("/hash", "/echo", "/early"):
            return bool(what(sock, reader, fields, asked))
        for _ in reader.body(fields, READ_BYTES):
            pass
        return bool(what(sock, fields, asked))

    def text(self, sock: socket.socket, status: str, text: str, *lines: str) -> bool:
        body = text.encode()
        head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""]
        sock.sendall("\r\n".join(head).encode() + body)
        return True

    # -- what it can do -------------------------------------------------------------------------

    def do_id(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        return self.text(sock, "200 OK", f"{self.name} {fields.get('x-ledger', '-')}")

    def do_slow(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        time.sleep(int(asked["ms"]) / 1000)
        return self.do_id(sock, fields, asked)

    def do_hints(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        return self.do_id(sock, fields, asked)

    def do_bytes(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        size, framing = int(asked["n"]), asked.get("framing", "length")
        self.send_pattern(sock, size, size, framing, asked)
        return framing != "close"

    def do_cut(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        size = int(asked["n"])
        self.send_pattern(sock, 2 * size, size, asked.get("framing", "length"), asked)
        return False

    def do_die(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        size = int(asked["n"])
        self.send_pattern(sock, 2 * size, size, "length", asked)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    def do_mute(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        sock.recv(1)
        return False

    def do_headless(self, sock: socket.socket, fields: dict[str, str], asked: object) -> bool:
        return False

    def do_seen(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        return self.text(sock, "200 OK", json.dumps(self.seen))

    def do_counts(self, sock: socket.socket, fields: dict[str, str], asked: dict[str, str]) -> bool:
        counts = {"accepted": self.accepted, "requests": self.requests}
        return self.text(sock, "200 OK", json.dumps(counts))

    def send_pattern(
        self, sock: socket.socket, said: int, sent: int, framing: str, asked: dict[str, str]
    ) -> None:
        piece, pause = int(asked.get("piece", 1 << 20)), int(asked.get("pause", 0)) / 1000
        how = {
            "length": f"Content-Length: {said}",
            "chunked": "Transfer-Encoding: chunked",
            "close": "Connection: close",
        }[framing]
        sock.sendall(f"HTTP/1.1 200 OK\r\n{how}\r\n\r\n".encode())
        for part in pattern(sent, piece):
            if framing == "chunked":
                sock.sendmsg([b"%x\r\n" % len(part)])
            sock.sendall(part)
            if framing == "chunked":
                sock.sendall(b"\r\n")
            if pause:
                time.sleep(pause)
        if framing == "chunked" and sent == said:
            sock.sendall(b"0\r\n\r\n")

    def do_hash(
        self, sock: socket.socket, reader: Reader, fields: dict[str, str], asked: dict[str, str]
    ) -> bool:
        piece, pause = int(asked.get("piece", READ_BYTES)), int(asked.get("pause", 0)) / 1000
        if "rcvbuf" in asked:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(asked["rcvbuf"]))
        found, size = hashlib.sha256(), 0
        if fields.get("expect"):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        for data in reader.body(fields, piece):
            found.update(data)
            size += len(data)
            if pause:
                time.sleep(pause)
        return self.text(sock, "200 OK", f"{size} {found.hexdigest()}")

    def do_echo(
        self, sock: socket.socket, reader: Reader, fields: dict[str, str], asked: dict[str, str]
    ) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for data in reader.body(fields, READ_BYTES):
            sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        sock.sendall(b"0\r\n\r\n")
        return True

    def do_early(
        self, sock: socket.socket, reader: Reader, fields: dict[str, str], asked: dict[str, str]
    ) -> bool:
        self.text(sock, f"{asked['status']} Early", "early", "Connection: close")
        for _ in reader.body(fields, READ_BYTES):
            pass
        return False


def main() -> None:
    origin = Origin(sys.argv[1])
    print(origin.name, flush=True)
    threading.Thread(target=origin.serve, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
