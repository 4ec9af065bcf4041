"""Checks by a bare connection, by TLS, and of agents' ports, against real servers."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from fastproxy.health.agent import AgentProbe
from fastproxy.health.probe import Seen, Target, ask
from fastproxy.health.words import Speech
from fastproxy.scoreboard.segment import Health as Word
from tests.unit.healthy import (
    Talk,
    answer,
    asked,
    certificate,
    check_of,
    member_at,
    run,
    seen,
    serving,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def says(data: bytes, first: bytes = b"", stay: bool = False) -> Talk:
    """Waits for `first`, says `data`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(first))
        writer.write(data)
        await writer.drain()
        if stay:
            await reader.read()

    return talk


# ---- tcp --------------------------------------------------------------------------------------


def test_a_connection_is_enough() -> None:
    assert seen(says(b"", stay=True), kind="tcp") == Seen("", "connected")
    assert run(asked(check_of(kind="tcp"), 1)).fault == "connection refused"


@pytest.mark.parametrize(
    ("data", "stay", "fault"),
    [
        (b"+PONG\r\n", True, ""),
        (b"+PONG\r\n", False, ""),
        (b"-NOAUTH\r\n", False, "the body is not what is expected"),
        (b"-NOAUTH\r\n", True, "no answer within 400ms"),
        (b"", False, "the connection ended before an answer"),
        (b"", True, "no answer within 400ms"),
        (b"x" * 100_000, True, "the body is not what is expected"),
    ],
)
def test_send_and_expect(data: bytes, stay: bool, fault: str) -> None:
    values = {"kind": "tcp", "send": "PING\r\n", "expect": {"body": r"^\+PONG", "limit": "1k"}}
    assert seen(says(data, b"PING\r\n", stay), **values).fault == fault


def test_a_banner_in_pieces() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (b"22", b"0 re", b"ady\r\n"):
            writer.write(part)
            await asyncio.sleep(0.02)
        await reader.read()

    assert seen(talk, kind="tcp", expect={"body": "^220 ready"}) == Seen("", "answered")


# ---- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CAs, and what the first has signed."""
    path = tmp_path_factory.mktemp("keys")
    certificate(path, "ca", extra="basicConstraints=critical,CA:TRUE")
    certificate(path, "stranger", extra="basicConstraints=critical,CA:TRUE")
    certificate(path, "app.test", "ca")
    certificate(path, "client.test", "ca")
    return path


def server_tls(keys: Path, client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "app.test.pem", keys / "app.test.key")
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(keys / "ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # refuses within the handshake
    return context


@pytest.mark.parametrize(
    ("tls", "fault"),
    [
        ({"ca": "ca.pem", "server_name": "app.test"}, ""),
        ({"verify": False}, ""),
        ({"ca": "ca.pem", "server_name": "other.test"}, "hostname mismatch"),
        ({"ca": "ca.pem"}, "ip address mismatch"),
        ({"ca": "stranger.pem", "server_name": "app.test"}, "unable to get local issuer"),
        ({"server_name": "app.test"}, "unable to get local issuer"),
    ],
)
@pytest.mark.parametrize("kind", ["https", "tls"])
def test_certificates(keys: Path, tls: dict[str, Any], fault: str, kind: str) -> None:
    given = {**tls, **({"ca": str(keys / tls["ca"])} if "ca" in tls else {})}
    talk = answer(OK) if kind == "https" else says(b"", stay=True)
    found = seen(talk, server_tls(keys), kind=kind, tls=given, timeout="2s").fault
    assert found == fault if not fault else fault in found


def test_the_name_comes_from_the_url(keys: Path) -> None:
    async def main() -> list[Seen]:
        async with serving(answer(OK), server_tls(keys)) as port:
            check = check_of(kind="https", tls={"ca": str(keys / "ca.pem")}, timeout="2s")
            return [await asked(check, port, name) for name in ("app.test", "b.test")]

    good, bad = run(main())
    assert good == Seen("", "200")
    assert "hostname mismatch" in bad.fault


def test_a_certificate_of_our_own(keys: Path) -> None:
    tls = {"ca": str(keys / "ca.pem"), "server_name": "app.test"}
    own = {"cert": str(keys / "client.test.pem"), "key": str(keys / "client.test.key")}
    context = server_tls(keys, client=True)
    assert seen(answer(OK), context, kind="https", tls=tls, timeout="2s").fault != ""
    assert seen(answer(OK), context, kind="https", tls={**tls, **own}, timeout="2s").fault == ""


def test_no_tls_at_all(keys: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 I speak first and plain\r\n")
        await reader.read()

    assert seen(talk, kind="tls", tls={"verify": False}).fault != ""
    silent = seen(says(b"", stay=True), kind="tls", tls={"verify": False})
    assert silent.fault == "no connection within 400ms"


# ---- agents -----------------------------------------------------------------------------------


def spoken(talk: Talk, **agent: Any) -> Seen:
    async def main() -> Seen:
        async with serving(talk) as port:
            check = check_of(agent={"port": port, **agent})
            member = member_at(1)
            return await ask(AgentProbe, check, Target.of(member.address, member.backend.url), port)

    return run(main())


@pytest.mark.parametrize(
    ("data", "stay", "found"),
    [
        (b"75% maxconn:9\n", True, Seen("", "75% maxconn:9", Speech(None, 75, 9))),
        (b"up", False, Seen("", "up", Speech(Word.UP))),
        (b"\n", False, Seen("the connection ended before a word")),
        (b"", False, Seen("the connection ended before a word")),
        (b"", True, Seen("no answer within 400ms")),
        (b"fine, thanks\n", True,
         Seen("unknown words: fine thanks", "", Speech(strange=("fine", "thanks")))),
    ],
)  # fmt: skip
def test_an_agents_port(data: bytes, stay: bool, found: Seen) -> None:
    assert spoken(says(data, stay=stay)) == found


def test_an_agent_that_is_asked_first() -> None:
    assert spoken(says(b"50%\n", b"hello\n"), send="hello\n").speech == Speech(percent=50)


def test_an_endless_agent() -> None:
    found = spoken(says(b"x" * 1_000_000))
    assert found.fault.startswith("unknown words: xxxx")
    assert len(found.fault) < 100
