# SPDX-License-Identifier: MIT
"""`python -m bench.balance`: draws the pictures of docs/balancing.md anew."""

from __future__ import annotations

from pathlib import Path

import click

from bench.balance import pictures
from bench.page import png


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=pictures.DIRECTORY
)
@click.option("--only", multiple=True, type=click.Choice(list(pictures.ALL)), help="This picture.")
@click.option("--figures", is_flag=True, help="Print the figures, draw nothing.")
def main(directory: Path, only: tuple[str, ...], figures: bool) -> None:
    if figures:
        click.echo("\n".join(pictures.table()))
        return
    try:
        png.painter()
        written = png.save(pictures.draw(only or pictures.ALL), directory)
    except png.PngError as error:
        raise click.ClickException(str(error)) from error
    for path in written:
        click.echo(path)


if __name__ == "__main__":
    main(prog_name="python -m bench.balance")
