"""One HTTP/2 connection of a test: bytes out, frames in, read strictly.

What goes out is the test's making. What comes in is checked: the first frame is SETTINGS, a field
block is not interrupted, names are lowercase, nothing belongs to the connection, no frame is larger
than 16 KiB, nothing comes after the end of a stream. A breach is an AssertionError.

`outcome` puts what became of a stream into one word or two, as the tables of cases name it:

    200                     an answer with this status, read to its end
    reset CODE              RST_STREAM before any answer
    200 reset CODE          RST_STREAM inside an answer
    goaway CODE             GOAWAY, and then the connection was closed
    goaway CODE, open       GOAWAY, and it was not
    close                   closed without GOAWAY
    http1 400               an answer in HTTP/1.1
    nothing                 none of these in time
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import hpack

from tests.h2 import frames as h2
from tests.h2.frames import Field

SECONDS = 5.0
HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
Address = tuple[str, int]


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Stream:
    """What came on it."""

    fields: list[Field] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    trailers: list[Field] = field(default_factory=list)
    body: bytes = b""
    status: int = 0
    ended: bool = False
    reset: int | None = None

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def context(*protocols: str) -> ssl.SSLContext:
    """A TLS client that believes any certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(list(protocols))
    return made


class Client:
    """See above. Every wait is bounded."""

    def __init__(
        self,
        address: Address,
        tls: bool | ssl.SSLContext,
        hello: bytes | None = b"",
        name: str | None = "a.test",
    ) -> None:
        self.sock: socket.socket = socket.create_connection(address, SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            how = tls if isinstance(tls, ssl.SSLContext) else context("h2")
            self.sock = how.wrap_socket(self.sock, server_hostname=name)
            assert self.sock.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]
        self.held = b""
        self.ended = ""
        """fin or rst, once seen."""
        self.http1 = False
        self.silent = False
        """Nothing more is sent, not even answers to SETTINGS and PING."""
        self.frames: list[Frame] = []
        self.streams: dict[int, Stream] = {}
        self.goaways: list[int] = []
        self.settings: dict[int, int] = {}
        self.acks = 0
        self.pongs: list[bytes] = []
        self.windows: dict[int, int] = {}
        """WINDOW_UPDATE that came, summed by stream."""
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.open_block: Frame | None = None
        self.marks = itertools.count(1)
        if hello is not None:
            self.send(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, hello))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # -- out ------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """A server that closed meanwhile is no error: the outcome tells."""
        if self.silent:
            return
        with contextlib.suppress(ConnectionError, BrokenPipeError, ssl.SSLError):
            self.sock.sendall(octets)

    def sync(self, seconds: float = SECONDS) -> bool:
        """PING and wait: all we sent is read, and what was ready to be sent has come."""
        mark = b"sync%04d" % next(self.marks)
        self.send(h2.ping(mark))
        return self.until(lambda: mark in self.pongs, seconds)

    # -- in -------------------------------------------------------------------------------------

    def until(self, what: Callable[[], object], seconds: float = SECONDS) -> bool:
        """Read until `what()` is true; False: the connection ended, or it took too long."""
        end = time.monotonic() + seconds
        while not what():
            left = end - time.monotonic()
            if left <= 0 or not self.more(left):
                return bool(what())
        return True

    def more(self, seconds: float = SECONDS) -> bool:
        """Read once. False: nothing came."""
        if self.ended:
            return False
        self.sock.settimeout(max(seconds, 0.001))
        try:
            octets = self.sock.recv(262144)
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            self.ended = "rst"
            return False
        finally:
            self.sock.settimeout(SECONDS)
        if not octets:
            self.ended = "fin"
            return False
        self.held += octets
        self._cut()
        return True

    def _cut(self) -> None:
        if not self.frames and self.held.startswith(b"HTTP/1.1 "):
            self.http1 = True
        while not self.http1 and len(self.held) >= 9:
            size = int.from_bytes(self.held[:3], "big")
            assert size <= 16384, f"a frame of {size} bytes"
            if len(self.held) < 9 + size:
                return
            stream = int.from_bytes(self.held[5:9], "big")
            assert stream <= h2.BIGGEST, "the reserved bit is set"
            one = Frame(self.held[3], self.held[4], stream, self.held[9 : 9 + size])
            self.held = self.held[9 + size :]
            if not self.frames:
                assert one.kind == h2.SETTINGS, f"the first frame is {one}"
                assert not one.flags & h2.ACK, "the first frame is an acknowledgement"
            self.frames.append(one)
            self._take(one)

    def _take(self, one: Frame) -> None:
        if self.open_block:
            assert one.kind == h2.CONTINUATION, f"{one} inside a field block"
            assert one.stream == self.open_block.stream, f"{one} inside a field block"
        if one.kind == h2.SETTINGS:
            self._settings(one)
        elif one.kind == h2.PING:
            if one.flags & h2.ACK:
                self.pongs.append(one.payload)
            else:
                self.send(h2.ping(one.payload, h2.ACK))
        elif one.kind == h2.GOAWAY:
            self.goaways.append(int.from_bytes(one.payload[4:8], "big"))
        elif one.kind == h2.WINDOW_UPDATE:
            increment = int.from_bytes(one.payload, "big")
            self.windows[one.stream] = self.windows.get(one.stream, 0) + increment
        else:
            self._stream(one)

    def _settings(self, one: Frame) -> None:
        if one.flags & h2.ACK:
            self.acks += 1
            return
        for at in range(0, len(one.payload), 6):
            key = int.from_bytes(one.payload[at : at + 2], "big")
            self.settings[key] = int.from_bytes(one.payload[at + 2 : at + 6], "big")
        self.send(h2.frame(h2.SETTINGS, h2.ACK, 0))

    def _stream(self, one: Frame) -> None:
        stream = self.streams.setdefault(one.stream, Stream())
        assert stream.reset is None or one.kind == h2.RST_STREAM, f"{one} after RST_STREAM"
        if one.kind == h2.RST_STREAM:
            stream.reset = int.from_bytes(one.payload, "big")
            return
        assert not stream.ended, f"{one} after the end of its stream"
        if one.kind in (h2.HEADERS, h2.CONTINUATION):
            if self.open_block:
                self.open_block.payload += one.payload
            else:
                assert one.kind == h2.HEADERS, one
                assert not one.flags & (h2.PADDED | h2.WITH_PRIORITY), one
                self.open_block = Frame(one.kind, one.flags, one.stream, one.payload)
            if one.flags & h2.END_HEADERS:
                whole, self.open_block = self.open_block, None
                self._block(stream, whole)
        elif one.kind == h2.DATA:
            assert stream.status, "DATA before HEADERS"
            assert not one.flags & h2.PADDED, one
            stream.body += one.payload
            stream.ended = bool(one.flags & h2.END_STREAM)
        else:
            raise AssertionError(f"{one} from a server")

    def _block(self, stream: Stream, whole: Frame) -> None:
        decoded: list[Field] = [
            (bytes(name), bytes(value))
            for name, value in self.decoder.decode(whole.payload, raw=True)
        ]
        end = bool(whole.flags & h2.END_STREAM)
        names = [name for name, _ in decoded]
        assert all(name == name.lower() for name in names), decoded
        assert not HOP & set(names), decoded
        if stream.status:
            assert end, "trailers that end nothing"
            assert not any(name.startswith(b":") for name in names), decoded
            stream.trailers = decoded
        else:
            assert names.count(b":status") == 1, decoded
            assert names[0] == b":status", decoded
            assert not any(name.startswith(b":") for name in names[1:]), decoded
            status = int(decoded[0][1])
            assert status != 101, "101 in HTTP/2"
            if status < 200:
                assert not end, "an interim answer that ends the stream"
                stream.interim.append(status)
                return
            stream.status, stream.fields = status, decoded
        stream.ended = end

    # -- what became of it ----------------------------------------------------------------------

    def stream(self, number: int) -> Stream:
        return self.streams.setdefault(number, Stream())

    def failed(self) -> bool:
        """The connection is at its end, or will be."""
        return bool(self.ended or self.http1 or any(self.goaways))

    def decided(self, number: int) -> bool:
        stream = self.stream(number)
        return self.failed() or stream.ended or stream.reset is not None

    def outcome(self, number: int, seconds: float = SECONDS) -> str:
        """See above."""
        self.until(lambda: self.decided(number), seconds)
        stream = self.stream(number)
        if self.http1:
            self.until(lambda: b"\r\n\r\n" in self.held, seconds)
            return f"http1 {self.held[9:12].decode()}"
        if any(self.goaways):
            name = h2.error_name(next(filter(None, self.goaways)))
            self.until(lambda: False, seconds)
            return f"goaway {name}" if self.ended else f"goaway {name}, open"
        if stream.ended:
            return str(stream.status)
        if stream.reset is not None:
            word = f"reset {h2.error_name(stream.reset)}"
            return f"{stream.status} {word}" if stream.status else word
        if self.ended:
            return "goaway NO_ERROR" if self.goaways else "close"
        return "nothing"

    # -- flow control ---------------------------------------------------------------------------

    def upload(self, number: int, body: bytes, pad: int = 0) -> None:
        """DATA as the server's windows allow, with END_STREAM, in frames of 1000 bytes or with
        `pad` bytes of padding each."""
        self.until(lambda: self.acks)
        spent = 0
        for at in range(0, len(body), 1000):
            piece = body[at : at + 1000]
            cost = len(piece) + (1 + pad if pad else 0)
            spent += cost

            def room(spent: int = spent) -> bool:
                mine = self.settings.get(h2.INITIAL_WINDOW, 65535) + self.windows.get(number, 0)
                return min(mine, 65535 + self.windows.get(0, 0)) >= spent

            assert self.until(lambda room=room: room() or self.decided(number)), "no window"
            if self.decided(number):
                return
            flags = h2.END_STREAM if at + 1000 >= len(body) else 0
            if pad:
                self.send(h2.data(number, h2.padded(piece, pad), flags | h2.PADDED))
            else:
                self.send(h2.data(number, piece, flags))
