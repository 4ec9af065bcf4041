# SPDX-License-Identifier: MIT
"""`python -m bench`: see bench/__init__.py."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from bench import peers, report, scenarios
from bench.build import BuildError
from bench.load import LoadError, wrk
from bench.measure import Bench, Plan, Result
from bench.processes import StartError, cpus, interrupt
from bench.verify import WrongAnswerError

QUICK = Plan(seconds=2.0, pairs=3)
TROUBLE = (BuildError, LoadError, StartError, WrongAnswerError)


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


def measure(
    plan: Plan, wanted: Sequence[scenarios.Scenario], found: Sequence[peers.Peer], screen: Console
) -> list[Result]:
    """All scenarios, with a bar on a terminal, else with a line for each."""
    total = plan.total_seconds(len(wanted), len(found))
    clock = TimeLeft(total)
    columns = (TextColumn("{task.description}"), BarColumn(), clock)
    results = []
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("starting", total=total)
        done = 0.0

        def tell(text: str, seconds: float) -> None:
            nonlocal done
            bar.update(task, description=text, completed=done)
            clock.begin(seconds)
            done += seconds

        bench = Bench(plan, tell)
        for scenario in wanted:
            if not screen.is_terminal:
                screen.print(f"{scenario.name}: {scenario.text} ...")
            result = bench.scenario(scenario, found)
            results.append(result)
            screen.print(report.table(result))
    return results


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--quick", is_flag=True, help="Shorter and fewer turns: under 3 minutes.")
@click.option("--pairs", type=click.IntRange(1, 1000), help="Turns of each proxy. [default: 5]")
@click.option("--seconds", type=click.IntRange(1, 600), help="Length of a turn. [default: 5]")
@click.option("--peer", "only", multiple=True, type=click.Choice(["nginx", "haproxy"]),
              help="Only this one. Repeatable.")  # fmt: skip
@click.option("--nginx", metavar="PATH", default="nginx", help="Another nginx.")
@click.option("--haproxy", metavar="PATH", default="haproxy", help="Another HAProxy.")
@click.option("--against", multiple=True, metavar="DIR",
              help="Another built tree of fastproxy, not the peers. Repeatable.")  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="All of it, for programs; - is stdout")
@click.option("--markdown", "markdown_file", metavar="FILE", help="Tables for a page")
@click.option("--list", "list_", is_flag=True, help="Show the scenarios and stop.")
@click.option("--spoil", is_flag=True, help="Let the origin answer wrongly: must end with code 1.")
def main(names: tuple[str, ...], **options: Any) -> None:
    screen = Console(stderr=options["json_file"] == "-")
    if options["list_"]:
        for one in scenarios.ALL:
            screen.print(f"{one.name:12} {one.text}")
        return
    for name in names:
        if name not in scenarios.BY_NAME:
            raise click.UsageError(f"no scenario {name}: {', '.join(scenarios.BY_NAME)}")
    wanted = [scenarios.BY_NAME[name] for name in names] or scenarios.ALL
    base = QUICK if options["quick"] else Plan()
    plan = Plan(
        seconds=options["seconds"] or base.seconds,
        pairs=options["pairs"] or base.pairs,
        spoil=options["spoil"],
    )
    paths = {"nginx": options["nginx"], "haproxy": options["haproxy"]}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        wrk()
        found, missing = peers.find(paths, list(options["only"]), options["against"])
        for note in missing:
            screen.print(note)
        if len(cpus()) < 2:
            screen.print("one CPU only: proxy and load share it; trust CPU figures, not the rates")
        about = report.machine()
        results = measure(plan, wanted, found, screen)
    except TROUBLE as error:
        screen.print(f"bench: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        screen.print("stopped")
        sys.exit(130)
    for note in report.notes(results):
        screen.print(note, highlight=False)
    save(options, results, plan, about)


def save(options: dict[str, Any], results: list[Result], plan: Plan, about: dict[str, Any]) -> None:
    """The files that were asked for."""
    if options["json_file"]:
        text = json.dumps(report.as_dict(results, plan, about), indent=2) + "\n"
        if options["json_file"] == "-":
            click.echo(text, nl=False)
        else:
            Path(options["json_file"]).write_text(text)
    if options["markdown_file"]:
        Path(options["markdown_file"]).write_text(report.markdown(results, plan, about))


if __name__ == "__main__":
    main(prog_name="python -m bench")
