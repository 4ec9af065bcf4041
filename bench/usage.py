# SPDX-License-Identifier: MIT
"""What processes have used, from /proc: CPU time, memory, context switches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class Usage:
    """What a family of processes has used so far."""

    user: float = 0.0
    """CPU seconds."""
    system: float = 0.0
    switches: int = 0
    """Voluntary context switches: it waited for something."""
    preempted: int = 0
    """Involuntary ones: somebody else got its CPU."""

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.user - other.user,
            self.system - other.system,
            self.switches - other.switches,
            self.preempted - other.preempted,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    rss: int
    pss: int
    """Shared pages are divided among those who share."""


def family(pid: int) -> list[int]:
    """This pid and those of its descendants, now."""
    pids = [pid]
    for one in pids:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except GONE:
            continue
    return pids


def usage(pids: Sequence[int]) -> Usage:
    """Of these processes, all their threads included. What has ended is not in it: the proxies here
    keep theirs."""
    user = system = switches = preempted = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            system += int(fields[12])
            for task in Path(f"/proc/{pid}/task").iterdir():
                found = dict(_lines(task / "status"))
                switches += int(found["voluntary_ctxt_switches"])
                preempted += int(found["nonvoluntary_ctxt_switches"])
        except GONE:
            continue
    return Usage(user / TICKS, system / TICKS, switches, preempted)


def titled(pids: Sequence[int], title: str) -> list[int]:
    """Those of them that call themselves so (setproctitle)."""
    found = []
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
        except GONE:
            continue
        if name.startswith(title.encode()):
            found.append(pid)
    return found


def memory(pids: Sequence[int]) -> Memory:
    """Of these processes."""
    rss = pss = 0
    for pid in pids:
        try:
            found = dict(_lines(Path(f"/proc/{pid}/smaps_rollup")))
            rss += _bytes(found["Rss"])
            pss += _bytes(found["Pss"])
        except GONE:
            continue
    return Memory(rss, pss)


def busy_seconds(cpus: Sequence[int]) -> float:
    """How long these CPUs have worked, for whomever."""
    names = {f"cpu{one}" for one in cpus}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] in names:
            user, nice, system, _, _, hard, soft = (int(one) for one in words[1:8])
            ticks += user + nice + system + hard + soft
    return ticks / TICKS


def alive(pid: int) -> bool:
    """Not ended; who is only waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except GONE:
        return False


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value


def _bytes(value: str) -> int:
    return int(value.split()[0]) * 1024
