"""What a client is told at the start, as docs/http2.md has it: streams, windows, their growth."""

from __future__ import annotations

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import post
from tests.h2.subject import KINDS, Subject, make

STREAM, CONNECTION, GROWN = 64 << 10, 1 << 20, 512 << 10
NO_RFC7540_PRIORITIES = 9
PIECE = bytes(16384)


@pytest.mark.parametrize("kind", KINDS)
def test_settings(subject: Subject, kind: str) -> None:
    with subject.client(kind) as client:
        assert client.sync()
        most = client.settings.pop(h2.MAX_HEADERS)
        assert client.settings == {
            h2.MAX_STREAMS: 128,
            h2.INITIAL_WINDOW: STREAM,
            h2.ENABLE_CONNECT: 1,
            NO_RFC7540_PRIORITIES: 1,
        }
        assert most >= 16 << 10
        assert client.windows == {0: CONNECTION - 65535}


def test_the_number_of_streams_is_a_setting() -> None:
    with make({"limits": {"http2_streams": 7}}) as one, one.client("plain") as client:
        assert client.sync()
        assert client.settings[h2.MAX_STREAMS] == 7


def room(client: Client, number: int, sent: int) -> int:
    """What may be sent on that stream."""
    stream = client.settings[h2.INITIAL_WINDOW] + client.windows.get(number, 0)
    return min(stream, 65535 + client.windows.get(0, 0)) - sent


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_taken_at_once_gets_a_larger_window(subject: Subject, kind: str) -> None:
    with subject.client(kind) as client:
        assert client.sync()
        client.send(post(path=b"/hang"))
        assert room(client, 1, 0) == STREAM
        sent = 0
        for _ in range(40):
            assert client.until(lambda sent=sent: room(client, 1, sent) >= len(PIECE))
            client.send(h2.data(1, PIECE, 0))
            sent += len(PIECE)
        # Given back when half of it is used.
        assert client.until(lambda: room(client, 1, sent) > GROWN // 2 - 1), room(client, 1, sent)
        assert room(client, 1, sent) <= GROWN


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_not_keeps_its_own(subject: Subject, kind: str) -> None:
    """A backend that does not read: no more than the window and what the way to it holds."""
    with subject.client(kind) as client:
        assert client.sync()
        client.send(post(path=b"/deaf"))
        sent = 0
        while client.until(lambda sent=sent: room(client, 1, sent) >= len(PIECE), 0.5):
            client.send(h2.data(1, PIECE, 0))
            sent += len(PIECE)
            assert sent < 64 << 20
        assert 0 <= room(client, 1, sent) < len(PIECE)
    subject.forget()
