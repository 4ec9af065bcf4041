# SPDX-License-Identifier: MIT
"""Processes of a run: started on their CPU, their CPU time read, and stopped, whatever happens.

Each child leads a session of its own, so it and all it forks are one process group. A *guard*
process knows those groups and holds the reading end of a pipe: when the harness ends in any way,
kill -9 included, the guard sees the end of the pipe and kills what is left. Ctrl-C in the terminal
reaches the harness alone, which stops everything in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, Self

from bench.usage import Memory, Usage, alive, family, memory, usage

STOP_SECONDS = 5.0
GUARD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    sign, number = line[0], int(line[1:])
    groups.add(number) if sign == "+" else groups.discard(number)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class StartError(Exception):
    """A program that did not come up; the text holds what it said."""


@dataclass(frozen=True)
class Places:
    """Which CPUs each part of a scenario may use."""

    load: tuple[int, ...]
    origin: tuple[int, ...]
    proxy: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether proxy and load compete: CPU figures hold, rates and latencies less."""
        return bool(set(self.proxy) & {*self.load, *self.origin})


def cpus() -> list[int]:
    """CPUs this process may use."""
    return sorted(os.sched_getaffinity(0))


def places(workers: int) -> Places:
    """The last CPUs for the proxy, one for each worker; the first for the load, the second for the
    origin, which share one where there are few. Where there are fewer still, all share all."""
    all_ = tuple(cpus())
    left = all_[: len(all_) - workers]
    if not left:
        return Places(all_, all_, all_)
    return Places(left[:1], left[1:2] or left[:1], all_[len(left) :])


def pinned(where: Sequence[int], command: Sequence[str]) -> list[str]:
    """The command on those CPUs."""
    return ["taskset", "-c", ",".join(str(one) for one in where), *command]


class Guard:
    """See above."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", GUARD],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def tell(self, sign: str, group: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{sign}{group}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Processes:
    """All children of one run. Leaving it stops them."""

    def __init__(self) -> None:
        self.guard = Guard()
        self.children: list[Child] = []

    def start(
        self, command: Sequence[str], where: Sequence[int], log: Path, output: int | None = None
    ) -> Child:
        """`command` on the CPUs `where`; what it says goes to `log` (its standard output to
        `output`, if given, such as PIPE)."""
        with log.open("ab") as errors:
            process = subprocess.Popen(
                pinned(where, command),
                stdin=subprocess.DEVNULL,
                stdout=errors if output is None else output,
                stderr=errors,
                start_new_session=True,
            )
        self.guard.tell("+", process.pid)
        child = Child(Path(command[0]).name, process, log)
        self.children.append(child)
        return child

    def stop(self, child: Child) -> None:
        child.stop()
        self.guard.tell("-", child.pid)
        self.children.remove(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(list(self.children)):
            self.stop(child)
        self.guard.close()


class Child:
    """One started program and what it forked."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout
        return self.process.stdout

    def said(self) -> str:
        return self.log.read_text(errors="replace").strip()

    def check(self) -> None:
        """StartError if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise StartError(f"{self.name} ended with {code}:\n{self.said()}")

    def family(self) -> list[int]:
        """Its pid and those of its descendants, now."""
        return family(self.pid)

    def usage(self) -> Usage:
        """What the family has used so far."""
        return usage(self.family())

    def memory(self) -> Memory:
        """Of the family."""
        return memory(self.family())

    def stop(self) -> None:
        """Kill the group and whoever left it: nothing here has anything to lose, and some take
        seconds to go when asked."""
        family = self.family()
        for kill, number in ((os.killpg, self.pid), *((os.kill, pid) for pid in family[1:])):
            try:
                kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        end = time.monotonic() + STOP_SECONDS
        while any(alive(pid) for pid in family[1:]) and time.monotonic() < end:
            time.sleep(0.005)
        if self.process.stdout:
            self.process.stdout.close()


def interrupt(number: int, _: FrameType | None) -> NoReturn:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: everything is stopped on the way out."""
    raise KeyboardInterrupt(signal.Signals(number).name)
