# SPDX-License-Identifier: MIT
"""The master: small, synchronous, boring.

It binds every socket, makes the scoreboard and the channels, forks control and the workers, and
then sleeps in one `poll` on three things: its signal pipe, its bell, its children's pidfds. Signals
only set names in `flags`; the loop acts on them. It serves nobody and parses nothing that came over
a network, so it has no reason to die.

    python -m fastproxy.process.master --handover FD        (see handover.py; not for typing)

Exit codes: 0 stopped as asked, 1 no worker ever came up or the settings cannot be used, 2 usage,
3 a listener cannot be had, 130 cut short by a second SIGINT.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time

import msgspec
from setproctitle import setproctitle

from fastproxy import __version__
from fastproxy.process import channels, sockets
from fastproxy.process.channels import Channels, Message
from fastproxy.process.files import LogFiles, PidFile
from fastproxy.process.handover import Handover, ListenerSpec, receive
from fastproxy.process.kept import Kept
from fastproxy.process.log import Log
from fastproxy.process.place import PlaceError, default_control_socket, private_directory
from fastproxy.process.rights import check_user, raise_file_limit
from fastproxy.process.seat import CONTROL, Seat
from fastproxy.process.worker import EngineFactory, WorkerTask, ignore_signals, run_worker
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import BEAT_STALE_MS, Ring, WorkerState

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BIND, EXIT_CUT = 0, 1, 2, 3, 130
LOOK_SECONDS = 0.05
"""How often beats are looked at: half of BEAT_STALE_MS."""
DOOR_SECONDS = 1.0
"""On stop, how long the doors stay open for a worker that does not report what it accepted."""
KILL_SECONDS = 1.0
"""After the drain deadline (or a fast stop) what is left is killed this much later."""
NEWS_AT_ONCE = 16
NOT_THERE_YET = {
    "USR2": "upgrade to a new program (sockets handed over, no connection lost)",
    "TTIN": "one more worker",
    "TTOU": "one worker less",
    "WINCH": "draining all workers while the master stays",
}
SIGNALS = ("TERM", "QUIT", "INT", "HUP", "USR1", *NOT_THERE_YET)


class Master:
    """The loop and what it keeps. Made once; `run` gives the exit code."""

    def __init__(self, handover: Handover, engine_factory: EngineFactory | None = None) -> None:
        self.handover = handover
        self.engine_factory = engine_factory
        self.log = Log("master", handover.log_level)
        self.seats = [Seat(n) for n in (CONTROL, *range(handover.workers))]
        self.flags: list[str] = []
        self.phase = "running"
        self.deadline = self.door_deadline = self.hushed = 0.0
        self.doors_shut = self.ever_served = self.said_ready = False
        self.kept = Kept(self)
        self.exit_code = EXIT_OK

    # -- setting up ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Everything before the first fork. BindError, PlaceError, OSError, KeyError."""
        handover = self.handover
        self.catch_signals()
        setproctitle("fastproxy: master")
        raise_file_limit()
        check_user(handover.user, handover.group)
        self.files = LogFiles(handover.access_log, handover.error_log)
        self.listeners = sockets.listen_all(handover.listeners, handover.workers)
        path = handover.control_socket or default_control_socket()
        handover.control_socket = path
        private_directory(path)
        place = ListenerSpec(bind=f"unix:{path}", backlog=64, mode=0o600)
        try:
            self.control_door = sockets.listen_all([place], 1)[0]
        except sockets.BindError as error:
            hint = "another instance may run: give this one --control-socket PATH"
            raise sockets.BindError(f"{error}; {hint}") from error
        self.pid_file = PidFile(handover.pid_file)
        self.board = segment.made(handover.slots, handover.learned_sessions)
        self.channels = Channels(handover.slots)
        self.poll = select.poll()
        for fd in (self.wake, self.channels.master_bell):
            self.poll.register(fd, select.POLLIN)
        names = ", ".join(one.name for one in self.listeners)
        self.log.info(f"fastproxy {__version__}: {handover.workers} workers, listening on {names}")

    def catch_signals(self) -> None:
        """Signals become bytes in a pipe; the handler itself does nothing."""
        self.wake, self.wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.wake_end, warn_on_full_buffer=False)
        for name in SIGNALS:
            signal.signal(getattr(signal, f"SIG{name}"), lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> int:
        """Until everybody is gone."""
        gc.freeze()
        while self.phase != "over":
            self.respawn()
            for fd, _ in self.poll.poll(self.sleep_ms()):
                if fd == self.wake:
                    self.read_signals()
                elif fd == self.channels.master_bell:
                    channels.heard(fd)
                else:
                    self.reap(fd)
            self.read_news()
            self.act()
            self.look_at_beats()
            self.kept.send()
            if self.phase != "running":
                self.step_stop()
        self.clean_up()
        return self.exit_code

    def sleep_ms(self) -> int:
        """Until something is due by itself; signals, news and deaths wake us anyway."""
        if self.phase != "running" or self.kept.unsent or len(self.seats) > 2:
            return int(LOOK_SECONDS * 1000)
        waits = [seat.due - time.monotonic() for seat in self.seats if not seat.pid]
        return max(0, min([1000, *(int(wait * 1000) + 1 for wait in waits)]))

    def read_signals(self) -> None:
        try:
            numbers = os.read(self.wake, 512)
        except BlockingIOError:
            return
        self.flags += [signal.Signals(number).name.removeprefix("SIG") for number in numbers]

    def act(self) -> None:
        """Do what the flags say, in the order they came."""
        flags, self.flags = self.flags, []
        for name in flags:
            if name in ("TERM", "QUIT"):
                self.begin_stop(f"SIG{name}")
            elif name == "INT" and self.phase == "running":
                self.begin_stop("SIGINT")
            elif name == "INT":
                self.stop_fast()
            elif name == "HUP":
                self.kept.for_control("reload")
            elif name == "USR1":
                self.reopen_logs()
            elif name in NOT_THERE_YET:
                self.log.warning(f"SIG{name} caught; not there yet: {NOT_THERE_YET[name]}")

    # -- children -----------------------------------------------------------------------------

    def respawn(self) -> None:
        """Fork for every empty seat whose time has come. Control first: it is the first seat."""
        if self.phase != "running":
            return
        now = time.monotonic()
        for seat in self.seats:
            if not seat.pid and seat.due <= now:
                self.fork(seat)

    def fork(self, seat: Seat) -> None:
        """Signals are blocked across the fork: one that hit the child before it ignores them would
        write into *our* signal pipe."""
        seat.generation += 1
        seat.served = seat.stale = seat.loud = False
        self.channel_of(seat).forget()
        if seat.number != CONTROL:
            self.board.beat(seat.number)
            self.board.set_state(seat.number, WorkerState.STARTING)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self.log.error(f"cannot fork {seat.name}: {error.strerror}")
            seat.wait()
            return
        if pid == 0:
            self.be_child(seat)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        seat.pid, seat.pidfd, seat.born = pid, os.pidfd_open(pid), time.monotonic()
        self.poll.register(seat.pidfd, select.POLLIN)
        if seat.number == CONTROL:
            segment.set_header(self.board, control_pid=pid, control_generation=seat.generation)
        else:
            self.board.begin(seat.number, pid, seat.generation)
        self.log.debug(f"{seat.name} is pid {pid}")

    def be_child(self, seat: Seat) -> None:
        """In the child; never returns."""
        code = EXIT_FAILED
        try:
            ignore_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            setproctitle(f"fastproxy: {seat.name}")
            self.let_go(seat)
            log = self.log.named(seat.name)
            code = self.be_control(log) if seat.number == CONTROL else self.be_worker(seat, log)
        except BaseException as error:
            self.log.named(seat.name).error(f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def let_go(self, seat: Seat) -> None:
        """Close what is the master's alone. Locks above all: a child that held one would keep a
        successor out after the master's death."""
        for other in self.seats:
            if other is not seat and other.pidfd >= 0:
                os.close(other.pidfd)
        os.close(self.wake)
        os.close(self.wake_end)
        for listener in [*self.listeners, self.control_door]:
            if listener.lock:
                listener.lock.close()
            mine = (listener is self.control_door) == (seat.number == CONTROL)
            for one in listener.sockets.values() if not mine else ():
                one.close()

    def be_worker(self, seat: Seat, log: Log) -> int:
        fds = [
            (slot, listener.index, one.fileno())
            for listener in self.listeners
            for slot, one in listener.sockets.items()
        ]
        task = WorkerTask(
            slot=seat.number,
            board_fd=self.board.fd,
            board=self.board,
            channels=self.channels,
            plan_fd=self.handover.plan_fd,
            roster_fd=self.handover.roster_fd,
            keyring_fd=self.handover.keyring_fd,
            sockets=fds,
            log_fd=self.files.access_fd,
            drain_seconds=self.handover.drain_seconds,
            user=self.handover.user,
            group=self.handover.group,
            log=log,
            responders=self.handover.responders,
        )
        return run_worker(task, self.engine_factory)

    def be_control(self, log: Log) -> int:
        from fastproxy.process.control import ControlTask, run_control

        if self.files.access_fd >= 0:
            os.close(self.files.access_fd)
        task = ControlTask(
            handover=self.handover,
            board=self.board,
            channels=self.channels,
            door=self.control_door.sockets[sockets.SHARED],
            listeners=[listener.name for listener in self.listeners],
            log=log,
        )
        return run_control(task)

    def channel_of(self, seat: Seat) -> channels.Channel:
        if seat.number == CONTROL:
            return self.channels.control
        return self.channels.workers[seat.number]

    def reap(self, pidfd: int) -> None:
        """A child is dead: take back what it held, tell the others, think of a successor."""
        seat = next(one for one in self.seats if one.pidfd == pidfd)
        end = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        self.read_news()
        seat.pid, seat.pidfd = 0, -1
        if seat.number != CONTROL:
            self.note_served(seat)
            self.board.reclaim(seat.number)
            self.ring_others(seat, Ring.ADOPT)
        if self.phase != "running":
            return
        status = end.si_status if end is not None else 0
        clean = end is None or end.si_code == os.CLD_EXITED
        how = f"ended with code {status}" if clean else f"was killed by signal {status}"
        why, seat.why = f": {seat.why}" if seat.why else "", ""
        self.log.error(f"{seat.name} {how}{why}")
        seat.wait()
        workers = self.seats[1:]
        if not self.ever_served and not any(one.pid or not one.failures for one in workers):
            self.log.error(f"no worker came up; {seat.name} {how}{why}")
            self.exit_code = EXIT_FAILED
            self.begin_stop("")

    def note_served(self, seat: Seat) -> None:
        """Has this worker come up? Then the others may hand its queue back."""
        state = self.board.state(seat.number)
        if not seat.served and state in (WorkerState.SERVING, WorkerState.DRAINING):
            seat.served = self.ever_served = True
            self.ring_others(seat, Ring.ADOPT)

    def ring_others(self, seat: Seat, bits: Ring) -> None:
        for other in self.seats[1:]:
            if other is not seat and other.pid:
                self.ring(other, bits)

    def ring(self, seat: Seat, bits: Ring) -> None:
        self.board.ring(seat.number, bits)
        channels.ring(self.channels.bells[seat.number])

    def look_at_beats(self) -> None:
        """Who is stuck (an endless loop, SIGSTOP)? The others take its queue until it moves."""
        for seat in self.seats[1:]:
            if not seat.pid:
                continue
            self.note_served(seat)
            if not seat.served and seat.age() > self.handover.start_seconds and not seat.why:
                seat.why = f"it did not come up in {self.handover.start_seconds:g} s"
                signal.pidfd_send_signal(seat.pidfd, signal.SIGKILL)
            age = self.board.beat_age_ms(seat.number) if seat.served else 0
            if (age > BEAT_STALE_MS) != seat.stale:
                seat.stale = not seat.stale
                self.ring_others(seat, Ring.ADOPT)
                if not seat.stale and seat.loud:
                    self.log.info(f"{seat.name} moves again")
                    seat.loud = False
            if age > 1000 and not seat.loud:
                seat.loud = True
                self.log.warning(f"{seat.name} is stuck; the others take over its queue")
        if not self.said_ready and all(seat.served for seat in self.seats[1:]):
            self.said_ready = True
            self.log.info("ready")

    # -- news from children, and to them ----------------------------------------------------------

    def read_news(self) -> None:
        """A few from each: one that talks without end must not hold up the rest."""
        for seat in self.seats:
            for _ in range(NEWS_AT_ONCE):
                got = channels.receive(self.channel_of(seat).parent)
                if got is None:
                    break
                message, fds = got
                try:
                    self.take(seat, message, fds)
                finally:
                    for fd in fds:
                        os.close(fd)

    def take(self, seat: Seat, message: Message, fds: list[int]) -> None:
        """Workers may only say why they failed; the rest is control's."""
        if message.kind == "failed":
            seat.why = message.text[: channels.TEXT_MAX]
        elif seat.number != CONTROL:
            self.log.error(f"{seat.name} may not say {message.kind[:20]!r}")
        elif message.kind == "verb":
            flag = {"stop": "TERM", "quit": "QUIT", "reopen": "USR1"}.get(message.text)
            self.flags += [flag] if flag else []
        else:
            self.kept.take(message, fds)

    def reopen_logs(self) -> None:
        """SIGUSR1: after a rotation. What cannot be opened stays as it was."""
        try:
            reopened = self.files.reopen()
        except OSError as error:
            self.log.error(f"cannot reopen {error.filename}: {error.strerror}; the old one stays")
            return
        for kind in reopened:
            self.kept.for_workers(kind)
            if kind != "log":  # control writes no access log
                self.kept.for_control(kind)
        self.log.info(f"logs reopened: {', '.join(reopened) or 'no files'}")

    # -- leaving ------------------------------------------------------------------------------

    def begin_stop(self, why: str) -> None:
        """Drain: workers accept what is queued, report, and end with their last connection."""
        if self.phase != "running":
            return
        now = time.monotonic()
        self.phase = "draining"
        self.deadline = now + self.handover.drain_seconds
        self.door_deadline = now + DOOR_SECONDS
        self.hushed = now
        for listener in self.listeners:
            listener.hush()
        segment.set_header(self.board, stopping=1)
        if why:
            self.log.info(f"{why}: draining for at most {self.handover.drain_seconds:g} s")
        for seat in self.seats[1:]:
            if seat.pid:
                self.ring(seat, Ring.DRAIN)

    def stop_fast(self) -> None:
        """The second SIGINT: leave now."""
        if self.exit_code == EXIT_OK:
            self.exit_code = EXIT_CUT
        self.log.warning("second SIGINT: connections are cut")
        self.deadline = self.door_deadline = time.monotonic()
        for seat in self.seats[1:]:
            if seat.pid:
                self.ring(seat, Ring.STOP)

    def step_stop(self) -> None:
        """Doors first, then workers, then control."""
        now = time.monotonic()
        alive = [seat for seat in self.seats[1:] if seat.pid]
        if not self.doors_shut:
            inside = [s for s in alive if self.board.state(s.number) != WorkerState.DRAINING]
            quiet = now >= self.hushed + sockets.HUSH_SECONDS
            if (quiet and not inside) or now >= self.door_deadline:
                for listener in self.listeners:
                    listener.shut()
                self.doors_shut = True
        if alive:
            if now >= self.deadline + KILL_SECONDS:
                self.kill(alive)
            return
        control = self.seats[0]
        if self.phase == "draining":
            self.phase = "ending"
            self.deadline = now
            channels.send(self.channels.control.parent, Message("verb", text="stop"))
        if not control.pid:
            self.phase = "over"
        elif now >= self.deadline + KILL_SECONDS:
            self.kill([control])

    def kill(self, seats: list[Seat]) -> None:
        names = ", ".join(seat.name for seat in seats)
        self.log.warning(f"killing what did not leave in time: {names}")
        for seat in seats:
            signal.pidfd_send_signal(seat.pidfd, signal.SIGKILL)
        self.deadline = time.monotonic()

    def clean_up(self) -> None:
        """Leave nothing behind."""
        for listener in [*self.listeners, self.control_door]:
            listener.close()
        self.pid_file.remove()
        self.log.info("stopped")


def main(argv: list[str] | None = None, engine_factory: EngineFactory | None = None) -> int:
    """From the handover to the exit code."""
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 2 or args[0] != "--handover" or not args[1].isdigit():
        print("fastproxy.process.master is started by `fastproxy run`", file=sys.stderr)
        return EXIT_USAGE
    log = Log("master")
    try:
        handover = receive(int(args[1]))
        master = Master(handover, engine_factory)
        master.prepare()
    except (sockets.BindError, PlaceError) as error:
        log.error(str(error))
        return EXIT_BIND
    except KeyError as error:
        log.error(str(error.args[0]))
        return EXIT_FAILED
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        log.error(f"cannot start: {error}")
        return EXIT_FAILED
    return master.run()


if __name__ == "__main__":
    sys.exit(main())
