# SPDX-License-Identifier: MIT
"""How things are drawn: rows of ratios, bars, latency curves, plain lines. What: plots.py.

All are equally wide, and no wider than a phone shows legibly; a page puts as many side by side as
it has room for.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.page.axes import Axis, around, at, short
from bench.page.svg import Drawing, cut, width_of

WIDTH, SIDE, TOP, FOOT, ROW = 460.0, 14.0, 56.0, 30.0, 22.0
TEXT, SMALL = 12.0, 10.5
LABEL_MAX = 150.0
RATIOS = (0.02, 50.0)
"""What is beyond is drawn at the rim; its number is written anyway."""
BROKEN = 5.0
"""A bar so many times longer than the next shorter one is broken: it would flatten the others. Ours
never is."""
CURVE_HEIGHT = 250.0
LINES_HEIGHT = 200.0
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
NINES_MAX = 5.0


@dataclass(frozen=True)
class Ratio:
    """Ours to theirs, of all turns."""

    label: str
    hint: str
    values: list[float]
    more_is_better: bool = False
    goal: float | None = None

    @property
    def kind(self) -> str:
        """good or bad for us; open where some turn says otherwise."""
        middle = statistics.median(self.values)
        good = middle >= 1 if self.more_is_better else middle <= 1
        return ("good" if good else "bad") + ("-open" if min(self.values) < 1 < max(self.values)
                                              else "")  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One proxy; `parts` is how it divides, summing to 1."""

    label: str
    hint: str
    shown: str
    value: float
    low: float
    high: float
    parts: tuple[float, ...] = (1.0,)
    ours: bool = False


@dataclass(frozen=True)
class Curve:
    """Latencies of one proxy, [us, count] ascending."""

    label: str
    counts: Sequence[tuple[int, int]]
    series: int


@dataclass(frozen=True)
class Line:
    """Points with x ascending."""

    label: str
    points: Sequence[tuple[float, float]]
    series: int


def frame(title: str, text: str, height: float) -> Drawing:
    """An empty chart with its heading."""
    drawing = Drawing(WIDTH, height, f"{title}. {text}")
    drawing.text(SIDE, 22, cut(title, WIDTH - 2 * SIDE, 13), "title")
    drawing.text(SIDE, 39, cut(text, (WIDTH - 2 * SIDE) * 1.1, SMALL), "small")
    return drawing


def label_room(labels: Sequence[str]) -> float:
    return SIDE + min(LABEL_MAX, max(width_of(one, TEXT) for one in labels)) + 8


def ticks(drawing: Drawing, axis: Axis, top: float, bottom: float, divisor: float = 1.0) -> None:
    """Grid and numbers of a horizontal axis."""
    for value in axis.ticks():
        x = axis.place(value)
        drawing.line(x, top, x, bottom, "grid")
        drawing.text(x, bottom + 14, short(value / divisor), "small", "middle")


# ---- ratios ---------------------------------------------------------------------------------


def ratios(title: str, text: str, rows: Sequence[Ratio]) -> Drawing:
    """A dot for the median, a line from the least to the largest; tinted where we are better."""
    bottom = TOP + ROW * len(rows)
    drawing = frame(title, text, bottom + FOOT)
    values = [one for row in rows for one in row.values]
    numbers = WIDTH - SIDE - 104
    axis = at(around(values, (0.5, 1.4), RATIOS), label_room([one.label for one in rows]), numbers)
    for n, row in enumerate(rows):
        ends = (axis.place(1), axis.end) if row.more_is_better else (axis.start, axis.place(1))
        drawing.rect(ends[0], TOP + ROW * n, ends[1] - ends[0], ROW, "zone")
    ticks(drawing, axis, TOP, bottom)
    drawing.line(axis.place(1), TOP - 4, axis.place(1), bottom, "one")
    for n, row in enumerate(rows):
        _ratio(drawing, axis, TOP + ROW * (n + 0.5), row)
    return drawing


def _ratio(drawing: Drawing, axis: Axis, y: float, row: Ratio) -> None:
    middle, low, high = statistics.median(row.values), min(row.values), max(row.values)
    with drawing.group(row.hint):
        drawing.rect(SIDE / 2, y - ROW / 2, WIDTH - SIDE, ROW, "hit")
        room = axis.start - SIDE - 8
        drawing.text(SIDE, y + 4, cut(row.label, room, TEXT), "label")
        if row.goal:
            drawing.line(axis.place(row.goal), y - 8, axis.place(row.goal), y + 8, "goal")
        drawing.line(axis.place(low), y, axis.place(high), y, row.kind)
        for end in (low, high):
            drawing.line(axis.place(end), y - 3, axis.place(end), y + 3, row.kind)
        drawing.circle(axis.place(middle), y, 4.5, row.kind)
        drawing.text(axis.end + 36, y + 4, f"{middle:.2f}", f"number {row.kind}", "end")
        if len(row.values) > 1:
            spread = f"{low:.2f}-{high:.2f}"
            drawing.text(WIDTH - SIDE, y + 4, spread, "small", "end")


# ---- bars -----------------------------------------------------------------------------------


def bars(
    title: str, text: str, rows: Sequence[Bar], divisor: float = 1.0, goal: float | None = None
) -> Drawing:
    """From zero. Ours stands out; thin lines are the least and the largest turn."""
    split = any(len(one.parts) > 1 for one in rows)
    bottom = TOP + ROW * len(rows)
    drawing = frame(title, text, bottom + FOOT + (18 if split else 0))
    limit = max([longest([one.value for one in rows]), *(one.value for one in rows if one.ours)])
    high = max(one.high for one in rows if one.value <= limit)
    high = max(high, goal or 0.0, 1e-9) * 1.04
    room = label_room([one.label for one in rows])
    numbers = max(width_of(one.shown, TEXT) for one in rows) + 10
    axis = Axis(0, high, room, WIDTH - SIDE - numbers)
    ticks(drawing, Axis(0, high / divisor, axis.start, axis.end), TOP, bottom)
    for n, row in enumerate(rows):
        _bar(drawing, axis, TOP + ROW * (n + 0.5), row)
    if goal is not None:
        drawing.line(axis.place(goal), TOP - 3, axis.place(goal), bottom, "goal")
    if split:
        for n, (kind, name) in enumerate((("", "user"), ("-soft", "system"))):
            x = room + 100 * n
            drawing.rect(x, bottom + 26, 9, 9, f"ours{kind}")
            drawing.rect(x + 11, bottom + 26, 9, 9, f"theirs{kind}")
            drawing.text(x + 26, bottom + 35, name, "small")
    return drawing


def longest(values: list[float]) -> float:
    """The largest that is drawn whole: from the middle one up, the first before a leap."""
    rising = sorted(values)[(len(values) - 1) // 2 :]
    for value, after in pairwise(rising):
        if after > BROKEN * value > 0:
            return value
    return rising[-1]


def _bar(drawing: Drawing, axis: Axis, y: float, row: Bar) -> None:
    name = "ours" if row.ours else "theirs"
    with drawing.group(row.hint):
        drawing.rect(SIDE / 2, y - ROW / 2, WIDTH - SIDE, ROW, "hit")
        kind = "own" if row.ours else "label"
        drawing.text(SIDE, y + 4, cut(row.label, axis.start - SIDE - 8, TEXT), kind)
        x, length = axis.start, axis.place(row.value) - axis.start
        for part, tint in zip(row.parts, ("", "-soft"), strict=False):
            drawing.rect(x, y - 7, part * length, 14, name + tint)
            x += part * length
        if row.value > axis.high:  # `longest`
            drawing.line(x - 16, y + 9, x - 9, y - 9, "break")
        elif row.low < row.high:
            ends = axis.place(row.low), axis.place(row.high)
            drawing.line(*(ends[0], y, ends[1], y), "whisker")
            for end in ends:
                drawing.line(end, y - 3, end, y + 3, "whisker")
        drawing.text(WIDTH - SIDE, y + 4, row.shown, f"number {kind}", "end")


# ---- latency --------------------------------------------------------------------------------


def nines(part: float) -> float:
    """The axis of percentiles: 90% is at 1, 99% at 2, 99.9% at 3."""
    return -math.log10(max(1 - part, 10**-NINES_MAX))


def percentile(counts: Sequence[tuple[int, int]], percent: float) -> int:
    """The least latency which so many do not exceed, us."""
    wanted = sum(count for _, count in counts) * percent / 100
    passed = 0
    for us, count in counts:
        passed += count
        if passed >= wanted - 1e-9:
            return us
    return counts[-1][0]


def curves(title: str, text: str, rows: Sequence[Curve]) -> Drawing:
    """Percentile to latency, both log: how bad the worst are."""
    keys = _keys(rows)
    bottom = TOP + CURVE_HEIGHT
    drawing = frame(title, text, bottom + FOOT + 4 + 18 * (1 + max(line for line, _ in keys)))
    most = max(sum(count for _, count in row.counts) for row in rows)
    across = Axis(0, min(NINES_MAX, max(2.0, math.log10(most))), SIDE + 40, WIDTH - SIDE - 8)
    every = [max(us, 1) / 1000 for row in rows for us, _ in row.counts]
    up = at(around(every, (min(every), max(every)), (0.001, 1e6)), bottom, TOP)
    for value in up.ticks(8):
        drawing.line(across.start, up.place(value), across.end, up.place(value), "grid")
        drawing.text(across.start - 6, up.place(value) + 4, short(value), "small", "end")
    for name in ("0", "50", "90", "99", "99.9", "99.99"):
        place = nines(float(name) / 100)
        if place <= across.high:
            x = across.place(place)
            drawing.line(x, TOP, x, bottom, "grid")
            drawing.text(x, bottom + 14, f"{name}%", "small", "middle")
    for row in reversed(rows):
        _curve(drawing, across, up, row)
    _legend(drawing, rows, bottom + FOOT + 6)
    return drawing


def _legend(drawing: Drawing, rows: Sequence[Curve] | Sequence[Line], top: float) -> None:
    """Which colour is whose."""
    for row, (line, x) in zip(rows, _keys(rows), strict=True):
        y = top + 18 * line
        drawing.line(x, y - 4, x + 16, y - 4, f"key curve s{row.series}")
        drawing.text(x + 22, y, row.label, "own" if row.series == 0 else "label")


def _keys(rows: Sequence[Curve] | Sequence[Line]) -> list[tuple[int, float]]:
    """Line and x of each name in the legend."""
    found: list[tuple[int, float]] = []
    line, x = 0, SIDE + 40
    for row in rows:
        room = 22 + width_of(row.label, TEXT) + 14
        if x + room > WIDTH and found:
            line, x = line + 1, SIDE + 40
        found.append((line, x))
        x += room
    return found


def _curve(drawing: Drawing, across: Axis, up: Axis, row: Curve) -> None:
    """At most one point for each unit of x: a long curve is no larger than a short one."""
    total, passed = sum(count for _, count in row.counts), 0
    points: list[tuple[float, float]] = []
    for us, count in row.counts:
        passed += count
        spot = across.place(nines(passed / total)), up.place(max(us, 1) / 1000)
        if points and points[-1][0] > spot[0] - 1:
            points[-1] = (points[-1][0], spot[1])
        else:
            points.append(spot)
    drawing.path([(across.start, up.place(max(row.counts[0][0], 1) / 1000)), *points],
                 f"curve s{row.series}")  # fmt: skip
    for percent in PERCENTILES:
        us = percentile(row.counts, percent)
        x = across.place(nines(percent / 100))
        with drawing.group(f"{row.label}: {percent:g}% within {us / 1000:,.3f} ms"):
            drawing.circle(x, up.place(max(us, 1) / 1000), 3.2, f"dot s{row.series}")
            drawing.circle(x, up.place(max(us, 1) / 1000), 9, "hit")


# ---- lines ----------------------------------------------------------------------------------


def lines(title: str, text: str, rows: Sequence[Line], across_name: str) -> Drawing:
    """y against x, both from zero; `across_name` stands below the axis."""
    bottom = TOP + LINES_HEIGHT
    foot = FOOT + 22 + 18 * (1 + max(line for line, _ in _keys(rows)))
    drawing = frame(title, text, bottom + foot)
    points = [point for row in rows for point in row.points]
    across = Axis(0, max(x for x, _ in points), SIDE + 40, WIDTH - SIDE - 14)
    up = Axis(0, max(y for _, y in points) * 1.04, bottom, TOP)
    for value in up.ticks():
        drawing.line(across.start, up.place(value), across.end, up.place(value), "grid")
        drawing.text(across.start - 6, up.place(value) + 4, short(value), "small", "end")
    ticks(drawing, across, TOP, bottom)
    drawing.text((across.start + across.end) / 2, bottom + 30, across_name, "small", "middle")
    for row in reversed(rows):
        places = [(across.place(x), up.place(y)) for x, y in row.points]
        drawing.path(places, f"curve s{row.series}")
    _legend(drawing, rows, bottom + FOOT + 24)
    return drawing
