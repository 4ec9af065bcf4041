# SPDX-License-Identifier: MIT
"""Instructions of one operation, counted by callgrind: the same figure at every run.

A child (bench/counted.py) under `valgrind --tool=callgrind` runs each probe n times and 2n times,
with a mark between, at which callgrind writes down what it has counted and begins anew. The
difference of the two, divided by n, is what one operation takes: start-up, the call from Python and
whatever comes once cancel exactly.

Of whole requests only what happens inside `engine_turn` is counted (--toggle-collect): neither the
clients and backends in the same process, nor the log's writer thread, nor the kernel.

The C library would choose its memcpy by the CPU; it is told to take the one every x86-64 has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "fastproxy_count_mark"
TURN = "__pyx_f_9fastproxy_5_core_engine_turn"
SECONDS_MAX = 300
"""Of one child; it takes about ten on an idle machine."""
PLAIN_LIBC = "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM"
KINDS = {"rooms": [], "whole": [f"--toggle-collect={TURN}"]}

NAME = re.compile(r"(c?fn)=\((\d+)\)(?: (.*))?$")
COST_LINES = set("0123456789+-*")

Counts = dict[str, dict[str, float]]
"""SIMD path ("any" for what does not scan) -> probe -> instructions of one operation."""


class CountError(Exception):
    """It cannot be counted here; the text says why and what to do."""


def count(kind: str, only: str = "", keep: Path | None = None) -> Counts:
    """Count all probes of a kind whose name holds `only`. `keep`: where callgrind's files stay."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        raise CountError("no valgrind: ci/install-deps test-servers installs it")
    with tempfile.TemporaryDirectory(prefix="fastproxy-count-") as folder:
        out = (keep or Path(folder)) / "callgrind"
        # fmt: off
        command = [
            valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", f"--dump-before={MARK}",
            "--error-exitcode=0", *KINDS[kind],
            sys.executable, "-m", "bench.counted", kind, only,
        ]
        # fmt: on
        environ = os.environ | {"GLIBC_TUNABLES": PLAIN_LIBC, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
            timeout=SECONDS_MAX,
        )  # fmt: skip
        if done.returncode != 0:
            raise CountError(f"the counted program failed:\n{done.stderr[-3000:]}")
        return worked_out(json.loads(done.stdout), out)


def worked_out(steps: list[tuple[str, str, int]], out: Path) -> Counts:
    """What the child says it did, (SIMD path, probe, n) in order, and callgrind's files: three
    marks a probe, before, between and after its two runs."""
    found: Counts = {}
    for at, (simd, name, rounds) in enumerate(steps):
        once, twice = (total(Path(f"{out}.{3 * at + which}")) for which in (2, 3))
        found.setdefault(simd or "any", {})[name] = round((twice - once) / rounds, 1)
    return found


def total(file: Path) -> int:
    """All instructions of one of callgrind's files."""
    match = re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE)
    if not match:
        raise CountError(f"{file.name} holds no total: was {MARK} called?")
    return int(match[1])


def functions(files: list[Path]) -> dict[str, int]:
    """Instructions in each function's own code, of the last of `files`: callgrind's parts in
    order, since a name is spelt out only where it comes first."""
    names: dict[str, str] = {}
    found: dict[str, int] = {}
    for file in files:
        found = {}
        name, of_callee = "", False
        for line in file.read_text().splitlines():
            if match := NAME.match(line):
                kind, number, spelt = match.groups()
                if spelt:
                    names[number] = spelt
                if kind == "fn":
                    name = names[number]
            elif line.startswith("calls="):
                of_callee = True
            elif line[:1] in COST_LINES and line.count(" ") == 1:
                if not of_callee:
                    found[name] = found.get(name, 0) + int(line.split(" ")[1])
                of_callee = False
    return found
