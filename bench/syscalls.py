# SPDX-License-Identifier: MIT
"""System calls of a proxy, counted by perf: a tracepoint costs little, strace would distort."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.processes import Processes

EVENT = "raw_syscalls:sys_enter"
SECONDS = 10.0


def why_not() -> str:
    """Why they cannot be counted here; empty: they can."""
    perf = shutil.which("perf")
    if not perf:
        return "system calls are not counted: no perf (sudo apt-get install linux-perf)"
    done = subprocess.run(
        [perf, "stat", "-e", EVENT, "true"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and "<not" not in done.stderr:
        return ""
    return "system calls are not counted: perf may not (run as root, or kernel.perf_event_paranoid)"


def count(
    processes: Processes, pids: Sequence[int], where: Sequence[int], run: Callable[[], object]
) -> int | None:
    """Of these processes while `run` runs. None: perf did not tell."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-perf-") as name:
        output, ready = Path(name) / "output", Path(name) / "ready"
        os.mkfifo(ready)
        command = [
            "perf", "stat", "-x", ";", "-e", EVENT, "-o", str(output),
            "-p", ",".join(str(one) for one in pids),
            "--", "sh", "-c", f"echo > '{ready}'; exec sleep 600",
        ]  # fmt: skip
        child = processes.start(command, where, Path(name) / "log")
        try:
            with ready.open("rb") as pipe:  # it counts from here on
                pipe.read(1)
            run()
            os.killpg(child.pid, signal.SIGINT)  # perf ends with the command that it waits for
            child.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            processes.stop(child)
        for line in output.read_text().splitlines():
            words = line.split(";")
            if EVENT in words and words[0].isdigit():
                return int(words[0])
    return None
