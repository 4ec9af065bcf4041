# SPDX-License-Identifier: MIT
"""Control: the process for everything that is neither a request nor the master's.

For now: the control socket (one JSON object a line, both ways) and fresh answers for upstream
names. It may crash without touching traffic; the master starts it again, and it finds what it needs
in the scoreboard and the roster in force. Its socket is the master's, so that callers queue
meanwhile, and its mode 0600 is the access check.

    {"verb": "status"}  ->  {"ok": true, "version": ..., "workers": [...], ...}
    {"verb": "nonsense"}  ->  {"ok": false, "error": "..."}
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Any

import msgspec

from fastproxy import __version__
from fastproxy._core import Board
from fastproxy.balance.build import resolve
from fastproxy.process import channels
from fastproxy.process.channels import Channels, Message
from fastproxy.process.handover import Handover, contents, sealed
from fastproxy.process.log import Log
from fastproxy.process.rosters import Rosters, upstreams_of
from fastproxy.process.status import Status, plan_generation
from fastproxy.scoreboard import segment

LINE_MAX = 65536
IDLE_SECONDS = 60.0
"""A caller that says nothing for so long is sent away."""
RESOLVE_TIMEOUT_SECONDS = 10.0


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


class Request(msgspec.Struct):
    """One line from a caller. Unknown keys are left alone: newer callers may send more."""

    verb: str


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
        self.task = task
        self.channel = channel
        self.rosters = Rosters(
            upstreams_of(task.handover.upstreams),
            contents(task.handover.roster_fd),
            task.board,
            task.handover.zone,
            bytes.fromhex(task.handover.session_key),
        )
        plan = contents(task.handover.plan_fd)
        self.status = Status(task.board, task.handover, plan, task.listeners)
        self.plan_generation = plan_generation(plan)
        self.over = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self.rosters.publish()
        segment.set_header(
            self.task.board,
            roster_epoch=self.rosters.epoch,
            plan_generation=self.plan_generation,
        )
        loop.add_reader(self.channel.fileno(), self.on_channel)
        loop.add_reader(self.task.channels.alive, self.on_master_gone)
        # Kept: a server nobody refers to is collected, and its socket closed.
        server = await asyncio.start_unix_server(
            self.on_caller, sock=self.task.door, limit=LINE_MAX
        )
        resolver = asyncio.create_task(self.resolve_forever())
        await self.over.wait()
        resolver.cancel()
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
        self.task.log.warning("the master is gone: leaving")
        self.over.set()

    def tell_master(self, message: Message, fds: list[int] | None = None) -> bool:
        """False if it does not listen (it always does, unless it is stopped)."""
        sent = channels.send(self.channel, message, fds)
        channels.ring(self.task.channels.master_bell)
        return sent

    # -- upstream names -------------------------------------------------------------------------

    async def resolve_forever(self) -> None:
        pause = self.task.handover.resolve_seconds
        while self.rosters.names and pause > 0:
            await asyncio.sleep(pause)
            try:
                await self.resolve_once()
            except (OSError, ValueError) as error:
                self.task.log.error(f"resolving upstreams: {error}")

    async def resolve_once(self) -> None:
        """Look all names up at the same time; a new roster if any answer is new."""
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(
                asyncio.wait_for(loop.run_in_executor(None, resolve, url), RESOLVE_TIMEOUT_SECONDS)
                for url in self.rosters.names
            ),
            return_exceptions=True,
        )
        found: dict[str, list[bytes]] = {}
        for url, answer in zip(self.rosters.names, answers, strict=True):
            if isinstance(answer, BaseException):
                self.task.log.warning(f"{url}: {answer or 'no answer in time'}; keeping the last")
            else:
                found[str(url)] = answer
        roster = self.rosters.next(found)
        if roster is None:
            return
        fd = sealed("roster", roster)
        try:
            if not self.tell_master(Message("roster", number=self.rosters.epoch), [fd]):
                self.task.log.error("the master does not take the new roster")
        finally:
            os.close(fd)

    # -- callers --------------------------------------------------------------------------------

    async def on_caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer lines until the caller leaves or is silent for too long."""
        try:
            while True:
                line = await asyncio.wait_for(reader.readline(), IDLE_SECONDS)
                if not line:
                    break
                writer.write(msgspec.json.encode(self.answer(line)) + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # silent, a line without end, or gone
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        try:
            verb = msgspec.json.decode(line, type=Request).verb
        except msgspec.MsgspecError as error:
            return {"ok": False, "error": f"not a request: {error}"}
        if verb == "status":
            return {"ok": True, **self.status.report()}
        if verb == "version":
            return {"ok": True, "version": __version__}
        if verb == "ping":
            return {"ok": True, "pid": os.getpid()}
        if verb in ("stop", "quit", "reopen"):
            sent = self.tell_master(Message("verb", text=verb))
            return {"ok": True} if sent else {"ok": False, "error": "the master does not listen"}
        verbs = "status, version, ping, stop, quit, reopen"
        return {"ok": False, "error": f"no verb {verb!r}; there are {verbs}"}
