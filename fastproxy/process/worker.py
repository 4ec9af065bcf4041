# SPDX-License-Identifier: MIT
"""One worker: a uvloop loop with one engine in it.

The engine does all work on requests; this file brings it to life after the fork, gives it what the
master hands over, and lets it leave. Order matters: close what is not ours, import, drop
privileges, and only then read anything that came from outside. After that no configured path is
opened: logs and plans come as fds. Signals of the terminal's process group are ignored: the master
decides.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.memory import pack
from fastproxy.process import channels
from fastproxy.process.channels import Channels, Message
from fastproxy.process.handover import contents
from fastproxy.process.log import Log
from fastproxy.process.rights import drop_privileges
from fastproxy.process.sockets import HUSH_SECONDS, hush, shut
from fastproxy.scoreboard.segment import Ring, WorkerState

IGNORED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGPIPE,
)  # fmt: skip
DRAIN_LOOK_SECONDS = 0.02
"""How often a draining worker asks whether its last connection is gone."""
TLS_PLUG = "fastproxy._tls"
SISTERS = ("fastproxy._http2",)
"""Extensions that plug into the engine, where they were built."""
EXIT_OK = 0
EXIT_FAILED = 1


class EngineLike(Protocol):
    """What a worker needs of `_core.WorkerEngine` (documented there)."""

    def fileno(self) -> int: ...
    def turn(self) -> bool: ...
    def host(self, loop: Any) -> None: ...
    def plan(self, fd: int) -> int: ...
    def roster(self, fd: int) -> int: ...
    def configure(self, plan: int, roster: int) -> int: ...
    def queue_bells(self, fds: list[int]) -> None: ...
    def listen(self, slot: int, listener: int, fd: int) -> None: ...
    def log_to(self, fd: int) -> None: ...
    def adopt(self) -> None: ...
    def drain(self, seconds: float) -> None: ...
    def drained(self) -> bool: ...
    def connections(self) -> int: ...
    def responder(self, name: str, handler: Callable[[Any], Any]) -> None: ...
    def close(self) -> None: ...


EngineFactory = Callable[[int, int], EngineLike]


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """What a worker inherits. All fds are open in the child already."""

    slot: int
    board_fd: int
    board: Board
    channels: Channels
    plan_fd: int
    roster_fd: int
    sockets: list[tuple[int, int, int]]
    """(slot or -1, listener, fd) of every slot's sockets."""
    log_fd: int
    """Access log; -1: off."""
    drain_seconds: float
    user: str
    group: str
    log: Log
    responders: dict[str, str] = field(default_factory=dict)
    keyring_fd: int = -1
    """-1: no TLS anywhere."""


def run_worker(task: WorkerTask, engine_factory: EngineFactory | None = None) -> int:
    """Serve until told to leave; the exit code. The caller forked, and ends the process with it.

    `engine_factory(slot, board_fd)` makes the engine; the default is the real one.
    """
    ignore_signals()
    own = task.channels.keep_for_child(task.slot)
    try:
        loop = load(task)
        drop_privileges(task.user, task.group)
        worker = Worker(task, own, engine_factory or _core.WorkerEngine, loop)
        worker.prepare()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        task.log.error(f"cannot start: {why}")
        channels.send(own.child, Message("failed", slot=task.slot, text=why))
        channels.ring(task.channels.master_bell)
        return EXIT_FAILED
    return worker.serve()


def ignore_signals() -> None:
    """In every child, first of all."""
    signal.set_wakeup_fd(-1)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def load(task: WorkerTask) -> Any:
    """Import what we need and make the loop, as who we still are: the interpreter may lie where the
    worker's user cannot read (/root). Not imported here: code that is not ours."""
    import asyncio
    import encodings.idna
    import traceback

    import uvloop  # in no case in the master

    if task.keyring_fd >= 0:
        importlib.import_module(TLS_PLUG)
    for name in SISTERS:
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    for place in task.responders.values():
        if place.startswith("fastproxy."):
            importlib.import_module(place.partition(":")[0])
    del asyncio, encodings, traceback  # loaded, for whoever imports them later
    return uvloop.new_event_loop()


class Worker:
    """The loop's side of one engine."""

    def __init__(
        self, task: WorkerTask, own: channels.Channel, make: EngineFactory, loop: Any
    ) -> None:
        self.task = task
        self.board = task.board
        self.bell = task.channels.bells[task.slot]
        self.channel = own.child
        self.loop = loop
        self.engine = make(task.slot, task.board_fd)
        self.tls: Any = None
        """`fastproxy._tls`, if there is TLS."""
        self.drain_seconds = task.drain_seconds
        self.deadline = 0.0
        self.orphan = False

    def prepare(self) -> None:
        """All that may fail: responders, log, plan, roster, keyring, sockets."""
        task, engine = self.task, self.engine
        for name, place in task.responders.items():
            module_name, _, attribute = place.partition(":")
            module: Any = importlib.import_module(module_name)
            if hasattr(module, "board"):
                module.board = task.board  # what admin/status_page.py shows
            engine.responder(name, getattr(module, attribute))
        if isinstance(engine, _core.WorkerEngine):
            for name in SISTERS:
                if name in sys.modules:
                    sys.modules[name].attach(engine)
        if task.log_fd >= 0:
            engine.log_to(task.log_fd)
            os.close(task.log_fd)  # the engine has its own; ours would outlive a rotation
        engine.configure(task.plan_fd, task.roster_fd)
        if task.keyring_fd >= 0:
            self.tls = importlib.import_module(TLS_PLUG)
            self.tls.attach(engine, task.log.debugs)
            self.load_keys(task.keyring_fd)
            os.close(task.keyring_fd)
        engine.queue_bells(task.channels.queue_bells)
        for slot, listener, fd in task.sockets:
            engine.listen(slot, listener, fd)
        os.close(task.plan_fd)
        os.close(task.roster_fd)
        self.loop.set_exception_handler(self.on_exception)
        engine.host(self.loop)
        self.loop.add_reader(engine.fileno(), engine.turn)
        self.loop.add_reader(self.bell, self.on_bell)
        self.loop.add_reader(task.channels.alive, self.on_master_gone)

    def load_keys(self, fd: int) -> None:
        """A keyring. ValueError: what is in force stays in force."""
        for note in self.tls.load(self.engine, contents(fd)):
            self.task.log.warning(note)

    def load_plan(self, fds: list[int]) -> None:
        """Plan, roster, and the keyring if there is one, as a whole. Keys first: those of upstreams
        that are gone are among them, so that they serve the plan before, too."""
        plan, roster, *keyring = fds
        if keyring and self.tls is not None:
            self.load_keys(keyring[0])
        self.engine.configure(plan, roster)
        head = os.pread(plan, pack.size("PlanHeader"), 0)
        self.drain_seconds = pack.read("PlanHeader", head)["settings"]["drain_ms"] / 1000

    def serve(self) -> int:
        """Run the loop to the end."""
        gc.collect()
        gc.freeze()
        self.board.beat(self.task.slot)
        self.board.set_state(self.task.slot, WorkerState.SERVING)
        channels.ring(self.task.channels.master_bell)
        self.on_bell()
        try:
            self.loop.run_forever()
        finally:
            self.engine.close()
        return EXIT_OK

    def on_exception(self, _: Any, context: dict[str, Any]) -> None:
        """A callback or a hook's task raised: said in one line, the worker goes on."""
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error else context.get("message", "?")
        self.task.log.error(f"in the loop: {what}")

    def on_bell(self) -> None:
        """Somebody left reasons at our door."""
        channels.heard(self.bell)
        bits = Ring(self.board.take(self.task.slot))
        if bits & Ring.STOP:
            self.loop.stop()
            return
        if bits & (Ring.PLAN | Ring.ROSTER | Ring.KEYRING | Ring.REOPEN):
            self.read_channel()
        if bits & Ring.ADOPT:
            self.engine.adopt()
        if bits & Ring.DRAIN and not self.deadline:
            self.start_drain()

    def read_channel(self) -> None:
        """Take all that waits in our channel. Something unsound is said and left: what is in force
        stays in force."""
        while True:
            try:
                got = channels.receive(self.channel)
            except EOFError:
                return
            if got is None:
                return
            message, fds = got
            try:
                self.take(message, fds)
            except (OSError, ValueError) as error:
                self.task.log.error(f"{message.kind} refused: {error}")
            finally:
                for fd in fds:
                    os.close(fd)

    def take(self, message: Message, fds: list[int]) -> None:
        if message.kind == "plan":
            self.load_plan(fds)
        elif message.kind == "roster":
            self.engine.roster(fds[0])
        elif message.kind == "keyring" and self.tls is not None:
            self.load_keys(fds[0])
        elif message.kind == "log":
            self.engine.log_to(fds[0])
        elif message.kind == "error_log":
            os.dup2(fds[0], 2)
        elif message.kind == "listener":
            self.engine.listen(message.slot, message.number, os.dup(fds[0]))

    def on_master_gone(self) -> None:
        """End of file on the master's pipe: nobody will hand our sockets to a successor."""
        self.loop.remove_reader(self.task.channels.alive)
        self.orphan = True
        self.task.log.warning("the master is gone: draining")
        if self.deadline:
            self.own_sockets(shut)
        else:
            self.start_drain()

    def start_drain(self) -> None:
        """Accept what is queued; tell the master, who shuts the doors for all. With the master gone
        we shut our own."""
        self.deadline = time.monotonic() + self.drain_seconds
        self.engine.drain(self.drain_seconds)
        self.board.set_state(self.task.slot, WorkerState.DRAINING)
        if self.orphan:
            self.own_sockets(hush)
            self.loop.call_later(HUSH_SECONDS, self.own_sockets, shut)
        else:
            channels.ring(self.task.channels.master_bell)
        self.look_whether_drained()

    def own_sockets(self, treat: Callable[[int], None]) -> None:
        """`hush` or `shut` the sockets that nobody else answers for."""
        for slot, _, fd in self.task.sockets:
            if slot in (self.task.slot, -1) or self.board.state(slot) == WorkerState.GONE:
                treat(fd)

    def look_whether_drained(self) -> None:
        if self.engine.drained():
            self.loop.stop()
        elif time.monotonic() >= self.deadline:
            left = self.engine.connections()
            self.task.log.warning(f"drain time is over with {left} connections open")
            self.loop.stop()
        else:
            self.loop.call_later(DRAIN_LOOK_SECONDS, self.look_whether_drained)
