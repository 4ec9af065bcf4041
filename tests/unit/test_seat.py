"""How long a seat of the master stays empty."""

from __future__ import annotations

import time

import pytest

from fastproxy.process.seat import CONTROL, Seat


def waits(seat: Seat, times: int) -> list[float]:
    """Seconds that it is left empty, time after time, rounded to the back-off's steps."""
    found = []
    for _ in range(times):
        seat.wait()
        found.append(round(seat.due - time.monotonic(), 1))
    return found


@pytest.mark.parametrize("number", [CONTROL, 0])
def test_doubles_up_to_ten_seconds(number: int) -> None:
    """Also where not one child could be made."""
    assert waits(Seat(number), 9) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


@pytest.mark.parametrize("number", [CONTROL, 0])
def test_a_healthy_life_starts_it_anew(number: int) -> None:
    seat = Seat(number, failures=5, served=True, born=time.monotonic() - 11)
    assert waits(seat, 1) == [0.1]


def test_a_worker_that_hung_in_its_start_had_no_healthy_life() -> None:
    seat = Seat(0, failures=5, born=time.monotonic() - 31)
    assert waits(seat, 1) == [3.2]
