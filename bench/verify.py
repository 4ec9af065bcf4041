# SPDX-License-Identifier: MIT
"""Nothing is timed before its answers were right: body byte for byte, framing, what came of the
request's body, and what the origin was told. So a proxy cannot win by doing less than its job."""

from __future__ import annotations

import http.client
import socket
import zlib
from collections.abc import Collection

from bench.load import HOST
from bench.scenarios import Request

SECONDS = 20.0
TIMES = 3
"""Requests on one connection: the first, and kept ones."""
FIELDS = ("x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id")
ROUTES = 5
"""So many of the routes are tried, first and last among them."""


class WrongAnswerError(Exception):
    """What came is not what must come."""


def body(size: int) -> bytes:
    """What the origin answers to /size (origin.c), and what is uploaded (wrk.lua)."""
    one = bytes(10 if i % 64 == 63 else 97 + i % 26 for i in range(832))  # 64 and 26 divide 832
    return (one * (size // len(one) + 1))[:size]


def check(
    port: int, request: Request, same_fields: bool = False, exempt: Collection[str] = ()
) -> None:
    """WrongAnswerError unless whoever listens on `port` serves this request rightly. `exempt`:
    checks that it is known not to pass (peers/base.py)."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    paths = request.paths()
    tried = sorted({paths[n * (len(paths) - 1) // (ROUTES - 1)] for n in range(ROUTES)})
    try:
        for path in tried * (1 if request.closes else TIMES):
            check_answer(line, request, path)
        if request.body:
            check_upload(line, request)
        check_head(line, same_fields, exempt)
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no answer: {error!r}") from error
    finally:
        line.close()


def check_answer(line: http.client.HTTPConnection, request: Request, path: str) -> None:
    """Status, framing, body; and that the connection is kept, or not."""
    before = line.sock
    expected = body(request.answer_bytes)
    found, data = ask(line, request.method, path, dict(request.headers), body(request.body))
    if before is not None and line.sock is not before:
        raise WrongAnswerError("the connection was not kept")
    compare("status", found.status, 200)
    compare("version", found.version, 11)
    compare("Content-Type", found.getheader("Content-Type"), "text/plain")
    compare("Content-Length", found.getheader("Content-Length"), str(len(expected)))
    compare("body", data, expected)
    if request.closes and line.sock is not None:
        raise WrongAnswerError("the connection was kept")


def check_upload(line: http.client.HTTPConnection, request: Request) -> None:
    """What the origin received is what was sent."""
    sent = body(request.body)
    _, data = ask(line, "POST", "/check", dict(request.headers), sent)
    compare("body at the origin", data.decode().strip(), f"{len(sent)} {zlib.crc32(sent):08x}")


def check_head(
    line: http.client.HTTPConnection, same_fields: bool, exempt: Collection[str]
) -> None:
    """What the origin reads: HTTP/1.1, kept, our Host, the client's address."""
    _, data = ask(line, "GET", "/head", {}, b"")
    first, _, rest = data.decode("latin-1").partition("\r\n")
    compare("request line at the origin", first, "GET /head HTTP/1.1")
    fields = {}
    for one in rest.split("\r\n"):
        name, _, value = one.partition(":")
        fields[name.lower()] = value.strip()
    compare("Host at the origin", fields.get("host"), HOST)
    if "X-Forwarded-For" not in exempt:
        compare("X-Forwarded-For at the origin", fields.get("x-forwarded-for"), "127.0.0.1")
    for name in FIELDS if same_fields else ():
        if not fields.get(name):
            raise WrongAnswerError(f"{name} is missing at the origin")
    if fields.get("connection", "").lower() == "close":
        raise WrongAnswerError("the connection to the origin is not kept")


def ask(
    line: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], sent: bytes
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request, its answer read to the end."""
    if line.sock is None:
        line.connect()
    line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.request(method, path, body=sent or None, headers={"Host": HOST, **headers})
    found = line.getresponse()
    return found, found.read()


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
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        return int(ask(line, "GET", "/count", {}, b"")[1])
    finally:
        line.close()
