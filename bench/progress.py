# SPDX-License-Identifier: MIT
"""The bar of a run: what is going on, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class TimeLeft(ProgressColumn):
    """Counts down between the steps too."""

    def __init__(self, total: float) -> None:
        super().__init__()
        self.left = total
        self.step_ends = time.monotonic()
        self.step = 0.0

    def begin(self, seconds: float) -> None:
        self.left -= self.step
        self.step = seconds
        self.step_ends = time.monotonic() + seconds

    def render(self, task: Task) -> Text:
        late = self.step - max(0.0, self.step_ends - time.monotonic())
        left = max(0, round(self.left - late))
        return Text(f"{left // 60}:{left % 60:02d} left", style="cyan")


class Bar:
    """On a terminal; elsewhere it shows nothing."""

    def __init__(self, screen: Console, total: float) -> None:
        self.clock = TimeLeft(total)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            self.clock,
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self.task = self.progress.add_task("starting", total=total or 1.0)
        self.done = 0.0

    def tell(self, text: str, seconds: float) -> None:
        """What begins, and how long it will take."""
        self.progress.update(self.task, description=text, completed=self.done)
        self.clock.begin(seconds)
        self.done += seconds

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.progress.stop()
