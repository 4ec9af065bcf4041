# SPDX-License-Identifier: MIT
"""What the hot path may cost in instructions: counted, held against budgets.toml.

    python -m bench.budgets              check all; 1 if something costs over 3% more
    python -m bench.budgets --write      what is counted now becomes the budget
    python -m bench.budgets --only log   of the probes whose name holds "log"
    python -m bench.budgets --where "request small"   where they go, by function

A budget belongs to a compiler (its major version), a kind of machine and a path of the scanner
(FASTPROXY_SIMD); "any" stands for what does not scan. With a compiler that has none yet, the check
shows what another one's say, judges nothing and says so: instructions of two compilers differ by
more than 3%, and a gate that nobody could pass would soon be skipped.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.counting import KINDS, ROOT, CountError, Counts, count, functions

FILE = Path(__file__).with_name("budgets.toml")
TOLERANCE = 0.03
HEADER = """\
# Instructions of one operation, counted by callgrind: [compiler-machine.path]. Written by
# `python -m bench.budgets --write`, held by `make bench-check`: 3% more is refused.
"""


@dataclass(frozen=True)
class Row:
    """One probe against its budget; either may be missing."""

    simd: str
    name: str
    budget: float | None
    now: float | None

    @property
    def change(self) -> float:
        """0.05: 5% more instructions than there may be."""
        return self.now / self.budget - 1 if self.budget and self.now is not None else 0.0

    @property
    def verdict(self) -> str:
        """What is wrong or worth saying; "" if it is as it was."""
        if self.budget is None:
            return "NO BUDGET: python -m bench.budgets --write"
        if self.now is None:
            return "GONE: python -m bench.budgets --write"
        if self.change > TOLERANCE:
            return "OVER BUDGET"
        return "lower the budget" if self.change < -TOLERANCE else ""

    @property
    def fails(self) -> bool:
        return self.verdict[:1].isupper()


def compare(budgets: Counts, counts: Counts) -> list[Row]:
    """A row for each probe of either, in the order counted. A path of the scanner that was not
    counted at all is not judged: this CPU does not have it."""
    rows = [
        Row(simd, name, budgets.get(simd, {}).get(name), now)
        for simd, probes in counts.items()
        for name, now in probes.items()
    ]
    for simd in counts:
        gone = budgets.get(simd, {}).keys() - counts[simd].keys()
        rows += [Row(simd, name, budgets[simd][name], None) for name in sorted(gone)]
    return rows


def table(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [f"{'path':6}{'probe':34}{'budget':>11}{'now':>11}{'change':>9}"]
    for row in rows:
        budget = "-" if row.budget is None else f"{row.budget:,.1f}"
        now = "-" if row.now is None else f"{row.now:,.1f}"
        change = f"{row.change:+.1%}" if row.budget and row.now is not None else ""
        line = f"{row.simd:6}{row.name:34}{budget:>11}{now:>11}{change:>9}  {row.verdict}"
        lines.append(line.rstrip())
    return "\n".join(lines)


# ---- the file -------------------------------------------------------------------------------


def read(file: Path) -> dict[str, Any]:
    """{key: {"written_with": text, path: {probe: instructions}}}"""
    return tomllib.loads(file.read_text()) if file.exists() else {}


def write(key: str, written_with: str, counts: Counts, file: Path) -> None:
    """Replace what stands under `key`; the rest stays."""
    kept = read(file) | {key: {"written_with": written_with, **counts}}
    text = HEADER
    for name in sorted(kept):
        paths = dict(kept[name])
        text += f'\n["{name}"]\nwritten_with = "{paths.pop("written_with")}"\n'
        for path, probes in paths.items():
            text += f'\n["{name}".{path}]\n'
            text += "".join(f'"{probe}" = {number}\n' for probe, number in probes.items())
    file.write_text(text)


def of_key(budgets: dict[str, Any], key: str) -> Counts:
    return {path: value for path, value in budgets[key].items() if path != "written_with"}


def nearest(budgets: dict[str, Any], key: str) -> str:
    """The key that is most like `key`: same machine, same compiler, nearest version. "" if there
    is none of this machine."""
    compiler, version, machine = key.split("-", 2)

    def distance(other: str) -> tuple[bool, int]:
        its_compiler, its_version, _ = other.split("-", 2)
        return its_compiler != compiler, abs(int(its_version) - int(version))

    same = [other for other in budgets if other.split("-", 2)[2] == machine]
    return min(same, key=distance, default="")


# ---- the command ----------------------------------------------------------------------------


def built() -> tuple[str, str]:
    """(key, all that may explain a difference) of the extension as it is built here."""
    from fastproxy import _probe

    compiler, whole, debug = _probe.built()
    if debug:
        raise CountError("this is a debug build, which costs more: make build")
    cython = re.search(r"Generated by Cython (\S+)", (ROOT / "fastproxy/_core.c").read_text())
    with_what = f"{compiler.split('-')[0]} {whole}, Cython {cython[1] if cython else '?'}"
    return f"{compiler}-{platform.machine()}", f"{with_what}, {' '.join(platform.libc_ver())}"


def check(budgets: dict[str, Any], key: str, counts: Counts, only: str = "") -> tuple[int, str]:
    """(exit code, what to print)."""
    known = key if key in budgets else nearest(budgets, key)
    wanted = of_key(budgets, known) if known else {}
    wanted = {path: {n: v for n, v in all_.items() if only in n} for path, all_ in wanted.items()}
    rows = compare(wanted, counts)
    text = table(rows)
    for path in wanted.keys() - counts.keys():
        if wanted[path]:
            text += f"\nnot checked: {path}, which this CPU does not have"
    if known != key:
        return 0, (
            f"{text}\nNOTHING IS JUDGED: {key} is not in {FILE.name}"
            + (f"; the budgets shown are those of {known}" if known else "")
            + "\npython -m bench.budgets --write adds it"
        )
    failed = [row for row in rows if row.fails]
    if failed:
        return 1, f"{text}\n\n{len(failed)} of {len(rows)} do not keep their budget:\n" + (
            table(failed)
        )
    return 0, f"{text}\n{len(rows)} budgets kept"


def where(only: str) -> str:
    """Functions of the first whole request whose name holds `only`, by their own instructions."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-where-") as folder:
        counts = count("whole", only, Path(folder))
        if not counts:
            known = {
                n
                for key in read(FILE)
                for probes in of_key(read(FILE), key).values()
                for n in probes
                if n.startswith("request")
            }
            raise CountError(f"no whole request's name holds {only!r}: {'; '.join(sorted(known))}")
        found = functions([Path(folder) / f"callgrind.{part}" for part in (1, 2, 3)])
    each = next((n for probes in counts.values() for n in probes.values()), 0.0)
    whole = sum(found.values())
    lines = [f"{'each':>9}{'share':>7}  function"]
    for name, own in sorted(found.items(), key=lambda pair: -pair[1]):
        if own > whole / 1000:
            short = re.sub(r"^__pyx_f_9fastproxy_(\d+_core_)?", "", name)
            lines.append(f"{own / whole * each:9,.1f}{own / whole:7.1%}  {short}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.budgets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="make what is counted the budget")
    parser.add_argument("--only", default="", metavar="TEXT", help="probes whose name holds it")
    parser.add_argument(
        "--where", default="", metavar="TEXT", help="show the functions of a whole request"
    )
    given = parser.parse_args(arguments)
    if given.write and given.only:
        parser.error("--write takes all probes, so --only cannot be with it")
    try:
        if given.where:
            print(where(given.where))
            return 0
        key, with_what = built()
        counts: Counts = {}
        for kind in KINDS:
            for path, probes in count(kind, given.only).items():
                counts.setdefault(path, {}).update(probes)
        if given.write:
            write(key, with_what, counts, FILE)
            print(f"{sum(map(len, counts.values()))} budgets of {key} written to {FILE.name}")
            return 0
        code, text = check(read(FILE), key, counts, given.only)
        print(text)
        return code
    except CountError as error:
        print(f"bench.budgets: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
