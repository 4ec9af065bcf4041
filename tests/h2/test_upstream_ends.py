"""An HTTP/2 upstream that leaves, refuses, resets or falls silent: who is asked again, who is told.

A ledger by request id: what the server says it has not looked at is sent again (RFC 9113 8.7), and
nothing else is, but what HTTP/1.1 may repeat, too.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest

from tests.h2 import frames as h2
from tests.h2.behind import ASKERS, Behind, later, read_http2
from tests.h2.server import Line, Request, reply
from tests.running import wait_until

REFUSED, CANCEL = 7, 8
IDS = itertools.count(1)


def warm(behind: Behind) -> Line:
    """A connection that has served one request."""
    assert behind.ask("http1").outcome == "200"
    [line] = behind.server.lines
    return line


def seen(behind: Behind) -> Counter[str]:
    """How often the server got each request of the ledger."""
    return Counter(asked.id for _, asked in behind.server.all() if asked.id)


def ids(count: int) -> list[str]:
    return [f"l{next(IDS)}" for _ in range(count)]


# ---- GOAWAY -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ASKERS)
def test_goaway_above_its_last_stream(behind: Behind, kind: str, method: str) -> None:
    """Sent again on a fresh connection, a POST too, its body with it; those below finish."""
    first = warm(behind)
    ledger = ids(6)
    behind.server.on_request = None
    asking = []
    for one in ledger:
        more = [(b"x-ledger", one.encode())]
        body = b"body of " + one.encode() if method == "POST" else b""
        asking += behind.asking([kind], method=method, body=body, more=more)
        behind.server.asked(2 + len(asking) - 1)
    held = [asked for asked in first.requests.values() if asked.id]
    wait_until(lambda: all(asked.ended for asked in held))
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, asked.id.encode())
    first.send(h2.goaway(0, held[2].stream))
    for asked in held[:3]:
        first.answer(asked.stream, asked.id.encode())
    answers = [one.result(10) for one in asking]
    assert [one.outcome for one in answers] == ["200"] * 6
    assert sorted(one.body.decode() for one in answers) == sorted(ledger)
    again = [asked for line, asked in behind.server.all() if line is not first]
    assert sorted(asked.id for asked in again) == sorted(asked.id for asked in held[3:])
    if method == "POST":
        assert all(asked.body == b"body of " + asked.id.encode() for asked in again)
    # Whoever was refused waits for one connection, not each for its own.
    assert len(behind.server.lines) == 2


@pytest.mark.parametrize("kind", ASKERS)
def test_goaway_and_closed_at_once(behind: Behind, kind: str) -> None:
    first = warm(behind)
    behind.server.on_request = None
    asking = behind.asking([kind] * 4, method="POST", body=b"x")
    behind.server.asked(5)
    wait_until(lambda: all(asked.ended for asked in first.requests.values()))
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, b"again")
    first.finish(h2.goaway(0, 1))
    assert [one.result(10).body for one in asking] == [b"again"] * 4
    assert len(behind.server.lines) == 2


@pytest.mark.parametrize("kind", ASKERS)
def test_answers_and_goaway_and_fin_in_one_packet(behind: Behind, kind: str) -> None:
    """Whole answers are delivered whole."""
    first = warm(behind)
    behind.server.on_request = None
    asking = behind.asking([kind] * 5)
    behind.server.asked(6)
    streams = [asked.stream for asked in first.requests.values() if asked.stream > 1]
    said = [reply(one) + h2.data(one, bytes(8000)) for one in streams]
    first.finish(*said, h2.goaway(0, max(streams)))
    answers = [one.result(10) for one in asking]
    assert [(one.outcome, len(one.body)) for one in answers] == [("200", 8000)] * 5
    assert len(behind.server.lines) == 1


def test_early_answer_and_fin_in_one_packet(behind: Behind) -> None:
    """The answer is whole, the request is not: it is delivered all the same."""
    first = warm(behind)
    behind.server.on_head = lambda line, asked: line.finish(
        reply(asked.stream, (b"content-length", b"5"), status=b"413"),
        h2.data(asked.stream, b"large"),
        h2.goaway(0, asked.stream),
    )
    with behind.client() as client:
        client.send(h2.post(1))
        answer = read_http2(client, 1)
    assert (answer.outcome, answer.body) == ("413", b"large")
    assert len(first.requests) == 2


def test_goaway_without_streams_closes(behind: Behind) -> None:
    line = warm(behind)
    line.send(h2.goaway(0, 1))
    assert behind.server.until(lambda: line.ended)
    assert behind.ask("http1").outcome == "200"
    assert len(behind.server.lines) == 2


def test_two_step_goaway(behind: Behind) -> None:
    """The notice (2^31-1) takes no stream away, and no new one comes."""
    first = warm(behind)
    behind.server.on_request = None
    asking = behind.asking(["http2"])
    behind.server.asked(2)
    first.send(h2.goaway(0, h2.BIGGEST))
    time.sleep(0.1)
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, b"new")
    assert behind.ask("http1").body == b"new"
    first.answer(3, b"old")
    assert asking[0].result(5).body == b"old"
    assert [len(line.requests) for line in behind.server.lines] == [2, 1]


def test_goaway_meets_requests_on_their_way(behind: Behind) -> None:
    """Requests and GOAWAY cross: nothing fails, whatever the moment."""
    behind.server.on_request = lambda line, asked: line.answer(asked.stream, asked.id.encode())
    for _ in range(40):
        ledger = ids(4)
        with behind.client() as client:
            for at, one in enumerate(ledger):
                fields = (b"x-ledger", one.encode())
                client.send(h2.get(1 + 2 * at, fields, method=b"POST"))
                if at == 1:
                    line = behind.server.lines[-1] if behind.server.lines else None
                    if line and line.settings:  # it has begun: SETTINGS come before GOAWAY
                        line.leave()
            for at, one in enumerate(ledger):
                answer = read_http2(client, 1 + 2 * at)
                # Answered by a connection that closes meanwhile is the one thing that may fail:
                # it was looked at. (The server may just be reading it.)
                if answer.outcome == "502":
                    assert behind.server.until(lambda one=one: seen(behind)[one] == 1)
                else:
                    assert (answer.outcome, answer.body) == ("200", one.encode())
    assert max(seen(behind).values()) == 1


# ---- refused, reset, cut ------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ASKERS)
def test_refused_streams_are_sent_again(behind: Behind, kind: str, method: str, times: int) -> None:
    def script(line: Line, asked: Request) -> None:
        if behind.server.count() <= times:
            line.send(h2.rst_stream(asked.stream, REFUSED))
        else:
            line.answer(asked.stream, asked.body or b"none")

    behind.server.on_request = script
    answer = behind.ask(kind, method=method, body=b"kept" if method == "POST" else b"")
    assert answer.outcome == "200"
    assert answer.body == (b"kept" if method == "POST" else b"none")


@pytest.mark.parametrize("kind", ASKERS)
def test_refused_for_ever(behind: Behind, kind: str) -> None:
    """At most three times more."""
    behind.server.on_request = lambda line, asked: line.send(h2.rst_stream(asked.stream, REFUSED))
    assert behind.ask(kind).outcome == "502"
    assert behind.server.count() == 4


@pytest.mark.parametrize("kind", ASKERS)
def test_reset_before_an_answer(behind: Behind, kind: str) -> None:
    """It may have been looked at: a POST is not sent again."""
    behind.server.on_request = lambda line, asked: line.send(h2.rst_stream(asked.stream, CANCEL))
    assert behind.ask(kind, method="POST", body=b"x").outcome == "502"
    assert behind.server.count() == 1


@pytest.mark.parametrize("kind", ASKERS)
def test_connection_cut_with_several_streams(behind: Behind, kind: str) -> None:
    first = warm(behind)
    behind.server.on_request = lambda line, asked: line.send(
        reply(asked.stream), h2.data(asked.stream, b"begun", 0)
    )
    asking = behind.asking([kind] * 5)
    behind.server.asked(6)
    time.sleep(0.2)
    first.close(hard=True)
    assert [one.result(10).outcome for one in asking] == ["200 cut"] * 5


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_closed_before_settings(behind: Behind, how: str) -> None:
    """Accepted and closed: no request hangs, and the proxy does not try for ever."""
    behind.server.hello = b""
    behind.server.on_open = lambda line: line.close(hard=how == "rst")
    asking = behind.asking(["http1", "http2"] * 5)
    assert {one.result(10).outcome for one in asking} == {"502"}
    assert len(behind.server.lines) <= 20


def test_nobody_listens() -> None:
    """All who wait for the one connection are told at once."""
    with Behind() as behind:
        behind.server.closing = True
        behind.server.listener.shutdown(2)
        behind.server.listener.close()
        started = time.monotonic()
        asking = behind.asking(["http1", "http2"] * 10)
        assert {one.result(10).outcome for one in asking} == {"502"}
        assert time.monotonic() - started < 3


def test_connecting_takes_too_long() -> None:
    """Who waits for a connection waits as long as that, not one after the other."""
    timeouts = {"upstream_connect": "1s"}
    with Behind(timeouts=timeouts, upstream={"backends": ["h2c://127.1.2.3:9"]}) as behind:
        import socket

        full = socket.socket()
        full.bind(("127.1.2.3", 0))
        full.listen(0)
        full.close()
        started = time.monotonic()
        asking = behind.asking(["http1"] * 8)
        assert {one.result(20).outcome for one in asking} <= {"502", "504"}
        assert time.monotonic() - started < 5


# ---- silence ------------------------------------------------------------------------------------


def test_no_answer_in_time(behind: Behind) -> None:
    """The stream is cancelled, the connection stays."""
    behind.server.on_request = None
    assert behind.ask("http2").outcome == "504"
    [(line, asked)] = behind.server.asked()
    assert behind.server.until(lambda: asked.reset == CANCEL)
    behind.server.on_request = lambda line, asked: line.answer(asked.stream)
    assert behind.ask("http2").outcome == "200"
    assert behind.server.lines == [line]


def test_client_gives_up(behind: Behind) -> None:
    behind.server.on_request = None
    with behind.client() as client:
        client.send(h2.get(1))
        [(_, asked)] = behind.server.asked()
        client.send(h2.rst_stream(1))
        assert behind.server.until(lambda: asked.reset == CANCEL)


def test_early_answer(behind: Behind) -> None:
    """413 before the body is done, RST_STREAM NO_ERROR behind it."""
    behind.server.on_head = lambda line, asked: line.send(
        reply(asked.stream, status=b"413"),
        h2.data(asked.stream, b"large"),
        h2.rst_stream(asked.stream, 0),
    )
    with behind.client() as client:
        client.send(h2.post(1))
        later(0.1, client.send, h2.data(1, bytes(1000), 0))
        answer = read_http2(client, 1)
        assert (answer.outcome, answer.body) == ("413", b"large")


def test_idle_connection_is_closed_politely() -> None:
    with Behind(timeouts={"upstream_keepalive": "500ms"}) as behind:
        line = warm(behind)
        assert behind.server.until(lambda: line.ended, 5)
        assert line.goaways == [0]
        assert behind.ask("http2").outcome == "200"
        behind.check()
