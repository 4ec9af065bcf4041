"""HTTP checks against real servers that answer well, badly, slowly, hugely, or not at all."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from fastproxy.health.probe import Seen
from tests.unit.healthy import answer, asked, check_of, run, seen, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def chunked(*parts: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def test_a_good_answer() -> None:
    assert seen(answer(OK)) == Seen("", "200")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, ["GET / HTTP/1.1", "Host: 127.0.0.1:PORT", "User-Agent: fastproxy-health",
              "Accept: */*", "Connection: close"]),
        ({"method": "HEAD", "path": "/up?deep=1", "host": "app.test",
          "headers": {"X-Key": "k", "user-agent": "me"}},
         ["HEAD /up?deep=1 HTTP/1.1", "Host: app.test", "Accept: */*", "X-Key: k",
          "user-agent: me", "Connection: close"]),
    ],
)  # fmt: skip
def test_the_request(values: dict[str, Any], wanted: list[str]) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        port = writer.get_extra_info("sockname")[1]
        heads.append(str(port).encode())
        writer.write(OK)

    assert seen(talk, **values).fault == ""
    lines = heads[0].decode().replace(heads[1].decode(), "PORT").split("\r\n")
    assert lines == [*wanted, "", ""]


@pytest.mark.parametrize(
    ("status", "fault"), [(204, ""), (302, ""), (404, "status 404"), (503, "status 503")]
)
def test_status(status: int, fault: str) -> None:
    assert seen(answer(b"HTTP/1.1 %d X\r\n\r\n" % status)) == Seen(fault, str(status))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Ready: yes\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX-Ready: no\r\n\r\n", 'x-ready: "no" is not what is expected'),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no field x-ready"),
        (b"HTTP/1.1 100 Continue\r\nX-Ready: yes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         "no field x-ready"),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nx-ready: yes\r\n\r\n", ""),
    ],
)  # fmt: skip
def test_field(data: bytes, fault: str) -> None:
    assert seen(answer(data), expect={"headers": {"X-Ready": "yes"}}).fault == fault


HEAD = b"HTTP/1.1 200 OK\r\n"
BODIES = [
    (HEAD + b"Content-Length: 9\r\n\r\nall is ok", ""),
    (HEAD + b"Content-Length: 9\r\n\r\nall is ok and this is not read", ""),
    (HEAD + b"\r\nall is ok until the end", ""),
    (b"HTTP/1.0 200 OK\r\n\r\nall is ok", ""),
    (chunked(b"all is", b" ok"), ""),
    (chunked(b"a", b"l", b"l", b" is ok"), ""),
    (chunked(b"all is not"), "the body is not what is expected"),
    (HEAD + b"Content-Length: 0\r\n\r\n", "the body is not what is expected"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "the body is not what is expected"),
    (HEAD + b"Content-Length: 90\r\n\r\nall is ok", "the body was cut short"),
    (HEAD + b"Content-Length: x\r\n\r\nall is ok", "a Content-Length that is none"),
    (HEAD + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\nall is ok",
     "a Content-Length that is none"),
    (HEAD + b"Content-Length: 9\r\nContent-Length: 9\r\n\r\nall is ok", ""),
    (HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\nall is ok",
     "Content-Length and Transfer-Encoding at once"),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\nall is ok", "an unknown transfer coding"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nall is ok", "a chunk that is none"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nall is ok", "a chunk that is none"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nall is okX\r\n",
     "a chunk longer than it says"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nall is ok", "the body was cut short"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "fault"), BODIES)
@pytest.mark.parametrize("piece", [0, 1, 7])
def test_body(data: bytes, fault: str, piece: int) -> None:
    values = {"expect": {"body": "all is ok"}, "timeout": "2s"}
    assert seen(answer(data, piece), **values).fault == fault


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is no HTTP/1"),
        (b"HTTP/2 200 OK\r\n\r\n", "the answer is no HTTP/1"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "the answer is no HTTP/1"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "the answer is no HTTP/1"),
        (b"HTTP/1.1 200\x01\r\n\r\n", "the answer is no HTTP/1"),
        (b"HTTP/1.1 200 OK\n\n", "the connection ended before an answer"),
        (b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", "a field that is none"),
        (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "a field that is none"),
        (b"HTTP/1.1 200 OK\r\nA : c\r\n\r\n", "a field that is none"),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "a field that is none"),
        (b"HTTP/1.1 200 OK\r\nA: b", "the connection ended before an answer"),
        (b"", "the connection ended before an answer"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000, "a head of more than 65536 bytes"),
        (b"HTTP/1.1 100 Go\r\n\r\n" * 4000, "a head of more than 65536 bytes"),
    ],
)
def test_what_is_no_answer(data: bytes, fault: str) -> None:
    assert seen(answer(data), timeout="2s").fault == fault


def test_who_is_slow_has_no_answer() -> None:
    """A head byte by byte, a body byte by byte, and none at all: all end with the timeout."""
    slow = "no answer within 400ms"
    began = time.monotonic()
    assert seen(answer(OK, 1, 0.05)).fault == slow
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    assert seen(answer(body + b"o" * 100, 50, 0.1, stay=True), expect={"body": "x"}).fault == slow
    assert seen(answer(b"", stay=True)).fault == slow
    assert 1.2 <= time.monotonic() - began < 3


def test_who_is_not_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert run(asked(check_of(), port)).fault == "connection refused"


def test_who_cannot_be_reached() -> None:
    """A full backlog: the connection is never made."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        port = door.getsockname()[1]
        taken = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            taken.append(one)
        time.sleep(0.05)
        fault = run(asked(check_of(), port)).fault
        for one in taken:
            one.close()
    assert fault == "no connection within 400ms"


def test_who_resets() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    assert seen(talk).fault == "the connection broke: connection reset by peer"


def test_a_huge_body_is_read_to_the_limit_only() -> None:
    """64 MiB are offered; what fits in the limit decides, and the rest is never taken."""
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfine")
        for _ in range(1024):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    for body, fault in (("fine", ""), ("never", "the body is not what is expected")):
        sent = 0
        assert seen(talk, expect={"body": body}, timeout="5s").fault == fault
        assert sent < 16 << 20


def test_own_port_and_unix_socket(tmp_path: Any) -> None:
    from fastproxy.balance.build import sockaddr_unix
    from fastproxy.health.http import HttpProbe
    from fastproxy.health.probe import Target, ask
    from fastproxy.schema import UpstreamUrl

    async def main() -> list[Seen]:
        async with serving(answer(OK)) as port:
            other = await asked(check_of(port=port), 1)
        path = str(tmp_path / "s")
        server = await asyncio.start_unix_server(answer(OK), path)
        target = Target.of(sockaddr_unix(path), UpstreamUrl.parse(f"http+unix:{path}"))
        unix = await ask(HttpProbe, check_of(), target, 0)
        server.close()
        return [other, unix]

    assert run(main()) == [Seen("", "200")] * 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Agent: 30% maxconn:5\r\nContent-Length: 2\r\n\r\n{}",
         (None, 30, 5)),
        (b'HTTP/1.1 200 OK\r\n\r\n{"load":{"words":"drain"}}', (2, None, None)),
        (b'HTTP/1.1 200 OK\r\nX-Agent: 30%\r\n\r\n{"load":{"words":"up 40%"}}', (0, 40, None)),
        (b'HTTP/1.1 200 OK\r\n\r\n{"load":{"words":7}}', None),
        (b"HTTP/1.1 200 OK\r\n\r\nno JSON", None),
        (b'HTTP/1.1 503 No\r\nX-Agent: maint\r\n\r\n', (3, None, None)),
    ],
)  # fmt: skip
def test_an_agent_speaks_in_the_answer(data: bytes, said: tuple[Any, ...] | None) -> None:
    agent = {"header": "x-agent", "json": "load.words"}
    speech = seen(answer(data), agent=agent).speech
    found = speech and (speech.word, speech.percent, speech.max_connections)
    assert found == said
