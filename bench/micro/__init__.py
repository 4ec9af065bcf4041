# SPDX-License-Identifier: MIT
"""Micro benches: what one operation of each room costs, in nanoseconds and in instructions.

    python -m pytest bench/micro                        all rooms, next to httptools and h11
    python -m pytest bench/micro -k "parse or pick"     some
    python -m pytest bench/micro --benchmark-only -k json --benchmark-save=before
    python -m pytest bench/micro --benchmark-only -k json --benchmark-compare=0001
    python -m bench.budgets                             instructions, against bench/budgets.toml

    heads         the messages
    rooms         every room as a probe: the one list for both readings
    whole         whole requests through an engine in this process
    conftest      the clock that shows one operation, the table at the end
    test_rooms    nanoseconds of every probe
    test_peers    the same messages through httptools and h11
    test_board    the scoreboard written by two processes at once

A probe repeats its operation in C and says how long one took, so pytest-benchmark's figures are of
one operation: the call from Python is not in them. `--benchmark-save` and `--benchmark-compare`
(with `--benchmark-compare-fail=min:10%` as a gate of one's own) keep a baseline under
`.benchmarks/`. It is not committed: nanoseconds of another machine, or of this one an hour later,
say little. What is committed is the noise-free twin, bench/budgets.toml.
"""
