"""HTTP/2 as a weapon: each abuse ends its connection soon, costs little, and is counted.

Meanwhile others are served. Counters are those of `fastproxy status --json`, under "limits".
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import get, post
from tests.h2.subject import KINDS, Subject, make

pytestmark = pytest.mark.measures

RAPID_RESET = "http2_rapid_reset"
RESET_BY_US = "http2_reset_by_us"
CONTINUATIONS = "http2_continuations"
HEADER_BYTES = "http2_header_bytes"
SETTINGS_FLOOD = "http2_settings_flood"
PING_FLOOD = "http2_ping_flood"
PRIORITY_FLOOD = "http2_priority_flood"
EMPTY_DATA = "http2_empty_data"
WINDOW_FLOOD = "http2_window_flood"
STALLED = "http2_stalled"

ENDED = {"goaway ENHANCE_YOUR_CALM", "close"}
CPU_SECONDS = 2.0
"""Of the worker, for one whole abuse and the bystanders of it."""
MEMORY = 24 << 20
"""How far the worker's resident memory may rise above where it was."""
BATCH = 100


@pytest.fixture(scope="module")
def prey() -> Iterator[Subject]:
    """An instance with short timeouts, warmed up."""
    timeouts = {"client_write": "1s", "client_header": "2s", "lingering": "500ms"}
    with make({"timeouts": timeouts}) as one:
        one.clear()
        for kind in KINDS:
            one.bystander(kind)
        yield one


@contextlib.contextmanager
def bounded(prey: Subject, kind: str, *counters: str) -> Iterator[None]:
    """What happens inside stays cheap, kills no worker, and makes one of these counters grow."""
    prey.clear()
    before = [prey.counter(name) for name in counters]
    cpu, memory = prey.cpu(), prey.memory()
    yield
    spent, grown = prey.cpu() - cpu, prey.memory() - memory
    prey.bystander(kind)
    assert prey.alive()
    assert spent < CPU_SECONDS, f"{spent:.2f} s of CPU"
    assert grown < MEMORY, f"{grown >> 10} KiB more"
    if counters:
        after = [prey.counter(name) for name in counters]
        assert any(a > b for a, b in zip(after, before, strict=True)), (counters, before, after)


@dataclass(frozen=True)
class Flood:
    """`opening`, then frames without end; after `most` of them the connection must be over."""

    name: str
    counters: tuple[str, ...]
    frame: Callable[[int], bytes]
    most: int
    opening: bytes = b""
    others: frozenset[str] = frozenset()
    """Errors that may end it at once: then the very first frame is one, and nothing is counted."""
    batch: int = 100
    """Frames sent together."""
    waits: bool = False
    """Until a batch is read; so no stream is one too many."""


def odd(number: int) -> int:
    """The stream of the `number`-th request."""
    return 1 + 2 * number


REFUSED_AT_ONCE = frozenset(
    f"goaway {code}" for code in ("PROTOCOL_ERROR", "STREAM_CLOSED", "FLOW_CONTROL_ERROR")
)
START = h2.headers(1, h2.block(*h2.fields()), h2.END_STREAM)
"""A field block that does not end."""
HANGING = post(path=b"/hang")


def made(number: int, last: bytes) -> bytes:
    """A request, and a frame on its stream that is an error of the stream."""
    return post(odd(number), (b"content-length", b"9"), path=b"/hang") + last


FLOODS = [
    Flood(
        "rapid reset",
        (RAPID_RESET,),
        lambda at: get(odd(at)) + h2.rst_stream(odd(at)),
        20_000,
    ),
    Flood(
        "rapid reset of uploads",
        (RAPID_RESET,),
        lambda at: post(odd(at), path=b"/hang") + h2.rst_stream(odd(at)),
        20_000,
    ),
    Flood(
        "made to reset by WINDOW_UPDATE of 0",
        (RESET_BY_US,),
        lambda at: made(at, h2.window_update(odd(at), 0)),
        4_000,
        others=REFUSED_AT_ONCE,
        batch=40,
        waits=True,
    ),
    Flood(
        "made to reset by a window too large",
        (RESET_BY_US,),
        lambda at: made(at, h2.window_update(odd(at), h2.BIGGEST)),
        4_000,
        others=REFUSED_AT_ONCE,
        batch=40,
        waits=True,
    ),
    Flood(
        "made to reset by DATA behind the end",
        (RESET_BY_US,),
        lambda at: get(odd(at), path=b"/hang") + h2.data(odd(at), b"x"),
        4_000,
        others=REFUSED_AT_ONCE,
        batch=40,
        waits=True,
    ),
    Flood(
        "made to reset by more than content-length",
        (RESET_BY_US,),
        lambda at: made(at, h2.data(odd(at), b"0123456789")),
        4_000,
        others=REFUSED_AT_ONCE,
        batch=40,
        waits=True,
    ),
    Flood(
        "CONTINUATION, empty",
        (CONTINUATIONS,),
        lambda _: h2.continuation(1, b"", 0),
        20_000,
        START,
    ),
    Flood(
        "CONTINUATION, a field each",
        (CONTINUATIONS, HEADER_BYTES),
        lambda _: h2.continuation(1, h2.literal(b"x", b"1"), 0),
        20_000,
        START,
    ),
    Flood(
        "CONTINUATION, 16 KiB each",
        (CONTINUATIONS, HEADER_BYTES),
        lambda _: h2.continuation(1, h2.literal(b"x", b"v" * 16000), 0),
        1_000,
        START,
    ),
    Flood("SETTINGS", (SETTINGS_FLOOD,), lambda at: h2.settings((h2.TABLE_SIZE, at)), 20_000),
    Flood("SETTINGS, empty", (SETTINGS_FLOOD,), lambda _: h2.settings(), 20_000),
    Flood("PING", (PING_FLOOD,), lambda at: h2.ping(at.to_bytes(8, "big")), 20_000),
    Flood("PRIORITY", (PRIORITY_FLOOD,), lambda at: h2.priority(odd(at), at), 20_000),
    Flood("PRIORITY, one stream", (PRIORITY_FLOOD,), lambda at: h2.priority(1, 2 + at), 20_000),
    Flood(
        "PRIORITY_UPDATE",
        (PRIORITY_FLOOD,),
        lambda at: h2.frame(0x10, 0, 0, h2.u32(odd(at % 100)) + b"u=%d" % (at % 8)),
        20_000,
    ),
    Flood("WINDOW_UPDATE", (WINDOW_FLOOD,), lambda _: h2.window_update(0, 1), 40_000),
    Flood(
        "heads that are malformed",
        (RESET_BY_US,),
        lambda at: get(odd(at), (b"te", b"gzip")),
        20_000,
    ),
    Flood(
        "fields without a name",
        (RESET_BY_US,),
        lambda at: get(odd(at), *[(b"", b"")] * 50),
        20_000,
    ),
    Flood("empty DATA", (EMPTY_DATA,), lambda _: h2.data(1, b"", 0), 20_000, HANGING),
    Flood(
        "DATA of padding",
        (EMPTY_DATA,),
        lambda _: h2.data(1, h2.padded(b"", 0), h2.PADDED),
        20_000,
        HANGING,
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name.replace(" ", "-"))
def test_flood(prey: Subject, flood: Flood, kind: str) -> None:
    counters = () if flood.others else flood.counters
    before = [prey.counter(name) for name in flood.counters]
    with bounded(prey, kind, *counters), prey.client(kind) as client:
        client.send(flood.opening)
        for start in range(0, flood.most, flood.batch):
            client.send(b"".join(map(flood.frame, range(start, start + flood.batch))))
            if flood.waits:
                client.sync()
            elif start % 1000 == 0:
                prey.bystander(kind)
            if client.until(client.failed, 0.001):
                break
        outcome = client.outcome(0)
        assert outcome in ENDED | flood.others, outcome
    if outcome not in ENDED:
        assert len(client.streams) <= 1, "not at once"
    elif flood.others:
        assert [prey.counter(name) for name in flood.counters] > before


@pytest.mark.parametrize("kind", KINDS)
def test_rapid_reset_reaches_the_origin_rarely(prey: Subject, kind: str) -> None:
    """Cancelled work counts: 20 000 requests asked and reset at once are not 20 000 dialled."""
    with bounded(prey, kind, RAPID_RESET), prey.client(kind) as client:
        for start in range(0, 20_000, BATCH):
            numbers = map(odd, range(start, start + BATCH))
            client.send(b"".join(get(one, path=b"/hang") + h2.rst_stream(one) for one in numbers))
            client.until(client.failed, 0.001)
            if client.failed():
                break
        assert client.outcome(0) in ENDED
    assert len(prey.recorder.requests) < 3_000


CLOSED = h2.values((h2.INITIAL_WINDOW, 0))
NAMED = h2.literal(b"x-named", b"v" * 3900, h2.INDEXED_LITERAL)
CRUMB = h2.literal(b"cookie", b"c=d", h2.INDEXED_LITERAL)
SHORT = h2.literal(b"x", b"", h2.INDEXED_LITERAL)
BOMBS = {"bomb": NAMED, "crumbs": CRUMB, "short fields": SHORT}
"""An entry for the dynamic table, and then 12 000 references to it of a byte each."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_field_blocks_that_grow(prey: Subject, bomb: str, kind: str) -> None:
    """Refused each, or the connection is ended; unpacked they would be up to 45 MiB a request."""
    packed = h2.block(*h2.fields()) + BOMBS[bomb] + h2.indexed(62) * 12_000
    with bounded(prey, kind, HEADER_BYTES), prey.client(kind) as client:
        for number in map(odd, range(100)):
            client.send(h2.headers(number, packed))
            outcome = client.outcome(number)
            assert outcome in {"431", "reset ENHANCE_YOUR_CALM"} | ENDED, outcome
            if client.failed():
                break
        prey.bystander(kind)
    assert not [one for one in prey.recorder.requests if one.path == "/"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_never_opens_its_window(prey: Subject, kind: str) -> None:
    """100 answers of 5 MB, no window for them: not read ahead, and given up after client_write."""
    with bounded(prey, kind, STALLED), prey.client(kind, CLOSED) as client:
        client.send(b"".join(get(odd(at), path=b"/big") for at in range(100)))
        prey.bystander(kind)
        started = time.monotonic()
        assert client.until(lambda: all(gone(client, odd(at)) for at in range(100)), 8)
        assert time.monotonic() - started < 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_keeps_us_busy_meanwhile(prey: Subject, kind: str) -> None:
    """PING now and then does not put off the look at small answers for which there is no window."""
    with bounded(prey, kind, STALLED), prey.client(kind, CLOSED) as client:
        client.send(b"".join(get(odd(at)) for at in range(50)))
        started = time.monotonic()
        while not all(gone(client, odd(at)) for at in range(50)):
            assert time.monotonic() - started < 6
            client.send(h2.ping())
            client.until(lambda: False, 0.3)


def gone(client: Client, number: int) -> bool:
    return client.failed() or client.stream(number).reset is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_opened_byte_by_byte(prey: Subject, kind: str) -> None:
    """Answers in DATA frames of one byte cost, but not without bound."""
    with bounded(prey, kind), prey.client(kind, CLOSED) as client:
        client.send(get(path=b"/big"))
        for _ in range(50):
            client.send(h2.window_update(1, 1) * 40)
            client.until(client.failed, 0.001)
        prey.bystander(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_that_ignores_our_window(prey: Subject, kind: str) -> None:
    """The origin does not read; 64 MiB come all the same. What is held stays bounded."""
    with bounded(prey, kind), prey.client(kind) as client:
        client.send(post(path=b"/deaf"))
        for _ in range(4096):
            client.send(h2.data(1, bytes(16384), 0))
            if client.until(lambda: client.decided(1), 0.001):
                break
        client.until(lambda: client.decided(1))
        outcome = client.outcome(1)
        prey.forget()
        assert outcome in {"reset FLOW_CONTROL_ERROR", "goaway FLOW_CONTROL_ERROR"}, outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["PING", "SETTINGS", "answers"])
def test_a_client_that_never_reads(prey: Subject, name: str, kind: str) -> None:
    """What would be sent in answer is not piled up: reading stops, or the connection ends."""
    frames = {"PING": h2.ping(), "SETTINGS": h2.settings(), "answers": b""}
    with bounded(prey, kind), prey.client(kind) as client:
        client.sock.settimeout(1)
        with contextlib.suppress(TimeoutError, OSError):
            for start in range(0, 20_000, BATCH):
                numbers = map(odd, range(start, start + BATCH))
                piece = frames[name] * BATCH or b"".join(get(one, path=b"/big") for one in numbers)
                client.sock.sendall(piece)
        prey.bystander(kind)
