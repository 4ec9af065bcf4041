"""Tunnels that we end (silence, age): a close frame 1001 to each side that is between two frames,
and nothing but the end to a side that is in the midst of one (RFC 6455 7.1.1, 7.4.1)."""

from __future__ import annotations

import time

import pytest

from tests.oracle.websocket import frame
from tests.raw.conftest import StartProxy
from tests.raw.reading import Client
from tests.raw.recorder import FINISH, HANG
from tests.raw.talking import Running, in_time
from tests.raw.test_raw_upgrade import ASK, YES, ended

GOING = (1001).to_bytes(2)
GOODBYE = frame(GOING, 8)
MASK = b"\x11\x22\x33\x44"
HELLO = frame(b"hello", 1)
MASKED = frame(b"hello", 1, mask=MASK)
CLOSE = frame((1000).to_bytes(2), 8)


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(timeouts='tunnel_idle = "300ms"\ntunnel_age = "1s"', log="off")


def opened(proxy: Running, client: Client, *behind: bytes) -> None:
    proxy.recorder.on("/ws", b"".join([YES, *behind]), HANG)
    client.send(ASK)
    assert client.answer().status == 101


def got(proxy: Running) -> bytes:
    """What the backend had behind the upgrade, once the proxy has ended it."""
    ended(proxy)
    line = proxy.recorder.lines[proxy.recorder.only("/ws").connection]
    return bytes(line.received[line.at :])


def unmasked(data: bytes) -> bytes:
    """The payload of a client's frame with two bytes of it."""
    assert len(data) == 8
    assert data[:2] == b"\x88\x82"
    assert data[2:6] != b"\0\0\0\0"
    return bytes([data[6] ^ data[2], data[7] ^ data[3]])


def test_both_sides_are_told(proxy: Running) -> None:
    with proxy.client() as client:
        opened(proxy, client, HELLO)
        client.send(MASKED)
        assert client.exactly(len(HELLO)) == HELLO
        assert client.exactly(4) == GOODBYE
        assert client.end() == "fin"
        data = got(proxy)
        assert data[: len(MASKED)] == MASKED
        assert unmasked(data[len(MASKED) :]) == GOING


def test_each_goodbye_has_a_mask_of_its_own(proxy: Running) -> None:
    masks = set()
    for _ in range(4):
        proxy.recorder.clear()
        with proxy.client() as client:
            opened(proxy, client)
            client.until(GOODBYE)
            masks.add(got(proxy)[2:6])
    assert len(masks) > 1


@pytest.mark.parametrize("part", [1, 3, len(HELLO) - 1])
def test_who_is_in_the_midst_of_a_frame_only_sees_the_end(proxy: Running, part: int) -> None:
    with proxy.client() as client:
        opened(proxy, client, HELLO + HELLO[:part])
        assert client.exactly(len(HELLO) + part) == HELLO + HELLO[:part]
        assert client.end() in ("fin", "rst")
        assert unmasked(got(proxy)) == GOING  # the other direction has nothing to do with it


@pytest.mark.parametrize("part", [1, 2, 5, len(MASKED) - 1])
def test_a_backend_in_the_midst_of_a_frame(proxy: Running, part: int) -> None:
    with proxy.client() as client:
        opened(proxy, client)
        client.send(MASKED + MASKED[:part])
        assert client.exactly(4) == GOODBYE
        assert got(proxy) == MASKED + MASKED[:part]


def test_nothing_is_said_behind_a_close_frame(proxy: Running) -> None:
    """Its sender may not say more; the other one's answer may be under way."""
    with proxy.client() as client:
        opened(proxy, client, CLOSE)
        assert client.exactly(len(CLOSE)) == CLOSE
        assert client.end() in ("fin", "rst")
        assert unmasked(got(proxy)) == GOING


def test_nothing_is_said_behind_an_end(proxy: Running) -> None:
    """A backend that has shut its side down may still be told; the client has seen the end."""
    proxy.recorder.on("/ws", YES + HELLO, FINISH)
    with proxy.client() as client:
        client.send(ASK)
        assert client.answer().status == 101
        assert client.exactly(len(HELLO)) == HELLO
        assert client.end() == "fin"
        assert unmasked(got(proxy)) == GOING


def test_age_ends_what_silence_does_not(proxy: Running) -> None:
    started = time.monotonic()
    with proxy.client() as client:
        opened(proxy, client)
        while not client.held and time.monotonic() < started + 5:
            client.send(MASKED)
            client.is_open(0.1)
        in_time(started, 0.95, 1.8)
        client.sock.settimeout(5)
        assert client.exactly(4) == GOODBYE


def test_a_client_may_still_answer(proxy: Running) -> None:
    """Its own close frame is read, not refused by a reset that would take ours away."""
    with proxy.client() as client:
        opened(proxy, client)
        while not client.held:
            assert client.more()
        client.send(MASKED * 1000 + frame(GOING, 8, mask=MASK))
        assert client.exactly(4) == GOODBYE
        assert client.end() == "fin"


def test_without_an_age_there_is_none(start: StartProxy) -> None:
    proxy = start(timeouts='tunnel_idle = "off"', log="off")
    with proxy.client() as client:
        opened(proxy, client)
        assert client.is_open(1.5)
