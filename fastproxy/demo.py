# SPDX-License-Identifier: MIT
"""Two small backends for `fastproxy demo`: plain asyncio, in one process beside the proxy.

They listen on free loopback ports and show what a proxy does to a request. They end when the
process they were started for ends, however it ends: they hold its pidfd. Not a web server: whatever
it does not understand is answered 400 and closed.

    /hello        a line of text that names the backend
    /echo         method, target, fields and body as JSON
    /slow?ms=500  answers after that time (at most 30 s)
    /stream       ten chunks, one every 200 ms
    /bytes?n=1000 that many bytes (at most 1 GiB)
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import socket
import urllib.parse
from dataclasses import dataclass
from typing import Any, NoReturn

from fastproxy.config.load import Document, from_data
from fastproxy.schema import BindAddress

BACKENDS = 2
HTTPS_PORT = 8443
HEAD_BYTES_MAX = 65536
BODY_BYTES_MAX = 1 << 20
SLOW_MS_MAX = 30_000
BYTES_MAX = 1 << 30
IDLE_SECONDS = 120.0
CHUNK = b"fastproxy " * 6553


class Request:
    """One request, read whole."""

    def __init__(self, method: str, target: str, fields: list[tuple[str, str]]) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.body = b""
        self.path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))

    def field(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")

    def number(self, name: str, default: int, highest: int) -> int:
        text = self.query.get(name, "")
        return min(int(text), highest) if text.isascii() and text.isdecimal() else default


class BadRequestError(Exception):
    pass


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None if the client is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadRequestError from None
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError from None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise BadRequestError
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Request(words[0], words[1], fields)
    if request.field("transfer-encoding").lower() == "chunked":
        request.body = await read_chunks(reader)
    elif length := request.field("content-length"):
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            raise BadRequestError
        request.body = await reader.readexactly(int(length))
    return request


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise BadRequestError from None
        if not 0 <= size <= BODY_BYTES_MAX - len(body):
            raise BadRequestError
        body += await reader.readexactly(size)
        if await reader.readuntil(b"\r\n") != b"\r\n":
            raise BadRequestError
        if size == 0:
            return body


class Backend:
    """One of the two, on its own port."""

    def __init__(self, number: int) -> None:
        self.name = f"backend-{number}"
        self.served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while True:
                request = await asyncio.wait_for(read_request(reader), IDLE_SECONDS)
                if request is None:
                    break
                self.served += 1
                await self.answer(request, writer)
                await writer.drain()
        except BadRequestError:
            await self.send(writer, Request("GET", "/", []), 400, b"bad request\n")
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # the demo ends; asyncio's streams would print a traceback for each connection
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path in ("/", "/hello"):
            text = f"Hello from {self.name}, request {self.served}.\n"
            await self.send(writer, request, 200, text.encode())
        elif request.path == "/echo":
            await self.send(writer, request, 200, self.echo(request), "application/json")
        elif request.path == "/slow":
            ms = request.number("ms", 500, SLOW_MS_MAX)
            await asyncio.sleep(ms / 1000)
            await self.send(writer, request, 200, f"{self.name} waited {ms} ms.\n".encode())
        elif request.path == "/stream":
            await self.stream(request, writer)
        elif request.path == "/bytes":
            await self.many(request, writer, request.number("n", 1000, BYTES_MAX))
        else:
            await self.send(writer, request, 404, b"try /hello /echo /slow /stream /bytes\n")

    def echo(self, request: Request) -> bytes:
        seen = {
            "backend": self.name,
            "method": request.method,
            "target": request.target,
            "headers": request.fields,
            "body": request.body.decode("utf-8", "replace"),
        }
        return json.dumps(seen, indent=2).encode() + b"\n"

    def head(self, status: int, kind: str, framing: str) -> bytes:
        reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
        return (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n"
            f"X-Backend: {self.name}\r\n{framing}\r\n\r\n"
        ).encode()

    async def send(
        self,
        writer: asyncio.StreamWriter,
        request: Request,
        status: int,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
    ) -> None:
        writer.write(self.head(status, kind, f"Content-Length: {len(body)}"))
        if request.method != "HEAD":
            writer.write(body)

    async def stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(self.head(200, "text/plain; charset=utf-8", "Transfer-Encoding: chunked"))
        for number in range(10 if request.method != "HEAD" else 0):
            line = f"{self.name} chunk {number}\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(0.2)
        if request.method != "HEAD":
            writer.write(b"0\r\n\r\n")

    async def many(self, request: Request, writer: asyncio.StreamWriter, count: int) -> None:
        writer.write(self.head(200, "application/octet-stream", f"Content-Length: {count}"))
        left = count if request.method != "HEAD" else 0
        while left > 0:
            part = CHUNK[:left]
            writer.write(part)
            left -= len(part)
            await writer.drain()


async def serve(report: int, watched: int) -> None:
    """Start the backends, write their ports to fd `report`, end with the process of `watched`."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(watched, gone.set)
    loop.add_signal_handler(signal.SIGTERM, gone.set)
    servers = [
        await asyncio.start_server(Backend(number).serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        for number in range(1, BACKENDS + 1)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    os.write(report, " ".join(map(str, ports)).encode())
    os.close(report)
    await gone.wait()


def _child(report: int, pid: int) -> NoReturn:
    """The grandchild: serves until process `pid` is gone. Ctrl-C is for the proxy, not for us."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        watched = os.pidfd_open(pid)
        asyncio.run(serve(report, watched))
        code = 0
    finally:
        os._exit(code)


def start_backends() -> list[str]:
    """Start both in a process that lives as long as this one (or what this one becomes by exec);
    their URLs. OSError if they do not come up."""
    reader, writer = os.pipe()
    pid = os.getpid()
    middle = os.fork()
    if middle == 0:
        # Twice, so that the proxy has no child that it did not make itself.
        try:
            os.close(reader)
            if os.fork() == 0:
                _child(writer, pid)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(middle, 0)
    with os.fdopen(reader, "rb") as pipe:
        ports = pipe.read().split()
    if len(ports) != BACKENDS:
        raise OSError("the demo backends did not start")
    return [f"http://127.0.0.1:{int(port)}" for port in ports]


@dataclass(frozen=True)
class Secure:
    """The demo's second listener, which speaks TLS."""

    bind: str
    cert: str
    key: str


def secure(listen: str) -> Secure | None:
    """With a certificate for localhost, made anew, beside the control socket. None where TLS cannot
    be had, or the demo is not on an address."""
    from fastproxy.config import plugs
    from fastproxy.process.place import PlaceError, default_control_socket, private_directory

    try:
        bind = BindAddress.parse(listen)
        making = importlib.import_module("fastproxy.tls.making")
        place = os.path.join(os.path.dirname(default_control_socket()), "demo-localhost")
        private_directory(place)
        if bind.is_unix or plugs.trouble(plugs.TLS):
            return None
        pair = making.self_signed(making.wished(["localhost"]))
        cert, key = making.write_pair(place, *pair, over=True)
        port = free_port(bind.host, HTTPS_PORT)
        shown = f"[{bind.host}]" if ":" in bind.host else bind.host
        return Secure(f"{shown}:{port}", cert, key)
    except (ImportError, ValueError, OSError, PlaceError):
        return None


def free_port(host: str, wished: int) -> int:
    """That one, or any that is free now. OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (wished, 0):
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((host, port))
            except OSError:
                continue
            found: int = one.getsockname()[1]
            return found
    raise OSError("no port is free")


def document(
    listen: str,
    workers: str,
    access_log: str,
    control_socket: str,
    urls: list[str],
    https: Secure | None = None,
) -> Document:
    """The demo's configuration: a status page at "/", all else to the two backends."""
    listeners: list[Any] = [listen]
    if https is not None:
        pair = {"cert": https.cert, "key": https.key}
        listeners.append({"bind": https.bind, "tls": {"certificates": [pair]}})
    made = from_data(
        {
            "listeners": listeners,
            "workers": workers,
            "access_log": access_log,
            "control_socket": control_socket or free_control_socket(),
            "routes": [
                {"name": "status page", "path": "= /", "responder": "status"},
                {"name": "demo", "path": "/", "upstream": "demo"},
            ],
            "upstreams": {"demo": {"backends": list(urls), "balance": "round_robin"}},
        }
    )
    for key in ("listeners", "workers", "access_log", "control_socket"):
        flag = key.replace("listeners", "listen").replace("_", "-")
        made.flags[(key,)] = f"--{flag}"
    return made


def free_control_socket() -> str:
    """The default place (empty), or one of our own if another instance holds that."""
    from fastproxy.process.client import NotRunningError, find_instance
    from fastproxy.process.place import default_control_socket

    try:
        find_instance(default_control_socket())
    except NotRunningError:
        return ""
    return os.path.join(os.path.dirname(default_control_socket()), f"demo-{os.getpid()}.sock")


def greeting(bind: BindAddress, urls: list[str], https: Secure | None = None) -> str:
    """What to look at and what to try."""
    secured = ""
    if https is not None:
        port = https.bind.rpartition(":")[2]
        secured = f"\n  curl --cacert {https.cert} https://localhost:{port}/hello"
    if bind.is_unix:
        base, curl = "http://localhost", f"curl --unix-socket {bind.path}"
    else:
        host = {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(bind.host, bind.host)
        shown = f"[{host}]" if ":" in host else host
        base, curl = f"http://{shown}:{bind.port}", "curl"
    return f"""\
fastproxy demo: {base}/ is a status page, all else goes to {" and ".join(urls)}

  {curl} {base}/hello
  {curl} -d 'some text' '{base}/echo?x=1'
  {curl} -N {base}/stream{secured}

Also /slow?ms=500 and /bytes?n=1000000; `fastproxy status --watch` beside it. Ctrl-C ends it.
"""
