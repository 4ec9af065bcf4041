"""Seeds of a fuzzer: the tables' bytes with faults, and frames at random, from fixed seeds.

Nothing is expected but what always holds: the worker lives, the server's own frames stay well
formed (tests/h2/client.py), the origin gets nothing malformed, and others are served.
"""

from __future__ import annotations

import random

import pytest

from tests.h2 import frames as h2
from tests.h2.subject import KINDS, Subject
from tests.h2.test_frames import CASES, forwarded

ROUNDS = 60
WHOLE = [case.send for case in CASES if isinstance(case.send, bytes) and case.hello is not None]


def mutated(dice: random.Random, octets: bytes) -> bytes:
    """One to four faults: a byte changed, taken, doubled, or the rest cut off."""
    out = bytearray(octets)
    for _ in range(dice.randint(1, 4)):
        if not out:
            break
        at = dice.randrange(len(out))
        match dice.randrange(4):
            case 0:
                out[at] ^= 1 << dice.randrange(8)
            case 1:
                del out[at]
            case 2:
                out.insert(at, dice.choice((0, 10, 13, 58, 127, 255, out[at])))
            case _:
                out[at] = dice.randrange(256)
    return bytes(out[: dice.randint(1, len(out))] if out and dice.random() < 0.1 else out)


def some_frame(dice: random.Random) -> bytes:
    """Any type, mostly on a low stream, the payload a field block, a few bytes or none."""
    payload = dice.choice(
        (
            b"",
            dice.randbytes(dice.randrange(1, 20)),
            h2.block(*h2.fields()),
            h2.u32(dice.choice((0, 1, h2.BIGGEST, dice.randrange(1 << 32)))),
            h2.values((dice.randrange(9), dice.choice((0, 1, 16384, 65535, 1 << 31)))),
        )
    )
    stream = dice.choice((0, 1, 1, 1, 3, 3, 5, 2, h2.BIGGEST))
    return h2.frame(dice.randrange(11), dice.choice((0, 1, 4, 5, 8, 13, 37)), stream, payload)


def converse(subject: Subject, kind: str, octets: bytes) -> None:
    with subject.client(kind) as client:
        client.send(octets)
        client.sync(0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_cases_with_faults(subject: Subject, seed: int, kind: str) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        converse(subject, kind, mutated(dice, dice.choice(WHOLE)))
    forwarded(subject, subject.bystander(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_frames_at_random(subject: Subject, seed: int, kind: str) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        converse(subject, kind, b"".join(some_frame(dice) for _ in range(dice.randint(1, 12))))
    forwarded(subject, subject.bystander(kind))
