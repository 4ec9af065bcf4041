"""`fastproxy status` for people: tables of workers, routes and backends. Only here is rich used."""

from __future__ import annotations

import json
import sys
import time
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


def print_json(path: str, watch: bool) -> None:
    """The report as it is; with `watch` one line a second."""
    if not watch:
        print(json.dumps(client.status(path), indent=2))
        return
    _every_second(lambda: print(json.dumps(client.status(path)), flush=True))


def print_status(path: str, watch: bool) -> None:
    """Tables; with `watch` live, with rates, until Ctrl-C."""
    console = Console()
    report = client.status(path)
    if not watch:
        console.print(render(report))
        return
    if not console.is_terminal:
        _every_second(lambda: console.print(render(client.status(path))))
        return
    with Live(render(report), console=console, auto_refresh=False, screen=True) as live:
        last = report

        def show() -> None:
            nonlocal last
            now = client.status(path)
            live.update(render(now, last), refresh=True)
            last = now

        _every_second(show)


def _every_second(show: Any) -> None:
    try:
        while True:
            show()
            time.sleep(SECOND)
    except KeyboardInterrupt:
        sys.exit(0)


def render(report: dict[str, Any], before: dict[str, Any] | None = None) -> RenderableType:
    """One report; `before`, an earlier one, gives rates."""
    return Group(
        _head(report, before),
        _workers(report),
        *([_routes(report)] if report["routes"] else []),
        *([_backends(report)] if report["upstreams"] else []),
    )


def _head(report: dict[str, Any], before: dict[str, Any] | None) -> Text:
    text = Text()
    text.append(f"fastproxy {report['version']}", style="bold")
    text.append(f"  pid {report['pid']}, {report['state']}, up {_span(report['uptime_seconds'])}")
    text.append(f"\nlisteners: {', '.join(report['listeners'])}")
    if report["config"]:
        text.append(f"\nconfig: {report['config']}")
    text.append(f"\nplan {report['plan_generation']}, roster {report['roster_epoch']}")
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


def _workers(report: dict[str, Any]) -> Table:
    table = _table("workers", "slot", "pid", "state", "restarts", "requests", "connections",
                   "upstream", "bytes in", "bytes out", "faults")  # fmt: skip
    for row in report["workers"]:
        if row["state"] == "empty":
            continue
        table.add_row(
            str(row["slot"]), str(row["pid"]), _state(row["state"]), str(row["restarts"]),
            f"{row['requests']:,}", f"{row['connections']:,}", f"{row['upstream_open']:,}",
            _bytes(row["bytes_in"]), _bytes(row["bytes_out"]), f"{row['faults']:,}",
        )  # fmt: skip
    return table


def _routes(report: dict[str, Any]) -> Table:
    table = _table("routes", "route", "requests", *CLASSES, "p50 ms", "p90 ms", "p99 ms")
    for row in report["routes"]:
        table.add_row(row["name"], f"{row['requests']:,}", *_counts(row), *_times(row))
    return table


def _backends(report: dict[str, Any]) -> Table:
    table = _table("backends", "upstream", "backend", "health", "weight", "in flight", "requests",
                   *CLASSES, "errors", "retries", "p50 ms", "p90 ms", "p99 ms")  # fmt: skip
    for upstream in report["upstreams"]:
        for row in upstream["backends"]:
            health = row["health"] if row["admin"] == "up" else row["admin"]
            errors = row.get("connect_errors", 0) + row.get("timeouts", 0)
            table.add_row(
                upstream["name"], row["name"], _state(health), str(row["weight"]),
                f"{row['inflight']:,}", f"{row['requests']:,}", *_counts(row), f"{errors:,}",
                f"{row.get('retries', 0):,}", *_times(row),
            )  # fmt: skip
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    words = ("slot", "pid", "state", "route", "upstream", "backend", "health")
    for column in columns:
        is_word = column in words and not (title == "workers" and column == "upstream")
        table.add_column(column, justify="left" if is_word else "right", no_wrap=not is_word)
    return table


def _state(name: str) -> Text:
    return Text(name, style=COLOURS.get(name, ""))


def _counts(row: dict[str, Any]) -> list[str]:
    return [f"{row['status'][name]:,}" for name in CLASSES]


def _times(row: dict[str, Any]) -> list[str]:
    return [f"{row[key]:g}" for key in ("p50_ms", "p90_ms", "p99_ms")]


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
