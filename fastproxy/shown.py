# SPDX-License-Identifier: MIT
"""Problems of a configuration as people read them, on standard error."""

from __future__ import annotations

import click

from fastproxy.errors import Problem


def problems(found: list[Problem], notes: list[str] | None = None) -> None:
    """One line each, to standard error; colours only on a terminal."""
    for problem in found:
        word, colour = ("warning", "yellow") if problem.warning else ("error", "red")
        place = problem.file + (f":{problem.line}" if problem.line else "")
        line = click.style(f"{place}: ", bold=True) if place else ""
        line += click.style(f"{word}: ", fg=colour, bold=True)
        line += f"{problem.path}: {problem.text}" if problem.path else problem.text
        if problem.hint:
            line += click.style(f" ({problem.hint})", fg="cyan")
        click.echo(line, err=True)
    for note in notes or []:
        click.echo(f"{click.style('note: ', bold=True)}{note}", err=True)


def count(errors: list[Problem], warnings: list[Problem]) -> str:
    parts = []
    for items, word in ((errors, "error"), (warnings, "warning")):
        if items:
            parts.append(f"{len(items)} {word}{'s' if len(items) > 1 else ''}")
    return ", ".join(parts) or "no problems"
