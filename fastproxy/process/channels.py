# SPDX-License-Identifier: MIT
"""How the master reaches its children, and they it: made before the first fork, for every slot.

- A *channel* is a SOCK_SEQPACKET pair: one message is one packet of JSON with its fds (SCM_RIGHTS).
  The master keeps both ends for its whole life, so that a successor inherits the same channel and
  what a dead worker left unread can be thrown away before.
- A *doorbell* is an eventfd that every process inherits: set a reason in the scoreboard
  (`Board.ring`), then ring. The master has one too: a child rings it when it has news.
- A *queue bell* is one for the engines alone: "a place at a full backend is free, it is your turn".

Messages go one way each: plan, roster, keyring, log, listener to a worker; reload, verb to control;
plan, roster, keyring, verb from control to the master, failed from a worker.
"""

from __future__ import annotations

import os
import socket

import msgspec

MESSAGE_MAX = 65536
"""Bytes of one message. Big things travel as memfds."""
FDS_MAX = 16
TEXT_MAX = 1000
"""Characters of a message's text that are logged."""


class Message(msgspec.Struct, omit_defaults=True):
    """`kind` says which of the others mean something."""

    kind: str
    number: int = 0
    """plan, keyring: its generation. roster: its epoch. listener: its index."""
    slot: int = 0
    """listener: whose it is (-1: shared)."""
    text: str = ""
    """failed: why. verb: which."""


class Channel:
    """One slot's pair. `parent` is the master's end, `child` the child's."""

    def __init__(self) -> None:
        self.parent, self.child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.parent.setblocking(False)
        self.child.setblocking(False)

    def forget(self) -> None:
        """Throw away what nobody will read any more: before a successor is forked."""
        for end in (self.parent, self.child):
            while (got := receive(end)) is not None:
                for fd in got[1]:
                    os.close(fd)

    def close(self) -> None:
        self.parent.close()
        self.child.close()


def send(end: socket.socket, message: Message, fds: list[int] | None = None) -> bool:
    """False: the other side has not read for long, try again later. The fds stay open here."""
    data = msgspec.json.encode(message)
    try:
        socket.send_fds(end, [data], fds or [])
    except (BlockingIOError, ConnectionError, BrokenPipeError):
        return False
    return True


def receive(end: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its fds (close-on-exec, the caller's now); None: nothing there.
    EOFError: the other side is closed. What cannot be read is Message("unsound"): a worker that was
    taken over must not be able to end the master."""
    try:
        data, fds, _, _ = socket.recv_fds(end, MESSAGE_MAX, FDS_MAX)
    except BlockingIOError:
        return None
    except ConnectionError:
        raise EOFError from None
    if not data:
        raise EOFError
    for fd in fds:
        os.set_inheritable(fd, False)
    try:
        return msgspec.json.decode(data, type=Message), fds
    except msgspec.MsgspecError as error:
        return Message("unsound", text=str(error)), fds


class Channels:
    """All of them: one per worker slot, control's, the doorbells, and the pipe whose end tells a
    child that the master is gone."""

    def __init__(self, slots: int) -> None:
        self.workers = [Channel() for _ in range(slots)]
        self.control = Channel()
        self.bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(slots)]
        self.queue_bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(slots)]
        self.master_bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.alive, self._alive_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def keep_for_child(self, slot: int | None) -> Channel:
        """In a child, right after the fork: close what is the master's or another child's. `slot`
        None is control. The child's own channel, its parent end closed."""
        os.close(self._alive_end)
        own = self.control if slot is None else self.workers[slot]
        for channel in [*self.workers, self.control]:
            if channel is own:
                channel.parent.close()
            else:
                channel.close()
        return own


def ring(bell: int) -> None:
    """Wake who reads this doorbell. Never blocks: a full counter is already awake."""
    try:
        os.eventfd_write(bell, 1)
    except BlockingIOError:
        pass


def heard(bell: int) -> bool:
    """Was it rung since the last look?"""
    try:
        return os.eventfd_read(bell) > 0
    except BlockingIOError:
        return False
