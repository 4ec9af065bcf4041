"""Log-linear histograms against exact quantiles."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from fastproxy._probe import probe_histogram_index
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.scoreboard import segment

BUCKETS = segment.WORDS["buckets"]


def exact(values: list[int], share: float) -> int:
    """Nearest rank."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def histogram(values: list[int]) -> list[int]:
    buckets = [0] * BUCKETS
    for value in values:
        buckets[probe_histogram_index(value)] += 1
    return buckets


@given(st.integers(0, 2**37 - 1))
def test_the_middle_of_a_bucket_is_near_its_values(us: int) -> None:
    middle = segment.bucket_middle(probe_histogram_index(us))
    assert abs(middle - us) <= us / 16


def test_small_values_are_exact_and_buckets_go_up_one_by_one() -> None:
    assert [probe_histogram_index(us) for us in range(16)] == list(range(16))
    seen = [probe_histogram_index(us) for us in range(1 << 16)]
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(seen))


@pytest.mark.parametrize("us", [2**37 - 1, 2**37, 2**50, 2**64 - 1])
def test_the_last_bucket_takes_the_rest(us: int) -> None:
    assert probe_histogram_index(us) == BUCKETS - 1


@given(st.lists(st.integers(0, 2**36), min_size=1, max_size=200), st.floats(0.001, 1.0))
def test_quantiles_of_anything(values: list[int], share: float) -> None:
    wanted = exact(values, share)
    assert abs(segment.quantile(histogram(values), share) - wanted) <= wanted / 8


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_quantiles_of_latencies(share: float) -> None:
    rng = random.Random(7)
    values = [int(rng.lognormvariate(7, 1.5)) for _ in range(20_000)]
    wanted = exact(values, share)
    assert abs(segment.quantile(histogram(values), share) - wanted) < 0.125 * wanted


def test_no_values_have_no_quantile() -> None:
    assert segment.quantile([0] * BUCKETS, 0.5) == 0.0
