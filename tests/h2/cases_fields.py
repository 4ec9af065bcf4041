"""RFC 9113 sections 8.2 and 8.3: fields and pseudo-header fields, valid and not."""

from __future__ import annotations

from tests.h2 import frames as h2
from tests.h2.case import ANY, MALFORMED, ONCE, Case, field_is
from tests.h2.frames import ask, get, instead, post, without

BAD_NAMES = [
    b"X-Upper",
    b"x\0y",
    b"x y",
    b" x",
    b"x ",
    b"x\ty",
    b"x\ry",
    b"x\ny",
    b"x:y",
    b"x:",
    b"x\x7f",
    b"x\x80",
    b"x\xff",
    b"",
    b"x\r\nsmuggled",
    b"x(y)",
    b'x"y',
    b"x/y",
]
BAD_VALUES = [b"\0", b"a\0b", b"a\rb", b"a\nb", b"a\r\nsmuggled: 1", b"\r\n", b"a\x01b", b"a\x7fb"]
BLANK_VALUES = [b" a", b"a ", b"\ta", b"a\t"]


def one(name: bytes, value: bytes) -> bytes:
    return get(1, (name, value))


FIELDS = [
    *(Case("9113 8.2.1", f"name {name!r}", one(name, b"1"), MALFORMED) for name in BAD_NAMES),
    *(Case("9113 8.2.1", f"value {value!r}", one(b"x", value), MALFORMED) for value in BAD_VALUES),
    *(
        Case("9113 8.2.1", f"blank {value!r}", one(b"x", value), MALFORMED)
        for value in BLANK_VALUES
    ),
    Case(
        "9113 8.2.1",
        "every token character",
        one(b"!#$%&'*+-.^`|~09az", b"1"),
        {"200"},
        ONCE,
        check=field_is("!#$%&'*+-.^`|~09az", "1"),
    ),
    Case(
        "9113 8.2.1",
        "every field character",
        one(b"x", b"! \t~\x80\xff"),
        {"200"},
        ONCE,
        check=field_is("x", "! \t~\x80\xff"),
    ),
    Case("9113 8.2.1", "empty value", one(b"x", b""), {"200"}, ONCE, check=field_is("x", "")),
    *(
        Case("9113 8.2.2", f"{name.decode()}: {value.decode()}", get(1, (name, value)), MALFORMED)
        for name, value in (
            (b"connection", b"close"),
            (b"connection", b"x-drop"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"websocket"),
            (b"te", b"gzip"),
            (b"te", b"trailers, deflate;q=0.5"),
        )
    ),
    Case(
        "9113 8.2.2",
        "transfer-encoding with content",
        post(1, (b"transfer-encoding", b"chunked")) + h2.data(1, b"0\r\n\r\nGET /smuggled"),
        MALFORMED,
    ),
    Case("9113 8.2.2", "te: trailers", one(b"te", b"trailers"), {"200"}, ONCE),
    Case(
        "9113 8.2.3",
        "crumbs are joined",
        get(1, (b"cookie", b"a=b"), (b"x", b"1"), (b"cookie", b"c=d; e=f"), (b"cookie", b"g=h")),
        {"200"},
        ONCE,
        check=field_is("cookie", "a=b; c=d; e=f; g=h"),
    ),
    Case(
        "9113 8.2.3",
        "one cookie is left as it is",
        one(b"cookie", b"a=b;  c=d"),
        {"200"},
        ONCE,
        check=field_is("cookie", "a=b;  c=d"),
    ),
]

PSEUDO = [
    Case("9113 8.3", "unknown", ask(*h2.fields(), (b":unknown", b"1")), MALFORMED),
    Case("9113 8.3", "empty name", ask(*h2.fields(), (b":", b"1")), MALFORMED),
    Case("9113 8.3", "of an answer", ask(*h2.fields(), (b":status", b"200")), MALFORMED),
    Case("9113 8.3", "behind a field", ask((b"x", b"1"), *h2.fields()), MALFORMED),
    Case(
        "9113 8.3",
        "the last one behind a field",
        ask(*h2.fields()[:3], (b"x", b"1"), h2.fields()[3]),
        MALFORMED,
    ),
    *(
        Case("9113 8.3", f"{key.decode()} twice", ask(*h2.fields(), (key, value)), MALFORMED)
        for key, value in h2.fields()
    ),
    Case(
        "9113 8.3", "uppercase", instead(b":method", b"GET").replace(b":path", b":Path"), MALFORMED
    ),
    *(
        Case("9113 8.3.1", f"no {name.decode()}", without(name), MALFORMED)
        for name in (b":method", b":scheme", b":path", b":authority")
    ),
    Case(
        "9113 8.3.1",
        "Host instead of :authority",
        ask(*h2.fields()[:3], (b"host", b"b.test")),
        {"200"},
        ONCE,
        check=field_is("host", "b.test"),
    ),
    Case("9113 8.3.1", "no fields at all", ask(), MALFORMED),
    Case(
        "9113 8.3.1",
        "OPTIONS *",
        instead(b":path", b"*", b"OPTIONS"),
        {"204"},
    ),
    Case("9113 8.3.1", "GET *", instead(b":path", b"*"), MALFORMED),
    Case(
        "9113 8.3.1",
        "a method of its own",
        instead(b":method", b"BREW-it!"),
        {"200", "405", "501"},
        ANY,
    ),
    *(
        Case("9113 8.3.1", f"{name.decode()} empty", instead(name, b""), MALFORMED)
        for name in (b":method", b":scheme", b":path", b":authority")
    ),
    Case(
        "9113 8.3.1",
        "the authority in any order",
        ask(*reversed(h2.fields())),
        {"200"},
        ONCE,
        check=field_is("host", "a.test"),
    ),
]

CASES = [*FIELDS, *PSEUDO]
