"""A fuzzer over the whole proxy, seeded and bounded in time.

Split invariance: a valid stream of pipelined requests gives the same answers and the same forwarded
requests however it is cut into segments. Mutations: whatever comes in, the worker lives, every
connection is answered or closed in time, answers are well formed, and so is everything forwarded.

FASTPROXY_FUZZ_SEED and FASTPROXY_FUZZ_SECONDS (each test, default 4) change the run.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from dataclasses import dataclass

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Answer, Truncated
from tests.raw.recorder import Seen, pattern
from tests.raw.talking import Running

SEED = int(os.environ.get("FASTPROXY_FUZZ_SEED", "20261122"))
SECONDS = float(os.environ.get("FASTPROXY_FUZZ_SECONDS", "4"))


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(
        timeouts="""
client_header = "700ms"
client_body = "700ms"
keepalive = "700ms"
client_write = "2s"
""",
    )


@dataclass
class Stream:
    data: bytes
    methods: list[str]


def one_request(rng: random.Random, number: int, heads: bool) -> tuple[bytes, str]:
    """A valid request; its method."""
    size = rng.choice([0, 1, 2, 15, 16, 17, 100, 1000, 5000, 20000])
    method = rng.choice(["GET", "GET", "GET", "POST", "PUT", "DELETE", "PROPFIND", "OPTIONS"])
    if heads and rng.random() < 0.1:
        method = "HEAD"
    path = rng.choice(
        [f"/len/{size}", f"/chunked/{size}/{number + 1}", "/status/204", "/status/304",
         "/status/404", f"/a/../len/{size}", f"/len/{size}?q=%20&x", "/back",
         "http://b.example/len/3"]
    )  # fmt: skip
    if method == "OPTIONS" and rng.random() < 0.5:
        path = "*"
    fields = [b"Host: a"]
    for _ in range(rng.randrange(4)):
        name = rng.choice([b"X-One", b"Accept", b"Cookie", b"X_Under", b"Keep-Alive", b"x"])
        fields.append(name + b":" + b" " * rng.randrange(3) + pattern(rng.randrange(60), number)
                      .replace(b"\n", b" ") + b"\t" * rng.randrange(2))  # fmt: skip
    if rng.random() < 0.2:
        fields.append(b"Connection: keep-alive, X-One")
    body = b""
    # A local answer to a chunked request closes, and timing decides what of the stream is answered.
    framing = rng.randrange(4) if path != "*" else 1
    content = pattern(rng.choice([0, 1, 10, 300, 4000, 17000, 40000]), number)
    if framing == 1:
        fields.append(b"Content-Length: %d" % len(content))
        body = content
    elif framing == 2:
        fields.append(b"Transfer-Encoding: chunked")
        at = 0
        while at < len(content):
            step = rng.choice([1, 5, 100, 1000, 16384])
            piece = content[at : at + step]
            extension = rng.choice([b"", b"", b";a", b';a="b c"'])
            body += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
            at += step
            if step == 1 and at > 30:
                step = 1000
        body += b"0\r\n" + rng.choice([b"", b"X-T: y\r\n"]) + b"\r\n"
    rng.shuffle(fields)
    head = f"{method} {path} HTTP/1.1\r\n".encode() + b"\r\n".join(fields) + b"\r\n\r\n"
    return head + body, method


def valid_stream(rng: random.Random, heads: bool = True) -> Stream:
    data, methods = b"", []
    for number in range(rng.randrange(1, 9)):
        piece, method = one_request(rng, number, heads)
        data += piece
        methods.append(method)
    return Stream(data, methods)


def cuts_of(rng: random.Random, size: int) -> list[int]:
    """Where to cut: few places, many close to each other, or single bytes for a while."""
    kind = rng.randrange(3)
    if kind == 0:
        return [rng.randrange(size + 1) for _ in range(rng.randrange(1, 6))]
    if kind == 1:
        start = rng.randrange(size)
        return list(range(start, min(size, start + rng.randrange(1, 120))))
    step = rng.choice([7, 61, 1000, 4099])
    return list(range(rng.randrange(step), size, step))[:200]


def shape(answer: Answer) -> tuple[object, ...]:
    """What must be the same each time."""
    fields = [pair for pair in answer.fields if pair[0] != "Date"]
    return answer.status, fields, answer.framing, answer.body


def forwarded_shape(seen: Seen) -> tuple[object, ...]:
    fields = [pair for pair in seen.fields if pair[0] != "X-Request-ID"]
    return seen.method, seen.target, fields, seen.framing, seen.body, seen.complete, seen.trouble


def run(proxy: Running, stream: Stream, cuts: list[int], pause: float) -> tuple[object, ...]:
    proxy.recorder.clear()
    with proxy.client() as client:
        client.send(stream.data, cuts, pause)
        answers = [client.answer(method) for method in stream.methods]
    proxy.recorder.settle()
    return (
        [shape(answer) for answer in answers],
        [forwarded_shape(seen) for seen in proxy.recorder.requests],
    )


def test_cuts_change_nothing(proxy: Running) -> None:
    rng = random.Random(SEED)
    end = time.monotonic() + SECONDS
    streams = 0
    while time.monotonic() < end:
        stream = valid_stream(rng)
        whole = run(proxy, stream, [], 0)
        for _ in range(3):
            cuts = cuts_of(rng, len(stream.data))
            pause = rng.choice([0, 0, 0.0005]) if len(cuts) < 150 else 0
            assert run(proxy, stream, cuts, pause) == whole, (streams, cuts, stream.data)
        streams += 1
    assert streams >= 3


# ---- mutations -----------------------------------------------------------------------------------

WORDS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n", b"Host: b\r\n",
    b"HTTP/1.0", b"0\r\n\r\n", b"ffffffffffffffff", b"%2e%2e/", b"../", b"\xff", b"GET ",
    b"HTTP/1.1", b";", b"-1", b"0x", b",", b"\x0b", b"a" * 9000,
]  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Some damage, mostly to heads: the bytes of bodies decide little."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(min(len(out), 600)) if rng.random() < 0.7 else rng.randrange(len(out))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at : at + rng.randrange(1, 20)] = b""
        elif kind == 2:
            out[at:at] = rng.choice(WORDS)
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(1, 200)]
        elif kind == 4:
            del out[at + 1 :]
        else:
            out[at] ^= 1 << rng.randrange(8)
        if not out:
            out = bytearray(b"\r\n")
    return bytes(out)


def attack(proxy: Running, rng: random.Random, data: bytes) -> str:
    """Send it; what is wrong with how the proxy took it, or nothing."""
    started = time.monotonic()
    with proxy.client(8) as client:
        client.send(data, cuts_of(rng, len(data)) if rng.random() < 0.5 else [], 0)
        ending = rng.random()
        if ending < 0.7:
            client.finish()
        elif ending < 0.8:
            client.reset()
            return ""
        try:
            while True:
                answer = client.answer()
                if answer.status == 400 and not answer.closes:
                    return f"400 without close: {answer}"
        except Truncated as end:
            if end.head is not None or end.got:
                return f"cut inside an answer: {end} {end.got[:200]!r}"
        except TimeoutError:
            return "neither answered nor closed"
        except AssertionError as error:
            return f"malformed answer {error}"
    spent = time.monotonic() - started
    return "" if spent < 7 else f"took {spent} s"


def test_mutations_do_no_harm(proxy: Running) -> None:
    rng = random.Random(SEED + 1)
    work: queue.Queue[tuple[int, bytes]] = queue.Queue(20)
    wrong: list[tuple[str, bytes]] = []

    def worker() -> None:
        while True:
            seed, data = work.get()
            if not data:
                return
            try:
                trouble = attack(proxy, random.Random(seed), data)
            except Exception as error:
                trouble = repr(error)
            if trouble:
                wrong.append((trouble, data))

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < end and not wrong:
        data = mutated(rng, valid_stream(rng, heads=False).data[:60000])
        work.put((rng.randrange(1 << 30), data))
        count += 1
    for _ in threads:
        work.put((0, b""))
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong, wrong[0]
    assert count > 20
    proxy.recorder.settle()
    ill = [seen for seen in proxy.recorder.requests if seen.trouble]
    assert not ill, (ill[0].trouble, ill[0].head)
    assert proxy.ask(b"GET /len/3 HTTP/1.1\r\nHost: a\r\n\r\n").body == pattern(3)
