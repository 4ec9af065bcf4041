"""RFC 9113 sections 6 (but for 6.9) and 7: each type of frame, its size, its stream, its values."""

from __future__ import annotations

from collections.abc import Callable

from tests.h2 import frames as h2
from tests.h2.case import (
    ALIVE,
    ANY,
    NEVER,
    ONCE,
    UNFINISHED,
    Case,
    answer_size,
    body_is,
    connection,
    done,
    got,
    ready,
    stream,
    synced,
)
from tests.h2.client import Client
from tests.h2.frames import get, post
from tests.raw.recorder import Seen, pattern

WHOLE = h2.block(*h2.fields())
FRAME_SIZE = connection("FRAME_SIZE_ERROR")
FLOW = connection("FLOW_CONTROL_ERROR")
HANGING = post(path=b"/hang")
PADDED_END = h2.PADDED | h2.END_STREAM
BOTH = h2.WHOLE | h2.PADDED | h2.WITH_PRIORITY
WEIGHT = h2.u32(0) + b"\x0f"


def uploads(size: int, pad: int = 0) -> Callable[[Client], None]:
    return lambda client: client.upload(1, pattern(size), pad)


DATA = [
    Case("9113 6.1", "stream 0", h2.data(0, b"x"), connection()),
    Case("9113 6.1", "whole", post() + h2.data(1, b"abc"), {"200"}, ONCE, check=body_is(b"abc")),
    Case(
        "9113 6.1",
        "in pieces, some empty",
        post() + b"".join(h2.data(1, one, 0) for one in (b"a", b"", b"bc", b"")) + h2.data(1),
        {"200"},
        ONCE,
        check=body_is(b"abc"),
    ),
    Case("9113 6.1", "none but the end", post() + h2.data(1), {"200"}, ONCE, check=body_is(b"")),
    Case(
        "9113 6.1",
        "padded",
        post() + h2.data(1, h2.padded(b"abc", 255), PADDED_END),
        {"200"},
        ONCE,
        check=body_is(b"abc"),
    ),
    Case(
        "9113 6.1",
        "padded by nothing",
        post() + h2.data(1, h2.padded(b"abc", 0), PADDED_END),
        {"200"},
        ONCE,
        check=body_is(b"abc"),
    ),
    Case(
        "9113 6.1",
        "nothing but padding",
        post() + h2.data(1, h2.padded(b"", 7), PADDED_END),
        {"200"},
        ONCE,
        check=body_is(b""),
    ),
    Case(
        "9113 6.1",
        "as much padding as payload",
        HANGING + h2.data(1, b"\x04abc", PADDED_END),
        connection(),
        UNFINISHED,
    ),
    Case(
        "9113 6.1",
        "more padding than payload",
        HANGING + h2.data(1, b"\xffabc", PADDED_END),
        connection(),
        UNFINISHED,
    ),
    Case(
        "9113 6.1",
        "no room for the pad length",
        HANGING + h2.data(1, b"", PADDED_END),
        FRAME_SIZE,
        UNFINISHED,
    ),
    Case(
        "9113 6.1",
        "padding counts in the windows",
        [post(path=b"/"), uploads(250_000, 250)],
        {"200"},
        ONCE,
        check=body_is(pattern(250_000)),
    ),
]

HEADERS = [
    Case("9113 6.2", "stream 0", get(0), connection()),
    Case("9113 6.2", "padded", h2.headers(1, h2.padded(WHOLE, 99), h2.WHOLE | 8), {"200"}, ONCE),
    Case("9113 6.2", "with priority", h2.headers(1, WEIGHT + WHOLE, 0x25), {"200"}, ONCE),
    Case("9113 6.2", "with both", h2.headers(1, h2.padded(WEIGHT + WHOLE, 9), BOTH), {"200"}, ONCE),
    Case("9113 6.2", "too much padding", h2.headers(1, b"\xff" + WHOLE, 0x0D), connection()),
    Case("9113 6.2", "as much padding as payload", h2.headers(1, b"\2\0", 0x0D), connection()),
    Case("9113 6.2", "no room for the pad length", h2.headers(1, b"", 0x0D), FRAME_SIZE),
    Case("9113 6.2", "no room for the priority", h2.headers(1, b"\0\0\0", 0x25), FRAME_SIZE),
]

PRIORITY = [
    Case("9113 6.3", "stream 0", h2.priority(0), connection()),
    Case(
        "9113 6.3",
        "of 4",
        [HANGING, ready, h2.frame(h2.PRIORITY, 0, 1, bytes(4))],
        stream("FRAME_SIZE_ERROR"),
        UNFINISHED,
    ),
    Case(
        "9113 6.3",
        "of 6",
        [HANGING, ready, h2.frame(h2.PRIORITY, 0, 1, bytes(6))],
        stream("FRAME_SIZE_ERROR"),
        UNFINISHED,
    ),
    Case("9113 6.4", "stream 0", h2.rst_stream(0), connection()),
    Case("9113 6.4", "of 3", HANGING + h2.frame(3, 0, 1, bytes(3)), FRAME_SIZE, UNFINISHED),
    Case("9113 6.4", "of 5", HANGING + h2.frame(3, 0, 1, bytes(5)), FRAME_SIZE, UNFINISHED),
    Case(
        "9113 6.4",
        "ends an upload, the next is served",
        HANGING + h2.data(1, b"x", 0) + h2.rst_stream(1) + get(3),
        {"200"},
        ANY,
        watch=3,
    ),
]


def settings_case(name: str, key: int, value: int, expect: set[str] | None = None) -> Case:
    """One value; a good one is followed by a request."""
    frames = h2.settings((key, value)) + (b"" if expect else get())
    return Case("9113 6.5.2", name, frames, expect or {"200"}, NEVER if expect else ONCE)


def acknowledged(count: int) -> Callable[[Client, list[Seen]], None]:
    def check(client: Client, _: list[Seen]) -> None:
        assert client.acks == count

    return check


SETTINGS = [
    Case("9113 6.5", "ACK with a payload", h2.frame(4, 1, 0, h2.values((1, 1))), FRAME_SIZE),
    Case("9113 6.5", "on a stream", h2.frame(4, 0, 1), connection()),
    Case("9113 6.5", "of 5", h2.frame(4, 0, 0, bytes(5)), FRAME_SIZE),
    Case("9113 6.5", "of 7", h2.frame(4, 0, 0, bytes(7)), FRAME_SIZE),
    Case("9113 6.5", "one ACK too many", h2.frame(4, 1, 0) * 2, {ALIVE} | connection()),
    settings_case("ENABLE_PUSH 2", h2.ENABLE_PUSH, 2, connection()),
    settings_case("ENABLE_PUSH 1", h2.ENABLE_PUSH, 1),
    settings_case("ENABLE_PUSH 0", h2.ENABLE_PUSH, 0),
    settings_case("INITIAL_WINDOW 2^31", h2.INITIAL_WINDOW, 1 << 31, FLOW),
    settings_case("INITIAL_WINDOW 2^31-1", h2.INITIAL_WINDOW, h2.BIGGEST),
    settings_case("MAX_FRAME 2^14-1", h2.MAX_FRAME, 16383, connection()),
    settings_case("MAX_FRAME 0", h2.MAX_FRAME, 0, connection()),
    settings_case("MAX_FRAME 2^24", h2.MAX_FRAME, 1 << 24, connection()),
    settings_case("MAX_FRAME 2^24-1", h2.MAX_FRAME, (1 << 24) - 1),
    settings_case("HEADER_TABLE_SIZE 2^32-1", h2.TABLE_SIZE, (1 << 32) - 1),
    settings_case("MAX_STREAMS 0", h2.MAX_STREAMS, 0),
    settings_case("MAX_HEADERS 2^32-1", h2.MAX_HEADERS, (1 << 32) - 1),
    settings_case("unknown", 0xFFF1, 5),
    Case(
        "9113 6.5.2",
        "HEADER_TABLE_SIZE 0",
        [h2.settings((h2.TABLE_SIZE, 0)), get(), done(1), get(3), done(3), get(5)],
        {"200"},
        ANY,
        watch=5,
    ),
    Case(
        "9113 6.5.3",
        "each is acknowledged",
        [h2.settings() * 3, lambda client: client.until(lambda: client.acks == 4)],
        {ALIVE},
        check=acknowledged(4),
    ),
    Case(
        "9113 6.5.3",
        "the last of a value counts",
        [
            h2.settings((h2.INITIAL_WINDOW, 100), (h2.INITIAL_WINDOW, 1)) + get(path=b"/len/9"),
            got(1, 1),
            h2.window_update(1, 100),
        ],
        {"200"},
        ONCE,
        check=answer_size(9),
    ),
]

PUSH_AND_PING = [
    Case("9113 6.6", "PUSH_PROMISE", h2.frame(5, 4, 1, h2.u32(2) + WHOLE), connection()),
    Case(
        "9113 6.6",
        "PUSH_PROMISE on an open stream",
        HANGING + h2.frame(5, 4, 1, h2.u32(2) + WHOLE),
        connection(),
        UNFINISHED,
    ),
    Case(
        "9113 6.7",
        "answered with its payload",
        [h2.ping(b"\0\1\2\3\4\5\6\xff"), synced],
        {ALIVE},
        check=lambda client, _: client.pongs.index(b"\0\1\2\3\4\5\6\xff"),
    ),
    Case(
        "9113 6.7",
        "an answer is not answered",
        [h2.ping(b"nobody's", h2.ACK), synced],
        {ALIVE},
        check=lambda client, _: client.pongs[0].index(b"sync"),
    ),
    Case("9113 6.7", "on a stream", h2.frame(6, 0, 1, bytes(8)), connection()),
    Case("9113 6.7", "of 7", h2.ping(bytes(7)), FRAME_SIZE),
    Case("9113 6.7", "of 9", h2.ping(bytes(9)), FRAME_SIZE),
    Case("9113 6.8", "on a stream", h2.goaway(stream=1), connection()),
    Case("9113 6.8", "of 7", h2.frame(7, 0, 0, bytes(7)), FRAME_SIZE),
    Case(
        "9113 6.8",
        "what runs is answered",
        get(path=b"/slow/0.05") + h2.goaway(0, 0, b"thank you"),
        {"200"},
        ONCE,
        serves=False,
    ),
]


def many(count: int) -> bytes:
    """A request in one HEADERS and so many CONTINUATION frames."""
    size = -(-len(WHOLE) // count)
    rest = b"".join(
        h2.continuation(1, WHOLE[at * size : (at + 1) * size], h2.END_HEADERS * (at == count - 1))
        for at in range(count)
    )
    return h2.headers(1, b"", h2.END_STREAM) + rest


CONTINUATION = [
    Case("9113 6.10", "one", many(1), {"200"}, ONCE),
    Case("9113 6.10", "several", many(6), {"200"}, ONCE),
    Case(
        "9113 6.10",
        "unknown flags",
        many(1)[: -len(WHOLE) - 9] + h2.continuation(1, WHOLE, 0xFF),
        {"200"},
        ONCE,
    ),
    Case("9113 6.10", "stream 0", h2.headers(1, b"", 1) + h2.continuation(0, WHOLE), connection()),
    Case("9113 6.10", "behind END_HEADERS", HANGING + h2.continuation(1), connection(), UNFINISHED),
    Case(
        "9113 6.10",
        "behind DATA",
        HANGING + h2.data(1, b"x", 0) + h2.continuation(1),
        connection(),
        UNFINISHED,
    ),
    Case(
        "9113 6.10",
        "behind the last CONTINUATION",
        h2.headers(1, b"", 0) + h2.continuation(1, WHOLE) + h2.continuation(1),
        connection(),
        UNFINISHED,
    ),
    Case(
        "9113 6.10",
        "its END_STREAM bit means nothing",
        h2.headers(1, WHOLE, 0) + h2.continuation(1, b"", h2.WHOLE) + h2.data(1, b"x"),
        {"200"},
        ONCE,
        check=body_is(b"x"),
    ),
]

CODES = [
    Case("9113 7", "unknown code, RST_STREAM", HANGING + h2.rst_stream(1, 0xFF), {ALIVE}, "any"),
    Case("9113 7", "unknown code, GOAWAY", get() + h2.goaway(0xFF), {"200"}, ANY, serves=False),
]

CASES = [
    *DATA,
    *HEADERS,
    *PRIORITY,
    *SETTINGS,
    *PUSH_AND_PING,
    *CONTINUATION,
    *CODES,
]
