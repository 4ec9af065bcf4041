"""Answers of an HTTP/2 upstream: what is passed on, and what never may be.

The server is scripted frame by frame (tests/h2/server.py); clients ask in HTTP/1.1 and HTTP/2.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Behind, later
from tests.h2.frames import Field
from tests.h2.server import Line, Request, pieces, reply

Script = Callable[[int], list[bytes]]


def says(script: Script) -> Callable[[Line, Request], None]:
    return lambda line, asked: line.send(*script(asked.stream))


# ---- what is passed on --------------------------------------------------------------------------

SIZED: Field = (b"content-length", b"5")
GOOD: dict[str, tuple[Script, str, bytes]] = {
    "sized": (lambda s: [reply(s, SIZED), h2.data(s, b"hello")], "200", b"hello"),
    "not sized": (lambda s: [reply(s), h2.data(s, b"hello")], "200", b"hello"),
    "many frames": (
        lambda s: [reply(s), *(h2.data(s, b"x", 0) for _ in range(50)), h2.data(s, b"y")],
        "200",
        b"x" * 50 + b"y",
    ),
    "ends with an empty frame": (
        lambda s: [reply(s), h2.data(s, b"hello", 0), h2.data(s)],
        "200",
        b"hello",
    ),
    "ends with its head": (lambda s: [reply(s, end=True)], "200", b""),
    "length 0": (lambda s: [reply(s, (b"content-length", b"0"), end=True)], "200", b""),
    "length 0, ends later": (
        lambda s: [reply(s, (b"content-length", b"0")), h2.data(s)],
        "200",
        b"",
    ),
    "204": (lambda s: [reply(s, status=b"204", end=True)], "204", b""),
    "204, ends later": (lambda s: [reply(s, status=b"204"), h2.data(s)], "204", b""),
    "304": (lambda s: [reply(s, (b"etag", b'"x"'), status=b"304", end=True)], "304", b""),
    "304 with a length": (lambda s: [reply(s, SIZED, status=b"304", end=True)], "304", b""),
    "404": (lambda s: [reply(s, status=b"404"), h2.data(s, b"no")], "404", b"no"),
    "599": (lambda s: [reply(s, status=b"599"), h2.data(s, b"no")], "599", b"no"),
    "padded": (
        lambda s: [
            reply(s),
            h2.data(s, h2.padded(b"hello", 200), h2.END_STREAM | h2.PADDED),
        ],
        "200",
        b"hello",
    ),
    "103, then the answer": (
        lambda s: [reply(s, (b"link", b"</x>"), status=b"103"), reply(s), h2.data(s, b"hello")],
        "200",
        b"hello",
    ),
    "with a head in three frames": (
        lambda s: [
            h2.headers(s, h2.block((b":status", b"200"))[:5], 0),
            h2.continuation(s, h2.block((b":status", b"200"))[5:], 0),
            h2.continuation(s, h2.block((b"x", b"y"))),
            h2.data(s, b"hello"),
        ],
        "200",
        b"hello",
    ),
    "unknown frames between": (
        lambda s: [
            h2.frame(h2.UNKNOWN, 0, s, b"?"),
            reply(s),
            h2.frame(h2.UNKNOWN, 0, 0, b"?"),
            h2.data(s, b"hello"),
        ],
        "200",
        b"hello",
    ),
    "RST_STREAM NO_ERROR behind its end": (
        lambda s: [reply(s), h2.data(s, b"hello"), h2.rst_stream(s, 0)],
        "200",
        b"hello",
    ),
    "RST_STREAM CANCEL behind its end": (
        lambda s: [reply(s), h2.data(s, b"hello"), h2.rst_stream(s)],
        "200",
        b"hello",
    ),
}


@pytest.mark.parametrize("kind", ASKERS)
@pytest.mark.parametrize("name", GOOD)
def test_good_answers(behind: Behind, name: str, kind: str) -> None:
    script, outcome, body = GOOD[name]
    behind.server.on_request = says(script)
    answer = behind.ask(kind)
    assert answer.outcome == outcome
    assert answer.body == body
    assert answer.interim == ([103] if name.startswith("103") else [])


@pytest.mark.parametrize("kind", ASKERS)
def test_head_has_no_body(behind: Behind, kind: str) -> None:
    behind.server.on_request = says(lambda s: [reply(s, SIZED, end=True)])
    answer = behind.ask(kind, method="HEAD")
    assert (answer.outcome, answer.body) == ("200", b"")
    assert answer.all(b"content-length") == [b"5"]


@pytest.mark.parametrize("kind", ASKERS)
def test_trailers_are_passed_on(behind: Behind, kind: str) -> None:
    behind.server.on_request = says(
        lambda s: [
            reply(s, (b"trailer", b"x-sum")),
            h2.data(s, b"hello", 0),
            h2.headers(s, h2.block((b"x-sum", b"42"))),
        ]
    )
    answer = behind.ask(kind)
    assert (answer.outcome, answer.body) == ("200", b"hello")
    assert (b"x-sum", b"42") in answer.trailers


@pytest.mark.parametrize("kind", ASKERS)
def test_fields_and_cookies(behind: Behind, kind: str) -> None:
    """Both ways: crumbs are one field to HTTP/1.1, Set-Cookie lines stay apart."""
    behind.server.on_request = says(
        lambda s: [reply(s, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), end=True)]
    )
    answer = behind.ask(kind, more=[(b"cookie", b"c=3; d=4"), (b"x-empty", b"")])
    assert answer.all(b"set-cookie") == [b"a=1", b"b=2"]
    [(_, asked)] = behind.server.asked()
    assert asked.fields[b"cookie"] == b"c=3; d=4"
    assert asked.fields[b"x-empty"] == b""
    assert asked.fields[b":authority"] == b"a.test"
    assert asked.fields[b":scheme"] == b"http"


@pytest.mark.parametrize("kind", ASKERS)
@pytest.mark.parametrize("size", [1, 16384, 65535, 65536, 300_000])
def test_request_bodies(behind: Behind, size: int, kind: str) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    answer = behind.ask(kind, method="POST", body=body[:size])
    assert answer.outcome == "200"
    [(_, asked)] = behind.server.asked()
    assert asked.body == body[:size]


# ---- what never is ------------------------------------------------------------------------------


def exactly(*these: Field) -> Script:
    return lambda s: [h2.headers(s, h2.block(*these), h2.END_HEADERS), h2.data(s, b"smuggled")]


OK: Field = (b":status", b"200")
BAD: dict[str, Script] = {
    "no :status": exactly((b"x", b"y")),
    "two :status": exactly(OK, OK),
    ":status behind a field": exactly((b"x", b"y"), OK),
    "a request's pseudo-header": exactly(OK, (b":path", b"/")),
    "an unknown pseudo-header": exactly(OK, (b":proto", b"x")),
    "an upper-case name": exactly(OK, (b"X-Y", b"z")),
    "an empty name": exactly(OK, (b"", b"z")),
    "a name with a space": exactly(OK, (b"x y", b"z")),
    "a name with a colon": exactly(OK, (b"x:y", b"z")),
    "a name with CR LF": exactly(OK, (b"x\r\ny", b"z")),
    "CR LF in a value": exactly(OK, (b"x", b"y\r\nset-cookie: evil=1")),
    "LF in a value": exactly(OK, (b"x", b"y\nz")),
    "CR in a value": exactly(OK, (b"x", b"y\rz")),
    "NUL in a value": exactly(OK, (b"x", b"y\0z")),
    "connection": exactly(OK, (b"connection", b"close")),
    "transfer-encoding": exactly(OK, (b"transfer-encoding", b"chunked")),
    "keep-alive": exactly(OK, (b"keep-alive", b"timeout=5")),
    "upgrade": exactly(OK, (b"upgrade", b"websocket")),
    "proxy-connection": exactly(OK, (b"proxy-connection", b"close")),
    "status 99": exactly((b":status", b"99")),
    "status 099": exactly((b":status", b"099")),
    "status 000": exactly((b":status", b"000")),
    "status 1000": exactly((b":status", b"1000")),
    "status 2x0": exactly((b":status", b"2x0")),
    "status with a space": exactly((b":status", b"200 ")),
    "an empty status": exactly((b":status", b"")),
    "status 101": exactly((b":status", b"101")),
    "CR LF in the status": exactly((b":status", b"200\r\nx: y")),
    "length that is no number": exactly(OK, (b"content-length", b"+8")),
    "two lengths": exactly(OK, (b"content-length", b"8"), (b"content-length", b"9")),
    "a length and the end": lambda s: [reply(s, SIZED, end=True)],
    "an interim answer that ends": lambda s: [reply(s, status=b"103", end=True)],
    "an interim answer with a body": lambda s: [reply(s, status=b"103"), h2.data(s, b"smuggled")],
    "DATA first": lambda s: [h2.data(s, b"smuggled")],
    "PUSH_PROMISE": lambda s: [
        h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, s, h2.u32(2) + h2.block(*h2.fields()))
    ],
    "HEADERS on a stream of its own": lambda s: [reply(2), h2.data(2, b"smuggled")],
    "HEADERS on a stream that was not asked for": lambda s: [reply(s + 2, end=True)],
    "a field block that is no HPACK": lambda s: [h2.headers(s, b"\xff\xff\xff\xff\xff\xff")],
    "a frame that is too large": lambda s: [h2.data(s, bytes(16385))],
    "too many fields": exactly(OK, *((b"x-%d" % at, b"y") for at in range(200))),
    "fields that are too long": lambda s: [
        h2.headers(s, h2.block(OK, (b"a", bytes([120]) * 15000)), 0),
        *(h2.continuation(s, h2.block((b"b", bytes([120]) * 15000)), 0) for _ in range(4)),
        h2.continuation(s),
    ],
    "RST_STREAM": lambda s: [h2.rst_stream(s, 2)],
    "RST_STREAM NO_ERROR": lambda s: [h2.rst_stream(s, 0)],
    "GOAWAY PROTOCOL_ERROR": lambda s: [h2.goaway(1, s)],
    "nonsense": lambda s: [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"],
}


@pytest.mark.parametrize("kind", ASKERS)
@pytest.mark.parametrize("name", BAD)
def test_malformed_answers(behind: Behind, name: str, kind: str) -> None:
    """502, and not a byte of it comes through; the next request is served."""

    def script(line: Line, asked: Request) -> None:
        line.send(*BAD[name](asked.stream))
        if name.startswith(("HEADERS on", "GOAWAY")):
            later(0.2, line.close)

    behind.server.on_request = script
    answer = behind.ask(kind)
    assert answer.outcome == "502"
    assert b"smuggled" not in answer.body
    assert b"evil" not in repr(answer.fields).encode()
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, b"next")
    assert behind.ask(kind).body == b"next"


CUT: dict[str, Script] = {
    "less than its length": lambda s: [reply(s, SIZED), h2.data(s, b"hel", 0), h2.data(s)],
    "more than its length": lambda s: [reply(s, SIZED), h2.data(s, b"hel", 0), h2.data(s, b"loo")],
    "RST_STREAM": lambda s: [reply(s), h2.data(s, b"hel", 0), h2.rst_stream(s, 2)],
    "RST_STREAM NO_ERROR": lambda s: [reply(s), h2.data(s, b"hel", 0), h2.rst_stream(s, 0)],
    "a sized one, RST_STREAM NO_ERROR": lambda s: [
        reply(s, SIZED),
        h2.data(s, b"hel", 0),
        h2.rst_stream(s, 0),
    ],
    "trailers that end nothing": lambda s: [
        reply(s),
        h2.data(s, b"hel", 0),
        h2.headers(s, h2.block((b"x", b"y")), h2.END_HEADERS),
    ],
    "trailers with :status": lambda s: [
        reply(s),
        h2.data(s, b"hel", 0),
        h2.headers(s, h2.block((b":status", b"200"))),
    ],
    "trailers with CR LF": lambda s: [
        reply(s),
        h2.data(s, b"hel", 0),
        h2.headers(s, h2.block((b"x", b"y\r\nz: 1"))),
    ],
    "a frame that is too large": lambda s: [
        reply(s),
        h2.data(s, b"hel", 0),
        h2.data(s, bytes(16385)),
    ],
}


@pytest.mark.parametrize("kind", ASKERS)
@pytest.mark.parametrize("name", CUT)
def test_answers_that_end_badly(behind: Behind, name: str, kind: str) -> None:
    """The head was passed on: the client must see that it is not whole."""

    def script(line: Line, asked: Request) -> None:
        first, *rest = CUT[name](asked.stream)
        line.send(first, rest[0])
        later(0.1, line.send, *rest[1:])

    behind.server.on_request = script
    answer = behind.ask(kind)
    assert answer.outcome == "200 cut"
    assert answer.body in (b"", b"hel", b"helloo"[:5])
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, b"next")
    assert behind.ask(kind).body == b"next"


@pytest.mark.parametrize("kind", ASKERS)
def test_all_at_once_or_byte_by_byte(behind: Behind, kind: str) -> None:
    def script(line: Line, asked: Request) -> None:
        whole = b"".join(
            [
                reply(asked.stream, status=b"103"),
                reply(asked.stream),
                *pieces(asked.stream, b"hello"),
            ]
        )
        for at in range(len(whole)):
            line.send(whole[at : at + 1])

    behind.server.on_request = script
    answer = behind.ask(kind)
    assert (answer.outcome, answer.body, answer.interim) == ("200", b"hello", [103])
