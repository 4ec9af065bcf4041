"""RFC 9218: whose bytes go first when there is room for some only.

The connection's window is what is short: all streams have more to send than it lets out.
"""

from __future__ import annotations

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.frames import get
from tests.h2.subject import KINDS, Subject

WIDE = h2.values((h2.INITIAL_WINDOW, 1 << 24))
PRIORITY_UPDATE = 0x10
FIRST = 65535
"""Bytes of the connection's window at its start."""


def asked(number: int, priority: bytes) -> bytes:
    return get(number, (b"priority", priority), path=b"/big")


def reprioritised(number: int, priority: bytes) -> bytes:
    return h2.frame(PRIORITY_UPDATE, 0, 0, h2.u32(number) + priority)


def spent(client: Client, numbers: list[int], total: int) -> dict[int, int]:
    """When so many bytes have come in all: of which streams."""
    streams = [client.stream(number) for number in numbers]
    assert client.until(lambda: sum(len(one.body) for one in streams) == total), streams
    assert client.sync()
    return {number: len(client.stream(number).body) for number in numbers}


def waiting(client: Client, numbers: list[int]) -> dict[int, int]:
    """All answers have begun, nothing more may be sent, and each stream has something to send."""
    assert client.until(lambda: all(client.stream(number).status for number in numbers))
    before = spent(client, numbers, FIRST)
    # Each gets a turn of its own, so that what it has does not hang on when the origin sent it.
    for number in numbers:
        client.send(b"".join(reprioritised(one, b"u=7") for one in numbers if one != number))
        client.send(reprioritised(number, b"u=0") + h2.window_update(0, 1000))
        before = {**before, number: before[number] + 1000}
        assert spent(client, numbers, sum(before.values())) == before
    return before


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_says_who_is_first(subject: Subject, kind: str) -> None:
    """Small answers that wait for the window go by urgency, not by their order."""
    urgencies = [7, 5, 3, 1, 6, 0, 4, 2]
    numbers = [1 + 2 * at for at in range(len(urgencies))]
    with subject.client(kind, h2.values((h2.INITIAL_WINDOW, 1 << 24))) as client:
        client.send(get(101, path=b"/big"))
        spent(client, [101], FIRST)
        for number, urgency in zip(numbers, urgencies, strict=True):
            client.send(get(102 + number, (b"priority", b"u=%d" % urgency), path=b"/len/100"))
        later = [102 + number for number in numbers]
        assert client.until(lambda: all(client.stream(number).status for number in later))
        assert client.sync()
        for urgency in range(3):  # 101 has 3 itself, and comes before who is as urgent
            client.send(h2.window_update(0, 100))
            number = later[urgencies.index(urgency)]
            assert client.until(lambda number=number: client.stream(number).ended), urgency
            assert sum(client.stream(one).ended for one in later) == urgency + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_changes_its_mind(subject: Subject, kind: str) -> None:
    numbers = [1, 3, 5]
    with subject.client(kind, WIDE) as client:
        client.send(b"".join(asked(number, b"u=3") for number in numbers))
        before = waiting(client, numbers)
        for first in (5, 1, 3):
            for number in numbers:
                client.send(reprioritised(number, b"u=1" if number == first else b"u=4"))
            client.send(h2.window_update(0, 20_000))
            before[first] += 20_000
            assert spent(client, numbers, sum(before.values())) == before


@pytest.mark.parametrize("kind", KINDS)
def test_who_can_use_a_part_shares(subject: Subject, kind: str) -> None:
    """`i`: as urgent as another and incremental, both go on; else one after the other."""
    numbers = [1, 3]
    with subject.client(kind, WIDE) as client:
        client.send(b"".join(asked(number, b"u=3") for number in numbers))
        before = waiting(client, numbers)
        client.send(b"".join(reprioritised(number, b"u=2, i") for number in numbers))
        client.send(h2.window_update(0, 60_000))
        after = spent(client, numbers, sum(before.values()) + 60_000)
        assert all(after[number] - before[number] >= 15_000 for number in numbers), (before, after)
