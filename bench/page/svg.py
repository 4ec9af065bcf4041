# SPDX-License-Identifier: MIT
"""SVG, as much of it as the charts need. Colours come by class: style.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape

CHARACTER = 0.6
"""Width of one in units of the font size, on the wide side: text is never measured here."""

Points = Sequence[tuple[float, float]]


class Drawing:
    """Elements in the order of painting. Text is escaped here and nowhere else."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width = width
        self.height = height
        self.label = label
        """What a screen reader says."""
        self.parts: list[str] = []

    def render(self, css: str = "") -> str:
        """For a page; with `css` for a file of its own."""
        head = f'viewBox="0 0 {self.width:g} {self.height:g}" role="img" class="chart"'
        head += f' aria-label="{escape(self.label)}"'
        if css:
            head += f' xmlns="http://www.w3.org/2000/svg" width="{self.width:g}"'
            head += f' height="{self.height:g}"'
            css = f'<style>{css}</style><rect class="card" width="100%" height="100%"/>'
        return f"<svg {head}>{css}{''.join(self.parts)}</svg>"

    @contextmanager
    def group(self, hint: str) -> Iterator[None]:
        """What is drawn in it tells `hint` when pointed at."""
        self.parts.append(f"<g><title>{escape(hint)}</title>")
        yield
        self.parts.append("</g>")

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        size = f'width="{max(0.0, width):.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line class="{kind}" {ends}/>')

    def circle(self, x: float, y: float, radius: float, kind: str) -> None:
        self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>')

    def path(self, points: Points, kind: str) -> None:
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="M{way}"/>')

    def text(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{kind}" {place}>{escape(text)}</text>')


def width_of(text: str, size: float) -> float:
    """At most so wide."""
    return len(text) * size * CHARACTER


def cut(text: str, room: float, size: float) -> str:
    """As much of it as fits."""
    most = max(2, int(room / (size * CHARACTER)))
    return text if len(text) <= most else text[: most - 1] + "…"
