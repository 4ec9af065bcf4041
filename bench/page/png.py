# SPDX-License-Identifier: MIT
"""The main pictures as files, for a README: the drawings of the page, light, by cairosvg.

cairosvg is no dependency of fastproxy nor of the benchmark: it is asked for only here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.page import plots, style
from bench.results import Run

SCALE = 2.0
"""Pixels for one unit: sharp on dense screens."""
HOW = (
    "pictures need cairosvg: pip install cairosvg (and the libraries libcairo2, fonts-dejavu-core)"
)


class PngError(Exception):
    """With the way out of it."""


def painter() -> Callable[..., bytes]:
    """From SVG to PNG. PngError if it is not installed; ask before an hour of measuring."""
    try:
        from cairosvg import svg2png  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:  # OSError: the package is there, libcairo2 is not
        raise PngError(HOW) from error
    paint: Callable[..., bytes] = svg2png
    return paint


def write(run: Run, directory: Path) -> list[Path]:
    """`against-nginx.png`, `small-cpu.png` ...; those of a run before are replaced."""
    found = plots.against(run)
    for result in run.results:
        found += [one for one in plots.scenario(run, result) if one.main]
    return save(found, directory)


def save(found: Sequence[plots.Plot], directory: Path) -> list[Path]:
    """Each as a file of its name. PngError."""
    paint = painter()
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for one in found:
        path = directory / f"{one.name.replace('/', '-')}.png"
        svg = one.drawing.render(style.of_file()).encode()
        path.write_bytes(paint(bytestring=svg, scale=SCALE))
        written.append(path)
    return written
