"""Response heads. All faults of an upstream are 502 (B3 17)."""

from __future__ import annotations

from tests.unit.http1_cases import Case, ok

ACCEPTED = [
    Case(
        "smallest",
        ok(),
        want={"status": 200, "reason": b"OK", "minor": 1, "body": 3, "keep_alive": 0},
    ),
    Case("length", ok(b"Content-Length: 7"), want={"body": 1, "length": 7, "keep_alive": 1}),
    Case("length zero", ok(b"Content-Length: 0"), want={"body": 0, "length": 0, "keep_alive": 1}),
    Case("chunked", ok(b"Transfer-Encoding: Chunked"), want={"body": 2, "keep_alive": 1}),
    Case("close", ok(b"Content-Length: 7", b"Connection: close"), want={"keep_alive": 0}),
    Case(
        "HTTP/1.0",
        ok(b"Content-Length: 7", line=b"HTTP/1.0 200 OK"),
        want={"minor": 0, "keep_alive": 0},
    ),
    Case(
        "HTTP/1.0 keep-alive",
        ok(b"Content-Length: 7", b"Connection: keep-alive", line=b"HTTP/1.0 200 OK"),
        want={"keep_alive": 1},
    ),
    Case("empty reason", ok(line=b"HTTP/1.1 200 "), want={"reason": b""}),
    Case("no space after the status", ok(line=b"HTTP/1.1 200"), want={"reason": b""}),
    Case(
        "reason with blanks and obs-text",
        ok(line=b"HTTP/1.1 404  n\xf6\tno "),
        want={"status": 404, "reason": b" n\xf6\tno "},
    ),
    Case("status 599", ok(b"Content-Length: 0", line=b"HTTP/1.1 599 x"), want={"status": 599}),
    Case("100", ok(line=b"HTTP/1.1 100 Continue"), want={"body": 0, "length": -1}),
    Case("103", ok(b"Link: </a>; rel=preload", line=b"HTTP/1.1 103 Early Hints"), want={"body": 0}),
    Case("204", ok(line=b"HTTP/1.1 204 No Content"), want={"body": 0, "keep_alive": 1}, line=17),
    Case(
        "204 with a length",
        ok(b"Content-Length: 5", line=b"HTTP/1.1 204 x"),
        want={"body": 0, "length": 5},
        line=17,
    ),
    Case(
        "304 with a length",
        ok(b"Content-Length: 5", line=b"HTTP/1.1 304 x"),
        want={"body": 0, "length": 5},
        line=17,
    ),
    Case(
        "304 with a coding",
        ok(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 304 x"),
        want={"body": 0},
        line=17,
    ),
    Case(
        "answer to HEAD",
        ok(b"Content-Length: 5"),
        want={"body": 0, "length": 5},
        method="HEAD",
        line=17,
    ),
    Case(
        "chunked answer to HEAD",
        ok(b"Transfer-Encoding: chunked"),
        want={"body": 0},
        method="HEAD",
        line=17,
    ),
    Case(
        "odd Connection option",
        ok(b"Content-Length: 1", b"Connection: a;b"),
        want={"keep_alive": 0},
        line=22,
    ),
    Case(
        "101 websocket",
        ok(b"Upgrade: websocket", b"Connection: Upgrade", line=b"HTTP/1.1 101 Switching"),
        want={"upgrade": 1, "body": 0},
        line=19,
    ),
    Case(
        "101 without Connection",
        ok(b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching"),
        want={"upgrade": 0},
        line=19,
        httptools="llhttp pauses at any 101",
    ),
    Case(
        "101 to another protocol",
        ok(b"Upgrade: h2c", b"Connection: Upgrade", line=b"HTTP/1.1 101 Switching"),
        want={"upgrade": 2},
        line=20,
    ),
    Case(
        "200 that talks of upgrade",
        ok(b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 0"),
        want={"upgrade": 0},
        line=19,
    ),
    Case(
        "two Set-Cookies",
        ok(b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"Content-Length: 0"),
        want={
            "fields": [(b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d"), (b"Content-Length", b"0")]
        },
    ),
]

REFUSED = [
    Case("leading empty line", b"\r\n" + ok(), (502, "VERSION_BAD"), line=17),
    Case("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", (502, "VERSION_BAD"), line=17),
    Case("HTTP/2.0", ok(line=b"HTTP/2.0 200 OK"), (502, "VERSION_UNKNOWN"), line=17),
    Case("ICY", ok(line=b"ICY 200 OK"), (502, "VERSION_BAD"), line=17),
    Case("tab after the version", ok(line=b"HTTP/1.1\t200 OK"), (502, "VERSION_BAD"), line=17),
    Case(
        "two spaces after the version", ok(line=b"HTTP/1.1  200 OK"), (502, "STATUS_BAD"), line=17
    ),
    *(
        Case(f"status {bad!r}", ok(line=b"HTTP/1.1 " + bad), (502, "STATUS_BAD"), line=18)
        for bad in (
            b"20 OK",
            b"2000 OK",
            b"099 x",
            b"600 x",
            b"999 x",
            b"2x0 OK",
            b"+20 OK",
            b"",
            b"200\tOK",
        )
    ),
    Case("NUL in the reason", ok(line=b"HTTP/1.1 200 O\0K"), (502, "REASON_BAD"), line=18),
    Case("bare CR in the reason", ok(line=b"HTTP/1.1 200 O\rK"), (502, "BARE_CR"), line=18),
    Case("bare LF after the status line", b"HTTP/1.1 200 OK\nA: b\n\n", (502, "BARE_LF"), line=8),
    Case("bare LF after the status", b"HTTP/1.1 200\nA: b\n\n", (502, "BARE_LF"), line=8),
    Case("folded line", ok(b"A: b", b" c"), (502, "OBS_FOLD"), line=8),
    Case("bad name", ok(b"A b: c"), (502, "NAME_SPACE"), line=9),
    Case("NUL in a value", ok(b"A: \0"), (502, "VALUE_BAD"), line=18),
    Case(
        "length and coding",
        ok(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (502, "LENGTH_AND_CODING"),
        line=17,
    ),
    Case(
        "length and coding to HEAD",
        ok(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (502, "LENGTH_AND_CODING"),
        line=17,
        method="HEAD",
    ),
    Case("bad length", ok(b"Content-Length: 5x"), (502, "LENGTH_BAD"), line=17),
    Case(
        "bad length to HEAD", ok(b"Content-Length: -1"), (502, "LENGTH_BAD"), line=17, method="HEAD"
    ),
    Case(
        "bad length on 304",
        ok(b"Content-Length: x", line=b"HTTP/1.1 304 x"),
        (502, "LENGTH_BAD"),
        line=17,
    ),
    Case(
        "same length twice",
        ok(b"Content-Length: 5", b"Content-Length: 5"),
        (502, "LENGTH_TWICE"),
        line=17,
    ),
    Case("length list", ok(b"Content-Length: 5, 5"), (502, "LENGTH_BAD"), line=17),
    Case(
        "coding in HTTP/1.0",
        ok(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"),
        (502, "CODING_VERSION"),
        line=17,
    ),
    Case(
        "gzip, chunked", ok(b"Transfer-Encoding: gzip, chunked"), (502, "CODING_UNKNOWN"), line=17
    ),
    Case("gzip", ok(b"Transfer-Encoding: gzip"), (502, "CODING_BAD"), line=17),
    Case(
        "coding on 204",
        ok(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 204 x"),
        (502, "CODING_STATUS"),
        line=17,
    ),
    Case(
        "coding on 101",
        ok(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 101 x"),
        (502, "CODING_STATUS"),
        line=17,
    ),
    Case(
        "status line too long",
        ok(line=b"HTTP/1.1 200 " + b"x" * 100),
        limits=(40, 99, 99, 9),
        refused=(502, "REQUEST_LINE_LONG"),
    ),
    Case(
        "too many fields",
        ok(b"A: b", b"A: b", b"A: b"),
        limits=(40, 99, 99, 2),
        refused=(502, "FIELDS_MANY"),
    ),
]

UNFINISHED = [
    Case("nothing", b"", more=True),
    Case("status begun", b"HTTP/1.1 2", more=True),
    Case("status read", b"HTTP/1.1 200", more=True),
    Case("no end", ok()[:-1], more=True),
]

CASES = [*ACCEPTED, *REFUSED, *UNFINISHED]
