"""Large answers: what of them is sent at once, from where it lies, and what waits for a window or
for the client; other streams end, are reset or go on meanwhile."""

from __future__ import annotations

import time

import pytest

from tests.h2 import frames as h2
from tests.h2.client import Client
from tests.h2.subject import KINDS, Subject
from tests.raw.recorder import BODY, CLOSE, HANG, Step, coded, pattern, sized

SIZE = 1_500_000
WHOLE = pattern(SIZE)
OPEN = h2.values((h2.INITIAL_WINDOW, h2.BIGGEST))
STREAMS = (1, 3, 5)
SHAPES = ("sized", "one chunk", "chunks", "until the end")


def answer(shape: str) -> list[Step]:
    """As the origin gives it."""
    if shape == "sized":
        return [sized(WHOLE)]
    if shape == "until the end":
        return [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + WHOLE, CLOSE]
    size = SIZE if shape == "one chunk" else 70_001
    return [coded(*(WHOLE[at : at + size] for at in range(0, SIZE, size)))]


def asks(subject: Subject, kind: str, window: bytes = OPEN, *paths: bytes) -> Client:
    """A client that asks for these, on streams 1, 3, 5 ..."""
    client = subject.client(kind, window)
    if window == OPEN:
        client.send(h2.window_update(0, 1 << 30))
    client.send(b"".join(h2.get(1 + 2 * at, path=one) for at, one in enumerate(paths)))
    return client


def got(client: Client, stream: int) -> int:
    return len(client.stream(stream).body)


def whole(client: Client, *streams: int) -> None:
    for one in streams:
        assert client.outcome(one, 20) == "200"
        assert client.stream(one).body == WHOLE


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_open_windows(subject: Subject, kind: str, shape: str) -> None:
    subject.recorder.on("/large", BODY, *answer(shape))
    with asks(subject, kind, OPEN, *[b"/large"] * len(STREAMS)) as client:
        whole(client, *STREAMS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_small_windows(subject: Subject, kind: str, shape: str) -> None:
    """A window is opened again when it is used up, by odd steps."""
    subject.recorder.on("/large", BODY, *answer(shape))
    with asks(subject, kind, b"", *[b"/large"] * len(STREAMS)) as client:
        opened = dict.fromkeys((0, *STREAMS), 65535)
        while not all(client.decided(one) for one in STREAMS):
            spent = {one: got(client, one) for one in STREAMS}
            for one, used in [*spent.items(), (0, sum(spent.values()))]:
                if opened[one] - used < 20_000 and (one == 0 or not client.decided(one)):
                    opened[one] += 51_113
                    client.send(h2.window_update(one, 51_113))
            assert client.more()
        whole(client, *STREAMS)


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_reset_inside(subject: Subject, kind: str) -> None:
    subject.recorder.on("/large", BODY, *answer("sized"))
    with asks(subject, kind, OPEN, *[b"/large"] * len(STREAMS)) as client:
        assert client.until(lambda: got(client, 3) > 100_000)
        client.send(h2.rst_stream(3, 8))
        whole(client, 1, 5)
        assert client.sync()


@pytest.mark.parametrize("kind", KINDS)
def test_origin_cuts_it(subject: Subject, kind: str) -> None:
    """What has come is passed on, then a reset: it is not all."""
    subject.recorder.on("/cut", BODY, sized(WHOLE)[:-1], CLOSE)
    subject.recorder.on("/large", BODY, *answer("sized"))
    with asks(subject, kind, OPEN, b"/cut", b"/large") as client:
        assert client.outcome(1, 20) == "200 reset INTERNAL_ERROR"
        assert WHOLE.startswith(client.stream(1).body)
        whole(client, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_request_goes_on_behind_the_answer(subject: Subject, kind: str) -> None:
    """The answer is sent to its end while the request's body still comes."""
    subject.recorder.on("/early", *answer("sized"), HANG)
    with asks(subject, kind, OPEN) as client:
        client.send(h2.post(1, path=b"/early") + h2.data(1, bytes(1000), 0))
        whole(client, 1)
        assert client.sync()


@pytest.mark.parametrize("kind", KINDS)
def test_client_that_does_not_read(subject: Subject, kind: str) -> None:
    """However open its windows are, little is kept for it; nothing is lost when it reads on."""
    subject.recorder.on("/large", BODY, *answer("sized"))
    before = subject.memory()
    with asks(subject, kind, OPEN, *[b"/large"] * 40) as client:
        time.sleep(0.5)
        assert subject.memory() - before < 16 << 20
        whole(client, *range(1, 81, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_client_goes(subject: Subject, kind: str) -> None:
    subject.recorder.on("/large", BODY, *answer("sized"))
    for _ in range(20):
        with asks(subject, kind, OPEN, *[b"/large"] * len(STREAMS)) as client:
            assert client.until(lambda client=client: got(client, 1) > 100_000)
    subject.bystander(kind)
