"""Limits and windows toward an HTTP/2 upstream, and what it may cost us when it means ill."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Behind, read_http2
from tests.h2.server import Line, Request, reply
from tests.running import wait_until


def most_at_once(line: Line) -> int:
    """Streams of it that are not answered."""
    return sum(1 for asked in line.requests.values() if asked.stream not in line.sent)


# ---- SETTINGS -----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_max_concurrent_streams(behind: Behind, most: int) -> None:
    behind.clear((h2.MAX_STREAMS, most))
    highest: list[int] = []

    def script(line: Line, asked: Request) -> None:
        highest.append(most_at_once(line))
        time.sleep(0.05)
        line.answer(asked.stream)

    behind.server.on_request = script
    asking = behind.asking(["http1", "http2"] * 6)
    assert {one.result(10).outcome for one in asking} == {"200"}
    assert max(highest) <= most


def test_max_concurrent_streams_lowered_later(behind: Behind) -> None:
    def script(line: Line, asked: Request) -> None:
        line.answer(asked.stream)

    behind.server.on_request = script
    assert behind.ask("http1").outcome == "200"
    [line] = behind.server.lines
    line.send(h2.settings((h2.MAX_STREAMS, 1)))
    assert behind.server.until(lambda: line.acks == 2)
    behind.server.on_request = None
    asking = behind.asking(["http1"] * 3)
    behind.server.asked(4)
    assert most_at_once(line) == 1
    for other, asked in behind.server.all():
        if asked.stream not in other.sent:
            other.answer(asked.stream)
    assert {one.result(10).outcome for one in asking} == {"200"}


def test_no_streams_at_all_then_some(behind: Behind) -> None:
    """0 on a connection that has served: others are opened meanwhile."""
    assert behind.ask("http1").outcome == "200"
    [line] = behind.server.lines
    line.send(h2.settings((h2.MAX_STREAMS, 0)))
    assert behind.server.until(lambda: line.acks == 2)
    assert behind.ask("http2").outcome == "200"
    assert len(behind.server.lines) == 2
    assert len(line.requests) == 1


def test_two_hundred_at_a_cold_start(behind: Behind) -> None:
    """They wait for the first connection, and for what it says it takes."""
    behind.clear((h2.MAX_STREAMS, 100))
    with behind.client() as one, behind.client() as two:
        for client in (one, two):
            client.send(b"".join(h2.get(1 + 2 * at) for at in range(100)))
        for client in (one, two):
            for at in range(100):
                assert read_http2(client, 1 + 2 * at).outcome == "200"
    assert len(behind.server.lines) <= 3


def test_two_hundred_meet_a_low_limit(behind: Behind) -> None:
    """Nothing is refused: not more is sent than the server takes."""
    behind.clear((h2.MAX_STREAMS, 32))

    def script(line: Line, asked: Request) -> None:
        if most_at_once(line) > 32:
            line.send(h2.rst_stream(asked.stream, 7))
        else:
            line.answer(asked.stream)

    behind.server.on_request = script
    with behind.client() as client:
        client.send(b"".join(h2.get(1 + 2 * at) for at in range(120)))
        for at in range(120):
            assert read_http2(client, 1 + 2 * at).outcome == "200"
    assert len(behind.server.lines) <= 8


# ---- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKERS)
def test_no_window_then_open(behind: Behind, kind: str) -> None:
    behind.clear((h2.INITIAL_WINDOW, 0))
    behind.server.credits = False
    body = bytes(range(256)) * 4
    # The first stream is begun before the server's SETTINGS are known.
    assert behind.ask(kind).outcome == "200"
    [line] = behind.server.lines
    [asking] = behind.asking([kind], method="POST", body=body)
    behind.server.asked(2)
    asked = line.requests[3]
    time.sleep(0.2)
    assert asked.body == b""
    line.open_window(3, 10)
    assert behind.server.until(lambda: len(asked.body) == 10)
    behind.server.window = 2000
    line.given[3] += 2000
    line.send(h2.settings((h2.INITIAL_WINDOW, 2000)))
    assert asking.result(10).outcome == "200"
    assert asked.body == body


@pytest.mark.parametrize("kind", ASKERS)
def test_tiny_windows(behind: Behind, kind: str) -> None:
    behind.clear((h2.INITIAL_WINDOW, 7))
    assert behind.ask(kind).outcome == "200"
    answer = behind.ask(kind, method="POST", body=bytes(3000))
    assert answer.outcome == "200"
    assert [len(asked.body) for _, asked in behind.server.all()] == [0, 3000]


def test_windows_are_given_back_by_answers(behind: Behind) -> None:
    """5 MB in small answers on one connection, whose window is 1 MiB."""
    with behind.client((h2.INITIAL_WINDOW, 1 << 20)) as client:
        client.send(h2.window_update(0, 1 << 30))
        behind.server.on_request = lambda line, asked: line.answer(asked.stream, bytes(10_000))
        for turn in range(50):
            streams = [1 + 2 * (10 * turn + at) for at in range(10)]
            client.send(b"".join(map(h2.get, streams)))
            for stream in streams:
                answer = read_http2(client, stream)
                assert (answer.outcome, len(answer.body)) == ("200", 10_000)
                del client.streams[stream]
    [line] = behind.server.lines
    assert behind.server.until(lambda: line.sent[0] == 5_000_000)
    assert behind.server.until(lambda: line.room(0) > 400_000)


def test_windows_are_given_back_by_what_nobody_wants(behind: Behind) -> None:
    """Clients that go in the middle of an answer: what still comes counts, and is given back."""
    behind.server.on_request = lambda line, asked: line.send(
        reply(asked.stream), h2.data(asked.stream, bytes(16000), 0)
    )
    with behind.client() as client:
        client.send(h2.window_update(0, 1 << 30))
        for at in range(150):
            client.send(h2.get(1 + 2 * at))
            client.until(lambda at=at: client.stream(1 + 2 * at).body)
            client.send(h2.rst_stream(1 + 2 * at))
            [line] = behind.server.lines
            line.send(h2.data(1 + 2 * at, bytes(16000), 0))
            line.sent[0] = line.sent.get(0, 0) + 32000
            if at % 20 == 19:
                wait_until(lambda line=line: line.room(0) > 400_000)  # type: ignore[misc]
    assert len(behind.server.lines) == 1


def test_windows_are_given_back_to_uploads(behind: Behind) -> None:
    """4 MB up in small requests on one connection of the client's."""
    with behind.client() as client:
        client.sync()
        for at in range(100):
            client.send(h2.post(1 + 2 * at))
            client.upload(1 + 2 * at, bytes(40_000))
            assert read_http2(client, 1 + 2 * at).outcome == "200"
            client.windows.pop(1 + 2 * at, None)
            # `upload` counts each stream against the whole: forget what was used.
            client.windows[0] = client.windows.get(0, 0) - 40_000
    assert sum(len(asked.body) for _, asked in behind.server.all()) == 4_000_000


def test_slow_reader_stalls_only_itself(behind: Behind) -> None:
    """A client that does not read its answer: the others on both connections go on."""
    done: list[int] = []

    def script(line: Line, asked: Request) -> None:
        if asked.path == "/slow":

            def send() -> None:
                line.send(reply(asked.stream))
                done.append(line.body(asked.stream, 4_000_000, seconds=4))

            threading.Thread(target=send, daemon=True).start()
        else:
            line.answer(asked.stream, bytes(10_000))

    behind.server.on_request = script
    with behind.client() as client:
        client.send(h2.window_update(0, 1 << 30))
        client.send(h2.get(1, path=b"/slow"))
        client.until(lambda: len(client.stream(1).body) == 65535)
        time.sleep(0.3)
        for at in range(1, 120):
            client.send(h2.get(1 + 2 * at))
            answer = read_http2(client, 1 + 2 * at)
            assert (answer.outcome, len(answer.body)) == ("200", 10_000)
        assert behind.ask("http1").outcome == "200"
        assert len(client.stream(1).body) == 65535
        assert len(behind.server.lines) == 1
        memory = behind.memory()
        wait_until(lambda: done, 8)
        assert done[0] < 1_000_000
        assert behind.memory() - memory < 4 << 20


def test_slow_server_stalls_only_its_stream(behind: Behind) -> None:
    """A request whose body is not taken: others on the same connection go on."""
    behind.clear((h2.INITIAL_WINDOW, 1000))
    behind.server.credits = False
    with behind.client() as client:
        client.send(h2.get(1))
        assert read_http2(client, 1).outcome == "200"
        client.send(h2.post(3) + h2.data(3, bytes(16000), 0) + h2.data(3, bytes(16000), 0))
        behind.server.asked(2)
        for at in range(2, 40):
            client.send(h2.get(1 + 2 * at))
            assert read_http2(client, 1 + 2 * at).outcome == "200"
    assert len(behind.server.lines) == 1


# ---- floods -------------------------------------------------------------------------------------

INTERIM = h2.block((b":status", b"103"), (b"link", bytes([97]) * 3000))
BOMB = (
    h2.literal(b"x", bytes([97]) * 3900, h2.INDEXED_LITERAL)
    + h2.indexed(62) * 12000
)  # fmt: skip
FLOODS: dict[str, Callable[[int], bytes]] = {
    "SETTINGS": lambda s: h2.settings((h2.INITIAL_WINDOW, 65535)) * 200,
    "PING": lambda s: h2.ping() * 200,
    "empty DATA": lambda s: h2.data(s, b"", 0) * 200,
    "WINDOW_UPDATE": lambda s: h2.window_update(0, 1) * 2000,
    "PRIORITY": lambda s: h2.priority(s) * 500,
    "CONTINUATION": lambda s: h2.headers(s, h2.indexed(8), 0) + h2.continuation(s, b"", 0) * 200,
    "interim answers": lambda s: h2.headers(s, INTERIM, h2.END_HEADERS) * 100,
    "a header bomb": lambda s: h2.headers(s, h2.indexed(8) + BOMB, h2.END_HEADERS),
    "header bombs in interim answers": lambda s: b"".join(
        h2.headers(s, h2.block((b":status", b"103")) + h2.literal(b"x", b"a" * 3900, (0x40, 6)), 4)
        + h2.headers(s, h2.block((b":status", b"103")) + h2.indexed(62) * 8, 4) * 100
        for _ in range(3)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_the_connection(behind: Behind, name: str) -> None:
    """Whatever the upstream sends without end: its connection ends, it costs little, others are
    served."""

    def script(line: Line, asked: Request) -> None:
        if name == "empty DATA":
            line.send(reply(asked.stream))
        until = time.monotonic() + 6
        while not line.ended and time.monotonic() < until:
            try:
                line.sock.sendall(FLOODS[name](asked.stream))
            except OSError:
                return

    behind.server.on_request = lambda line, asked: line.answer(asked.stream)
    assert behind.ask("http1").outcome == "200"
    cpu, memory = behind.cpu(), behind.memory()
    behind.server.on_request = script
    answer = behind.ask("http1")
    assert answer.outcome in ("502", "200 cut"), answer
    behind.server.on_request = lambda line, asked: line.answer(asked.stream)
    assert behind.ask("http2").outcome == "200"
    assert behind.cpu() - cpu < 2
    assert behind.memory() - memory < 24 << 20


def test_resets_of_the_upstream_are_no_flood(behind: Behind) -> None:
    """It may refuse what we ask as often as we ask: the other streams go on."""

    def script(line: Line, asked: Request) -> None:
        if asked.path == "/long":
            line.send(reply(asked.stream), h2.data(asked.stream, b"begun", 0))
        else:
            line.send(h2.rst_stream(asked.stream))

    behind.server.on_request = script
    with behind.client() as client:
        client.send(h2.window_update(0, 1 << 20) + h2.get(1, path=b"/long"))
        client.until(lambda: client.stream(1).body)
        for turn in range(6):
            streams = [3 + 2 * (100 * turn + at) for at in range(100)]
            client.send(b"".join(h2.get(stream, method=b"POST") for stream in streams))
            for stream in streams:
                assert read_http2(client, stream).outcome == "502"
        [line] = behind.server.lines
        line.send(h2.data(1, b", ended"))
        assert read_http2(client, 1).body == b"begun, ended"


def test_pings_while_data_flows(behind: Behind) -> None:
    """gRPC measures the line by a PING for what it got, in both directions."""
    with behind.client((h2.INITIAL_WINDOW, 1 << 20)) as client:
        client.send(h2.window_update(0, 1 << 30))
        client.sync()
        behind.server.on_request = lambda line, asked: line.answer(asked.stream, bytes(4000))
        for at in range(300):
            client.send(h2.post(1 + 2 * at) + h2.data(1 + 2 * at, bytes(100)))
            assert read_http2(client, 1 + 2 * at).outcome == "200"
            client.send(h2.ping())
            behind.server.lines[0].send(h2.ping())
        assert client.sync()
    assert len(behind.server.lines) == 1


def test_ping_of_the_upstream_is_answered(behind: Behind) -> None:
    assert behind.ask("http1").outcome == "200"
    [line] = behind.server.lines
    line.send(h2.ping(b"abcdefgh"))
    assert behind.server.until(lambda: line.pongs == [b"abcdefgh"])
