# SPDX-License-Identifier: MIT
"""The responder named "status": a page that shows this instance at work.

It is answered by Python in a worker while the rest of the traffic goes on in the engine. The
numbers are the scoreboard's; a subrequest through the worker's own routes shows that they work.
Everything that a request brought is escaped; nothing here can be changed by a request.
"""

from __future__ import annotations

import asyncio
import html
import os
import time
from typing import Any

from fastproxy import __version__
from fastproxy._core import Board
from fastproxy.engine.doorway import Fetch, Request, Response
from fastproxy.scoreboard import segment

board: Board | None = None
"""Set by the worker that imports this module."""
PROBE = "/hello"
PROBE_SECONDS = 2.0
WORKER_FIELDS = ("requests", "connections", "upstream_open", "bytes_in", "bytes_out", "faults")
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "pre{background:#f4f4f4;padding:.6em;overflow:auto}"
)
HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
]


async def respond(request: Request, fetch: Fetch) -> Response:
    """GET or HEAD of the page; anything else is 405."""
    if request.method not in ("GET", "HEAD"):
        return Response(405, b"only GET and HEAD\n", [("Allow", "GET, HEAD"), *HEADERS])
    probe = await _probe(request, fetch)
    parts = [_numbers(board) if board is not None else "", _probe_part(probe), _request(request)]
    return Response(200, page("\n".join(parts)).encode(), HEADERS)


def page(inside: str) -> str:
    """The frame of the page."""
    return (
        f'<!doctype html><html lang="en"><title>fastproxy {__version__}</title>'
        f"<style>{STYLE}</style><h1>fastproxy {__version__}</h1>\n"
        f"<p>Answered by worker process {os.getpid()}, in Python, on its event loop. "
        f"Reload for fresh numbers; <code>fastproxy status --watch</code> shows them live.</p>\n"
        f"{inside}\n</html>\n"
    )


async def _probe(request: Request, fetch: Fetch) -> tuple[Response | None, float]:
    """(answer of a subrequest, or None; seconds)."""
    began = time.monotonic()
    try:
        answer = await asyncio.wait_for(
            fetch("GET", PROBE, request.host or "localhost"), PROBE_SECONDS
        )
    except (TimeoutError, ValueError):
        answer = None
    return answer, time.monotonic() - began


def _probe_part(probe: tuple[Response | None, float]) -> str:
    answer, seconds = probe
    if answer is None:
        return f"<p>A subrequest to <code>{PROBE}</code> was not answered.</p>"
    body = answer.body[:200].decode("utf-8", "replace")
    return (
        f"<p>A subrequest to <code>{PROBE}</code> was answered {answer.status} "
        f"in {seconds * 1000:.1f} ms:</p><pre>{html.escape(body)}</pre>"
    )


def _request(request: Request) -> str:
    lines = "\n".join(f"{name}: {value}" for name, value in request.headers)
    known = f", id {html.escape(request.request_id)}" if request.request_id else ""
    return (
        f"<h2>Your request</h2><p>From {html.escape(request.client_ip)}{known}</p>"
        f"<pre>{html.escape(lines)}</pre>"
    )


def _numbers(found: Board) -> str:
    """Workers and backends from the scoreboard."""
    head = segment.header(found)
    slots = head["workers"]
    up = max(0, int(time.monotonic() - head["started_mono_ms"] / 1000))
    workers = []
    for slot in range(slots):
        row = segment.worker(found, slot)
        state = segment.WorkerState(row["state"]).name.lower()
        workers.append([f"worker {slot}", str(row["pid"]), state, *(row[n] for n in WORKER_FIELDS)])
    backends = []
    for index in segment.backends_used(found):
        counts = segment.counts(found, "backend", index, slots)
        median = segment.quantile(counts["buckets"], 0.5) / 1000
        backends.append([
            segment.backend(found, index)["name"], counts["requests"], *counts["status"],
            f"{median:.2f}",
        ])  # fmt: skip
    return (
        f"<p>Up for {up} s, plan {head['plan_generation']}, roster {head['roster_epoch']}.</p>"
        + _table(["", "pid", "state", *(n.replace("_", " ") for n in WORKER_FIELDS)], workers)
        + _table(["backend", "requests", *STATUS_CLASSES, "median ms"], backends)
    )


def _table(head: list[str], rows: list[list[Any]]) -> str:
    def line(cells: list[Any], tag: str) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) else html.escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in shown) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"
