"""RFC 9113 section 6.9: WINDOW_UPDATE and the windows it opens."""

from __future__ import annotations

from tests.h2 import frames as h2
from tests.h2.case import (
    ALIVE,
    ANY,
    ONCE,
    UNFINISHED,
    Case,
    answer_size,
    connection,
    got,
    stream,
    synced,
)
from tests.h2.client import Client
from tests.h2.frames import get, post

FRAME_SIZE = connection("FRAME_SIZE_ERROR")
FLOW = connection("FLOW_CONTROL_ERROR")
HANGING = post(path=b"/hang")
MOST = h2.BIGGEST


def held_back(client: Client) -> None:
    """Streams 1 and 3 got as much as the connection's first window, and not a byte more."""

    def size() -> int:
        return len(client.stream(1).body) + len(client.stream(3).body)

    assert client.until(lambda: size() >= 65535), size()
    client.until(lambda: size() > 65535, 0.05)
    synced(client)
    assert size() == 65535


FLOW_CONTROL = [
    Case("9113 6.9", "0, connection", h2.window_update(0, 0), connection()),
    Case("9113 6.9", "0, stream", HANGING + h2.window_update(1, 0), stream(), UNFINISHED),
    Case("9113 6.9", "of 3", h2.frame(8, 0, 0, bytes(3)), FRAME_SIZE),
    Case("9113 6.9", "of 5", h2.frame(8, 0, 0, bytes(5)), FRAME_SIZE),
    Case("9113 6.9", "reserved bit", h2.window_update(0, 1 << 31 | 1) + get(), {"200"}, ONCE),
    Case("9113 6.9.1", "above 2^31-1, connection", h2.window_update(0, MOST), FLOW),
    Case(
        "9113 6.9.1",
        "above 2^31-1, stream",
        HANGING + h2.window_update(1, MOST),
        stream("FLOW_CONTROL_ERROR"),
        UNFINISHED,
    ),
    Case("9113 6.9.1", "2^31-1, connection", h2.window_update(0, MOST - 65535), {ALIVE}),
    Case(
        "9113 6.9.1",
        "one byte at a time",
        [
            get(path=b"/len/3"),
            *(step for at in (1, 2) for step in (got(1, at), h2.window_update(1, 1))),
        ],
        {"200"},
        ONCE,
        hello=h2.values((h2.INITIAL_WINDOW, 1)),
        check=answer_size(3),
    ),
    Case(
        "9113 6.9.1",
        "the connection's window holds all streams",
        [
            get(1, path=b"/len/60000") + get(3, path=b"/len/60000"),
            held_back,
            h2.window_update(0, 60000),
            lambda client: client.until(lambda: client.stream(1).ended),
        ],
        {"200"},
        ANY,
        watch=3,
        check=answer_size(60000, 3),
    ),
    Case(
        "9113 6.9.1",
        "no window, and an answer without content",
        get(path=b"/status/204"),
        {"204"},
        ONCE,
        hello=h2.values((h2.INITIAL_WINDOW, 0)),
    ),
    Case(
        "9113 6.9.2",
        "SETTINGS open a stream's window",
        [get(path=b"/len/9"), got(1, 0), h2.settings((h2.INITIAL_WINDOW, 9))],
        {"200"},
        ONCE,
        hello=h2.values((h2.INITIAL_WINDOW, 0)),
        check=answer_size(9),
    ),
    Case(
        "9113 6.9.2",
        "a negative window",
        [
            get(path=b"/len/9"),
            got(1, 3),
            h2.settings((h2.INITIAL_WINDOW, 2)),
            got(1, 3),
            h2.window_update(1, 1),
            got(1, 3),
            h2.window_update(1, 1),
            got(1, 4),
            h2.window_update(1, 5),
        ],
        {"200"},
        ONCE,
        hello=h2.values((h2.INITIAL_WINDOW, 3)),
        check=answer_size(9),
    ),
    # The RFC says connection error; libnghttp2 and nginx end the stream that is concerned.
    Case(
        "9113 6.9.2",
        "SETTINGS push a window above 2^31-1",
        HANGING + h2.window_update(1, MOST - 65535) + h2.settings((h2.INITIAL_WINDOW, 65536)),
        stream("FLOW_CONTROL_ERROR"),
        UNFINISHED,
    ),
    Case(
        "9113 6.9.2",
        "SETTINGS leave the connection's window",
        [get(path=b"/len/70000"), got(1, 65535), h2.window_update(0, 10000)],
        {"200"},
        ONCE,
        hello=h2.values((h2.INITIAL_WINDOW, 1 << 20)),
        check=answer_size(70000),
    ),
]

CASES = FLOW_CONTROL
