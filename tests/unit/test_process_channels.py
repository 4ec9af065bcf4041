"""Channels and doorbells: fds cross, the unread is thrown away, nothing unsound gets through."""

from __future__ import annotations

import os
import select

import pytest

from fastproxy.process import channels
from fastproxy.process.channels import Channel, Channels, Message


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_message_brings_its_fds() -> None:
    channel = Channel()
    sent = os.memfd_create("x")
    os.write(sent, b"hello")
    assert channels.send(channel.parent, Message("roster", number=7), [sent])
    got = channels.receive(channel.child)
    assert got is not None
    message, (fd,) = got
    assert (message.kind, message.number) == ("roster", 7)
    assert os.pread(fd, 10, 0) == b"hello"
    assert not os.get_inheritable(fd)
    assert channels.receive(channel.child) is None
    os.close(fd)
    os.close(sent)
    channel.close()


def test_a_full_channel_says_so_and_does_not_block() -> None:
    channel = Channel()
    sent = 0
    while channels.send(channel.parent, Message("roster", number=sent)):
        sent += 1
        assert sent < 100_000
    assert sent > 0
    channel.forget()
    assert channels.receive(channel.child) is None
    assert channels.send(channel.parent, Message("roster"))
    channel.close()


def test_forgetting_leaves_no_fd_open() -> None:
    channel = Channel()
    before = open_fds()
    for _ in range(5):
        assert channels.send(channel.parent, Message("plan"), [0, 1])
        assert channels.send(channel.child, Message("failed"), [0])
    channel.forget()
    assert open_fds() == before
    channel.close()


@pytest.mark.parametrize("data", [b"junk", b"[]", b"{}", b'{"kind": 5}', b"\xff", b'{"kind":"a"'])
def test_junk_is_unsound_and_not_an_error(data: bytes) -> None:
    channel = Channel()
    channel.child.send(data)
    got = channels.receive(channel.parent)
    assert got is not None
    assert got[0].kind == "unsound"
    channel.close()


def test_a_closed_channel_is_the_end() -> None:
    channel = Channel()
    channel.parent.close()
    with pytest.raises(EOFError):
        channels.receive(channel.child)
    assert not channels.send(channel.child, Message("failed"))
    channel.child.close()


def test_a_bell_is_heard_once_however_often_it_rang() -> None:
    made = Channels(1)
    bell = made.bells[0]
    assert not channels.heard(bell)
    for _ in range(3):
        channels.ring(bell)
    assert channels.heard(bell)
    assert not channels.heard(bell)


def test_the_end_of_the_master_is_the_end_of_a_pipe() -> None:
    made = Channels(2)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            own = made.keep_for_child(1)
            looks = select.poll()
            looks.register(made.alive, select.POLLIN)
            before = looks.poll(0)
            channels.send(own.child, Message("ready"))
            after = looks.poll(5000)
            code = 0 if not before and after and os.read(made.alive, 1) == b"" else 1
        finally:
            os._exit(code)
    looks = select.poll()
    looks.register(made.workers[1].parent, select.POLLIN)
    assert looks.poll(5000)
    os.close(made._alive_end)
    assert os.waitpid(pid, 0)[1] == 0
