# SPDX-License-Identifier: MIT
"""Commands about a running instance: `status`, `stop`, `reopen`, `reload`, `backends`, `backend`.

They talk to control over its socket (process/verbs.py says what it answers), or signal the master.
Exit codes: 0 done, 1 nothing runs there or it says no, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from fastproxy import shown
from fastproxy.balance.settings import WEIGHT_MAX
from fastproxy.errors import Problem
from fastproxy.process import client
from fastproxy.process.client import ControlError, NotRunningError

OK, FAILED = 0, 1
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
LOOK_SECONDS = 0.1
"""How often `drain --wait` asks how many requests are left."""

place = click.option(
    "--control-socket",
    envvar="FASTPROXY_CONTROL_SOCKET",
    default="",
    metavar="PATH",
    help="Where the instance is found. [default: as for `status`]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


class Talking:
    """Errors of talking to a running instance, as a line and exit code 1."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (NotRunningError, ControlError)):
            click.echo(f"fastproxy: {error}", err=True)
            sys.exit(FAILED)


@click.command(context_settings=CONTEXT, short_help="Show a running instance.")
@as_json
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@place
def status(as_json: bool, watch: bool, control_socket: str) -> None:
    """Show a running instance: workers, routes, backends, latency."""
    from fastproxy import view  # rich is slow to import, and `run` does not need it

    with Talking():
        if as_json:
            view.print_json(lambda: client.status(control_socket), watch)
        else:
            view.print_status(control_socket, watch)


@click.command(context_settings=CONTEXT, short_help="Stop a running instance.")
@click.option("--quit", "quit_", is_flag=True, help="Send SIGQUIT instead of SIGTERM.")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait for its end, at most this long.")
@place
def stop(quit_: bool = False, wait: float | None = None, control_socket: str = "") -> None:
    """Let running requests end, then stop."""
    with Talking():
        found = client.stop(control_socket, quit=quit_, wait=wait)
        click.echo(f"pid {found.pid} {'stopped' if wait is not None else 'is stopping'}")


@click.command(context_settings=CONTEXT, short_help="Reopen the logs.")
@place
def reopen(control_socket: str = "") -> None:
    """Reopen the logs, after they were moved away."""
    with Talking():
        found = client.reopen(control_socket)
        click.echo(f"pid {found.pid} reopens its logs")


@click.command(
    context_settings=CONTEXT,
    short_help="Read the configuration anew.",
    help="""Read the configuration anew, while the instance runs: no request is lost, no connection
is cut, no process restarts.

Routes, upstreams, limits, timeouts and certificates are in force in all workers when the command
returns. What `fastproxy backend` changed, sessions, health and counters stay. A configuration with
an error in it is refused as a whole, and the one in force goes on; so is one that takes a restart:
other listeners, workers, users or log files.

Exit code 0: it is in force, 1: it was refused.""",
)
@as_json
@place
def reload(as_json: bool = False, control_socket: str = "") -> None:
    with Talking():
        found = client.reload(control_socket)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        sys.exit(OK if found["done"] else FAILED)
    shown.problems([Problem(**one) for one in found["problems"]], found["notes"])
    if not found["done"]:
        click.echo(f"refused: plan {found['plan_generation']} stays in force", err=True)
        sys.exit(FAILED)
    late = found["late_workers"]
    where = f"in all workers but {', '.join(map(str, late))}" if late else "in all workers"
    click.echo(f"plan {found['plan_generation']} is in force {where} ({found['seconds']:.2f} s)")


# -- backends -----------------------------------------------------------------------------------


@click.command(
    context_settings=CONTEXT,
    short_help="Show the backends of a running instance.",
    help="""Show who serves: state, weight, requests in flight, errors, time to the first byte.

\b
  fastproxy backends
  fastproxy backends web --watch
  fastproxy backends --json

\b
States:
  up, down        what the health checks say
  drain, maint    no new requests: an operator says so (`fastproxy backend`), or its agent
  ejected 12 s    its answers were bad; back in so many seconds
  75%             it takes this part of its weight, as its agent wants
  removed         no backend any more, but requests are still under way there""",
)
@click.argument("upstream", required=False, default="")
@as_json
@click.option("--watch", is_flag=True, help="Show them again every second, until Ctrl-C.")
@place
def backends(upstream: str, as_json: bool, watch: bool, control_socket: str) -> None:
    from fastproxy import view

    def fetch() -> dict[str, Any]:
        return client.backends(control_socket, upstream)

    with Talking():
        if as_json:
            view.print_json(fetch, watch)
        else:
            view.print_backends(fetch, watch)


@click.group(
    context_settings=CONTEXT,
    short_help="Add, remove, drain, disable or weigh backends.",
    help="""Change the backends of a running instance: no reload, no request lost.

\b
  fastproxy backend add web http://10.0.0.3:9001 --weight 2
  fastproxy backend drain web 10.0.0.1:9001 --wait     (then it can be stopped)
  fastproxy backend enable web 10.0.0.1:9001
  fastproxy backend weight web 10.0.0.2:9001 5
  fastproxy backend remove web 10.0.0.2:9001

UPSTREAM may be left out when there is only one. A backend is named by its URL, by host:port, or,
when it is one address of a host name, as `fastproxy backends` shows it: URL#address. Several can be
named in one command: it is done for all of them or for none.

A change is in force in all workers when the command returns. It lasts until the instance stops;
with `state_file` in the configuration the next start knows it too.""",
)
def backend() -> None:
    pass


def order(
    words: tuple[str, ...], control_socket: str, as_json: bool, action: str, **more: Any
) -> dict[str, Any]:
    """Send one order and say what became of it. A first word without ":" or "/" is the upstream."""
    upstream, named = "", list(words)
    if not any(mark in named[0] for mark in ":/"):
        upstream, named = named[0], named[1:]
    if not named:
        raise click.UsageError(f"which backend of {upstream}? {_usage(action)}")
    given = {"action": action, "upstream": upstream, "backends": named, **more}
    answer = client.ask(control_socket, "backend", given, client.ORDER_SECONDS)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in said(answer):
            click.echo(line)
    if answer["note"]:
        click.echo(f"{click.style('note: ', bold=True)}{answer['note']}", err=True)
    if not answer["in_force"]:
        late = ", ".join(str(slot) for slot in answer["late_workers"])
        raise ControlError(f"not in force yet in worker {late}: it is stuck, and gets it when back")
    return answer


def _usage(action: str) -> str:
    return f"fastproxy backend {action} [UPSTREAM] ADDRESS{' WEIGHT' * (action == 'weight')}"


DEEDS = {
    "add": "is added",
    "remove": "is removed",
    "drain": "drains",
    "enable": "is enabled",
    "disable": "is disabled",
    "weight": "has weight {weight}",
}


def said(answer: dict[str, Any]) -> list[str]:
    """One line for each backend."""
    lines = []
    for one in answer["backends"]:
        deed = DEEDS[answer["action"]].format(**one)
        already = "" if one["name"] in answer["changed"] else " already"
        first, _, rest = deed.partition(" ")
        line = f"{answer['upstream']}: {one['name']} {first}{already}{' ' * bool(rest)}{rest}"
        if answer["action"] in ("remove", "drain", "disable"):
            line += f", {_under_way(one['inflight'])}"
        elif one["state"] != "up":
            line += f", {one['state']}"
        lines.append(line)
    return lines


def _under_way(count: int) -> str:
    if count == 0:
        return "no request under way"
    return f"{count:,} request{'s' if count > 1 else ''} under way"


words = click.argument("words", nargs=-1, required=True, metavar="[UPSTREAM] ADDRESS...")


def _setting(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """--label NAME=VALUE, repeatable."""
    pairs = [text.partition("=") for text in texts]
    if any(not (name and equals and value) for name, equals, value in pairs):
        raise click.BadParameter("write NAME=VALUE")
    return {name: value for name, _, value in pairs}


@backend.command(
    context_settings=CONTEXT,
    short_help="Add a backend.",
    help="""Add backends, or bring back one that was removed.

\b
  fastproxy backend add web http://10.0.0.3:9001
  fastproxy backend add web http://10.0.0.3:9001 --weight 2 --label version=2
  fastproxy backend add http+unix:/run/app.sock --backup

A host name is looked up at once; each of its addresses becomes a backend, and stays in step with
the name. One that the configuration names comes back with its settings there, unless others are
given.""",
)
@words
@click.option("--weight", type=click.IntRange(0, WEIGHT_MAX), help="Its share. [default: 1]")
@click.option("--priority", type=click.IntRange(0, 7), help="Lower ones come first. [default: 0]")
@click.option("--backup", is_flag=True, help="Only when no other can serve.")
@click.option("--max-connections", type=click.IntRange(0), help="Requests at a time; 0: any.")
@click.option("--zone", default="", help="Where it stands.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", callback=_setting, help="Repeatable."
)
@as_json
@place
def add(words: tuple[str, ...], as_json: bool, control_socket: str, **settings: Any) -> None:
    given = {key: value for key, value in settings.items() if value not in (None, "", False, {})}
    with Talking():
        order(words, control_socket, as_json, "add", settings=given)


@backend.command(
    context_settings=CONTEXT,
    short_help="Remove a backend.",
    help="""Remove backends: no new request goes there, those under way end on it.

\b
  fastproxy backend remove web 10.0.0.2:9001""",
)
@words
@as_json
@place
def remove(words: tuple[str, ...], as_json: bool, control_socket: str) -> None:
    with Talking():
        order(words, control_socket, as_json, "remove")


@backend.command(
    context_settings=CONTEXT,
    short_help="Let a backend end what it has, and give it nothing new.",
    help="""Let backends end what they have. New requests go to others, but for those of sessions
that are bound to them.

\b
  fastproxy backend drain web 10.0.0.1:9001
  fastproxy backend drain web 10.0.0.1:9001 --wait --timeout 60 && systemctl stop app

`--wait` returns when no request is under way there any more, and says how many are left
meanwhile.""",
)
@words
@click.option("--wait", is_flag=True, help="Return when no request is under way there.")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait at most so long (exit 1)."
)
@as_json
@place
def drain(
    words: tuple[str, ...], wait: bool, timeout: float | None, as_json: bool, control_socket: str
) -> None:
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    with Talking():
        answer = order(words, control_socket, as_json, "drain")
        if wait:
            wait_for(answer, control_socket, timeout, quiet=as_json)


def wait_for(
    answer: dict[str, Any], control_socket: str, timeout: float | None, quiet: bool
) -> None:
    """Until nothing is under way at the backends of an answer; ControlError after `timeout`."""
    from fastproxy import view

    names = [one["name"] for one in answer["backends"]]
    progress = view.Progress(quiet)
    left = sum(one["inflight"] for one in answer["backends"])
    end = None if timeout is None else time.monotonic() + timeout
    while left:
        progress.show(f"{_under_way(left)}")
        if end is not None and time.monotonic() >= end:
            progress.close()
            raise ControlError(f"{_under_way(left)} still, after {timeout:g} s")
        time.sleep(LOOK_SECONDS)
        (found,) = client.backends(control_socket, answer["upstream"])["upstreams"]
        left = sum(one["inflight"] for one in found["backends"] if one["name"] in names)
    progress.close()
    if not quiet:
        click.echo("drained: no request under way")


@backend.command(
    context_settings=CONTEXT,
    short_help="Let a backend take requests again.",
    help="""Take back `drain` and `disable`.

\b
  fastproxy backend enable web 10.0.0.1:9001

It gets requests if its health checks and its agent agree.""",
)
@words
@as_json
@place
def enable(words: tuple[str, ...], as_json: bool, control_socket: str) -> None:
    with Talking():
        order(words, control_socket, as_json, "enable")


@backend.command(
    context_settings=CONTEXT,
    short_help="Give a backend nothing at all.",
    help="""Give backends nothing new, not even requests of their sessions (state: maint).

\b
  fastproxy backend disable web 10.0.0.1:9001""",
)
@words
@as_json
@place
def disable(words: tuple[str, ...], as_json: bool, control_socket: str) -> None:
    with Talking():
        order(words, control_socket, as_json, "disable")


@backend.command(
    context_settings={**CONTEXT, "ignore_unknown_options": True},  # "-1" is a wrong weight
    short_help="Give a backend another share.",
    help=f"""Give backends another weight, 0 to {WEIGHT_MAX}: their share relative to the others.
0: no new requests.

\b
  fastproxy backend weight web 10.0.0.2:9001 5""",
)
@click.argument("words", nargs=-1, required=True, metavar="[UPSTREAM] ADDRESS... WEIGHT")
@as_json
@place
def weight(words: tuple[str, ...], as_json: bool, control_socket: str) -> None:
    for word in words:
        if word.startswith("-") and (word != words[-1] or not word[1:].isdecimal()):
            raise click.NoSuchOption(word)
    if len(words) < 2 or not words[-1].removeprefix("-").isdecimal():
        raise click.UsageError(f"the last word is the weight: {_usage('weight')}")
    with Talking():
        order(words[:-1], control_socket, as_json, "weight", weight=int(words[-1]))
