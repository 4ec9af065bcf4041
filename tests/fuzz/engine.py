"""A small mutation fuzzer.

A target is a file `tests/fuzz/fuzz_NAME.py` with

    def run(data: bytes) -> object      raises on anything that must not be (a difference from
                                        a twin, a broken invariant). It may return a hashable
                                        that says what kind of outcome it was: an input with a
                                        new kind becomes a seed.
    DICTIONARY: list[bytes]             optional: pieces worth putting in
    LENGTH_MAX: int                     optional: longer inputs are cut

and a folder `tests/fuzz/corpus/NAME/` of seeds. Each target runs in a child process that notes its
input in shared memory before trying it, so an input that crashes or hangs the child is known too.
"""

from __future__ import annotations

import hashlib
import importlib
import mmap
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
INPUT_MAX = 65536
POOL_MAX = 4000
# Longer inputs do not become seeds: they are slow, and what they show a short one shows too.
SEED_BYTES_MAX = 2048
# One input may take this long; the twins need microseconds.
HANG_SECONDS = 10
INTERESTING = [b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x7f", b"\x80", b"\xff", b"", b"0"]


@dataclass
class Result:
    target: str
    executions: int
    seeds: int
    failure: Path | None = None
    why: str = ""


def targets() -> list[str]:
    """Names of all targets, in order."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def load(target: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.fuzz_{target}")


def corpus(target: str) -> list[bytes]:
    """The seeds; a target without any is an error."""
    folder = HERE / "corpus" / target
    seeds = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    if not seeds:
        raise FileNotFoundError(f"no seeds in {folder}")
    return seeds


class Mutator:
    """Makes inputs from inputs. All chance comes from one seeded generator."""

    def __init__(self, seed: int, dictionary: list[bytes], length_max: int) -> None:
        self.random = random.Random(seed)
        self.dictionary = [*INTERESTING, *dictionary]
        self.length_max = min(length_max, INPUT_MAX)

    def mutate(self, pool: list[bytes]) -> bytes:
        data = self.random.choice(pool)
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
            data = self._once(data, pool)
        return data[: self.length_max]

    def _once(self, data: bytes, pool: list[bytes]) -> bytes:
        r = self.random
        a = r.randint(0, len(data))
        b = min(len(data), a + r.choice((0, 1, 1, 2, 4, 8, 16, 64)))
        kind = r.randrange(8)
        if kind == 0:  # put a piece in
            return data[:a] + r.choice(self.dictionary) + data[a:]
        if kind == 1:  # put a piece in the place of another
            return data[:a] + r.choice(self.dictionary) + data[b:]
        if kind == 2:  # take out
            return data[:a] + data[b:]
        if kind == 3:  # repeat, seldom often
            return data[:a] + data[a:b] * r.choice((2, 2, 3, 8, 300)) + data[b:]
        if kind == 4:  # flip a bit
            return (
                data[:a] + bytes(c ^ 1 << r.randrange(8) for c in data[a : a + 1]) + data[a + 1 :]
            )
        if kind == 5:  # any byte
            return data[:a] + bytes([r.randrange(256)]) + data[a + 1 :]
        other = r.choice(pool)
        c = r.randint(0, len(other))
        if kind == 6:  # go on as another
            return data[:a] + other[c:]
        return data[:a] + other[c : c + 24] + data[b:]  # borrow from another


class Notebook:
    """Shared memory: the input being tried, and how many were."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, INPUT_MAX + 16)

    def note(self, data: bytes, executions: int) -> None:
        self.memory[16 : 16 + len(data)] = data
        self.memory[:16] = len(data).to_bytes(8, "little") + executions.to_bytes(8, "little")

    def read(self) -> tuple[bytes, int]:
        length = int.from_bytes(self.memory[:8], "little")
        return self.memory[16 : 16 + length], int.from_bytes(self.memory[8:16], "little")


def _fails(run: Callable[[bytes], object], data: bytes) -> bool:
    try:
        run(data)
    except Exception:
        return True
    return False


def shrink(run: Callable[[bytes], object], data: bytes, seconds: float = 5) -> bytes:
    """A shorter input that still raises: blocks are taken out while that is so."""
    until = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while size and time.monotonic() < until:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if _fails(run, shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _child(
    module: ModuleType, seeds: list[bytes], seconds: float, seed: int, book: Notebook
) -> int:
    """Runs until the time is over (0) or an input raises (1)."""
    dictionary = getattr(module, "DICTIONARY", [])
    mutator = Mutator(seed, dictionary, getattr(module, "LENGTH_MAX", INPUT_MAX))
    pool = list(seeds)
    kinds: set[object] = set()
    executions = 0
    until = time.monotonic() + seconds
    waiting = list(seeds)
    while waiting or time.monotonic() < until:
        data = waiting.pop() if waiting else mutator.mutate(pool)
        executions += 1
        book.note(data, executions)
        signal.alarm(HANG_SECONDS)
        try:
            kind = module.run(data)
        except Exception:
            traceback.print_exc()
            smaller = shrink(module.run, data)
            book.note(smaller, executions)
            return 1
        is_new = kind is not None and kind not in kinds
        if is_new and len(pool) < POOL_MAX and len(data) <= SEED_BYTES_MAX:
            kinds.add(kind)
            pool.append(data)
    signal.alarm(0)
    return 0


def fuzz(target: str, seconds: float, seed: int, failures: Path) -> Result:
    """Fuzz one target for about `seconds`; a failing input is written below `failures`."""
    module, seeds, book = load(target), corpus(target), Notebook()
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            code = _child(module, seeds, seconds, seed, book)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    data, executions = book.read()
    result = Result(target, executions, len(seeds))
    if status == 0:
        return result
    code = os.waitstatus_to_exitcode(status)
    result.why = "raised" if code > 0 else f"killed by {signal.Signals(-code).name}"
    failures.mkdir(parents=True, exist_ok=True)
    result.failure = failures / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    result.failure.write_bytes(data)
    return result
