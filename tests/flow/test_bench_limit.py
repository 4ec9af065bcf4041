"""bench/limit forwards byte for byte what it should, so that its figures are those of a forwarder.

Run with the sanitizers, but for the load by wrk. No figure of the machine is asserted.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import verify
from bench.build import program
from bench.load import Loader
from bench.processes import Processes, cpus
from bench.scenarios import BY_NAME
from bench.stand import free_port
from tests.flow.origin import pattern, pattern_hash
from tests.flow.peers import Origin
from tests.flow.wire import Line, Sender, framing
from tests.raw.reading import Client
from tests.raw.recorder import BODY, CLOSE, Recorder, sized

MIB = 1 << 20
SANITIZED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ALL = ["limit/limit", "limit/bodies"]
SPLICED = ("limit/bodies", "--splice", "65536")


class Limit:
    """One of the forwarders, up. Leaving it insists that it ends with 0 on SIGTERM."""

    def __init__(self, name: str, origin: int, *args: str, flags: tuple[str, ...] = SANITIZED):
        self.port = free_port()
        self.command = [str(program(name, *flags)), "--listen", str(self.port)]
        self.command += ["--origin", f"127.0.0.1:{origin}", *args]

    def __enter__(self) -> Limit:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            _, errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert (self.process.returncode, errors) == (0, "")

    def client(self) -> Client:
        return Client(("127.0.0.1", self.port))

    def memory_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as one:
        yield one


@pytest.fixture(params=[(ALL[0],), (ALL[1],), SPLICED], ids=" ".join)
def limit(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Limit]:
    recorder.clear()
    name, *args = request.param
    with Limit(name, recorder.port, *args) as one:
        yield one


def whole(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the end."""
    got = b""
    while len(got) < size and (more := sock.recv(size - len(got))):
        got += more
    return got


@pytest.mark.parametrize("name", ALL)
def test_compiles_without_a_warning(name: str) -> None:
    assert program(name, "-Werror").exists()


@pytest.mark.parametrize("name", ALL)
def test_verified_and_loaded_as_a_peer(name: str, tmp_path: Path) -> None:
    with Processes() as processes:
        origin = processes.start(
            [str(program("origin")), "0"], cpus()[:1], tmp_path / "log", subprocess.PIPE
        )
        with Limit(name, int(origin.output.readline()), flags=("-Werror",)) as limit:
            for scenario in ("small", "close", "large") if name == ALL[1] else ("small", "close"):
                verify.check(limit.port, BY_NAME[scenario].request)
                loader = Loader(processes, cpus()[:1], tmp_path / "wrk")
                found = loader.closed(BY_NAME[scenario], limit.port, 1)
                assert found.requests > 50


def test_only_the_fields_named_differ(limit: Limit, recorder: Recorder) -> None:
    answer = sized(b"0123456789", more=b"X-One: 1\r\nContent-Type: text/odd\r\nEtag:x\r\n")
    recorder.on("/x", BODY, answer.replace(b"X-One", b"Connection: keep-alive\r\nX-One"))
    head = b"POST /x?a=b HTTP/1.1\r\nHost: a\r\n%bContent-Length: 4\r\nCookie: c=d\r\n%b\r\n"
    with limit.client() as client:
        for times in range(3):
            client.send(head % (b"connection: keep-alive\r\n", b"") + b"body")
            assert whole(client.sock, len(answer)) == answer
            seen = recorder.requests[-1]
            assert seen.head == head % (b"", b"X-Forwarded-For: 127.0.0.1\r\n")
            assert (seen.body, seen.connection, seen.place, seen.trouble) == (
                b"body", seen.connection, times, ""
            )  # fmt: skip


def test_pieces_and_pipelines(limit: Limit, recorder: Recorder) -> None:
    recorder.on(
        "/two", BODY, b"HTTP/1.1 200 OK\r\nContent-Le", 0.05, b"ngth: 4\r\n\r\nab", 0.05, b"cd"
    )
    request = b"POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz"
    with limit.client() as client:
        client.send_bytewise(request)
        assert client.answer().body == b"abcd"
    assert recorder.only("/two").body == b"xyz"


def test_many_origins_are_asked_alike_each_on_its_own_connections() -> None:
    with ExitStack() as stack:
        origins = [stack.enter_context(Recorder()) for _ in range(8)]
        more = [word for one in origins[1:] for word in ("--origin", f"127.0.0.1:{one.port}")]
        limit = stack.enter_context(Limit(ALL[0], origins[0].port, *more))
        with limit.client() as client:
            for _ in range(400):
                client.send(b"GET /len/3 HTTP/1.1\r\nHost: a\r\n\r\n")
                assert len(client.answer().body) == 3
        assert all(25 <= len(one.requests) <= 75 for one in origins)  # 50, give or take 3.8 sigma
        assert all({seen.connection for seen in one.requests} == {0} for one in origins)


def test_pipelined_requests_are_answered_in_order(recorder: Recorder) -> None:
    with Limit("limit/limit", recorder.port) as limit, limit.client() as client:
        recorder.clear()
        client.send(b"".join(b"GET /len/%d HTTP/1.1\r\nHost: a\r\n\r\n" % at for at in range(9)))
        assert [len(client.answer().body) for _ in range(9)] == list(range(9))


def test_close_is_kept_between_the_two_that_asked(limit: Limit, recorder: Recorder) -> None:
    with limit.client() as client:
        client.send(b"GET /len/5 HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n")
        answer = client.answer()
        assert (answer.one("Connection"), len(answer.body), client.end()) == ("close", 5, "fin")
    with limit.client() as client:
        client.send(b"GET /len/6 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (len(client.answer().body), client.is_open()) == (6, True)
    first, second = recorder.requests
    assert (second.connection, second.place) == (first.connection, 1)


def test_an_origin_that_closes_is_not_asked_again(limit: Limit, recorder: Recorder) -> None:
    recorder.on("/said", BODY, sized(b"1", more=b"Connection: close\r\n"), CLOSE)
    recorder.on("/done", BODY, sized(b"2"), CLOSE)
    with limit.client() as client:
        for path in ("said", "done", "said", "done", "len/0"):
            client.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.answer().status == 200
            recorder.wait(lambda: path == "len/0" or recorder.lines[-1].ended)  # noqa: B023


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_leaves_hurts_nobody(limit: Limit, recorder: Recorder, how: str) -> None:
    recorder.on("/slow", BODY, 0.2, sized(b"late"))
    with limit.client() as one, limit.client() as other:
        one.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        recorder.wait(lambda: recorder.count("/slow"))
        one.finish() if how == "fin" else one.reset()
        other.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert other.answer().body == b"late"


@pytest.fixture(params=["--scratch 65536", "--scratch 262144", "--splice 65536"])
def bodies(request: pytest.FixtureRequest, origin: Origin) -> Iterator[Limit]:
    with Limit("limit/bodies", origin.port, *request.param.split()) as one:
        yield one


@pytest.mark.parametrize("size", [0, 1, 65536, MIB, 64 * MIB])
def test_bodies_both_ways(bodies: Limit, size: int) -> None:
    with Line(bodies.port) as line:
        for _ in range(2):
            got = line.ask("GET", f"/bytes?n={size}&framing=length")
            assert (got.size, got.sha256) == (size, pattern_hash(size))
        line.sock.sendall(
            f"PUT /hash HTTP/1.1\r\nHost: a\r\n{framing(False, size)}\r\n\r\n".encode()
        )
        sender = Sender(line, pattern(size, 1 << 20), chunked=False)
        assert line.answer().text == f"{size} {pattern_hash(size)}"
        sender.join()


def test_slow_readers_stop_the_reading(bodies: Limit) -> None:
    """Each of the two may hold one scratch; 64 MiB pass through."""
    before = bodies.memory_bytes()
    with Line(bodies.port, rcvbuf=65536) as down, Line(bodies.port) as up:
        up.sock.sendall(b"PUT /hash?piece=65536&pause=1&rcvbuf=65536 HTTP/1.1\r\nHost: a\r\n")
        up.sock.sendall(f"{framing(False, 32 * MIB)}\r\n\r\n".encode())
        sender = Sender(up, pattern(32 * MIB, 1 << 20), chunked=False)
        down.sock.sendall(
            f"GET /bytes?n={32 * MIB}&framing=length HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        got = down.answer(piece=65536, pause=0.001)
        assert (got.size, got.sha256) == (32 * MIB, pattern_hash(32 * MIB))
        assert up.answer().text == f"{32 * MIB} {pattern_hash(32 * MIB)}"
        sender.join()
        assert bodies.memory_bytes() - before < 8 * MIB


@pytest.mark.parametrize(
    "args", [[], ["--listen", "1"], ["--listen", "x", "--origin", "127.0.0.1:1"]]
)
def test_wrong_usage_is_told(args: list[str]) -> None:
    done = subprocess.run(
        [program("limit/limit"), *args], capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 2
    assert done.stderr == "usage: limit --listen PORT --origin HOST:PORT...\n"
