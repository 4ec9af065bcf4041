"""RFC 9113 sections 8.1 and 8.4 to 8.7, RFC 8441: messages, content and its length, CONNECT."""

from __future__ import annotations

from tests.h2 import frames as h2
from tests.h2.case import (
    ALIVE,
    ANY,
    MALFORMED,
    NEVER,
    ONCE,
    UNFINISHED,
    Case,
    body_is,
    connection,
    field_is,
    got,
    ready,
    stream,
    target_is,
)
from tests.h2.client import Client
from tests.h2.frames import Field, ask, get, post
from tests.raw.recorder import Seen

TRAILERS = h2.headers(1, h2.block((b"x-after", b"1")))


def trailers(*these: Field, flags: int = h2.WHOLE) -> bytes:
    """An upload of three bytes, and these behind it."""
    return post() + h2.data(1, b"abc", 0) + h2.headers(1, h2.block(*these), flags)


def no_content(client: Client, _: list[Seen]) -> None:
    """Ended by HEADERS: no DATA frame came."""
    assert not [one for one in client.frames if one.kind == h2.DATA]


def no_hop_fields(client: Client, _: list[Seen]) -> None:
    """That such fields do not come is asserted by the client; the content is whole."""
    assert len(client.stream(1).body) == 12


def hinted(client: Client, _: list[Seen]) -> None:
    assert client.stream(1).interim == [103]


def continued(client: Client) -> None:
    """100 comes before the content is sent."""
    assert client.until(lambda: client.stream(1).interim == [100], 2)
    client.send(h2.data(1, b"abc"))


MESSAGES = [
    Case(
        "9113 8.1", "GET", get(path=b"/a/b?c=d"), {"200"}, ONCE, check=target_is("GET", "/a/b?c=d")
    ),
    Case("9113 8.1", "HEAD", get(path=b"/head", method=b"HEAD"), {"200"}, ONCE, check=no_content),
    Case(
        "9113 8.1",
        "an answer without content",
        get(path=b"/status/204"),
        {"204"},
        ONCE,
        check=no_content,
    ),
    Case(
        "9113 8.1",
        "an answer in chunks",
        get(path=b"/chunked/5/7"),
        {"200"},
        ONCE,
        check=no_hop_fields,
    ),
    Case(
        "9113 8.1",
        "trailers",
        post() + h2.data(1, b"abc", 0) + TRAILERS,
        {"200"},
        ONCE,
        check=body_is(b"abc"),
    ),
    Case(
        "9113 8.1", "trailers without content", post() + TRAILERS, {"200"}, ONCE, check=body_is(b"")
    ),
    Case(
        "9113 8.1", "HEADERS in the middle", trailers((b"x", b"1"), flags=4), MALFORMED, UNFINISHED
    ),
    Case(
        "9113 8.1",
        "HEADERS in the middle, then the end",
        trailers((b"x", b"1"), flags=4) + h2.data(1, b"abc"),
        MALFORMED,
        UNFINISHED,
    ),
    Case(
        "9113 8.1",
        "pseudo-header field in trailers",
        trailers((b":path", b"/")),
        MALFORMED,
        UNFINISHED,
    ),
    Case("9113 8.1", "uppercase in trailers", trailers((b"X-Up", b"1")), MALFORMED, UNFINISHED),
    Case("9113 8.1", "LF in trailers", trailers((b"x", b"1\ny: 2")), MALFORMED, UNFINISHED),
    Case(
        "9113 8.1",
        "framing in trailers",
        trailers((b"transfer-encoding", b"chunked")),
        MALFORMED,
        UNFINISHED,
    ),
    Case(
        "9113 8.1",
        "DATA behind trailers",
        post(path=b"/hang") + TRAILERS + h2.data(1, b"x"),
        stream("STREAM_CLOSED"),
        ANY,
    ),
    Case("9113 8.1", "an early hint", get(path=b"/hints"), {"200"}, ONCE, check=hinted),
    Case(
        "9113 8.1",
        "100-continue",
        [post(1, (b"expect", b"100-continue"), path=b"/continue"), continued],
        {"200"},
        ONCE,
        check=body_is(b"abc"),
    ),
]


def sized(length: bytes, *pieces: bytes, end: bool = True) -> bytes:
    """A POST that says `length` and sends these."""
    ends = [h2.END_STREAM * (end and at == len(pieces) - 1) for at in range(len(pieces))]
    return post(1, (b"content-length", length)) + b"".join(
        h2.data(1, piece, flags) for piece, flags in zip(pieces, ends, strict=True)
    )


def whole(length: bytes) -> bytes:
    """A request that says `length` and ends with its HEADERS."""
    return get(1, (b"content-length", length), method=b"POST")


LENGTHS = [
    Case(
        "9113 8.1.1",
        "right",
        sized(b"6", b"abc", b"", b"def"),
        {"200"},
        ONCE,
        check=body_is(b"abcdef"),
    ),
    Case(
        "9113 8.1.1",
        "0 and no DATA",
        whole(b"0"),
        {"200"},
        ONCE,
        check=field_is("content-length", "0"),
    ),
    *(
        Case(
            "9110 8.6",
            f"{method.decode()} without a body",
            get(1, method=method),
            {"200"},
            ONCE,
            check=field_is("content-length", *said),
        )
        for method, said in (
            (b"POST", ["0"]),
            (b"PUT", ["0"]),
            (b"PATCH", ["0"]),
            (b"GET", []),
            (b"DELETE", []),
        )
    ),
    Case("9113 8.1.1", "0 and an empty DATA", sized(b"0", b""), {"200"}, ONCE),
    Case("9113 8.1.1", "5 and no DATA", whole(b"5"), MALFORMED),
    Case("9113 8.1.1", "5 and no DATA, GET", get(1, (b"content-length", b"5")), MALFORMED),
    Case("9113 8.1.1", "5 and an empty DATA", sized(b"5", b""), MALFORMED, UNFINISHED),
    Case("9113 8.1.1", "more than said", sized(b"5", b"abcdef"), MALFORMED, UNFINISHED),
    Case(
        "9113 8.1.1",
        "more than said, in pieces",
        sized(b"5", b"abc", b"def"),
        MALFORMED,
        UNFINISHED,
    ),
    Case("9113 8.1.1", "more than 0", sized(b"0", b"a"), MALFORMED, ANY),
    Case("9113 8.1.1", "less than said", sized(b"5", b"abcd"), MALFORMED, UNFINISHED),
    Case(
        "9113 8.1.1",
        "less, then trailers",
        sized(b"5", b"abcd", end=False) + TRAILERS,
        MALFORMED,
        UNFINISHED,
    ),
    Case(
        "9113 8.1.1",
        "twice, differing",
        get(1, (b"content-length", b"0"), (b"content-length", b"5")),
        MALFORMED,
    ),
    Case(
        "9113 8.1.1",
        "twice, the same",
        post(1, (b"content-length", b"1"), (b"content-length", b"1")) + h2.data(1, b"x"),
        MALFORMED,
    ),
    *(
        Case(
            "9113 8.1.1",
            f"no number {value!r}",
            post(1, (b"content-length", value)) + h2.data(1, b"x"),
            MALFORMED,
        )
        for value in (b"", b"+1", b"-1", b"0x1", b"1, 1", b"1 1", b"1.0", b"a", b"9" * 20)
    ),
]

CONNECT = (b":method", b"CONNECT")
WANTED = (b":authority", b"a.test:443")
REFUSED = stream("REFUSED_STREAM", "CONNECT_ERROR", "HTTP_1_1_REQUIRED") | {
    "400",
    "403",
    "404",
    "405",
    "501",
}
"""8.5: nobody has to be a proxy of this kind."""


def websocket(*more: Field, path: bytes = b"/ws") -> bytes:
    """RFC 8441 section 4."""
    return h2.headers(
        1,
        h2.block(
            CONNECT,
            (b":protocol", b"websocket"),
            *h2.fields(path)[1:],
            (b"sec-websocket-version", b"13"),
            *more,
        ),
        h2.END_HEADERS,
    )


def offered(client: Client) -> None:
    ready(client)
    assert client.settings.get(h2.ENABLE_CONNECT) == 1, client.settings


def tunnel(client: Client) -> None:
    """The greeting comes, and we are done: END_STREAM."""
    got(1, 5)(client)
    client.send(h2.data(1, b"bye"))


CONNECTS = [
    Case("9113 8.5", "CONNECT", h2.headers(1, h2.block(CONNECT, WANTED), 4), REFUSED),
    Case(
        "9113 8.5",
        "CONNECT with early DATA",
        h2.headers(1, h2.block(CONNECT, WANTED), 4) + h2.data(1, b"GET /smuggled HTTP/1.1\r\n\r\n"),
        REFUSED,
    ),
    Case("9113 8.5", "without authority", ask(CONNECT), MALFORMED),
    Case("9113 8.5", "with path", ask(CONNECT, WANTED, (b":path", b"/")), MALFORMED),
    Case("9113 8.5", "with scheme", ask(CONNECT, WANTED, (b":scheme", b"http")), MALFORMED),
    Case("9113 8.5", "with both", ask(*h2.fields(method=b"CONNECT")), MALFORMED),
    Case("8441 4", "websocket", [offered, websocket(), tunnel], {"200"}, ANY),
    Case(
        "8441 4",
        ":protocol without CONNECT",
        ask(*h2.fields(), (b":protocol", b"websocket")),
        MALFORMED,
    ),
    Case(
        "8441 4",
        ":protocol twice",
        ask(CONNECT, (b":protocol", b"websocket"), *h2.fields()[1:], (b":protocol", b"x")),
        MALFORMED,
    ),
    Case(
        "8441 4",
        "without path",
        ask(CONNECT, (b":protocol", b"websocket"), (b":scheme", b"http"), WANTED),
        MALFORMED,
    ),
    Case(
        "8441 4",
        "another protocol",
        [offered, websocket().replace(b"\x09websocket", b"\x09something")],
        REFUSED,
        NEVER,
    ),
    Case(
        "8441 5", "upgrade in an extended CONNECT", websocket((b"upgrade", b"websocket")), MALFORMED
    ),
    Case(
        "9113 8.4",
        "PUSH_PROMISE as an answer",
        get(path=b"/hang") + h2.frame(5, 4, 1, bytes(4)),
        connection(),
        ANY,
    ),
    Case("9113 8.6", "101 for nothing", get(path=b"/101"), {"502"}, ONCE),
    Case(
        "9113 8.7",
        "what we reset may be asked again",
        get(path=b"/hang") + h2.rst_stream(1) + get(3),
        {"200"},
        ANY,
        watch=3,
    ),
    Case("9113 8.7", "PING while a request runs", get(path=b"/hang") + h2.ping(), {ALIVE}, ANY),
]

CASES = [*MESSAGES, *LENGTHS, *CONNECTS]
