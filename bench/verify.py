# SPDX-License-Identifier: MIT
"""Nothing is timed before its answers were right: body byte for byte, framing, trailers, what came
of the request's body, and what the origin was told. So a proxy cannot win by doing less than its
job."""

from __future__ import annotations

import contextlib
import http.client
import socket
import zlib
from collections.abc import Collection

from bench.lines import CHUNK, Answer, Line, client_context, connect, shake_hands
from bench.load import HOST, message, pattern, prefixed
from bench.scenario import PLAIN, Request, Setting

SECONDS = 20.0
TIMES = 3
"""Requests on one connection: the first, and kept ones."""
FIELDS = ("x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id")
ROUTES = 5
"""So many of the routes are tried, first and last among them."""
GRPC = {"content-type": "application/grpc", "te": "trailers"}
TRAILERS = {"grpc-status": "0", "grpc-message": "fine"}
"""As origin_grpc.c answers."""
PREFIX = len(prefixed(b""))


class WrongAnswerError(Exception):
    """What came is not what must come."""


def check(
    port: int,
    request: Request,
    setting: Setting = PLAIN,
    exempt: Collection[str] = (),
    trusted: str = "",
) -> None:
    """WrongAnswerError unless whoever listens on `port` serves this request rightly. `exempt`:
    checks that it is known not to pass (peers/base.py); `trusted`: the certificate, with TLS."""
    paths = request.paths()
    tried = sorted({paths[n * (len(paths) - 1) // (ROUTES - 1)] for n in range(ROUTES)})
    try:
        with contextlib.closing(connect(port, setting, trusted, SECONDS)) as line:
            for path in tried * (1 if request.closes else TIMES):
                check_answer(line, request, setting, path)
        with contextlib.closing(connect(port, setting, trusted, SECONDS)) as line:
            if request.body:
                check_upload(line, request)
            if request.grpc:
                check_call(line, exempt)
            else:
                check_head(line, setting.same_fields, exempt)
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no answer: {error!r}") from error


def check_answer(line: Line, request: Request, setting: Setting, path: str) -> None:
    """Status, framing, body, trailers; and that the connection is kept, or not."""
    expected = pattern(request.answer_bytes)
    found = line.ask(request.method, path, dict(request.headers), message(request))
    compare("status", found.status, 200)
    compare("version", found.version, "HTTP/2" if setting.http2 else "HTTP/1.1")
    if request.grpc:
        check_message(found, expected)
    else:
        compare("Content-Type", found.fields.get("content-type"), "text/plain")
        compare("Content-Length", found.fields.get("content-length"), str(len(expected)))
        compare("body", found.body, expected)
    if request.closes and line.kept():
        raise WrongAnswerError("the connection was kept")
    if not request.closes and not line.kept():
        raise WrongAnswerError("the connection was not kept")


def check_message(found: Answer, expected: bytes) -> None:
    """Of gRPC: a message, and the trailers to their last byte."""
    compare("Content-Type", found.fields.get("content-type"), "application/grpc")
    compare("body", found.body, prefixed(expected))
    compare("trailers", found.trailers, TRAILERS)


def check_upload(line: Line, request: Request) -> None:
    """What the origin received is what was sent."""
    sent = pattern(request.body)
    path = "/bench.Origin/check" if request.grpc else "/check"
    data = line.ask("POST", path, dict(request.headers), message(request)).body
    text = data[PREFIX:] if request.grpc else data
    compare("body at the origin", text.decode().strip(), f"{len(sent)} {zlib.crc32(sent):08x}")


def check_head(line: Line, same_fields: bool, exempt: Collection[str]) -> None:
    """What the origin reads: HTTP/1.1, kept, our Host, the client's address."""
    data = line.ask("GET", "/head", {}, b"").body
    first, _, rest = data.decode("latin-1").partition("\r\n")
    compare("request line at the origin", first, "GET /head HTTP/1.1")
    fields = read_fields(rest)
    compare("Host at the origin", fields.get("host"), HOST)
    check_address(fields, exempt)
    for name in FIELDS if same_fields else ():
        if not fields.get(name):
            raise WrongAnswerError(f"{name} is missing at the origin")
    if fields.get("connection", "").lower() == "close":
        raise WrongAnswerError("the connection to the origin is not kept")


def check_call(line: Line, exempt: Collection[str]) -> None:
    """What the origin reads of a call of gRPC."""
    path = "/bench.Origin/head"
    data = line.ask("POST", path, GRPC, prefixed(b"")).body[PREFIX:]
    fields = read_fields(data.decode("latin-1"))
    # nginx writes Host instead, as one may (RFC 9113, 8.3.1).
    fields.setdefault(":authority", fields.get("host", ""))
    wanted = {":method": "POST", ":path": path, ":authority": HOST, **GRPC}
    for name, value in wanted.items():
        compare(f"{name} at the origin", fields.get(name), value)
    check_address(fields, exempt)


def check_address(fields: dict[str, str], exempt: Collection[str]) -> None:
    if "X-Forwarded-For" not in exempt:
        compare("X-Forwarded-For at the origin", fields.get("x-forwarded-for"), "127.0.0.1")


def read_fields(text: str) -> dict[str, str]:
    """Lines of a head; names of HTTP/2 may begin with a colon."""
    found = {}
    for one in text.split("\r\n"):
        name, _, value = one[1:].partition(":")
        found[one[:1].lower() + name.lower()] = value.strip()
    return found


def check_resumption(port: int, request: Request, trusted: str) -> None:
    """WrongAnswerError unless the session of one connection is resumed on the next."""
    context = client_context(trusted, "http/1.1")
    asked = f"GET {request.path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    session = None
    try:
        for resumed in (False, True):
            plain = socket.create_connection(("127.0.0.1", port), SECONDS)
            with shake_hands(plain, trusted, "http/1.1", session, context) as line:
                compare("session resumed", line.session_reused, resumed)
                line.sendall(asked)
                found = b""
                while part := line.recv(CHUNK):
                    found += part
                session = line.session
            compare("body", found.partition(b"\r\n\r\n")[2], pattern(request.answer_bytes))
    except OSError as error:
        raise WrongAnswerError(f"no answer: {error!r}") from error


def probe(port: int, request: Request, setting: Setting, trusted: str) -> int:
    """The status of an answer without a body."""
    with contextlib.closing(connect(port, setting, trusted, 1.0)) as line:
        if request.grpc:
            return line.ask("POST", "/bench.Origin/0", GRPC, prefixed(b"")).status
        closing = {} if setting.http2 else {"Connection": "close"}
        return line.ask("GET", "/0", closing, b"").status


def compare(what: str, found: object, expected: object) -> None:
    if found == expected:
        return
    if isinstance(found, bytes) and isinstance(expected, bytes):
        at = next(
            (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
            min(len(found), len(expected)),
        )
        raise WrongAnswerError(
            f"{what}: {len(found)} bytes, {len(expected)} expected; they differ from byte {at} on"
        )
    raise WrongAnswerError(f"{what}: {found!r}, expected {expected!r}")


def origin_received(port: int) -> int:
    """Bytes of request bodies that the origin on this port has read so far."""
    with contextlib.closing(connect(port, seconds=SECONDS)) as line:
        return int(line.ask("GET", "/count", {}, b"").body)
