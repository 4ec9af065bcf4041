"""The tables of `fastproxy status`, on wide and narrow terminals."""

from __future__ import annotations

import copy
import io
import re
import time
from typing import Any

import pytest
from rich.console import Console

from fastproxy import view

CLASSES = {"none": 0, "1xx": 0, "2xx": 1234567, "3xx": 2, "4xx": 3, "5xx": 4}
TIMES = {"p50_ms": 0.5, "p90_ms": 1.25, "p99_ms": 12.5}
REPORT: dict[str, Any] = {
    "version": "0.1.0", "pid": 4242, "state": "running", "uptime_seconds": 93784.0,
    "listeners": [":8080"], "config": "/etc/fastproxy/fastproxy.toml", "plan_generation": 1,
    "reloads": {"done": 0, "refused": 0, "last": None},
    "roster_epoch": 3, "totals": {"requests": 5000, "connections": 7}, "status": CLASSES,
    "latency": TIMES,
    "workers": [
        {"slot": 0, "pid": 11, "state": "serving", "restarts": 0, "requests": 5000,
         "connections": 7, "upstream_open": 2, "bytes_in": 0, "bytes_out": 3 << 30, "faults": 1},
        {"slot": 1, "pid": 0, "state": "empty"},
    ],
    "routes": [{"name": "[red]all", "requests": 5000, "status": CLASSES, **TIMES}],
    "upstreams": [{"name": "api", "balance": "round_robin", "backends": [
        {"name": "http://127.0.0.1:9001", "weight": 1, "state": "drain",
         "max_connections": 0, "inflight": 3, "requests": 5000, "status": CLASSES,
         "connect_errors": 2, "timeouts": 3, "retries": 0, **TIMES}]}],
}  # fmt: skip


def shown(width: int, report: dict[str, Any] = REPORT, before: dict[str, Any] | None = None) -> str:
    output = io.StringIO()
    console = Console(width=width, file=output)
    console.print(view.render(report, before, narrow=width < view.WIDE))
    return output.getvalue()


@pytest.mark.parametrize("width", [90, 160])
def test_everything_that_counts_fits(width: int) -> None:
    text = shown(width)
    for word in ("pid 4242, running, up 1d 2h", "5,000", "1,234,567", "3.0 GiB", "drain",
                 "http://127.0.0.1:9001", "p99 12.5 ms", "[red]all"):  # fmt: skip
        assert word in text, (word, text)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())


def test_rates_come_from_two_reports() -> None:
    before = {**REPORT, "uptime_seconds": 93782.0, "totals": {"requests": 1000, "connections": 1}}
    assert "requests: 5,000 (2,000/s)" in shown(160, REPORT, before)


def test_names_of_backends() -> None:
    name = {"name": "http://app.test:9001", "addresses": 3, "age_seconds": 4.2, "ttl_seconds": 60.0,
            "failures": 0, "error": ""}  # fmt: skip
    lost = {**name, "name": "http://gone.test", "addresses": 0, "age_seconds": None, "failures": 7,
            "error": "no such name"}  # fmt: skip
    assert "names" not in shown(90, {**REPORT, "names": []})
    text = shown(90, {**REPORT, "names": [name]})
    assert re.search(r"http://app.test:9001 +3 +4s +1m +0\n", text), text
    assert text.rstrip().endswith("0")  # no column of errors
    text = shown(90, {**REPORT, "names": [name, lost]})
    assert re.search(r"http://gone.test +0 +never +1m +7 +no such name", text), text
    assert all(len(line.rstrip()) <= 90 for line in text.splitlines())


def test_an_instance_without_routes_or_upstreams() -> None:
    text = shown(160, {**REPORT, "routes": [], "upstreams": [], "workers": []})
    assert "routes" not in text
    assert "requests: 5,000" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (3600, "1h"), (90061, "1d 1h"), (61, "1m 1s")]
)
def test_spans(seconds: float, text: str) -> None:
    assert view._span(seconds) == text


def test_what_the_checks_found() -> None:
    check = {"kind": "http", "up": False, "since_unix": time.time() - 61, "last": "status 500"}
    report = copy.deepcopy(REPORT)
    row = report["upstreams"][0]["backends"][0]

    def text() -> str:
        output = io.StringIO()
        Console(width=160, file=output).print(view.render_backends(report))
        return output.getvalue()

    assert "check" not in text()
    row["check"] = check
    assert "status 500 (down for 1m 1s)" in text()
    row["check"] = {"kind": "http", "up": True, "since_unix": time.time()}  # not asked yet
    assert "check" not in text()
    row["check"] |= {"last": "200", "agent": "down 50%"}
    assert "200 (up for 0s), agent: down 50%" in text()
    row["check"] |= {"agent": "nothing"}
    assert "agent" not in text()
    row["check"] = {"kind": "off", "up": True, "since_unix": time.time(), "agent": "drain"}
    assert "agent: drain" in text()


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"priority": 0, "backup": False, "zone": ""}, ""),
        ({"priority": 2, "backup": True, "zone": "eu"}, "backup"),
        ({"priority": 2, "backup": False, "zone": ""}, "priority 2"),
        ({"priority": 2, "backup": False, "zone": "eu"}, "priority 2, zone eu"),
    ],
)
def test_who_serves_later_than_others(more: dict[str, Any], wanted: str) -> None:
    report = copy.deepcopy(REPORT)
    report["upstreams"][0]["backends"][0] |= more
    output = io.StringIO()
    Console(width=160, file=output).print(view.render_backends(report))
    assert ("tier" in output.getvalue()) == bool(wanted)
    assert wanted in output.getvalue()
