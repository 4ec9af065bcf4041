"""RFC 9113 section 10.3: what HPACK can carry and HTTP/1.1 cannot, and what is too much.

A proxy writes a request of HTTP/1.1 from the pieces of a field block; none of them may bring a
delimiter of its own, none may be understood in two ways.
"""

from __future__ import annotations

from tests.h2 import frames as h2
from tests.h2.case import (
    ANY,
    MALFORMED,
    ONCE,
    UNFINISHED,
    Case,
    Check,
    field_is,
    stream,
    target_is,
)
from tests.h2.client import Client
from tests.h2.frames import ask, get, instead, post
from tests.raw.recorder import Seen

LINE = b" HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
CONTROLS = [b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x7f", b"\x80"]

BAD_PATHS = [
    b"smuggled",
    b"http://b.test/",
    b"a.test/",
    b"//a.test@b.test /",
    b"?x",
    b"\\",
    b"/x" + LINE,
    b"/#fragment",
    b"/x HTTP/1.1",
]
BAD_METHODS = [
    b"GET /smuggled" + LINE,
    b"GET /smuggled HTTP/1.1",
    b" GET",
    b"GET ",
    b"G:T",
    b"G(T)",
    b"PRI\r\n",
]
BAD_AUTHORITIES = [
    b"user@a.test",
    b"user:secret@a.test",
    b"a.test, b.test",
    b"a.test/path",
    b"a.test?x",
    b"a.test#x",
    b"a.test\\b",
    b"a.test:port",
    b"a.test:99999",
    b"[::1",
    b"a.test\r\nx: y",
]
BAD_SCHEMES = [b"ht tp", b"http\r\nx: y", b"http://b.test/", b"\0http", b"1http", b"http:"]


def spoilt(name: bytes, good: bytes, shown: str) -> list[Case]:
    """A pseudo-header field with each of `CONTROLS` in the middle of a good value."""
    half = len(good) // 2
    return [
        Case(
            "9113 10.3",
            f"{shown} with {one!r}",
            instead(name, good[:half] + one + good[half:]),
            MALFORMED,
        )
        for one in CONTROLS
    ]


def spoilt_by(name: bytes, shown: str, values: list[bytes]) -> list[Case]:
    return [
        Case("9113 10.3", f"{shown} {value[:24]!r}", instead(name, value), MALFORMED)
        for value in values
    ]


SPOILT = [
    *spoilt(b":path", b"/abcd", "path"),
    *spoilt(b":method", b"GET", "method"),
    *spoilt(b":authority", b"a.test", "authority"),
    *spoilt(b":scheme", b"http", "scheme"),
    *spoilt_by(b":path", "path", BAD_PATHS),
    *spoilt_by(b":method", "method", BAD_METHODS),
    *spoilt_by(b":authority", "authority", BAD_AUTHORITIES),
    *spoilt_by(b":scheme", "scheme", BAD_SCHEMES),
]


def host(*values: bytes) -> bytes:
    """A request that says Host beside :authority a.test."""
    return get(1, *((b"host", value) for value in values))


def host_is(value: str) -> Check:
    return field_is("host", value)


def not_twice(_: Client, seen: list[Seen]) -> None:
    """Names with an underscore are dropped: many servers read them as the name with a hyphen."""
    assert [one.names() & {"x_real_ip", "content_length"} for one in seen] == [set()]


def ours_alone(_: Client, seen: list[Seen]) -> None:
    """What is told of the client is ours: neither its fields nor its :scheme decide."""
    assert [one.one("x-forwarded-for") for one in seen] == ["127.0.0.1"]
    assert "evil" not in seen[0].head.decode("latin-1")


HOSTS = [
    Case("9113 8.3.1", "Host the same", host(b"a.test"), {"200"}, ONCE, check=host_is("a.test")),
    Case("9113 8.3.1", "Host differs", host(b"b.test"), MALFORMED),
    Case("9113 8.3.1", "Host twice", host(b"a.test", b"a.test"), MALFORMED),
    Case("9113 8.3.1", "Host twice, one differs", host(b"a.test", b"b.test"), MALFORMED),
    Case("9113 8.3.1", "Host empty", host(b""), MALFORMED),
    Case(
        "9113 8.3.1",
        "two Hosts without authority",
        ask(*h2.fields()[:3], (b"host", b"a.test"), (b"host", b"b.test")),
        MALFORMED,
    ),
    Case(
        "9110 7.4",
        "unknown host",
        instead(b":authority", b"unknown.example"),
        {"404", "421"},
    ),
    Case(
        "9113 10.3",
        "fields a proxy sets",
        get(1, (b"x-forwarded-for", b"evil"), (b"x-forwarded-proto", b"evil")),
        {"200"},
        ONCE,
        check=ours_alone,
    ),
    Case(
        "9113 10.3",
        "names with an underscore",
        get(1, (b"x_real_ip", b"1"), (b"content_length", b"5")),
        {"200"},
        ONCE,
        check=not_twice,
    ),
    Case(
        "9113 10.3",
        "a chunk in a body is a body",
        post() + h2.data(1, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        {"200"},
        ONCE,
    ),
    Case(
        "9113 10.3",
        "a path that looks encoded is left so",
        get(path=b"/%0d%0aX:%20y?%00"),
        {"200", "400"},
        ANY,
    ),
    Case(
        "9113 10.3",
        "no path but two slashes",
        get(path=b"//b.test/x"),
        {"200"},
        ONCE,
        check=target_is("GET", "//b.test/x"),
    ),
    Case("9113 10.3", "TRACE", get(method=b"TRACE"), {"405", "501"} | stream()),
]

TOO_MUCH = {"431"} | stream("ENHANCE_YOUR_CALM", "INTERNAL_ERROR") | {"close"}


def blocks(*fields: h2.Field) -> bytes:
    """A request of any size: HEADERS and as many CONTINUATION frames as it needs."""
    whole = h2.block(*h2.fields(), *fields)
    parts = [whole[at : at + 16384] for at in range(0, len(whole), 16384)]
    out = h2.headers(1, parts[0], h2.END_STREAM | h2.END_HEADERS * (len(parts) == 1))
    for at, part in enumerate(parts[1:], 2):
        out += h2.continuation(1, part, h2.END_HEADERS * (at == len(parts)))
    return out


LIMITS = [
    Case("9113 10.5.1", "one field of 20 KiB", blocks((b"x", b"v" * 20480)), TOO_MUCH),
    Case("9113 10.5.1", "one name of 20 KiB", blocks((b"x" * 20480, b"v")), TOO_MUCH),
    Case(
        "9113 10.5.1",
        "fields of 100 KiB",
        blocks(*((b"x-%d" % at, b"v" * 1000) for at in range(100))),
        TOO_MUCH,
    ),
    Case(
        "9113 10.5.1",
        "300 fields",
        blocks(*((b"x-%d" % at, b"v") for at in range(300))),
        TOO_MUCH,
    ),
    Case(
        "9113 10.5.1",
        "300 crumbs of a cookie",
        blocks(*((b"cookie", b"c=%d" % at) for at in range(300))),
        TOO_MUCH,
    ),
    Case(
        "9113 10.5.1",
        "3000 references to one field",
        h2.headers(
            1,
            h2.block(*h2.fields())
            + h2.literal(b"x", b"v" * 100, h2.INDEXED_LITERAL)
            + h2.indexed(62) * 3000,
        ),
        TOO_MUCH,
    ),
    Case(
        "9113 10.5.1", "a path of 12 KB", instead(b":path", b"/" + b"p" * 12000), TOO_MUCH | {"414"}
    ),
    Case(
        "9113 10.5.1",
        "a method of 9 KiB",
        instead(b":method", b"M" * 9000),
        TOO_MUCH | {"400", "414", "405", "501"},
    ),
    Case(
        "9113 10.5.1",
        "an authority of 5 KiB",
        instead(b":authority", b"a" * 5000),
        TOO_MUCH | {"400", "404", "414"},
    ),
    Case(
        "9113 10.5.1",
        "trailers of 100 KiB",
        post(path=b"/hang")
        + h2.headers(1, h2.block((b"x", b"v" * 16000)), h2.END_STREAM)
        + h2.continuation(1, h2.block((b"x", b"v" * 16000)), 0) * 5
        + h2.continuation(1),
        TOO_MUCH,
        UNFINISHED,
    ),
]

CASES = [*SPOILT, *HOSTS, *LIMITS]
