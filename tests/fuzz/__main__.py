"""`python -m tests.fuzz [--seconds N] [--seed N] [target...]`: fuzz all or some targets.

Bounded: N seconds a target (FUZZ_SECONDS, else 20). Prints the seed, so that a run can be
repeated. A failing input is written to build/fuzz/ and the exit status is 1; `--try FILE target`
runs one input again.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.fuzz import engine

FAILURES = Path("build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", 20)))
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--try", dest="input", type=Path, help="run this one input and stop")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(engine.targets()))
    options = parser.parse_args()
    wanted = options.targets or engine.targets()
    if unknown := set(wanted) - set(engine.targets()):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.input:
        for target in wanted:
            print(target, engine.load(target).run(options.input.read_bytes()))
        return 0
    failed = 0
    print(f"seed {options.seed}")
    for target in wanted:
        result = engine.fuzz(target, options.seconds, options.seed, FAILURES)
        line = f"{target}: {result.executions} inputs from {result.seeds} seeds"
        if result.failure:
            failed += 1
            line += f", {result.why}: python -m tests.fuzz --try {result.failure} {target}"
        print(line, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
