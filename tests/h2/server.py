"""A scripted HTTP/2 server: what stands behind the proxy says what a test wants it to say.

    with Server() as server:
        server.on_request = lambda line, asked: line.answer(asked.stream, b"hello")

Every connection (`Line`) has a thread that reads frames and checks them: lower-case names, one of
each pseudo-header field and those first, nothing that belongs to a connection of HTTP/1.1, no DATA
beyond the windows that were given. A breach is kept in `Server.breaches`. What goes out is the
test's making, frame by frame; `answer` and `body` are the polite way.

`on_request(line, request)` is called in that thread when a request is whole, `on_head` when its
head is, `on_open(line)` behind the SETTINGS of a new connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hpack

from tests.h2 import frames as h2
from tests.h2.client import HOP, Frame
from tests.h2.frames import Field

SECONDS = 10.0


@dataclass
class Request:
    """One stream, as it came."""

    stream: int
    fields: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    trailers: list[Field] = field(default_factory=list)
    headed: bool = False
    ended: bool = False
    reset: int | None = None

    @property
    def path(self) -> str:
        return self.fields.get(b":path", b"").decode()

    @property
    def id(self) -> str:
        """The ledger's."""
        return self.fields.get(b"x-ledger", b"").decode()


class Line:
    """One connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.changed = server.changed
        self.sending = threading.RLock()
        self.requests: dict[int, Request] = {}
        self.settings: dict[int, int] = {}
        self.acks = 0
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.goaways: list[int] = []
        self.windows: dict[int, int] = {}
        """WINDOW_UPDATE of the proxy, by stream."""
        self.sent: dict[int, int] = {}
        """DATA of ours, by stream."""
        self.given = {0: 65535}
        """What the proxy may still send, by stream; 0: all together."""
        self.ended = ""
        self.last = h2.BIGGEST
        self.protocol = ""
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.block: Frame | None = None

    # -- out --------------------------------------------------------------------------------------

    def send(self, *octets: bytes) -> None:
        with self.sending, contextlib.suppress(OSError, ssl.SSLError):
            self.sock.sendall(b"".join(octets))

    def finish(self, *octets: bytes) -> None:
        """These, and FIN behind them."""
        self.send(*octets)
        with self.sending, contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """GOAWAY and FIN: what has come so far is served, nothing above it is looked at."""
        with self.changed:
            self.last = max(self.requests, default=0)
        self.finish(h2.goaway(0, self.last))

    def close(self, hard: bool = False) -> None:
        with contextlib.suppress(OSError):
            if hard:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.sock.shutdown(socket.SHUT_RDWR)

    def answer(
        self, stream: int, body: bytes = b"ok", *more: Field, status: bytes = b"200"
    ) -> None:
        """A whole answer that fits the proxy's windows."""
        self.send(reply(stream, *more, status=status, end=not body), *pieces(stream, body))
        self.sent[stream] = self.sent.get(stream, 0) + len(body)
        self.sent[0] = self.sent.get(0, 0) + len(body)

    def body(self, stream: int, size: int, end: bool = True, seconds: float = SECONDS) -> int:
        """That much DATA as far as the windows allow, in another thread than the line's own. How
        much it was."""
        done = 0
        until = time.monotonic() + seconds
        while done < size and time.monotonic() < until and not self.ended:
            with self.changed:
                room = min(self.room(stream), self.room(0), 16384, size - done)
                if room <= 0:
                    self.changed.wait(0.05)
                    continue
                self.sent[stream] = self.sent.get(stream, 0) + room
                self.sent[0] = self.sent.get(0, 0) + room
            done += room
            last = end and done == size
            self.send(h2.data(stream, bytes(room), h2.END_STREAM if last else 0))
        return done

    def room(self, stream: int) -> int:
        first = self.settings.get(h2.INITIAL_WINDOW, 65535) if stream else 65535
        return first + self.windows.get(stream, 0) - self.sent.get(stream, 0)

    def open_window(self, stream: int, size: int) -> None:
        with self.changed:
            self.given[stream] = self.given.get(stream, self.server.window) + size
        self.send(h2.window_update(stream, size))

    # -- in ---------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._read()
        except (OSError, ssl.SSLError) as error:
            self.ended = repr(error)
        except AssertionError as error:
            self.server.breaches.append(str(error))
            self.ended = "breach"
        finally:
            self.ended = self.ended or "fin"
            with self.changed:
                self.changed.notify_all()
            with contextlib.suppress(OSError):
                self.sock.close()

    def _read(self) -> None:
        if self.server.tls:
            self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
            self.protocol = self.sock.selected_alpn_protocol() or ""  # type: ignore[attr-defined]
            if self.protocol != "h2":
                self.server.on_http1(self)
                return
        stream = self.sock.makefile("rb")
        self.send(self.server.hello)
        preface = stream.read(24)
        if not preface:
            return
        assert preface == h2.PREFACE, preface
        first = True
        if self.server.on_open:
            self.server.on_open(self)
        while head := stream.read(9):
            if len(head) < 9:
                return
            size = int.from_bytes(head[:3], "big")
            assert size <= 16384, f"a frame of {size} bytes"
            payload = stream.read(size)
            if len(payload) < size:
                return
            one = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
            assert not first or one.kind == h2.SETTINGS, f"the first frame is {one}"
            first = False
            asked = None
            with self.changed:
                asked = self._take(one)
                self.changed.notify_all()
            if asked and asked.headed and self.server.on_head and one.kind != h2.DATA:
                self.server.on_head(self, asked)
            if asked and asked.ended and self.server.on_request:
                self.server.on_request(self, asked)
            while self.server.deaf.is_set() and not self.server.closing:
                time.sleep(0.01)

    def _take(self, one: Frame) -> Request | None:
        """What a request became by it."""
        if self.block:
            assert one.kind == h2.CONTINUATION, f"{one} inside a field block"
        if one.kind == h2.SETTINGS:
            if one.flags & h2.ACK:
                self.acks += 1
                return None
            for at in range(0, len(one.payload), 6):
                key = int.from_bytes(one.payload[at : at + 2], "big")
                self.settings[key] = int.from_bytes(one.payload[at + 2 : at + 6], "big")
            self.send(h2.frame(h2.SETTINGS, h2.ACK, 0))
        elif one.kind == h2.PING:
            if one.flags & h2.ACK:
                self.pongs.append(one.payload)
            else:
                self.pings.append(one.payload)
                if self.server.answers_pings:
                    self.send(h2.ping(one.payload, h2.ACK))
        elif one.kind == h2.GOAWAY:
            self.goaways.append(int.from_bytes(one.payload[4:8], "big"))
        elif one.kind == h2.WINDOW_UPDATE:
            increment = int.from_bytes(one.payload, "big")
            assert increment, "a window is opened by nothing"
            self.windows[one.stream] = self.windows.get(one.stream, 0) + increment
        elif one.kind == h2.RST_STREAM:
            asked = self.requests.setdefault(one.stream, Request(one.stream))
            asked.reset = int.from_bytes(one.payload, "big")
        else:
            return self._request(one)
        return None

    def _request(self, one: Frame) -> Request | None:
        assert one.kind in (h2.HEADERS, h2.CONTINUATION, h2.DATA), f"{one} from a client"
        if one.stream > self.last and one.stream not in self.requests:
            return None
        asked = self.requests.setdefault(one.stream, Request(one.stream))
        if one.kind == h2.DATA:
            assert asked.headed, "DATA before HEADERS"
            assert not asked.ended, f"{one} after the end of its stream"
            asked.body += one.payload
            self.given.setdefault(one.stream, self.server.window)
            for key in (0, one.stream):
                self.given[key] -= len(one.payload)
                assert self.given[key] >= 0, f"more than the window of {key} allows"
            asked.ended = bool(one.flags & h2.END_STREAM)
            if self.server.credits and one.payload:
                self.open_window(0, len(one.payload))
                if not asked.ended:
                    self.open_window(one.stream, len(one.payload))
            return asked
        if self.block:
            self.block.payload += one.payload
        else:
            assert one.stream % 2 == 1, one
            self.block = Frame(one.kind, one.flags, one.stream, one.payload)
        if not one.flags & h2.END_HEADERS:
            return None
        whole, self.block = self.block, None
        self._fields(asked, whole)
        return asked

    def _fields(self, asked: Request, whole: Frame) -> None:
        decoded: list[Field] = [
            (bytes(name), bytes(value))
            for name, value in self.decoder.decode(whole.payload, raw=True)
        ]
        names = [name for name, _ in decoded]
        assert all(name == name.lower() for name in names), decoded
        assert not HOP & set(names), decoded
        for _, value in decoded:
            assert not set(value) & {0, 10, 13}, decoded
        if asked.headed:
            assert whole.flags & h2.END_STREAM, "trailers that end nothing"
            assert not any(name.startswith(b":") for name in names), decoded
            asked.trailers = decoded
        else:
            pseudo = [name for name in names if name.startswith(b":")]
            assert len(pseudo) == len(set(pseudo)), decoded
            assert names[: len(pseudo)] == pseudo, decoded
            assert {b":method", b":path", b":scheme", b":authority"} <= set(pseudo), decoded
            assert b"host" not in names, decoded
            asked.fields = dict(decoded)
            asked.headed = True
        asked.ended = bool(whole.flags & h2.END_STREAM)


class Server:
    """See above. `settings`: what it says first, as pairs; `tls`: a context that offers h2."""

    def __init__(self, *settings: tuple[int, int], tls: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'h2c'}://127.0.0.1:{self.port}"
        self.tls = tls
        self.changed = threading.Condition(threading.RLock())
        self.deaf = threading.Event()
        """While it is set no line reads on."""
        self.closing = False
        self.reset(*settings)

    def reset(self, *settings: tuple[int, int]) -> None:
        """A new case: no connection is open, nothing was asked, all is answered 200."""
        self.deaf.clear()
        for line in getattr(self, "lines", []):
            line.close()
        self.hello = h2.settings(*settings)
        self.window = dict(settings).get(h2.INITIAL_WINDOW, 65535)
        self.lines: list[Line] = []
        self.breaches: list[str] = []
        self.answers_pings = True
        self.credits = True
        self.on_open: Callable[[Line], object] | None = None
        self.on_head: Callable[[Line, Request], object] | None = None
        self.on_request: Callable[[Line, Request], object] | None = plain
        self.on_http1: Callable[[Line], object] = lambda line: line.close()

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for line in self.lines:
            line.close()

    def _accept(self) -> None:
        while not self.closing:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(self, sock)
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
            threading.Thread(target=line.run, daemon=True).start()

    # -- what came --------------------------------------------------------------------------------

    def until(self, what: Callable[[], object], seconds: float = SECONDS) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(what, seconds))

    def all(self) -> Iterator[tuple[Line, Request]]:
        """Every request of every line, in order."""
        for line in list(self.lines):
            for asked in list(line.requests.values()):
                if asked.headed:
                    yield line, asked

    def count(self) -> int:
        return sum(1 for _ in self.all())

    def asked(self, number: int = 1, seconds: float = SECONDS) -> list[tuple[Line, Request]]:
        """Wait for that many requests."""
        assert self.until(lambda: self.count() >= number, seconds), f"only {self.count()} came"
        return list(self.all())


def plain(line: Line, asked: Request) -> None:
    line.answer(asked.stream, b"ok")


def reply(stream: int, *more: Field, status: bytes = b"200", end: bool = False) -> bytes:
    """The head of an answer."""
    flags = h2.END_HEADERS | (h2.END_STREAM if end else 0)
    return h2.headers(stream, h2.block((b":status", status), *more), flags)


def pieces(stream: int, body: bytes, end: bool = True) -> list[bytes]:
    """DATA frames."""
    cut = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    last = len(cut) - 1
    return [
        h2.data(stream, one, h2.END_STREAM if end and at == last else 0)
        for at, one in enumerate(cut)
    ]
