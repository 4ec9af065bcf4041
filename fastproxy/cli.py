# SPDX-License-Identifier: MIT
"""The command line. It checks and compiles, then becomes the master; click and rich end with it.

Exit codes: 0 fine, 1 configuration or run-time error, 2 wrong usage, 3 an address is taken.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from fastproxy import __version__, certs, flags, instance, shown
from fastproxy.config import check as checking
from fastproxy.config.check import Checked
from fastproxy.config.load import Document
from fastproxy.config.model import Config
from fastproxy.errors import ConfigError, Problem
from fastproxy.process.handover import Given

OK = 0
FAILED = 1
USAGE = 2
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXAMPLES = """\b
Examples:
  fastproxy demo
  fastproxy run --listen :8080 --upstream http://127.0.0.1:9001
  fastproxy run -c fastproxy.toml
  fastproxy check -c fastproxy.toml
  fastproxy explain GET http://api.example.com/v1/users -H "X-Env: test"
  fastproxy cert self-signed localhost
  fastproxy status --watch
  fastproxy backend drain 127.0.0.1:9001 --wait
  fastproxy reload
  fastproxy stop
"""


@click.group(
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog="Every flag of `run` may stand in the environment: FASTPROXY_WORKERS=2. "
    "The file's keys: docs/configuration.md, or `fastproxy schema`.",
    help=f"Load balancer, reverse proxy and API gateway.\n\n{EXAMPLES}",
)
@click.option("-t", "test", is_flag=True, help="As `check`.")
@click.option("-T", "dump", is_flag=True, help="As `check --dump`: print the merged configuration.")
@click.option(
    "-s",
    "signal",
    type=click.Choice(["stop", "quit", "reopen", "reload"]),
    help="As `stop`, `reopen` and `reload`, for those used to nginx.",
)
@click.option("-c", "--config", metavar="FILE", help="For -t and -T: the file to check.")
@click.version_option(__version__, "-V", "--version", message="fastproxy %(version)s")
@click.pass_context
def cli(
    context: click.Context, test: bool, dump: bool, signal: str | None, config: str | None
) -> None:
    if sum((test or dump, signal is not None, context.invoked_subcommand is not None)) > 1:
        raise click.UsageError("-t, -T, -s and a command exclude one another")
    if test or dump:
        sys.exit(_check({"config": config}, {}, as_json=False, dump=dump))
    if signal == "reopen":
        context.invoke(instance.reopen)
    elif signal == "reload":
        context.invoke(instance.reload)
    elif signal is not None:
        context.invoke(instance.stop, quit_=signal == "quit")
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())
        sys.exit(USAGE)


for command in (
    instance.status,
    instance.stop,
    instance.reopen,
    instance.reload,
    instance.backends,
    instance.backend,
    certs.cert,
):
    cli.add_command(command)


@cli.command(
    context_settings=CONTEXT,
    help="""Start the proxy, in the foreground.

\b
  fastproxy run --listen :8080 --upstream http://127.0.0.1:9001
  fastproxy run --listen :80 --listen unix:/run/web.sock \\
                --upstream http://10.0.0.1:9001 --upstream http://10.0.0.2:9001 --workers 4
  fastproxy run -c fastproxy.toml --access-log off

SIGTERM, SIGQUIT or the first Ctrl-C let running requests end (--drain-timeout); SIGHUP reads the
configuration anew, as `fastproxy reload` does; SIGUSR1 reopens the logs.""",
    short_help="Start the proxy.",
)
@flags.options
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    labels = _labels(context)
    document, config, checked = _sound(values, labels)
    _launch(document, config, checked, given=_given(values, labels, document))


@cli.command(
    context_settings=CONTEXT,
    help="""Check a configuration: every problem at once, each with file, line and key.

\b
  fastproxy check -c fastproxy.toml
  fastproxy check --json

Exit code 0: sound (warnings may be shown), 1: not.""",
    short_help="Check a configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--dump", is_flag=True, help="Print the merged configuration; ${...} stays unfilled.")
@flags.options
@click.pass_context
def check(context: click.Context, /, as_json: bool, dump: bool, **values: Any) -> None:
    sys.exit(_check(values, _labels(context), as_json, dump))


@cli.command(
    context_settings=CONTEXT,
    help="""Tell which route takes a request, why the others do not, and what the upstream reads.

\b
  fastproxy explain GET http://api.example.com/v1/users?page=2 -H "X-Env: test"
  fastproxy explain -c fastproxy.toml POST /login --listener :8443

Nothing is sent. The compiled plan is asked, by the same code that serves.""",
    short_help="Tell which route takes a request.",
    options_metavar="[OPTIONS]",
)
@click.argument("method", metavar="METHOD")
@click.argument("url", metavar="URL")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Repeatable."
)
@click.option(
    "--listener", default="", metavar="ADDRESS", help="As its `bind`. [default: the first]"
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("-c", "--config", metavar="FILE", envvar="FASTPROXY_CONFIG", help="As for `run`.")
def explain(
    method: str, url: str, headers: tuple[str, ...], listener: str, as_json: bool, config: str
) -> None:
    from fastproxy import explaining

    document, made, checked = _sound({"config": config}, {}, warn=False)
    try:
        asked = explaining.ask(method, url, headers, listener)
        shown = explaining.explain(made, document, checked.stages, asked)
    except explaining.AskError as error:
        click.echo(f"fastproxy: {error}", err=True)
        sys.exit(FAILED)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for label, text in explaining.lines(shown):
        click.echo(click.style(f"{label:<9}", bold=label != "not", dim=label == "not") + text)


@cli.command(context_settings=CONTEXT)
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from fastproxy.config.describe import json_schema

    click.echo(json.dumps(json_schema(Config), indent=2))


@cli.command(context_settings=CONTEXT)
def version() -> None:
    """Print versions: of fastproxy, of Python, of the table layout."""
    from importlib.metadata import version as installed

    from fastproxy import _core

    click.echo(f"fastproxy {__version__}")
    click.echo(f"python {platform.python_version()}, uvloop {installed('uvloop')}")
    click.echo(f"layout {_core.layout_hash():016x}")


@cli.command(context_settings=CONTEXT, short_help="Start the proxy before two demo backends.")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS", help="Where."
)
@click.option("--workers", default="auto", show_default=True, metavar="N", help="Worker processes.")
@click.option(
    "--access-log", default="-", show_default=True, metavar="PATH", help="Path, - or off."
)
@click.option("--control-socket", envvar="FASTPROXY_CONTROL_SOCKET", default="", metavar="PATH")
@click.option("--tls/--no-tls", default=True, help="HTTPS too. [default: where it is built in]")
def demo(listen: str, workers: str, access_log: str, control_socket: str, tls: bool) -> None:
    """Start the proxy in front of two small backends of its own, to look at and to play with.

    It serves HTTPS too, on port 8443 (any free one if that is taken), with a certificate of its own
    making. Ctrl-C ends all of it.
    """
    from fastproxy import demo as backends

    try:
        urls = backends.start_backends()
    except OSError as error:
        click.echo(f"fastproxy: {error}", err=True)
        sys.exit(FAILED)
    https = backends.secure(listen) if tls else None
    document = backends.document(listen, workers, access_log, control_socket, urls, https)
    checked = checking.check(document)
    if checked.config is None:
        _fail(ConfigError(checked.errors))
    click.echo(backends.greeting(checked.config.all_listeners()[0].bind, urls, https))
    _launch(document, checked.config, checked, demo=True)


def _labels(context: click.Context) -> dict[str, str]:
    """How each flag was given: on the command line or by the environment."""
    labels = {}
    for flag in flags.FLAGS:
        if context.get_parameter_source(flag.key) is ParameterSource.ENVIRONMENT:
            labels[flag.key] = flag.envvar
        else:
            labels[flag.key] = flag.alias or flag.name
    return labels


def _check(values: dict[str, Any], labels: dict[str, str], as_json: bool, dump: bool) -> int:
    from fastproxy.config.dump import toml

    document: Document | None = None
    errors: list[Problem] = []
    warnings: list[Problem] = []
    notes: list[str] = []
    try:
        document = flags.document(values, labels)
        checked = checking.check(document)
        errors, warnings = checked.errors, checked.warnings
    except ConfigError as error:
        errors = error.problems
    if as_json:
        report = {
            "ok": not errors,
            "errors": [_as_dict(problem) for problem in errors],
            "warnings": [_as_dict(problem) for problem in warnings],
        }
        click.echo(json.dumps(report, indent=2))
        return FAILED if errors else OK
    shown.problems([*errors, *warnings], notes)
    name = document.sources[0].name if document and document.sources else "the configuration"
    if errors:
        click.echo(shown.count(errors, warnings), err=True)
        return FAILED
    if dump and document:
        click.echo(toml(document.raw), nl=False)
        return OK
    files = len(document.sources) if document else 0
    more = f" (with {files - 1} included)" if files > 1 else ""
    click.echo(f"{name}{more} is sound" + (f", {shown.count([], warnings)}" if warnings else ""))
    return OK


def _sound(
    values: dict[str, Any], labels: dict[str, str], warn: bool = True
) -> tuple[Document, Config, Checked]:
    """The configuration; problems are shown and end the process."""
    try:
        document = flags.document(values, labels)
    except ConfigError as error:
        _fail(error)
    checked = checking.check(document)
    if checked.config is None:
        _fail(ConfigError(checked.errors))
    if warn:
        shown.problems(checked.warnings)
    return document, checked.config, checked


def _given(values: dict[str, Any], labels: dict[str, str], document: Document) -> Given:
    """For reloads: they read the same file, wherever a search would find one by then."""
    kept = {key: value for key, value in values.items() if value not in (None, ())}
    if document.sources:
        kept["config"] = os.path.abspath(document.sources[0].name)
    given = {key: label for key, label in labels.items() if key in kept}
    return Given("fastproxy.renew:renewed", kept, given)


def _launch(
    document: Document,
    config: Config,
    checked: Checked,
    demo: bool = False,
    given: Given | None = None,
) -> NoReturn:
    from fastproxy import start
    from fastproxy.process import handover

    path = document.sources[0].name if document.sources else ""
    try:
        ready = start.prepare(config, path, demo, checked.stages, checked.keyring, given)
    except ConfigError as error:
        _fail(error)
    shown.problems([], ready.notes)
    try:
        handover.launch(ready.handover, ready.plan, ready.roster, ready.keyring)
    except OSError as error:
        click.echo(f"fastproxy: cannot start the master: {error}", err=True)
        sys.exit(FAILED)


def _fail(error: ConfigError) -> NoReturn:
    shown.problems(error.problems)
    click.echo(shown.count(error.problems, []), err=True)
    only_flags = all(problem.file.startswith(("--", "FASTPROXY_")) for problem in error.problems)
    sys.exit(USAGE if only_flags else FAILED)


def _as_dict(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "path": problem.path,
        "text": problem.text,
        "hint": problem.hint,
    }


def main() -> None:
    """The program `fastproxy`."""
    try:
        cli(prog_name="fastproxy")
    except BrokenPipeError:
        # Whoever read our output is gone (`| head`); keep Python from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
