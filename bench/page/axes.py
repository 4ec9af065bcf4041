# SPDX-License-Identifier: MIT
"""From values to places, and the round numbers that are written at an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUND = (1.0, 2.0, 5.0)
FINE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""Where a log axis is so short that it would have less than FEW numbers."""
FEW = 4


@dataclass(frozen=True)
class Axis:
    """`low` is at `start`, `high` at `end`; what is beyond is put at the rim."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within; on a log axis 1, 2, 5 and their tenfolds, or only those."""
        if not self.log:
            step = _step((self.high - self.low) / most)
            count = math.floor(self.high / step + 1e-9)
            return [round(n * step, 12) for n in range(math.ceil(self.low / step), count + 1)]
        inside = self._within(ROUND)
        if len(inside) < FEW:
            return self._within(FINE)
        return inside if len(inside) <= most + 2 else inside[inside.index(_ten(inside)) % 3 :: 3]

    def _within(self, digits: tuple[float, ...]) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found = [
            round(digit * 10.0**power, 12) for power in range(first, last + 1) for digit in digits
        ]
        return [one for one in found if self.low <= one * 1.001 and one <= self.high * 1.001]


def _ten(values: list[float]) -> float:
    """The first power of ten among them, or the first."""
    return next((one for one in values if math.log10(one) % 1 < 1e-9), values[0])


def _step(least: float) -> float:
    """The next round number from `least` up."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (*ROUND, 10.0) if digit * power >= least * 0.999)


def around(values: list[float], least: tuple[float, float], most: tuple[float, float]) -> Axis:
    """A log range that holds the values and `least`, within `most`; places are set by `at`."""
    low = max(min([*values, least[0]]), most[0])
    high = min(max([*values, least[1]]), most[1])
    return Axis(low * 0.95, high * 1.05, 0, 1, log=True)


def at(axis: Axis, start: float, end: float) -> Axis:
    return Axis(axis.low, axis.high, start, end, axis.log)


def short(value: float) -> str:
    """A number at an axis."""
    if value >= 1_000_000:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 10_000 else f"{value:g}"
