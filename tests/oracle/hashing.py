"""Hashed balancing, slow and plain: what the compiled tables and picks must agree with."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

MASK = (1 << 64) - 1
A, B, C, D = 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3
RING_MAX = 1048576
RING_WALK_MAX = 4096
MAGLEV_SIZE = 65537
MAGLEV_ATTEMPTS = 16


def fold(one: int, other: int) -> int:
    product = one * other
    return (product ^ product >> 64) & MASK


def key_hash(key: bytes) -> int:
    seed, left = A, key
    while len(left) > 16:
        seed = fold(int.from_bytes(left[:8], "little") ^ B,
                    int.from_bytes(left[8:16], "little") ^ seed)  # fmt: skip
        left = left[16:]
    first = last = 0
    if len(left) >= 8:
        first, last = int.from_bytes(left[:8], "little"), int.from_bytes(left[-8:], "little")
    elif len(left) >= 4:
        first, last = int.from_bytes(left[:4], "little"), int.from_bytes(left[-4:], "little")
    elif left:
        first = left[0] << 16 | left[len(left) // 2] << 8 | left[-1]
    return fold(B ^ len(key), fold(first ^ B, last ^ seed))


def mix(one: int, other: int) -> int:
    return fold(fold(one ^ A, other ^ B) ^ C, D)


def ring(hashes: Sequence[int], weights: Sequence[int]) -> list[tuple[int, int]]:
    """(place, index) of every point, in order."""
    counts = [160 * weight for weight in weights]
    while sum(counts) > RING_MAX:
        counts = [max(1, count // 2) if count else 0 for count in counts]
    points = [
        (mix(name, number) >> 32, name, index)
        for index, name in enumerate(hashes)
        for number in range(counts[index])
    ]
    return [(place, index) for place, _, index in sorted(points)]


def maglev(hashes: Sequence[int], weights: Sequence[int]) -> list[int]:
    """The paper's population, in rounds; a lighter member has its turns when they are due."""
    most = max(weights, default=0)
    if most == 0:
        return []
    order = sorted((name, index) for index, name in enumerate(hashes) if weights[index])
    permutations = {index: permutation(name) for name, index in order}
    table: dict[int, int] = {}
    taken = dict.fromkeys(range(len(weights)), 0)
    turn = 0
    while True:
        for _, index in order:
            # So many it should have by now: all of the first turn, then its share of each.
            if taken[index] * most > turn * weights[index]:
                continue
            place = next(place for place in permutations[index] if place not in table)
            table[place] = index
            taken[index] += 1
            if len(table) == MAGLEV_SIZE:
                return [table[place] for place in range(MAGLEV_SIZE)]
        turn += 1


def permutation(name: int) -> Iterator[int]:
    """Every entry of the table once, in the order a member likes them."""
    place, skip = mix(name, 0) % MAGLEV_SIZE, mix(name, 1) % (MAGLEV_SIZE - 1) + 1
    for _ in range(MAGLEV_SIZE):
        yield place
        place = (place + skip) % MAGLEV_SIZE


Takes = Callable[[int], bool]
"""May this member have the request?"""


def rendezvous(key: int, hashes: dict[int, int], weights: dict[int, int], takes: Takes) -> int:
    """Highest bid of those that may; -1."""
    bids = {
        index: weights[index] / -math.log(((mix(key, name) >> 11) + 0.5) / (1 << 53))
        for index, name in hashes.items()
        if takes(index)
    }
    return max(bids, key=lambda index: bids[index]) if bids else -1


def ring_walk(points: list[tuple[int, int]], key: int, takes: Takes) -> int:
    """The first point from the key on whose member may; -1: not within the walk."""
    start = bisect.bisect_left(points, (key >> 32, -1))
    for step in range(min(len(points), RING_WALK_MAX)):
        index = points[(start + step) % len(points)][1]
        if takes(index):
            return index
    return -1


def maglev_walk(table: list[int], key: int, takes: Takes) -> int:
    """The key's entry, or that of the key hashed again; -1: not within the attempts."""
    again = key
    for attempt in range(MAGLEV_ATTEMPTS):
        index = table[(again >> 32) * MAGLEV_SIZE >> 32] if table else -1
        if index >= 0 and takes(index):
            return index
        again = mix(key, attempt)
    return -1


def limit(bound_percent: int, requests: int, weight: int, weights: int) -> int:
    """The most a member may have of so many requests."""
    return math.ceil(Fraction(bound_percent * requests * weight, 100 * weights))
