"""B3 17: what an upstream answers wrongly is 502 or a visible truncation, never part of the next
client; a connection with anything odd on it is not used again."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, CLOSE, HANG, RESET, chunked, coded, pattern, sized
from tests.raw.talking import Running
from tests.running import halt

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

BAD_HEADS = {
    "cl+te": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cl-twice": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "cl-twice-same": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "cl-comma": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "cl-minus": OK + b"Content-Length: -1\r\n\r\nhello",
    "cl-plus": OK + b"Content-Length: +5\r\n\r\nhello",
    "cl-text": OK + b"Content-Length: five\r\n\r\nhello",
    "cl-empty": OK + b"Content-Length:\r\n\r\nhello",
    "cl-2^64": OK + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "cl-head-bad": OK + b"Content-Length: 0x0\r\n\r\n",
    "te-gzip": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-unknown": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-http10": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-204": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-space": OK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-field": OK + b"A: b\nContent-Length: 0\r\n\r\n",
    "bare-cr": OK + b"A: b\rC: d\r\nContent-Length: 0\r\n\r\n",
    "nul": OK + b"A: b\x00\r\nContent-Length: 0\r\n\r\n",
    "ctl-name": OK + b"A\x01: b\r\nContent-Length: 0\r\n\r\n",
    "no-colon": OK + b"Nonsense\r\nContent-Length: 0\r\n\r\n",
    "empty-name": OK + b": x\r\nContent-Length: 0\r\n\r\n",
    "leading-space": OK + b" Content-Length: 0\r\n\r\n",
    "empty-line-first": b"\r\n" + sized(b"x"),
    "http09": b"just text\n",
    "http2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http19": b"HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-0": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status-6": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status-999": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "status-4": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-none": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "head-long": OK + b"A: " + b"b" * 70000 + b"\r\n\r\n",
    "head-many": OK + b"A: b\r\n" * 200 + b"\r\n",
    "tls": b"\x15\x03\x03\x00\x02\x02\x46",
    "chunk-bad": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk-0x": OK + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk-overflow": OK + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello",
}


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("answer", BAD_HEADS.values(), ids=BAD_HEADS)
def test_malformed_answers(proxy: Running, answer: bytes, pieces: int) -> None:
    """502, nothing of it is passed on, its connection is dropped; the client's goes on."""
    half = min(len(answer) // 2, 20)
    steps = [answer] if pieces == 1 else [answer[:half], 0.01, answer[half:]]
    proxy.recorder.on("/bad", BODY, *steps, HANG)
    with proxy.client() as client:
        client.send(GET % b"/bad" + GET % b"/len/9")
        reply = client.answer()
        assert reply.status == 502
        assert b"hello" not in reply.body
        assert not reply.closes
        assert client.answer().body == pattern(9)
    bad = proxy.recorder.only("/bad")
    assert proxy.recorder.only("/len/9").connection != bad.connection
    proxy.recorder.wait(lambda: proxy.recorder.lines[bad.connection].ended)


@pytest.mark.parametrize("step", [CLOSE, RESET])
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200", OK + b"Content-Le", OK + b"A: b\r\n"])
def test_an_upstream_gone_before_its_head_is_whole(
    proxy: Running, before: bytes, step: str
) -> None:
    proxy.recorder.on("/gone", BODY, *([before, 0.02] if before else []), step)
    with proxy.client() as client:
        post = b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        client.send(post + GET % b"/len/2")
        assert client.answer().status == 502
        assert client.answer().body == pattern(2)
    assert proxy.recorder.count("/gone") == 1


TRUNCATED = {
    "length": OK + b"Content-Length: 100\r\n\r\n" + pattern(40),
    "length-large": OK + b"Content-Length: 900000\r\n\r\n" + pattern(300_000),
    "chunk-inside": OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + pattern(40),
    "chunk-between": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(pattern(40), end=False),
    "chunk-last-half": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(pattern(40)) [:-2],
}  # fmt: skip


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("step", [CLOSE, RESET])
@pytest.mark.parametrize("answer", TRUNCATED.values(), ids=TRUNCATED)
def test_truncation_is_never_a_complete_answer(
    proxy: Running, answer: bytes, step: str, version: bytes
) -> None:
    """No last chunk, an early close, or RST: the client must notice."""
    proxy.recorder.on("/cut", BODY, answer, 0.1, step)
    with proxy.client() as client:
        client.send(b"GET /cut HTTP/%b\r\nHost: a\r\n\r\n" % version + GET % b"/len/3")
        with pytest.raises(Truncated) as cut:
            client.answer()
        if version == b"1.0" and b"chunked" in answer:
            assert cut.value.how == "rst", "only the end says it"
        else:
            assert cut.value.got == pattern(len(cut.value.got))
    assert proxy.recorder.count("/len/3") == 0


def test_what_only_the_close_delimits(proxy: Running) -> None:
    """An upstream's RST inside such an answer: no last chunk to 1.1, RST to 1.0."""
    proxy.recorder.on("/cut", BODY, OK + b"\r\n" + pattern(40), 0.1, RESET)
    for version, how in ((b"1.1", "fin"), (b"1.0", "rst")):
        with pytest.raises(Truncated) as cut:
            proxy.ask(b"GET /cut HTTP/%b\r\nHost: a\r\n\r\n" % version)
        assert cut.value.how == how


@pytest.mark.parametrize("body", [
    b"5\r\nhello\r\nzz\r\n", b"5\r\nhello\r\n5 \r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\r\nffffffffffffffff\r\n", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
])  # fmt: skip
def test_chunks_that_go_wrong_later(proxy: Running, body: bytes) -> None:
    """After the head went out: cut, never completed."""
    proxy.recorder.on("/cut", BODY, coded(pattern(50), end=False), 0.1, body, HANG)
    with proxy.client() as client:
        client.send(GET % b"/cut")
        with pytest.raises(Truncated) as cut:
            client.answer()
        assert cut.value.got.startswith(pattern(50))
        assert cut.value.head is None or cut.value.head.framing == "chunked"
    bad = proxy.recorder.only("/cut")
    proxy.recorder.wait(lambda: proxy.recorder.lines[bad.connection].ended)


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

EXTRA = {
    "behind-length": sized(b"good"),
    "behind-chunks": coded(b"good"),
    "behind-empty": sized(b""),
    "behind-204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "behind-304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
}


@pytest.mark.parametrize("pause", [0, 0.05], ids=["at-once", "later"])
@pytest.mark.parametrize("answer", EXTRA.values(), ids=EXTRA)
def test_extra_bytes_never_reach_the_next_client(
    proxy: Running, answer: bytes, pause: float
) -> None:
    """Response-queue poisoning: behind a body, at once or on the idle connection."""
    steps = [answer + POISON] if not pause else [answer, pause, POISON]
    proxy.recorder.on("/extra", BODY, *steps)
    for _ in range(3):
        with proxy.client() as client:
            client.send(GET % b"/extra")
            assert b"poison" not in client.answer().body
            time.sleep(2 * pause)
            client.send(GET % b"/len/8")
            assert client.answer().body == pattern(8)
    extra = [seen.connection for seen in proxy.recorder.requests if seen.path == "/extra"]
    assert len(set(extra)) == 3


def test_a_body_on_head(proxy: Running) -> None:
    proxy.recorder.on("/h", BODY, sized(b"body that must not be"))
    with proxy.client() as client:
        client.send(b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer("HEAD").one("content-length") == "21"
        client.send(GET % b"/len/8")
        assert client.answer().body == pattern(8)
    assert proxy.recorder.only("/h").connection != proxy.recorder.only("/len/8").connection


def test_a_length_on_204_is_dropped(proxy: Running) -> None:
    """RFC 9110 8.6: a server must not send it; some clients would wait for the bytes."""
    proxy.recorder.on("/n", BODY, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    answers = proxy.talk(GET % b"/n" + GET % b"/len/8", "GET", "GET")
    assert "content-length" not in answers[0].names()
    assert answers[1].body == pattern(8)


def test_an_idle_connection_that_speaks(proxy: Running) -> None:
    """Unasked bytes between two requests, or before the first: the connection is dropped."""
    assert proxy.ask(GET % b"/one").status == 200
    index = proxy.recorder.only("/one").connection
    proxy.recorder.send(index, POISON)
    proxy.recorder.wait(lambda: proxy.recorder.lines[index].ended)
    assert proxy.ask(GET % b"/two").body == b"ok"
    assert proxy.recorder.only("/two").connection != index


@pytest.mark.parametrize("first", ["request", "poison"])
def test_bytes_that_come_in_the_same_breath_as_the_next_request(proxy: Running, first: str) -> None:
    """While the worker sleeps, a request comes and the idle connection speaks, in either order:
    when it wakes it finds both in one batch, and must not use that connection."""
    (worker,) = proxy.worker_pids()
    with proxy.client() as client:
        client.send(GET % b"/one")
        assert client.answer().body == b"ok"
        index = proxy.recorder.only("/one").connection
        halt(worker)
        try:
            if first == "poison":
                proxy.recorder.send(index, POISON)
            client.send(GET % b"/len/5")
            time.sleep(0.02)
            if first == "request":
                proxy.recorder.send(index, POISON)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert client.answer().body == pattern(5)
    assert proxy.recorder.only("/len/5").connection != index


def test_a_close_that_comes_in_the_same_breath_as_a_post(proxy: Running) -> None:
    """The same for FIN: a POST could not be sent again, so it must not go out there."""
    (worker,) = proxy.worker_pids()
    with proxy.client() as client:
        client.send(GET % b"/one")
        assert client.answer().body == b"ok"
        index = proxy.recorder.only("/one").connection
        halt(worker)
        try:
            client.send(b"POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            time.sleep(0.02)
            proxy.recorder.end(index)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert client.answer().status == 200
    assert proxy.recorder.only("/two").connection != index


def test_a_reason_phrase_is_passed_or_missing(proxy: Running) -> None:
    for line, reason in ((b"HTTP/1.1 200 All Good", "All Good"), (b"HTTP/1.1 200 ", ""),
                         (b"HTTP/1.1 200", "")):  # fmt: skip
        proxy.recorder.on("/r", BODY, line + b"\r\nContent-Length: 0\r\n\r\n")
        answer = proxy.ask(GET % b"/r")
        assert (answer.status, answer.reason) == (200, reason)


def test_answers_are_never_mixed_up(proxy: Running) -> None:
    """Twelve clients at once over the same pool, one backend connection in three going wrong."""
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            with proxy.client() as client:
                for at in range(15):
                    body = pattern(200 + number * 10 + at, number * 100 + at)
                    client.send(
                        b"POST /echo/%d/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
                        % (number, at, len(body), body)
                    )
                    answer = client.answer()
                    if answer.status != 200 or not answer.body.endswith(body):
                        wrong.append(f"{number} {at} {answer}")
        except Exception as error:
            wrong.append(f"{number} {error!r}")

    def spoil() -> None:
        for at in range(20):
            proxy.recorder.on(f"/spoil/{at}", BODY, sized(b"x") + POISON)
            proxy.ask(GET % b"/spoil/%d" % at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    threads.append(threading.Thread(target=spoil))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]


def test_a_slow_reader_gets_everything(proxy: Running) -> None:
    with proxy.client() as client:
        client.send(GET % b"/len/5000000" + GET % b"/len/4")
        time.sleep(0.5)
        assert client.answer().body == pattern(5_000_000)
        assert client.answer().body == pattern(4)
