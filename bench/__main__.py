# SPDX-License-Identifier: MIT
"""`python -m bench`: the benchmark. Without a command: run.

python -m bench                      every scenario against every peer that is installed
python -m bench --quick              the ones that matter most: under 3 minutes
python -m bench small large          two scenarios
python -m bench --check              right answers everywhere? nothing is timed
python -m bench install              bring the peers that are missing
python -m bench report FILE.json     show a result again; --html FILE makes a page of it
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import install as installing
from bench import peers, report, scenarios
from bench.build import BuildError
from bench.load import LoadError, wrk
from bench.measure import Bench
from bench.page import document, png
from bench.peers.base import Installed
from bench.processes import StartError, cpus, interrupt
from bench.progress import Bar
from bench.results import Plan, Run, dump, load
from bench.verify import WrongAnswerError

QUICK = Plan(seconds=1.0, pairs=2, warm=0.0, count=False)
CHECK = Plan(pairs=0)
QUICK_PEERS = ("nginx", "haproxy", "limit")
TROUBLE = (
    *(BuildError, LoadError, StartError, WrongAnswerError),
    *(installing.InstallError, png.PngError),
)


class Commands(click.Group):
    """`run` is meant where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "-h", "--help"}:
            args.insert(0, "run")
        return super().parse_args(ctx, args)


@click.group(
    cls=Commands,
    help=f"\b\n{__doc__}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def peer_paths(command: Callable[..., None]) -> Callable[..., None]:
    """`--nginx PATH` and so on."""
    for peer in reversed(peers.ALL):
        if peer.program:
            option = click.option(
                f"--{peer.option.replace('_', '-')}", peer.option, metavar="PATH", default="",
                help=f"Another {peer.name}.",
            )  # fmt: skip
            command = option(command)
    return command


def pages(command: Callable[..., None]) -> Callable[..., None]:
    """What is written for people."""
    for name, metavar, text in (
        ("--png", "DIR", "The main pictures, as PNG files."),
        ("--html", "FILE", "All of it as a page with pictures."),
        ("--markdown", "FILE", "Tables for a page."),
    ):
        command = click.option(name, metavar=metavar, help=text)(command)
    return command


@main.command("run", short_help="Measure (or, with --check, only verify).")
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--quick", is_flag=True, help="Few scenarios, few and short turns: 3 minutes.")
@click.option("--check", is_flag=True, help="Verify the answers of every peer, time nothing.")
@click.option("--pairs", type=click.IntRange(0, 1000), help="Turns of each proxy. [default: 5]")
@click.option("--seconds", type=click.IntRange(1, 600), help="Length of a turn. [default: 5]")
@click.option("--peer", "only", multiple=True, type=click.Choice(list(peers.BY_NAME)),
              help="Only this one. Repeatable.")  # fmt: skip
@click.option("--without-fastproxy", is_flag=True,
              help="Peers alone; ratios are those of the first one.")  # fmt: skip
@peer_paths
@click.option("--against", multiple=True, metavar="DIR",
              help="Another built tree of fastproxy, not the peers. Repeatable.")  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="All of it, for programs; - is stdout")
@pages
@click.option("--list", "list_", is_flag=True, help="Show the scenarios and stop.")
@click.option("--spoil", is_flag=True, help="Let the origin answer wrongly: must end with code 1.")
def run(names: tuple[str, ...], **options: Any) -> None:
    """Measure these scenarios, or all."""
    screen = Console(stderr=options["json_file"] == "-", highlight=False)
    if options["list_"]:
        for one in scenarios.ALL:
            screen.print(f"{one.name:19} {one.text}", markup=False, soft_wrap=True)
        return
    wanted = chosen(names, options["quick"])
    paths = {one.name: options[one.option] for one in peers.ALL if one.program}
    only = options["only"] or (QUICK_PEERS if options["quick"] else ())

    def work() -> Run:
        if options["png"]:
            png.painter()
        wrk()
        found, missing = peers.find(
            paths, only, options["against"], ours=not options["without_fastproxy"]
        )
        for note in missing:
            screen.print(note, markup=False, soft_wrap=True)
        if len(cpus()) < 2:
            screen.print("one CPU only: proxy and load share it; trust CPU figures, not the rates")
        found_run = measure(planned(options), wanted, found, screen)
        found_run.notes = missing
        return found_run

    finished = guarded(screen, work)
    screen.print(report.summary(finished))
    if options["json_file"] == "-":
        click.echo(dump(finished), nl=False)
    elif options["json_file"]:
        Path(options["json_file"]).write_bytes(dump(finished))
    guarded(screen, lambda: save(finished, options))


def chosen(names: Sequence[str], quick: bool) -> list[scenarios.Scenario]:
    for name in names:
        if name not in scenarios.BY_NAME:
            raise click.UsageError(f"no scenario {name}: {', '.join(scenarios.BY_NAME)}")
    every = [one for one in scenarios.ALL if one.quick or not quick]
    return [scenarios.BY_NAME[name] for name in names] or every


def planned(options: dict[str, Any]) -> Plan:
    base = CHECK if options["check"] else QUICK if options["quick"] else Plan()
    pairs = base.pairs if options["pairs"] is None else options["pairs"]
    return Plan(
        seconds=options["seconds"] or base.seconds,
        pairs=pairs,
        warm=base.warm,
        count=base.count,
        spoil=options["spoil"],
    )


def guarded(screen: Console, work: Callable[[], Any]) -> Any:
    """Trouble ends the program with 1 and its message, Ctrl-C with 130."""
    try:
        return work()
    except TROUBLE as error:
        screen.print(f"bench: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        screen.print("stopped")
        sys.exit(130)


def measure(
    plan: Plan, wanted: Sequence[scenarios.Scenario], found: Sequence[Installed], screen: Console
) -> Run:
    """All scenarios, with a bar on a terminal, else with a line for each."""
    result = Run(report.machine(), plan, [])
    bench = Bench(plan, lambda text, seconds: bar.tell(text, seconds))
    if plan.pairs and bench.why_not:
        screen.print(bench.why_not, markup=False, soft_wrap=True)
    with Bar(screen, bench.total_seconds(wanted, found)) as bar:
        for scenario in wanted:
            if not screen.is_terminal:
                screen.print(f"{scenario.name}: {scenario.text} ...", markup=False, soft_wrap=True)
            result.results.append(bench.scenario(scenario, found))
            for part in report.shown(result.results[-1]):
                screen.print(part, soft_wrap=True)
    return result


def save(finished: Run, options: dict[str, Any]) -> None:
    """The pages that were asked for (`pages`)."""
    if options["markdown"]:
        Path(options["markdown"]).write_text(report.markdown(finished))
    if options["html"]:
        Path(options["html"]).write_text(document.html(finished), encoding="utf-8")
    if options["png"]:
        png.write(finished, Path(options["png"]))


@main.command()
@click.argument("names", nargs=-1, metavar="[PEER]...", type=click.Choice(list(peers.BY_NAME)))
def install(names: tuple[str, ...]) -> None:
    """Install these peers, or all: by apt (as root) and by pip, apart from fastproxy."""
    screen = Console(highlight=False)
    wanted = [peers.BY_NAME[name] for name in names] or peers.ALL
    for line in guarded(screen, lambda: installing.install(wanted)):
        screen.print(line, markup=False, soft_wrap=True)


@main.command("report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pages
def show(file: Path, **options: Any) -> None:
    """Show the result in FILE again."""
    screen = Console(highlight=False)
    try:
        found = load(file)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    screen.print(
        report.about(found.machine, found.plan, report.versions(found)),
        markup=False,
        soft_wrap=True,
    )
    for result in found.results:
        for part in report.shown(result):
            screen.print(part, soft_wrap=True)
    for note in found.notes:
        screen.print(note, markup=False, soft_wrap=True)
    screen.print(report.summary(found))
    guarded(screen, lambda: save(found, options))


if __name__ == "__main__":
    main(prog_name="python -m bench")
