"""Bodies of any size, at any pace: right to the last byte, and never piled up in the worker."""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from tests.flow.origin import Closed, pattern, pattern_hash
from tests.flow.peers import Gateway, Origin, Peak, cpu_seconds
from tests.flow.wire import Line, Sender, framing, head_of
from tests.running import wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
GROWTH_MAX = 8 * MIB


@pytest.fixture(scope="module")
def alone(origin: Origin) -> Iterator[Gateway]:
    """One worker, nothing else to do: who forgets a connection is not helped by other events."""
    with Gateway(upstreams=[origin.url], workers=1) as one:
        with Line(one.port) as line:
            for target in ("/bytes?n=1000000", "/bytes?n=1000000&framing=chunked"):
                assert line.ask("GET", target).size == 1000000
        yield one


def down(proxy: Gateway, size: int, how: str) -> float:
    started = time.monotonic()
    with Line(proxy.port) as line:
        found = line.ask("GET", f"/bytes?n={size}&framing={how}")
    assert (found.size, found.sha256) == (size, pattern_hash(size))
    return time.monotonic() - started


def up(proxy: Gateway, size: int, how: str) -> float:
    started = time.monotonic()
    with Line(proxy.port) as line:
        line.sock.sendall(head_of("POST", "/hash", framing(how == "chunked", size)))
        line.send_body(pattern(size, MIB), how == "chunked")
        found = line.answer()
    assert found.text == f"{size} {pattern_hash(size)}"
    return time.monotonic() - started


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_64_mib_down(alone: Gateway, how: str) -> None:
    with Peak(*alone.worker_pids()) as peak:
        down(alone, 64 * MIB, how)
    assert peak.growth < GROWTH_MAX


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_64_mib_up(alone: Gateway, how: str) -> None:
    with Peak(*alone.worker_pids()) as peak:
        up(alone, 64 * MIB, how)
    assert peak.growth < GROWTH_MAX


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_1_gib(alone: Gateway, way: str, how: str) -> None:
    pids = alone.worker_pids()
    spent = cpu_seconds(pids[0])
    with Peak(*pids) as peak:
        seconds = (up if way == "up" else down)(alone, GIB, how)
    spent = cpu_seconds(pids[0]) - spent
    print(f"\n1 GiB {way} {how}: {seconds:.1f} s, worker {spent:.2f} s of CPU, "
          f"memory +{peak.growth / MIB:.2f} MiB")  # fmt: skip
    assert peak.growth < GROWTH_MAX


def test_it_does_not_go_from_tick_to_tick(alone: Gateway) -> None:
    """A lost edge that only the next timer finds would be right, and slow: 256 KiB each 25 ms."""
    best = min(down(alone, 64 * MIB, "length") for _ in range(3))
    assert best < 64 * MIB / (20 * MIB)
    best = min(up(alone, 64 * MIB, "length") for _ in range(3))
    assert best < 64 * MIB / (20 * MIB)


# ---- slow on one side -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_a_client_that_reads_slowly(alone: Gateway, how: str) -> None:
    size = 3 * MIB
    with Peak(*alone.worker_pids()) as peak, Line(alone.port, rcvbuf=4 * KIB) as line:
        line.sock.sendall(head_of("GET", f"/bytes?n={size}&framing={how}"))
        found = line.answer(piece=16 * KIB, pause=0.002)
    assert (found.size, found.sha256) == (size, pattern_hash(size))
    assert peak.growth < GROWTH_MAX


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upstream_that_reads_slowly(alone: Gateway, chunked: bool) -> None:
    size = 3 * MIB
    with Peak(*alone.worker_pids()) as peak, Line(alone.port) as line:
        target = "/hash?piece=16384&pause=2&rcvbuf=32768"
        line.sock.sendall(head_of("POST", target, framing(chunked, size)))
        line.send_body(pattern(size, 64 * KIB), chunked)
        found = line.answer()
    assert found.text == f"{size} {pattern_hash(size)}"
    assert peak.growth < GROWTH_MAX


def test_slowness_of_one_side_is_not_held_against_the_other(origin: Origin) -> None:
    """The upstream takes longer over the body than the client may (and the other way round for the
    answer): only who has something to do is timed."""
    slow = ["--client-body-timeout=700ms", "--upstream-idle-timeout=700ms",
            "--client-write-timeout=20s"]  # fmt: skip
    size = 1 * MIB
    with Gateway(*slow, upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port) as line:
            line.sock.sendall(head_of("POST", "/hash?pause=15&rcvbuf=65536",
                                      framing(True, 8 * size)))  # fmt: skip
            line.send_body(pattern(8 * size, 64 * KIB), True)
            assert line.answer().text == f"{8 * size} {pattern_hash(8 * size)}"
        with Line(proxy.port, rcvbuf=16 * KIB) as line:
            line.sock.sendall(head_of("POST", "/echo", framing(True, 2 * size)))
            sender = Sender(line, pattern(2 * size, 64 * KIB), True)
            time.sleep(1.2)
            found = line.answer()
            sender.join()
            assert (found.size, found.sha256) == (2 * size, pattern_hash(2 * size))
        with Line(proxy.port) as line:  # but a client that sends nothing more is told so
            line.sock.sendall(head_of("POST", "/hash", framing(False, size)) + b"x")
            started = time.monotonic()
            assert line.answer().status == 408
            assert 0.6 < time.monotonic() - started < 5


def test_a_client_that_stops_for_a_while(alone: Gateway) -> None:
    """Nothing moves for half a second, again and again; nothing is forgotten, nothing piles up."""
    size = 24 * MIB
    with Peak(*alone.worker_pids()) as peak, Line(alone.port, rcvbuf=64 * KIB) as line:
        line.sock.sendall(head_of("GET", f"/bytes?n={size}"))
        _, fields = line.head()
        got, stops, crc = 0, 0, 0
        for data in line.reader.body(fields, MIB):
            got += len(data)
            crc = zlib.crc32(data, crc)
            if got > (stops + 1) * 6 * MIB:
                stops += 1
                time.sleep(0.4)
    assert got == size
    assert stops >= 3
    wanted = 0
    for part in pattern(size, MIB):
        wanted = zlib.crc32(part, wanted)
    assert crc == wanted
    assert peak.growth < GROWTH_MAX


def test_a_client_that_stops_sending_for_a_while(alone: Gateway) -> None:
    size = 6 * MIB
    with Line(alone.port) as line:
        line.sock.sendall(head_of("POST", "/hash", framing(True, size)))
        line.send_body(pattern(size, 1_500_000), True, pause=0.25)
        assert line.answer().text == f"{size} {pattern_hash(size)}"


def test_an_upstream_that_stops_for_a_while(alone: Gateway) -> None:
    size = 6 * MIB
    with Line(alone.port) as line:
        found = line.ask("GET", f"/bytes?n={size}&framing=chunked&piece=1500000&pause=250")
    assert (found.size, found.sha256) == (size, pattern_hash(size))


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_tiny_pieces_down(alone: Gateway, how: str) -> None:
    with Line(alone.port) as line:
        found = line.ask("GET", f"/bytes?n=3000&framing={how}&piece=1")
    assert (found.size, found.sha256) == (3000, pattern_hash(3000))


@pytest.mark.parametrize("chunked", [False, True])
def test_tiny_pieces_up(alone: Gateway, chunked: bool) -> None:
    with Line(alone.port) as line:
        line.sock.sendall(head_of("POST", "/hash", framing(chunked, 3000)))
        line.send_body(pattern(3000, 1), chunked)
        assert line.answer().text == f"3000 {pattern_hash(3000)}"


# ---- both ways at once ------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
def test_echo_while_uploading(alone: Gateway, chunked: bool) -> None:
    """Both directions fill up first: the client sends and does not read."""
    size = 24 * MIB
    with Peak(*alone.worker_pids()) as peak, Line(alone.port) as line:
        line.sock.sendall(head_of("POST", "/echo", framing(chunked, size)))
        sender = Sender(line, pattern(size, 300_000), chunked)
        time.sleep(0.5)
        found = line.answer()
        sender.join()
    assert (found.size, found.sha256) == (size, pattern_hash(size))
    assert peak.growth < GROWTH_MAX


def test_echo_from_granian(gateway: Gateway) -> None:
    size = 8 * MIB
    with Line(gateway.port) as line:
        line.sock.sendall(head_of("POST", "/granian/echo", framing(True, size)))
        sender = Sender(line, pattern(size, 100_000), True)
        found = line.answer()
        sender.join()
    assert (found.size, found.sha256) == (size, pattern_hash(size))


def test_word_by_word_both_ways(alone: Gateway) -> None:
    """Each piece must come back before the next one is sent: nothing may wait for company."""
    with Line(alone.port) as line:
        line.sock.sendall(head_of("POST", "/echo", "Transfer-Encoding: chunked"))
        _, fields = line.head()
        assert fields["transfer-encoding"] == "chunked"
        started = time.monotonic()
        for number in range(200):
            word = b"word %d" % number
            line.sock.sendall(b"%x\r\n%b\r\n" % (len(word), word))
            size = int(line.reader.until(b"\r\n"), 16)
            assert line.reader.until(b"\r\n") == word
            assert size == len(word)
        spent = time.monotonic() - started
        line.sock.sendall(b"0\r\n\r\n")
        assert line.reader.until(b"\r\n") == b"0"
    assert spent < 200 * 0.020  # a tick is 25 ms: no word waited for one


def test_an_early_answer_while_the_body_still_comes(alone: Gateway) -> None:
    """The client sees the 413 although it has 8 MiB more to send, and the worker is well after."""
    size = 8 * MIB
    with Line(alone.port) as line:
        line.sock.sendall(head_of("POST", "/early?status=413", framing(False, size)))
        sender = Sender(line, pattern(size, 64 * KIB), False)
        found = line.answer()
        with contextlib.suppress(OSError):  # it may be told by a reset
            sender.join()
    assert (found.status, found.text) == (413, "early")
    with Line(alone.port) as line:
        assert line.ask("GET", "/id").status == 200


def test_a_client_that_has_closed_its_side_gets_its_answer(alone: Gateway) -> None:
    size = 2 * MIB
    with Line(alone.port) as line:
        line.sock.sendall(head_of("GET", f"/bytes?n={size}&piece=500000&pause=50"))
        line.sock.shutdown(socket.SHUT_WR)
        found = line.answer()
    assert (found.size, found.sha256) == (size, pattern_hash(size))


def test_a_client_that_leaves_in_the_middle_leaves_nothing(alone: Gateway, origin: Origin) -> None:
    before = origin.ask("/counts")
    for target, method, lines in (
        ("/bytes?n=100000000", "GET", ()),
        ("/hash", "POST", ("Content-Length: 100000000",)),
        ("/slow?ms=5000", "GET", ()),
    ):
        line = Line(alone.port)
        line.sock.sendall(head_of(method, target, *lines))
        if method == "POST":
            line.sock.sendall(bytes(500_000))
        elif "bytes" in target:
            line.reader.more()
        time.sleep(0.05)
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.sock.close()  # RST
    wait_until(lambda: alone.totals()["connections"] == 0 and alone.inflight() == 0)
    wait_until(lambda: alone.totals()["kept_bytes"] == 0)
    assert origin.ask("/counts")["requests"] >= before["requests"]


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_an_answer_cut_off_is_seen_as_such(alone: Gateway, how: str) -> None:
    with Line(alone.port) as line:
        line.sock.sendall(head_of("GET", f"/cut?n=300000&framing={how}"))
        if how == "close":  # what only the close delimits ends with the close: complete
            assert line.answer().size == 300000
            return
        with pytest.raises((Closed, OSError, ValueError)):
            line.answer()


def test_pipelined_requests_are_answered_in_order(alone: Gateway) -> None:
    targets = [f"/bytes?n={n * 1000}&framing={how}" for n in range(10)
               for how in ("length", "chunked")]  # fmt: skip
    with Line(alone.port) as line:
        line.sock.sendall(b"".join(head_of("GET", target) for target in targets))
        started = time.monotonic()
        for target in targets:
            found = line.answer()
            size = int(target.partition("n=")[2].partition("&")[0])
            assert (found.size, found.sha256) == (size, pattern_hash(size))
        assert time.monotonic() - started < 20
