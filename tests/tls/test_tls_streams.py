"""Records in any pieces, bodies of any size, ends of every kind."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from fastproxy.tls.keyring import ListenerKeys
from tests.running import Backend, wait_until
from tests.tls import libssl
from tests.tls.certs import Authority
from tests.tls.secure import Secure, ask, trusting
from tests.tls.shim import Line

AUTHORITY = Authority()
KEYS = ListenerKeys([AUTHORITY.sign("a.test").pair()])
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
HUGE = 24 << 20


def pattern(size: int) -> bytes:
    return bytes(itertools.islice(itertools.cycle(range(251)), size))


class Plain:
    """A backend in plain text: `/N` is answered with N bytes, a body with its length and digest,
    `/cut/N` with a length of N and half of it, `/close/N` with N bytes ended by a close."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ends: list[str] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(line,), daemon=True).start()

    def serve(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as reader:
            try:
                while self.one(line, reader):
                    pass
            except OSError:
                pass

    def one(self, line: socket.socket, reader: object) -> bool:
        first = reader.readline()  # type: ignore[attr-defined]
        if not first:
            return False
        fields = {}
        while text := reader.readline().strip():  # type: ignore[attr-defined]
            name, _, value = text.partition(b":")
            fields[name.lower()] = value.strip()
        left = int(fields.get(b"content-length", b"0"))
        digest, total = hashlib.sha256(), 0
        while total < left:
            piece = reader.read(min(65536, left - total))  # type: ignore[attr-defined]
            if not piece:
                self.ends.append(f"cut after {total} of {left}")
                return False
            digest.update(piece)
            total += len(piece)
        path = first.split()[1].decode().strip("/").split("/")
        if left:
            text = f"{total} {digest.hexdigest()}".encode()
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            return True
        size = int(path[-1] or 6)
        if path[0] == "close":
            line.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + pattern(size))
            return False
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        line.sendall(pattern(size // 2 if path[0] == "cut" else size))
        return path[0] != "cut"


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


@pytest.fixture(scope="module")
def proxy(plain: Plain) -> Iterator[Secure]:
    with Secure([KEYS], upstreams=[plain.url]) as running:
        yield running


def context_for(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = trusting(AUTHORITY)
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 333])
def test_in_pieces(proxy: Secure, version: ssl.TLSVersion, step: int) -> None:
    with Line(proxy.port, context_for(version), step=step, pause=0.0005 if step < 5 else 0) as line:
        for _ in range(2):
            line.send(GET)
            assert line.answer().endswith(pattern(6))
        line.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000\r\n\r\n")
        line.send(pattern(3000))
        assert line.answer().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_split_of_two_requests(proxy: Secure, version: ssl.TLSVersion) -> None:
    """Two records, cut anywhere, and both in one piece."""
    with Line(proxy.port, context_for(version)) as line:
        size = len(line.seal(GET) + line.seal(GET[:20]) + line.seal(GET[20:]))
    for cut in range(0, size, 3):
        with Line(proxy.port, context_for(version)) as line:
            sealed = line.seal(GET) + line.seal(GET[:20]) + line.seal(GET[20:])
            line.deliver(sealed[:cut])
            time.sleep(0.002)
            line.deliver(sealed[cut:])
            first, second = line.answer(), b""
            if len(first) > 100 and first.count(b"HTTP/1.1") == 2:
                continue
            second = second or line.answer()
            assert second.endswith(pattern(6))


@pytest.mark.parametrize("version", VERSIONS)
def test_many_requests_in_one_record_and_many_records_in_one_piece(
    proxy: Secure, version: ssl.TLSVersion
) -> None:
    with Line(proxy.port, context_for(version)) as line:
        line.deliver(b"".join(line.seal(GET) for _ in range(200)) + line.seal(GET * 200))
        data = b""
        while data.count(b"HTTP/1.1 200") < 400 or not data.endswith(pattern(6)):
            data += line.recv()


def test_empty_records_are_nothing(proxy: Secure) -> None:
    """OpenSSL sends none, and takes 32 in a row."""
    with Line(proxy.port, context_for(VERSIONS[1])) as line:
        line.send(GET)
        assert line.answer().endswith(pattern(6))


# ---- bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65536, 1 << 20, HUGE])
def test_answers_of_any_size(proxy: Secure, version: ssl.TLSVersion, size: int) -> None:
    with proxy.talk(context_for(version)) as client:
        for _ in range(2 if size < HUGE else 1):
            found = ask(client, f"/{size}").partition(b"\r\n\r\n")[2]
            assert len(found) == size
            assert found == pattern(size)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 16384, 65537, 1 << 20, HUGE])
def test_requests_of_any_size(proxy: Secure, version: ssl.TLSVersion, size: int) -> None:
    body = pattern(size)
    with proxy.talk(context_for(version)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)
        client.sendall(body)
        found = client.recv(65536)
        assert f"{size} {hashlib.sha256(body).hexdigest()}".encode() in found


def test_a_slow_reader_gets_all_and_costs_little(proxy: Secure) -> None:
    """What is kept for it is bounded, and nothing is lost or doubled when it reads on."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.settimeout(30)
        plain.connect(("127.0.0.1", proxy.port))
        with context_for(VERSIONS[1]).wrap_socket(plain, server_hostname="a.test") as client:
            client.sendall(f"GET /{HUGE} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            kept = wait_until(lambda: proxy.totals()["kept_bytes"])
            time.sleep(0.3)
            assert max(kept, proxy.totals()["kept_bytes"]) < 2 << 20
            data = bytearray()
            while b"\r\n\r\n" not in data:
                data += client.recv(100)
            del data[: data.index(b"\r\n\r\n") + 4]
            pauses = itertools.chain([0.05] * 10, itertools.repeat(0))
            while len(data) < HUGE:
                piece = client.recv(30000)
                assert piece
                data += piece
                time.sleep(next(pauses))
            assert bytes(data) == pattern(HUGE)
    wait_until(lambda: proxy.totals()["kept_bytes"] == 0)


def test_many_at_once(proxy: Secure) -> None:
    context = context_for(VERSIONS[1])
    wrong: list[object] = []

    def one(size: int) -> None:
        with proxy.talk(context) as client:
            for _ in range(5):
                if not ask(client, f"/{size}").endswith(pattern(size)[-50:]):
                    wrong.append(size)

    threads = [threading.Thread(target=one, args=(size,)) for size in range(1000, 300_000, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


# ---- ends -----------------------------------------------------------------------------------


def test_a_cut_answer_looks_cut(proxy: Secure) -> None:
    """With a length it is short; without one there is no close_notify."""
    with Line(proxy.port, context_for(VERSIONS[1])) as line:
        line.send(b"GET /cut/100000 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        with pytest.raises((AssertionError, OSError)):
            line.answer()


def test_what_a_close_ends_has_a_close_notify(proxy: Secure) -> None:
    with Line(proxy.port, context_for(VERSIONS[1])) as line:
        line.send(b"GET /close/70000 HTTP/1.0\r\nHost: a.test\r\n\r\n")
        data = b""
        while piece := line.recv():
            data += piece
        assert data.partition(b"\r\n\r\n")[2] == pattern(70000)


@pytest.mark.parametrize("version", VERSIONS)
def test_connection_close_ends_with_close_notify(proxy: Secure, version: ssl.TLSVersion) -> None:
    with Line(proxy.port, context_for(version)) as line:
        line.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert line.answer().endswith(pattern(6))
        assert line.recv() == b""


@pytest.mark.parametrize("how", ["fin", "reset", "close_notify"])
def test_an_end_inside_a_body_is_a_cut(proxy: Secure, plain: Plain, how: str) -> None:
    """A FIN without close_notify may be anybody's: never the end of a message (RFC 8446 6.1)."""
    plain.ends.clear()
    with Line(proxy.port, context_for(VERSIONS[1])) as line:
        line.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5000\r\n\r\n" + pattern(99))
        wait_until(lambda: proxy.totals()["bytes_in"] or True)
        time.sleep(0.05)
        if how == "close_notify":
            with pytest.raises(ssl.SSLWantReadError):
                line.tls.unwrap()
            line.flush()
        if how == "reset":
            now = struct.pack("ii", 1, 0)
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            line.socket.close()
        else:
            line.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: plain.ends == ["cut after 99 of 5000"])


@pytest.mark.parametrize("version", [libssl.TLS12, libssl.TLS13])
@pytest.mark.parametrize("how", ["close_notify", "FIN", "both"])
def test_who_has_said_all_gets_the_answer(how: str, version: int) -> None:
    """A request that is whole is answered, however its sender ends its side."""
    with Backend() as backend, Secure([KEYS], upstreams=[backend.url]) as proxy:
        with libssl.Client(proxy.port, version=version) as client:
            client.shake()
            client.write(b"GET /slow/0.3 HTTP/1.1\r\nHost: a.test\r\n\r\n")
            if how != "FIN":
                client.goodbye()
            if how != "close_notify":
                client.socket.shutdown(socket.SHUT_WR)
            assert client.read_until(b"hello\n").endswith(b"hello\n")


def test_a_broken_record_ends_it(proxy: Secure) -> None:
    with Line(proxy.port, context_for(VERSIONS[1])) as line:
        sealed = bytearray(line.seal(GET))
        sealed[-1] ^= 1
        line.deliver(bytes(sealed))
        with pytest.raises(ssl.SSLError, match=r"(?i)bad[_ ]record[_ ]mac"):
            line.recv()


def test_an_idle_client_is_told(plain: Plain) -> None:
    settings = {"timeouts": {"keepalive": "300ms"}}
    with Secure([KEYS], upstreams=[plain.url], settings=settings) as proxy:
        with Line(proxy.port, context_for(VERSIONS[1])) as line:
            line.send(GET)
            assert line.answer().endswith(pattern(6))
            assert line.recv() == b""


# ---- floods ---------------------------------------------------------------------------------


def test_renegotiation_is_refused(proxy: Secure) -> None:
    """By an alert, and the end: who tries has no other reason to come."""
    with libssl.Client(proxy.port, version=libssl.TLS12) as client:
        client.shake()
        client.write(GET)
        assert client.read_until(pattern(6)).endswith(pattern(6))
        client.renegotiate()
        client.write(GET)
        assert client.read() == b""
    with proxy.talk(context_for(VERSIONS[0])) as other:
        assert ask(other).endswith(pattern(6))


def answered_after_updates(port: int, count: int) -> bool:
    """Of keys; each asks us to change ours, too (B3 44)."""
    with libssl.Client(port) as client:
        client.shake()
        for _ in range(count):
            if not client.update_key():
                break
        client.write(GET)
        return client.read_until(pattern(6)).endswith(pattern(6))


@pytest.mark.parametrize(("count", "fine"), [(20, True), (99, True), (400, False)])
def test_key_updates_are_limited(proxy: Secure, count: int, fine: bool) -> None:
    assert answered_after_updates(proxy.port, count) is fine


def test_key_updates_now_and_then_are_fine(proxy: Secure) -> None:
    """The limit is one of a second."""
    with libssl.Client(proxy.port) as client:
        client.shake()
        for _ in range(3):
            for _ in range(60):
                assert client.update_key()
            client.write(GET)
            assert client.read_until(pattern(6)).endswith(pattern(6))
            time.sleep(1.05)
