# SPDX-License-Identifier: MIT
"""What the master keeps for successors and hands to those who live: plan, roster, keyring, logs.

Control makes them, the master does not read them. A reload comes as one message and is kept and
handed on as one: settings (for the next control), plan, roster and keyring belong together.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from fastproxy.process import channels
from fastproxy.process.channels import Message
from fastproxy.process.handover import FDS, Handover, contents
from fastproxy.process.seat import CONTROL
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Ring

if TYPE_CHECKING:
    from fastproxy.process.master import Master


class Kept:
    """`unsent`: (seat, kind) of what did not go out yet."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.unsent: set[tuple[int, str]] = set()

    def take(self, message: Message, fds: list[int]) -> None:
        """Something new from control. The fds are the caller's."""
        if message.kind in ("roster", "keyring") and len(fds) == 1:
            self._keep(**{f"{message.kind}_fd": fds[0]})
            self._hand_on(message)
        elif message.kind == "plan" and len(fds) in (3, 4):
            self._renew(message, fds)

    def for_workers(self, kind: str) -> None:
        self.unsent |= {(seat.number, kind) for seat in self.master.seats[1:]}

    def for_control(self, kind: str) -> None:
        self.unsent.add((CONTROL, kind))

    def send(self) -> None:
        """Always the newest, however long a stuck child's channel was full."""
        master, kept = self.master, self.master.handover
        for number, kind in sorted(self.unsent):
            seat = next(one for one in master.seats if one.number == number)
            fds, bit = {
                "plan": ([kept.plan_fd, kept.roster_fd, kept.keyring_fd], Ring.PLAN),
                "roster": ([kept.roster_fd], Ring.ROSTER),
                "keyring": ([kept.keyring_fd], Ring.KEYRING),
                "log": ([master.files.access_fd], Ring.REOPEN),
                "error_log": ([2], Ring.REOPEN),
                "reload": ([], Ring(0)),
            }[kind]
            if not seat.pid:
                done = kind != "reload"  # a successor inherits the rest
            else:
                there = [fd for fd in fds if fd >= 0]
                done = channels.send(master.channel_of(seat).parent, Message(kind), there)
            if done:
                self.unsent.discard((number, kind))
                if seat.pid and number != CONTROL:
                    master.ring(seat, bit)

    def _renew(self, message: Message, fds: list[int]) -> None:
        settings, *parts = fds
        old = self.master.handover
        try:
            new = msgspec.json.decode(contents(settings), type=Handover)
        except (OSError, msgspec.MsgspecError) as error:
            self.master.log.error(f"plan {message.number} is refused: {error}")
            return
        for name in FDS:
            setattr(new, name, getattr(old, name))
        self.master.handover = new
        self._keep(**dict(zip(FDS, parts, strict=False)))
        self._hand_on(message)

    def _keep(self, **fds: int) -> None:
        for name, fd in fds.items():
            if (old := getattr(self.master.handover, name)) >= 0:
                os.close(old)
            setattr(self.master.handover, name, os.dup(fd))  # which no exec inherits

    def _hand_on(self, message: Message) -> None:
        if word := {"plan": "plan_generation", "roster": "roster_epoch"}.get(message.kind):
            segment.set_header(self.master.board, **{word: message.number})
        self.for_workers(message.kind)
        self.master.log.info(f"{message.kind} {message.number} goes to the workers")
