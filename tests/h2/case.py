"""What a case is, and the words its expectations are made of.

A case is sent on a connection of its own, after preface and SETTINGS. `send` is bytes or steps:

    bytes        sent
    callable     step(client), may wait and assert

Then the outcome of stream `watch` (tests/h2/client.py) must be in `expect`, and what the origin got
must be what `forwarded` says. `expect` may hold `ALIVE`: then a PING is sent and answered, and
nothing has happened to the stream or the connection.

RFC 9113 section 5.4 leaves a choice, and so do these: whoever finds a stream error may treat it as
a connection error, and the generic PROTOCOL_ERROR may stand for a special code. Whoever finds a
malformed request may answer it before, 400 being the status meant for it (8.1.1, 8.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.raw.recorder import Seen

Step = bytes | Callable[[Client], Any]
Check = Callable[[Client, list[Seen]], Any]

ALIVE = "alive"
NEVER = "never"
"""Not a byte of it reaches the origin."""
UNFINISHED = "unfinished"
"""The origin may have got a part, but never the end."""
ONCE = "once"
"""One whole request."""
ANY = "any"
"""Requests that are whole and well formed, or cut off."""


def connection(*codes: str) -> set[str]:
    """A connection error: GOAWAY with such a code, then a close."""
    return {f"goaway {code}" for code in (*codes, "PROTOCOL_ERROR")}


def stream(*codes: str) -> set[str]:
    """A stream error: RST_STREAM with such a code, or a connection error."""
    return {f"reset {code}" for code in (*codes, "PROTOCOL_ERROR")} | connection(*codes)


MALFORMED = stream() | {"400"}


@dataclass(frozen=True)
class Case:
    section: str
    name: str
    send: bytes | Sequence[Step]
    expect: set[str]
    forwarded: str = NEVER
    watch: int = 1
    check: Check | None = None
    hello: bytes | None = b""
    """Payload of our first SETTINGS; None: `send` begins with the connection's first byte."""
    only: str = ""
    """tls or plain: makes sense on that listener only."""
    serves: bool = True
    """The connection serves on, unless the outcome says that it ended."""

    @property
    def label(self) -> str:
        return f"{self.section}-{self.name}".replace(" ", "-")

    def steps(self) -> Sequence[Step]:
        return [self.send] if isinstance(self.send, bytes) else self.send


# ---- steps ------------------------------------------------------------------------------------


def ready(client: Client) -> None:
    """Both sides' SETTINGS are acknowledged."""
    assert client.until(lambda: client.acks and client.settings is not None)
    assert client.sync()


def done(number: int) -> Callable[[Client], None]:
    """The answer on that stream is 200 and complete; what comes there later counts as new."""

    def step(client: Client) -> None:
        outcome = client.outcome(number)
        assert outcome == "200", outcome
        del client.streams[number]

    return step


def synced(client: Client) -> None:
    """The server has read all of it and lives."""
    assert client.sync(), client.outcome(0, 1)


def got(number: int, size: int) -> Callable[[Client], None]:
    """So many bytes of the answer's content come, and no more for a while."""

    def step(client: Client) -> None:
        one = client.stream(number)
        assert client.until(lambda: one.status and len(one.body) >= size), one
        client.until(lambda: len(one.body) > size, 0.05)
        synced(client)
        assert len(one.body) == size, f"{len(one.body)} bytes, {size} allowed"

    return step


def bytewise(octets: bytes) -> Callable[[Client], None]:
    """Sent byte by byte."""

    def step(client: Client) -> None:
        for at in range(len(octets)):
            client.send(octets[at : at + 1])

    return step


def oversized(kind: int, flags: int, number: int, fill: bytes = b"\0") -> Callable[[Client], None]:
    """A frame just above what the server's SETTINGS_MAX_FRAME_SIZE allows; SETTINGS of 6 n."""

    def step(client: Client) -> None:
        ready(client)
        size = min(client.settings.get(h2.MAX_FRAME, 16384) // 6 * 6 + 6, 0xFFFFFF)
        client.send(h2.frame(kind, flags, number, (fill * size)[:size]))

    return step


# ---- checks -----------------------------------------------------------------------------------


def body_is(body: bytes) -> Check:
    """What the origin got as content."""

    def check(_: Client, seen: list[Seen]) -> None:
        assert [one.body for one in seen] == [body]

    return check


def field_is(name: str, *values: str) -> Check:
    """Values of a field of the one request the origin got, in order; none: it is not there."""

    def check(_: Client, seen: list[Seen]) -> None:
        assert [one.all(name) for one in seen] == [list(values)], seen[0].head

    return check


def target_is(method: str, target: str) -> Check:
    def check(_: Client, seen: list[Seen]) -> None:
        assert [(one.method, one.target) for one in seen] == [(method, target)]

    return check


def answer_size(size: int, number: int = 1) -> Check:
    def check(client: Client, _: list[Seen]) -> None:
        assert len(client.stream(number).body) == size

    return check
