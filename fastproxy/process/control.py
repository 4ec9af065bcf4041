# SPDX-License-Identifier: MIT
"""Control: the process for everything that is neither a request nor the master's.

For now: the control socket (process/verbs.py), reloads, rosters, fresh answers for upstream names,
and keyrings when certificates change. It may crash without touching traffic; the master starts it
again, and it finds what it needs in the scoreboard, the roster and the keyring in force. Its socket
is the master's, so that callers queue meanwhile, and its mode 0600 is the access check.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from fastproxy._core import Board
from fastproxy.balance.build import Place
from fastproxy.health.watch import Watch
from fastproxy.process import channels, state, tickets, verbs
from fastproxy.process.channels import Channels, Message
from fastproxy.process.handover import Handover, contents, sealed
from fastproxy.process.keyrings import Keyrings
from fastproxy.process.log import Log
from fastproxy.process.reload import Reload
from fastproxy.process.rosters import Rosters, rosters_of
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


@dataclass(frozen=True, slots=True)
class InForce:
    """The bytes that workers have, or are about to get."""

    plan: bytes
    roster: bytes
    keyring: bytes
    """Empty: there is no TLS."""


class Control:
    """What it knows and does."""

    def __init__(self, task: ControlTask, channel: socket.socket) -> None:
        handover = task.handover
        self.task = task
        self.board, self.log = task.board, task.log
        self.channel = channel
        self.over = asyncio.Event()
        self.in_force = InForce(
            contents(handover.plan_fd),
            contents(handover.roster_fd),
            contents(handover.keyring_fd) if handover.keyring_fd >= 0 else b"",
        )
        self.untold: set[str] = set()
        """What the master has not taken yet: "plan", "roster", "keyring"."""
        self.telling: asyncio.TimerHandle | None = None
        self.reload = Reload(self)
        self.tasks: list[asyncio.Task[None]] = []
        self.furnish(handover, rosters_of(handover, self.in_force.roster, task.board))

    def furnish(self, handover: Handover, rosters: Rosters) -> None:
        """All that is made of settings: at the start, and anew by a reload."""
        # Late: it checks settings and resolves names, which is nobody else's.
        from fastproxy.process.discover import Discover

        task = self.task
        self.handover = handover
        self.rosters = rosters
        self.watch = Watch(task.board, rosters.upstreams, task.log)
        self.status = Status(
            task.board, handover, self.in_force.plan, task.listeners, rosters, self.watch.report
        )
        self.status.reloads = self.reload.report
        self.discover = Discover(rosters, handover.dns, task.board, task.log, self.hand_on)
        self.status.names = self.discover.names.report
        self.on_roster: list[Callable[[Rosters], None]] = [self.discover.on_roster]
        """Called after each new roster: who its members are has changed."""
        self.keyrings = self._keyrings()

    def _keyrings(self) -> Keyrings | None:
        """None: there is no TLS."""
        if not self.in_force.keyring:
            return None
        kept = Keyrings(
            self.handover,
            self.rosters.upstreams,
            self.in_force.keyring,
            self.log,
            self.hand_on_keyring,
        )
        self.status.certificates = kept.report
        return kept

    def begin(self) -> None:
        """What goes on in the background from now on."""
        loop = asyncio.get_running_loop()
        self.tasks = [
            loop.create_task(self.discover.run()),
            loop.create_task(tickets.rotate(self.board)),
        ]
        if self.keyrings is not None:
            self.tasks.append(loop.create_task(self.keyrings.run()))

    def cease(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.watch.close()

    def renew(
        self, handover: Handover, rosters: Rosters, plan: bytes, roster: bytes, keyring: bytes
    ) -> None:
        """Go on with other settings (process/reload.py)."""
        self.cease()
        self.in_force = InForce(plan, roster, keyring)
        self.furnish(handover, rosters)
        self.begin()
        self.untold.add("plan")
        self.hand_on(roster)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self.rosters.publish()
        self.watch_over()
        segment.set_header(
            self.task.board,
            roster_epoch=self.rosters.epoch,
            plan_generation=plan_generation(self.in_force.plan),
        )
        if (roster := self.rosters.catch_up()) is not None:
            self.hand_on(roster)
        loop.add_reader(self.channel.fileno(), self.on_channel)
        loop.add_reader(self.task.channels.alive, self.on_master_gone)
        # Kept: a server nobody refers to is collected, and its socket closed.
        server = await asyncio.start_unix_server(
            self.on_caller, sock=self.task.door, limit=LINE_MAX
        )
        self.begin()
        await self.over.wait()
        self.cease()
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
            elif message.kind == "reload":
                self.reload.begin()
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

    # -- what is in force -----------------------------------------------------------------------

    def watch_over(self) -> None:
        """Checks and sweeps of the members there are, from now on."""
        rosters = self.rosters
        roster = self.in_force.roster
        self.watch.update(rosters.members, rosters.rows, rosters.generations, roster)

    def hand_on(self, roster: bytes) -> None:
        """A new roster: to the master, who keeps it and sends it to all workers."""
        self.in_force = replace(self.in_force, roster=roster)
        self.watch_over()
        self.untold.add("roster")
        self.tell_untold()
        for hook in self.on_roster:
            hook(self.rosters)
        self.settle()

    def hand_on_keyring(self, keyring: bytes) -> None:
        """A new keyring, likewise."""
        self.in_force = replace(self.in_force, keyring=keyring)
        self.untold.add("keyring")
        self.tell_untold()

    def tell_untold(self) -> None:
        """Tell the master what it has not taken yet, always the newest. A plan goes with all that
        was made for it: nobody may have one without the other."""
        for kind in ("plan", "keyring", "roster"):
            if kind in self.untold and self._tell(kind):
                self.untold -= {kind} if kind != "plan" else {"plan", "keyring", "roster"}
        if self.telling is not None:
            self.telling.cancel()
            self.telling = None
        if self.untold:
            self.log.error(f"the master does not take the new {min(self.untold)}: trying again")
            loop = asyncio.get_running_loop()
            self.telling = loop.call_later(HAND_ON_AGAIN_SECONDS, self.tell_untold)

    def _tell(self, kind: str) -> bool:
        now = self.in_force
        number, parts = {
            "plan": (plan_generation(now.plan), [now.plan, now.roster]),
            "roster": (self.rosters.epoch, [now.roster]),
            "keyring": (self.keyrings.keyring.generation if self.keyrings else 0, [now.keyring]),
        }[kind]
        if kind == "plan":
            parts = [msgspec.json.encode(self.handover), *parts]
            parts += [now.keyring] if now.keyring else []
        fds = [sealed(kind, part) for part in parts]
        try:
            return self.tell_master(Message(kind, number=number), fds)
        finally:
            for fd in fds:
                os.close(fd)

    def settle(self, pause: float = SETTLE_SECONDS[0]) -> None:
        """Look again and again until all workers have the roster."""
        if not self.rosters.settle():
            loop = asyncio.get_running_loop()
            loop.call_later(pause, self.settle, min(2 * pause, SETTLE_SECONDS[1]))

    def keep_state(self) -> str:
        """Operators' changes, for the next start; "", or why it will not know them."""
        path = self.handover.state_file
        try:
            if path:
                state.save(path, self.rosters.changes)
        except OSError as error:
            text = f"{path} cannot be written ({error.strerror}): the next start will not know this"
            self.log.error(text)
            return text
        return ""

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
