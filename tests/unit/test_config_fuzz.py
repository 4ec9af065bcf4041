"""The fuzz target of the configuration, on its corpus and a few thousand neighbours."""

from __future__ import annotations

import random

from tests.fuzz import fuzz_config


def test_the_corpus() -> None:
    seeds = fuzz_config.seeds()
    assert len(seeds) >= 8
    for seed in seeds:
        fuzz_config.run(seed)


def test_neighbours_of_the_corpus() -> None:
    chance = random.Random(20261122)
    seeds = fuzz_config.seeds()
    for number in range(1500):
        change = fuzz_config.mutate if number % 2 else fuzz_config.reshape
        fuzz_config.run(change(chance.choice(seeds), chance))
