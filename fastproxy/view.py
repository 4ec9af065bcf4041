# SPDX-License-Identifier: MIT
"""`fastproxy status` and `backends` for people: tables. Only here is rich used."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fastproxy.process import client

SECOND = 1.0
COLOURS = {"serving": "green", "starting": "yellow", "draining": "yellow", "gone": "red",
           "up": "green", "down": "red", "drain": "yellow", "maint": "yellow"}  # fmt: skip
CLASSES = ("2xx", "3xx", "4xx", "5xx")
WORDS = ("slot", "pid", "state", "route", "upstream", "backend", "tier", "check", "name",
         "error", "listener", "names", "issuer", "key", "expires", "file")  # fmt: skip
NAMES_SHOWN = 3
SOON_DAYS = 14
WIDE = 120
PIPE_WIDTH = 160
Fetch = Callable[[], dict[str, Any]]
"""Asks the instance for a report."""
Draw = Callable[[dict[str, Any], dict[str, Any] | None, bool], RenderableType]
"""A report, an earlier one or None, whether it must be narrow."""


def print_json(fetch: Fetch, watch: bool) -> None:
    """The report as it is; with `watch` one line a second."""
    if not watch:
        print(json.dumps(fetch(), indent=2))
        return
    _every_second(lambda: print(json.dumps(fetch()), flush=True))


def print_status(path: str, watch: bool) -> None:
    """Tables; with `watch` live, with rates, until Ctrl-C."""
    _print(lambda: client.status(path), render, watch)


def print_backends(fetch: Fetch, watch: bool) -> None:
    """The backends alone."""
    _print(fetch, render_backends, watch)


def _print(fetch: Fetch, draw: Draw, watch: bool) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    report = fetch()
    if not watch:
        console.print(draw(report, None, console.width < WIDE))
        return
    if not console.is_terminal:
        _every_second(lambda: console.print(draw(fetch(), None, False)))
        return
    try:
        _live(console, report, fetch, draw)
    except KeyboardInterrupt:  # pressed while the screen was being made
        sys.exit(0)


def _live(console: Console, report: dict[str, Any], fetch: Fetch, draw: Draw) -> None:
    with Live(draw(report, None, True), console=console, auto_refresh=False, screen=True) as live:
        last = report

        def show() -> None:
            nonlocal last
            now = fetch()
            live.update(draw(now, last, console.width < WIDE), refresh=True)
            last = now

        _every_second(show)


class Progress:
    """What is being waited for: on a terminal one line that changes, else a line per change."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.said = ""
        self.terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        if self.quiet or text == self.said:
            return
        if self.terminal:
            print(f"\r{text:<{len(self.said)}}", end="", flush=True)
        else:
            print(text, flush=True)
        self.said = text

    def close(self) -> None:
        """Leave the line as it was before."""
        if self.terminal and self.said:
            print(f"\r{'':<{len(self.said)}}\r", end="", flush=True)


def _every_second(show: Any) -> None:
    try:
        while True:
            show()
            time.sleep(SECOND)
    except KeyboardInterrupt:
        sys.exit(0)


def render(
    report: dict[str, Any], before: dict[str, Any] | None = None, narrow: bool = False
) -> RenderableType:
    """One report; `before`, an earlier one, gives rates. `narrow` leaves columns out."""
    return Group(
        _head(report, before),
        _workers(report, narrow),
        *([_routes(report, narrow)] if report["routes"] else []),
        *([_backends(report, narrow)] if report["upstreams"] else []),
        *([_names(report)] if report.get("names") else []),
        *([_certificates(report["certificates"], narrow)] if report.get("certificates") else []),
    )


def print_certificates(rows: list[dict[str, Any]]) -> None:
    """Those of files or of a configuration."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(_certificates(rows, False, ""))


def _certificates(rows: list[dict[str, Any]], narrow: bool, title: str = "certificates") -> Table:
    """Each with the days that are left, in their colour."""
    shown = [
        {
            "listener": row.get("listener") or (row.get("upstream") and f"to {row['upstream']}"),
            "names": ", ".join(row["names"][:NAMES_SHOWN])
            + (f" and {len(row['names']) - NAMES_SHOWN} more" * (len(row["names"]) > NAMES_SHOWN)),
            "issuer": row["issuer"],
            "key": row["kind"],
            "expires": time.strftime("%Y-%m-%d", time.gmtime(row["not_after"])),
            "days left": _days(row["days_left"]),
            "file": row["file"],
        }
        for row in rows
    ]
    if not any(row["listener"] for row in shown):
        shown = [{name: row[name] for name in row if name != "listener"} for row in shown]
    return _table(title, shown, ("issuer", "key", "file") if narrow else ())


def _days(left: int) -> Text:
    """Red: it is over. Yellow: it ends soon."""
    style = "red" if left < 0 else "yellow" if left < SOON_DAYS else "green"
    return Text("expired" if left < 0 else f"{left:,}", style=style)


def render_backends(
    report: dict[str, Any], _: dict[str, Any] | None = None, narrow: bool = False
) -> RenderableType:
    """What `backends` answers: the members of each upstream, and how they are doing."""
    rows = [
        {
            "upstream": upstream["name"],
            "backend": row["name"],
            "state": _state(row["state"]),
            "tier": _tier(row),
            "weight": f"{row['weight']:,}",
            "in flight": _of(row["inflight"], row["max_connections"]),
            "requests": f"{row['requests']:,}",
            "errors": f"{_errors(row):,}",
            "p50 ms": f"{row['p50_ms']:g}",
            "p99 ms": f"{row['p99_ms']:g}",
            "check": _check(row.get("check")),
        }
        for upstream in report["upstreams"]
        for row in upstream["backends"]
    ]
    for column in ("tier", "check"):
        if not any(row[column] for row in rows):
            rows = [{name: row[name] for name in row if name != column} for row in rows]
    empty = [one["name"] for one in report["upstreams"] if not one["backends"]]
    return Group(
        *([_table("", rows, ("errors", "p50 ms") if narrow else ())] if rows else []),
        *(Text(f"upstream {name} has no backend", style="yellow") for name in empty),
    )


def _of(count: int, most: int) -> str:
    return f"{count:,} of {most:,}" if most else f"{count:,}"


def _tier(row: dict[str, Any]) -> str:
    """What makes it serve later than others."""
    if row.get("backup"):
        return "backup"
    words = [f"priority {row['priority']}"] if row.get("priority") else []
    return ", ".join(words + ([f"zone {row['zone']}"] if row.get("zone") else []))


def _check(check: dict[str, Any] | None) -> str:
    """What the last check found, for how long the backend has been up or down by that, and what its
    agent says."""
    found = []
    if check is not None and "last" in check:
        since = _span(max(0.0, time.time() - check["since_unix"]))
        found.append(f"{check['last']} ({'up' if check['up'] else 'down'} for {since})")
    if check is not None and check.get("agent", "nothing") not in ("nothing", "up"):
        found.append(f"agent: {check['agent']}")
    return ", ".join(found)


def _errors(row: dict[str, Any]) -> int:
    """Requests that got no answer from there, or one that says it is broken."""
    return int(row["connect_errors"] + row["timeouts"] + row["status"]["5xx"])


def _head(report: dict[str, Any], before: dict[str, Any] | None) -> Text:
    text = Text()
    text.append(f"fastproxy {report['version']}", style="bold")
    text.append(f"  pid {report['pid']}, {report['state']}, up {_span(report['uptime_seconds'])}")
    text.append(f"\nlisteners: {', '.join(report['listeners'])}")
    if report["config"]:
        text.append(f"\nconfig: {report['config']}")
    text.append(f"\nplan {report['plan_generation']}, roster {report['roster_epoch']}")
    last = report["reloads"]["last"]
    if last is not None and not last["done"]:
        text.append(f"\nthe last reload was refused: {last['problems'][0]}", "yellow")
    totals = report["totals"]
    line = f"\nrequests: {totals['requests']:,}"
    if before is not None:
        seconds = max(0.001, report["uptime_seconds"] - before["uptime_seconds"])
        rate = (totals["requests"] - before["totals"]["requests"]) / seconds
        line += f" ({rate:,.0f}/s)"
    text.append(line + f", connections: {totals['connections']:,}")
    text.append(", " + ", ".join(f"{name}: {report['status'][name]:,}" for name in CLASSES))
    latency = report["latency"]
    if latency:
        text.append("\nlatency: " + ", ".join(f"{k[:-3]} {v:g} ms" for k, v in latency.items()))
    return text


def _workers(report: dict[str, Any], narrow: bool) -> Table:
    rows = [
        {
            "slot": str(row["slot"]),
            "pid": str(row["pid"]),
            "state": _state(row["state"]),
            "restarts": f"{row['restarts']:,}",
            "requests": f"{row['requests']:,}",
            "connections": f"{row['connections']:,}",
            "to backends": f"{row['upstream_open']:,}",
            "bytes in": _bytes(row["bytes_in"]),
            "bytes out": _bytes(row["bytes_out"]),
            "faults": f"{row['faults']:,}",
        }
        for row in report["workers"]
        if row["state"] != "empty"
    ]
    return _table("workers", rows, ("restarts", "bytes in", "faults") if narrow else ())


def _routes(report: dict[str, Any], narrow: bool) -> Table:
    rows = [
        {"route": row["name"], "requests": f"{row['requests']:,}", **_counts(row), **_times(row)}
        for row in report["routes"]
    ]
    return _table("routes", rows, ("p90 ms",) if narrow else ())


def _backends(report: dict[str, Any], narrow: bool) -> Table:
    rows = [
        {
            "upstream": upstream["name"],
            "backend": row["name"],
            "state": _state(row["state"]),
            "weight": f"{row['weight']:,}",
            "in flight": f"{row['inflight']:,}",
            "requests": f"{row['requests']:,}",
            **_counts(row),
            "errors": f"{row['connect_errors'] + row['timeouts']:,}",
            "retries": f"{row['retries']:,}",
            **_times(row),
        }
        for upstream in report["upstreams"]
        for row in upstream["backends"]
    ]
    less = ("weight", "in flight", "3xx", "4xx", "retries", "p90 ms")
    return _table("backends", rows, less if narrow else ())


def _names(report: dict[str, Any]) -> Table:
    """Host names of backends: what the name servers said last, and when."""
    rows = [
        {
            "name": row["name"],
            "addresses": f"{row['addresses']:,}",
            "age": "never" if row["age_seconds"] is None else _span(row["age_seconds"]),
            "ttl": _span(row["ttl_seconds"]),
            "failures": f"{row['failures']:,}",
            "error": Text(row["error"], style="yellow"),
        }
        for row in report["names"]
    ]
    if not any(row["error"] for row in report["names"]):
        rows = [{key: row[key] for key in row if key != "error"} for row in rows]
    return _table("names", rows, ())


def _table(title: str, rows: list[dict[str, Any]], left_out: tuple[str, ...]) -> Table:
    """Rows of equal keys; words to the left, numbers to the right."""
    table = Table(
        title=f"\n{title}" if title else None, title_justify="left", box=None, pad_edge=False
    )
    columns = [name for name in rows[0] if name not in left_out] if rows else []
    for column in columns:
        word = column in WORDS
        table.add_column(column, justify="left" if word else "right", no_wrap=not word)
    for row in rows:
        # Text, not str: a name may hold what rich would read as markup
        table.add_row(*(Text(row[c]) if isinstance(row[c], str) else row[c] for c in columns))
    return table


def _state(name: str) -> Text:
    """In its colour; what is ejected, removed or at a part of its weight is yellow."""
    return Text(name, style=COLOURS.get(name, "yellow" if name != "empty" else ""))


def _counts(row: dict[str, Any]) -> dict[str, str]:
    return {name: f"{row['status'][name]:,}" for name in CLASSES}


def _times(row: dict[str, Any]) -> dict[str, str]:
    return {f"{name} ms": f"{row[f'{name}_ms']:g}" for name in ("p50", "p90", "p99")}


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n}{u}" for n, u in ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0s"
