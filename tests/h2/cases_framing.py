"""RFC 9113 sections 3, 4 and 5: how a connection begins, what a frame is, states of streams."""

from __future__ import annotations

from tests.h2 import frames as h2
from tests.h2.case import (
    ALIVE,
    ANY,
    NEVER,
    ONCE,
    Case,
    body_is,
    bytewise,
    connection,
    done,
    field_is,
    got,
    oversized,
    ready,
    stream,
    synced,
)
from tests.h2.client import Client
from tests.h2.frames import get, post
from tests.raw.recorder import Seen, pattern

HELLO = h2.PREFACE + h2.settings()
WHOLE = h2.block(*h2.fields())
NO_PREFACE = connection() | {"close"}
"""3.4: GOAWAY may be left out where the peer does not seem to speak HTTP/2."""
OTHER = {"http1 400", "http1 501", "http1 505", "close"}
HALF = get(path=b"/hang")
"""Stream 1 is half-closed, and stays: the origin does not answer."""


def first_is_settings(client: Client, _: list[Seen]) -> None:
    """Asserted by the client for every connection; here it stands in the table."""
    assert client.frames[0].kind == h2.SETTINGS
    assert client.frames[0].stream == 0


START = [
    Case(
        "9113 3.3",
        "upgrade to h2c is not taken",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
        {"http1 200"},
        ONCE,
        hello=None,
        only="plain",
        check=field_is("upgrade"),
    ),
    Case("9113 3.4", "the server begins with SETTINGS", b"", {ALIVE}, check=first_is_settings),
    Case("9113 3.4", "all in one segment", HELLO + get(), {"200"}, ONCE, hello=None),
    Case("9113 3.4", "byte by byte", [bytewise(HELLO + get())], {"200"}, ONCE, hello=None),
    Case(
        "9113 3.4",
        "wrong from the first byte",
        b"XXX * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2.settings() + get(),
        OTHER,
        hello=None,
        only="plain",
    ),
    Case(
        "9113 3.4",
        "wrong in its second half",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + h2.settings() + get(),
        NO_PREFACE | OTHER,
        hello=None,
        only="plain",
    ),
    Case(
        "9113 3.4",
        "wrong in its second half",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + h2.settings() + get(),
        NO_PREFACE,
        hello=None,
        only="tls",
    ),
    Case(
        "9113 3.4",
        "HTTP/1.1 where ALPN said h2",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        NO_PREFACE,
        hello=None,
        only="tls",
    ),
    Case("9113 3.4", "no SETTINGS but HEADERS", h2.PREFACE + get(), NO_PREFACE, hello=None),
    Case("9113 3.4", "no SETTINGS but PING", h2.PREFACE + h2.ping(), NO_PREFACE, hello=None),
    Case(
        "9113 3.4",
        "SETTINGS that acknowledge",
        h2.PREFACE + h2.frame(h2.SETTINGS, h2.ACK, 0) + get(),
        NO_PREFACE,
        hello=None,
    ),
    Case("9113 3.4", "twice", h2.PREFACE, connection("FRAME_SIZE_ERROR")),
]


def filled(size: int) -> bytes:
    """A request's field block of so many bytes, in fields of some thousand."""
    fields = [*h2.fields(), *((b"x-%d" % at, b"v" * 4000) for at in range(4))]
    rest = size - len(h2.block(*fields, (b"x-fill", b""))) - 2
    return h2.block(*fields, (b"x-fill", b"v" * rest))


FORMAT = [
    Case("9113 4.1", "unknown type", h2.frame(h2.UNKNOWN, 0, 0, b"12345678"), {ALIVE}),
    Case("9113 4.1", "unknown type on a stream", h2.frame(255, 255, 1, b"x"), {ALIVE}),
    Case("9113 4.1", "unknown flags of PING", h2.ping(b"flagged!", 0xFE), {ALIVE}),
    Case("9113 4.1", "unknown flags of HEADERS", h2.headers(1, WHOLE, 0xD7), {"200"}, ONCE),
    Case("9113 4.1", "reserved bit of PING", h2.frame(h2.PING, 0, 1 << 31, bytes(8)), {ALIVE}),
    Case("9113 4.1", "reserved bit of HEADERS", h2.headers(1 | 1 << 31, WHOLE), {"200"}, ONCE),
    Case(
        "9113 4.2",
        "DATA of 2^14",
        post() + h2.data(1, pattern(16384)),
        {"200"},
        ONCE,
        check=body_is(pattern(16384)),
    ),
    Case(
        "9113 4.2",
        "HEADERS of 2^14",
        h2.headers(1, filled(16384)),
        {"200"},
        ONCE,
    ),
    Case(
        "9113 4.2",
        "DATA too large",
        [post(path=b"/hang"), oversized(h2.DATA, 1, 1)],
        stream("FRAME_SIZE_ERROR"),
        "unfinished",
    ),
    Case("9113 4.2", "HEADERS too large", [oversized(1, 5, 1)], connection("FRAME_SIZE_ERROR")),
    Case("9113 4.2", "SETTINGS too large", [oversized(4, 0, 0)], connection("FRAME_SIZE_ERROR")),
    Case("9113 4.2", "PING too large", [oversized(6, 0, 0)], connection("FRAME_SIZE_ERROR")),
    Case(
        "9113 4.2",
        "unknown type too large",
        [oversized(h2.UNKNOWN, 0, 0)],
        connection("FRAME_SIZE_ERROR"),
    ),
]


def cut(at: int) -> bytes:
    """A request whose field block is cut there."""
    return h2.headers(1, WHOLE[:at], h2.END_STREAM) + h2.continuation(1, WHOLE[at:])


def marked(_: Client, seen: list[Seen]) -> None:
    assert [one.all("x-mark") for one in seen] == [["kept"]]


KEPT = h2.literal(b"x-mark", b"kept", h2.INDEXED_LITERAL)
"""Goes into the dynamic table, where it is number 62."""
INSIDE = [
    ("PRIORITY", h2.priority(1)),
    ("DATA", h2.data(1, b"x")),
    ("PING", h2.ping()),
    ("SETTINGS", h2.settings()),
    ("RST_STREAM", h2.rst_stream(1)),
    ("WINDOW_UPDATE", h2.window_update(0, 1)),
    ("GOAWAY", h2.goaway()),
    ("HEADERS of the stream", h2.headers(1, WHOLE)),
    ("HEADERS of another", get(3)),
    ("CONTINUATION of another", h2.continuation(3, WHOLE[9:])),
]

BLOCKS = [
    Case("9113 4.3", "no HPACK", h2.headers(1, b"\xff" * 20), connection("COMPRESSION_ERROR")),
    *(Case("9113 4.3", f"cut at {at}", cut(at), {"200"}, ONCE) for at in (0, 1, 9, len(WHOLE))),
    *(
        Case("9113 4.3", f"{name} inside", h2.headers(1, WHOLE[:9], 1) + other, connection())
        for name, other in INSIDE
    ),
    Case(
        "9113 4.3.1",
        "a refused request counts",
        h2.headers(1, h2.block(*h2.fields(), (b"X-BAD", b"1")) + KEPT)
        + h2.headers(3, WHOLE + h2.indexed(62)),
        {"200"},
        ONCE,
        watch=3,
        check=marked,
    ),
    Case(
        "9113 4.3.1",
        "a request on a reset stream counts",
        h2.headers(1, h2.block(*h2.fields(b"/hang")) + KEPT)
        + h2.rst_stream(1)
        + h2.headers(3, WHOLE + h2.indexed(62)),
        {"200"},
        ANY,
        watch=3,
    ),
]

STREAM_CLOSED = stream("STREAM_CLOSED")
CLOSED = connection("STREAM_CLOSED")
"""5.1 lets frames on a closed stream be discarded. A client that has ended it knew: RFC 7540 had
this an error, and so have we."""
ENDED = [get(), done(1), synced]

LATE = h2.data(1, b"x", 0) + h2.headers(1, h2.block((b"x-late", b"1")))
"""The rest of a request: DATA, and trailers."""


def refused(client: Client) -> None:
    """A request that is malformed, and not at its end."""
    client.send(post(1, (b"te", b"gzip")))
    assert client.outcome(1) == "reset PROTOCOL_ERROR", client.outcome(1)
    del client.streams[1]


def early(client: Client) -> None:
    """A request that is answered before its end: we have no use for the rest."""
    client.send(post(path=b"/early"))
    one = client.stream(1)
    assert client.until(lambda: one.ended and one.reset == 0), one
    del client.streams[1]


STATES = [
    Case("9113 5.1", "idle: DATA", h2.data(1, b"x"), connection("STREAM_CLOSED")),
    Case("9113 5.1", "idle: RST_STREAM", h2.rst_stream(1), connection()),
    Case("9113 5.1", "idle: WINDOW_UPDATE", h2.window_update(1, 100), connection()),
    Case("9113 5.1", "idle: CONTINUATION", h2.continuation(1, WHOLE), connection()),
    Case("9113 5.1", "idle: PRIORITY", h2.priority(1) + get(), {"200"}, ONCE),
    Case("9113 5.1", "half-closed: DATA", HALF + h2.data(1, b"x"), STREAM_CLOSED, ANY),
    Case("9113 5.1", "half-closed: empty DATA", HALF + h2.data(1), STREAM_CLOSED, ANY),
    Case("9113 5.1", "half-closed: HEADERS", HALF + get(), STREAM_CLOSED, ANY),
    Case("9113 5.1", "half-closed: CONTINUATION", HALF + h2.continuation(1), STREAM_CLOSED, ANY),
    Case(
        "9113 5.1",
        "half-closed: WINDOW_UPDATE, PRIORITY",
        get(path=b"/slow/0.05") + h2.window_update(1, 9) + h2.priority(1),
        {"200"},
        ONCE,
    ),
    Case("9113 5.1", "half-closed: RST_STREAM", HALF + h2.rst_stream(1), {ALIVE}, ANY),
    Case(
        "9113 5.1",
        "reset: DATA",
        post(path=b"/hang") + h2.rst_stream(1) + h2.data(1, b"x"),
        STREAM_CLOSED,
        "unfinished",
    ),
    Case("9113 5.1", "reset: HEADERS", HALF + h2.rst_stream(1) + get(), STREAM_CLOSED, ANY),
    Case(
        "9113 5.1",
        "reset: DATA again and again",
        post(path=b"/hang") + h2.rst_stream(1) + h2.data(1, b"x", 0) * 100,
        CLOSED,
        "unfinished",
        watch=3,
    ),
    Case(
        "9113 5.1",
        "reset: CONTINUATION",
        HALF + h2.rst_stream(1) + h2.continuation(1, WHOLE),
        connection("STREAM_CLOSED"),
        ANY,
    ),
    Case("9113 5.1", "ended: DATA", [*ENDED, h2.data(1, b"x")], CLOSED, ONCE),
    Case("9113 5.1", "ended: DATA in pieces", [*ENDED, bytewise(h2.data(1, b"x"))], CLOSED, ONCE),
    Case("9113 5.1", "ended: HEADERS", [*ENDED, get()], CLOSED, ONCE),
    Case(
        "9113 5.1",
        "ended: CONTINUATION",
        [*ENDED, h2.continuation(1, WHOLE)],
        connection("STREAM_CLOSED"),
        ONCE,
    ),
    Case("9113 5.1", "ended: WINDOW_UPDATE", [*ENDED, h2.window_update(1, 9)], {ALIVE}, ONCE),
    Case("9113 5.1", "ended: PRIORITY", [*ENDED, h2.priority(1)], {ALIVE}, ONCE),
    Case("9113 5.1", "ended: RST_STREAM", [*ENDED, h2.rst_stream(1)], {ALIVE}, ONCE),
    Case("9113 5.1", "reset by us: all may be late", [refused, LATE], {ALIVE}),
    Case("9113 5.1", "answered before its end: the rest may be late", [early, LATE], {ALIVE}, ANY),
]


def too_many(client: Client) -> None:
    """As many requests as are allowed, and one more: stream 4001. Only that one is refused."""
    ready(client)
    most = client.settings[h2.MAX_STREAMS]
    assert 1 <= most <= 256, most
    for number in range(most):
        client.send(get(1 + 2 * number, path=b"/hang"))
    synced(client)
    client.send(get(4001))


def others_live(client: Client, _: list[Seen]) -> None:
    if client.failed():
        return
    bad = [number for number, one in client.streams.items() if one.reset is not None]
    assert bad == [4001]


def chosen(numbers: list[int]) -> bytes:
    return b"".join(get(number) for number in numbers)


IDENTIFIERS = [
    Case("9113 5.1.1", "even", get(2), connection(), watch=2),
    Case("9113 5.1.1", "smaller than before", [get(5), done(5), get(3)], connection(), ONCE, 3),
    Case("9113 5.1.1", "smaller, in one segment", get(5) + get(3), connection(), ANY, 3),
    Case("9113 5.1.1", "again", [get(1), done(1), get(3), done(3), get(1)], CLOSED, ANY),
    Case("9113 5.1.1", "left out long ago", chosen([1, 2001, 1401]), {"200"}, ANY, watch=2001),
    Case("9113 5.1.1", "some are left out", chosen([1, 7, 101]), {"200"}, ANY, watch=101),
    Case("9113 5.1.1", "the last there is", get(h2.BIGGEST), {"200"}, ONCE, watch=h2.BIGGEST),
    Case(
        "9113 5.1.1",
        "DATA on one left out",
        [get(7), done(7), h2.data(3, b"x")],
        connection("STREAM_CLOSED"),
        ONCE,
        watch=3,
    ),
    Case(
        "9113 5.1.2",
        "one stream too many",
        [too_many],
        stream("REFUSED_STREAM"),
        ANY,
        watch=4001,
        check=others_live,
    ),
    Case("9113 5.1.2", "many at once", chosen(list(range(1, 80, 2))), {"200"}, ANY, watch=79),
    Case(
        "9113 5.2",
        "a stalled stream stalls no other",
        [
            get(1, path=b"/len/70000") + get(3, path=b"/len/5"),
            got(1, 0),
            h2.window_update(3, 5),
        ],
        {"200"},
        ANY,
        watch=3,
        hello=h2.values((h2.INITIAL_WINDOW, 0)),
    ),
]

OTHERS = [
    Case("7540 5.3.1", "PRIORITY on itself", h2.priority(1, 1), stream()),
    Case("7540 5.3.1", "in pieces", [bytewise(h2.priority(1, 1))], stream()),
    Case("7540 5.3.1", "not on itself", [bytewise(h2.priority(1, 3) + get())], {"200"}, ONCE),
    Case(
        "9113 5.3.2",
        "HEADERS on itself",
        h2.headers(1, h2.u32(1) + b"\x0f" + WHOLE, h2.WHOLE | h2.WITH_PRIORITY),
        stream() | {"200"},
        ANY,
    ),
    Case("9113 5.3.2", "PRIORITY on the future", h2.priority(1, 99) + get(), {"200"}, ONCE),
    Case(
        "9113 5.4.2",
        "no RST_STREAM answers RST_STREAM",
        [HALF + h2.rst_stream(1), synced, h2.rst_stream(1)],
        {ALIVE},
        ANY,
    ),
    Case(
        "9113 5.4.2",
        "a stream error leaves the others",
        get(1, path=b"/slow/0.1") + get(3, (b"X-BAD", b"1")),
        {"200"},
        ONCE,
    ),
    Case("9113 5.5", "unknown type before a request", h2.frame(99, 7, 1) + get(), {"200"}, ONCE),
    Case(
        "9113 5.5",
        "unknown type inside a field block",
        h2.headers(1, WHOLE[:9], h2.END_STREAM) + h2.frame(99, 0, 1),
        connection(),
        NEVER,
    ),
]

CASES = [*START, *FORMAT, *BLOCKS, *STATES, *IDENTIFIERS, *OTHERS]
