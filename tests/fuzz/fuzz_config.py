"""Fuzz target: any bytes as a configuration file end in a configuration or in ConfigError.

    from tests.fuzz.fuzz_config import run
    run(b"...")                                  one input
    python -m tests.fuzz.fuzz_config [SECONDS]   neighbours of the corpus, as bytes and as tables

The first byte's low bits choose the kind of file. A sound configuration is compiled, packed and
dumped too: what passes the check must never fail later.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from fastproxy.config import dump, plan
from fastproxy.config.check import check
from fastproxy.config.load import Document, from_data, parse
from fastproxy.errors import Problem
from fastproxy.start import handover

CORPUS = Path(__file__).parent / "corpus" / "config"
KINDS = ("toml", "yaml", "json")
WORDS = [
    b"[[routes]]\n", b"[upstreams.a]\n", b'backends = ["http://a"]\n', b'upstream = "a"\n', b"= ",
    b'"', b"'", b"[", b"]", b"{", b"}", b"\n", b"#", b"~ (", b"{host}", b"{{", b"${env:X}", b"- ",
    b": ", b"&a ", b"*a ", b"\\u0000", b"\xff", b"9999999999999999999", b"-1", b"1e999", b"nan",
    b"true", b"null", b"weight", b"timeouts", b"limits", b"off", b"10s", b"*.x", b"path = ",
]  # fmt: skip


def run(data: bytes) -> None:
    """Raises only if something is wrong with us."""
    kind = KINDS[data[0] % len(KINDS)] if data else "toml"
    parsed = parse(data[1:], kind, "fuzz")
    if isinstance(parsed, Problem):
        assert str(parsed).isprintable()
        return
    source, table = parsed
    table.pop("include", None)
    document: Document = from_data(table)
    document.sources.append(source)
    assert tomllib.loads(dump.toml(table)) is not None
    checked = check(document)
    for problem in [*checked.errors, *checked.warnings]:
        assert str(problem).isprintable(), problem
        assert problem.file == "fuzz"
    assert (checked.config is None) == bool(checked.errors)
    if checked.config is not None:
        compiled = plan.compile_plan(checked.config, 1, checked.stages)
        assert compiled == plan.compile_plan(checked.config, 1)
        handover(checked.config)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A neighbour: some bytes, words or lines changed, doubled, moved or lost."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        to = min(len(changed), at + chance.randint(0, 12))
        verb = chance.randrange(5)
        if verb == 0:
            changed[at:to] = chance.choice(WORDS)
        elif verb == 1:
            changed[at:at] = chance.choice(WORDS)
        elif verb == 2:
            del changed[at:to]
        elif verb == 3:
            changed[at:at] = changed[at:to]
        elif changed:
            changed[at % len(changed)] = chance.randrange(256)
    return bytes(changed)


VALUES: list[Any] = [
    0, 1, -1, 128, 1 << 40, 10**30, 1.5, float("inf"), float("nan"), True, False, None, "", "x",
    "auto", "off", "10s", "64k", ":80", "unix:/tmp/x", "http://a", "http://[::1]:1", "*.x", "~ (a",
    "~ ^/(?<n>.)$", "/{id}/", "/{rest...}", "= /", "//", "{host}", "{param:id}", "{{", "{", "$1",
    "a\u0000b", "\ud800", "\u202e", "pass", "fixed:x", "10.0.0.0/8", "x" * 3000, [], {}, [[]],
    [{}], {"": ""}, ["a", "a"], {"url": "http://a"}, {"a": {"backends": ["http://b"]}},
]  # fmt: skip


def reshape(data: bytes, chance: random.Random) -> bytes:
    """A neighbour with sound syntax: values of the parsed table replaced, lost or doubled."""
    parsed = parse(data[1:], KINDS[data[0] % len(KINDS)], "seed") if data else Problem("", "")
    if isinstance(parsed, Problem):
        return mutate(data, chance)
    table = parsed[1]
    for _ in range(chance.randint(1, 4)):
        inside: Any = table
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(inside[key], (dict, list)) and chance.random() < 0.8:
                inside = inside[key]
                continue
            verb = chance.randrange(4)
            if verb == 0:
                del inside[key]
            elif verb == 1 and isinstance(inside, list):
                inside.append(inside[key])
            elif verb == 1:
                inside[chance.choice([*keys, "x", "weight", "timeouts"])] = inside[key]
            else:
                inside[key] = copy.deepcopy(chance.choice(VALUES))
            break
    return b"\x02" + json.dumps(table).encode()


def seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    chance = random.Random(time.time_ns())
    pool = seeds()
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = chance.choice((mutate, reshape))(chance.choice(pool), chance)
        try:
            run(data)
        except BaseException:
            Path("crash-config").write_bytes(data)
            print(f"crash-config written after {count} inputs", file=sys.stderr)
            raise
        count += 1
    print(f"config: {count} inputs, no fault")


if __name__ == "__main__":
    main()
