# SPDX-License-Identifier: MIT
"""Control: the process for everything that is neither a request nor the master's.

For now: the control socket (process/verbs.py), rosters, fresh answers for upstream names, and
keyrings when certificates change. It may crash without touching traffic; the master starts it
again, and it finds what it needs in the scoreboard, the roster and the keyring in force. Its socket
is the master's, so that callers queue meanwhile, and its mode 0600 is the access check.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from fastproxy._core import Board
from fastproxy.balance.build import Place
from fastproxy.health.watch import Watch
from fastproxy.process import channels, state, tickets, verbs
from fastproxy.process.channels import Channels, Message
from fastproxy.process.handover import Handover, contents, sealed
from fastproxy.process.keyrings import Keyrings
from fastproxy.process.log import Log
from fastproxy.process.rosters import Rosters, upstreams_of
from fastproxy.process.status import Status, plan_generation
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment

LINE_MAX = 65536
IDLE_SECONDS = 60.0
"""A caller that says nothing for so long is sent away."""
HAND_ON_AGAIN_SECONDS = 0.05
SETTLE_SECONDS = (0.005, 1.0)


@dataclass(frozen=True, slots=True)
class ControlTask:
    """What control inherits."""

    handover: Handover
    board: Board
    channels: Channels
    door: socket.socket
    """The control socket, bound and listening."""
    listeners: list[str]
    """Addresses as they came out, real ports included."""
    log: Log


def run_control(task: ControlTask) -> int:
    """Until the master says stop or is gone; the exit code. The caller forked."""
    import uvloop

    own = task.channels.keep_for_child(None)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(Control(task, own.child).run())


class Control:
    """What it knows and does."""

    def __init__(self, task: ControlTask, channel: socket.socket) -> None:
        # Late: it checks settings and resolves names, which is nobody else's.
        from fastproxy.process.discover import Discover

        self.task = task
        self.board, self.log = task.board, task.log
        self.channel = channel
        self.rosters = Rosters(
            upstreams_of(task.handover.upstreams),
            contents(task.handover.roster_fd),
            task.board,
            task.handover.zone,
            bytes.fromhex(task.handover.session_key),
        )
        plan = contents(task.handover.plan_fd)
        self.watch = Watch(task.board, self.rosters.upstreams, task.log)
        self.status = Status(
            task.board, task.handover, plan, task.listeners, self.rosters, self.watch.report
        )
        self.plan_generation = plan_generation(plan)
        self.over = asyncio.Event()
        self.discover = Discover(
            self.rosters, task.handover.dns, task.board, task.log, self.hand_on
        )
        self.status.names = self.discover.names.report
        self.on_roster: list[Callable[[Rosters], None]] = [self.discover.on_roster]
        """Called after each new roster: who its members are has changed."""
        self.keyrings = self._keyrings()

    def _keyrings(self) -> Keyrings | None:
        """None: there is no TLS."""
        handover = self.task.handover
        if handover.keyring_fd < 0:
            return None
        kept = Keyrings(
            handover,
            self.rosters.upstreams,
            contents(handover.keyring_fd),
            self.log,
            self.hand_on_keyring,
        )
        self.status.certificates = kept.report
        return kept

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self.rosters.publish()
        self.watch_over(contents(self.task.handover.roster_fd))
        segment.set_header(
            self.task.board,
            roster_epoch=self.rosters.epoch,
            plan_generation=self.plan_generation,
        )
        if (roster := self.rosters.catch_up()) is not None:
            self.hand_on(roster)
        loop.add_reader(self.channel.fileno(), self.on_channel)
        loop.add_reader(self.task.channels.alive, self.on_master_gone)
        # Kept: a server nobody refers to is collected, and its socket closed.
        server = await asyncio.start_unix_server(
            self.on_caller, sock=self.task.door, limit=LINE_MAX
        )
        tasks = [
            asyncio.create_task(self.discover.run()),
            asyncio.create_task(tickets.rotate(self.board)),
        ]
        if self.keyrings is not None:
            tasks.append(asyncio.create_task(self.keyrings.run()))
        await self.over.wait()
        for task in tasks:
            task.cancel()
        self.watch.close()
        server.close()
        return 0

    # -- the master -----------------------------------------------------------------------------

    def on_channel(self) -> None:
        while True:
            try:
                got = channels.receive(self.channel)
            except EOFError:
                self.over.set()
                return
            if got is None:
                return
            message, fds = got
            if message.kind == "verb" and message.text == "stop":
                self.over.set()
            elif message.kind == "error_log":
                os.dup2(fds[0], 2)
            for fd in fds:
                os.close(fd)

    def on_master_gone(self) -> None:
        """Nobody is left to control. Workers drain by themselves."""
        asyncio.get_running_loop().remove_reader(self.task.channels.alive)
        self.log.warning("the master is gone: leaving")
        self.over.set()

    def tell_master(self, message: Message, fds: list[int] | None = None) -> bool:
        """False if it does not listen (it always does, unless it is stopped)."""
        sent = channels.send(self.channel, message, fds)
        channels.ring(self.task.channels.master_bell)
        return sent

    # -- rosters --------------------------------------------------------------------------------

    def watch_over(self, roster: bytes) -> None:
        """Checks and sweeps of the members of this roster, from now on."""
        rosters = self.rosters
        self.watch.update(rosters.members, rosters.rows, rosters.generations, roster)

    def hand_on(self, roster: bytes) -> None:
        """A new roster: to the master, who keeps it and sends it to all workers."""
        self.watch_over(roster)
        fd = sealed("roster", roster)
        try:
            if not self.tell_master(Message("roster", number=self.rosters.epoch), [fd]):
                self.log.error("the master does not take the new roster: trying again")
                asyncio.get_running_loop().call_later(
                    HAND_ON_AGAIN_SECONDS, self.hand_on_again, self.rosters.epoch, roster
                )
        finally:
            os.close(fd)
        for hook in self.on_roster:
            hook(self.rosters)
        self.settle()

    def settle(self, pause: float = SETTLE_SECONDS[0]) -> None:
        """Look again and again until all workers have the roster."""
        if not self.rosters.settle():
            loop = asyncio.get_running_loop()
            loop.call_later(pause, self.settle, min(2 * pause, SETTLE_SECONDS[1]))

    def keep_state(self) -> str:
        """Operators' changes, for the next start; "", or why it will not know them."""
        path = self.task.handover.state_file
        try:
            if path:
                state.save(path, self.rosters.changes)
        except OSError as error:
            text = f"{path} cannot be written ({error.strerror}): the next start will not know this"
            self.log.error(text)
            return text
        return ""

    def hand_on_again(self, epoch: int, roster: bytes) -> None:
        """Unless there is a newer one."""
        if epoch == self.rosters.epoch:
            self.hand_on(roster)

    # -- keyrings -------------------------------------------------------------------------------

    def hand_on_keyring(self, keyring: bytes, generation: int) -> None:
        """A new keyring: to the master, who keeps it and sends it to all workers. Unless there is a
        newer one: the master was stopped meanwhile."""
        if self.keyrings is None or generation != self.keyrings.keyring.generation:
            return
        fd = sealed("keyring", keyring)
        try:
            if not self.tell_master(Message("keyring", number=generation), [fd]):
                asyncio.get_running_loop().call_later(
                    HAND_ON_AGAIN_SECONDS, self.hand_on_keyring, keyring, generation
                )
        finally:
            os.close(fd)

    async def look_up(self, url: UpstreamUrl) -> list[Place]:
        """The addresses of one URL. OSError."""
        return await self.discover.look_up(url)

    # -- callers --------------------------------------------------------------------------------

    async def on_caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer lines until the caller leaves or is silent for too long."""
        try:
            while line := await self.line(reader):
                answer = await verbs.answer(self, line)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def line(self, reader: asyncio.StreamReader) -> bytes:
        """b"": the caller is gone, silent for too long, or writes a line without end."""
        try:
            return await asyncio.wait_for(reader.readline(), IDLE_SECONDS)
        except (TimeoutError, ValueError, ConnectionError):
            return b""
