# SPDX-License-Identifier: MIT
"""Nothing is timed before its answers were right: body byte for byte, framing, and what the origin
was told of the request. So a proxy cannot win by doing less than its job."""

from __future__ import annotations

import http.client
import socket

from bench.scenarios import Scenario

SECONDS = 10.0
HOST = "bench.example"
TIMES = 3
"""Requests on one connection: the first, and kept ones."""


class WrongAnswerError(Exception):
    """What came is not what must come."""


def body(size: int) -> bytes:
    """What the origin answers to /size (origin.c)."""
    one = bytes(10 if i % 64 == 63 else 97 + i % 26 for i in range(832))  # 64 and 26 divide 832
    return (one * (size // len(one) + 1))[:size]


def check(port: int, scenario: Scenario) -> None:
    """WrongAnswerError unless whoever listens on `port` serves this scenario rightly."""
    expected = body(scenario.body_bytes)
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        for _ in range(1 if scenario.closes else TIMES):
            socket_before = line.sock
            found, data = ask(line, scenario.path, dict(scenario.headers))
            if socket_before is not None and line.sock is not socket_before:
                raise WrongAnswerError("the connection was not kept")
            compare("status", found.status, 200)
            compare("version", found.version, 11)
            compare("Content-Type", found.getheader("Content-Type"), "text/plain")
            compare("Content-Length", found.getheader("Content-Length"), str(len(expected)))
            compare("body", data, expected)
            if scenario.closes and line.sock is not None:
                raise WrongAnswerError("the connection was kept")
        check_head(line, scenario)
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no answer: {error!r}") from error
    finally:
        line.close()


FIELDS = ("x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id")


def check_head(line: http.client.HTTPConnection, scenario: Scenario) -> None:
    """What the origin reads: HTTP/1.1, kept, our Host, the client's address."""
    _, data = ask(line, "/head", {})
    first, _, rest = data.decode("latin-1").partition("\r\n")
    compare("request line at the origin", first, "GET /head HTTP/1.1")
    fields = {}
    for one in rest.split("\r\n"):
        name, _, value = one.partition(":")
        fields[name.lower()] = value.strip()
    compare("Host at the origin", fields.get("host"), HOST)
    compare("X-Forwarded-For at the origin", fields.get("x-forwarded-for"), "127.0.0.1")
    for name in FIELDS if scenario.same_fields else ():
        if not fields.get(name):
            raise WrongAnswerError(f"{name} is missing at the origin")
    if fields.get("connection", "").lower() == "close":
        raise WrongAnswerError("the connection to the origin is not kept")


def ask(
    line: http.client.HTTPConnection, path: str, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    """One GET, its answer read to the end."""
    line.request("GET", path, headers={"Host": HOST, **headers})
    if line.sock is not None:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
