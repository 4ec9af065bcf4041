"""What `fastproxy status --json` says must be what was sent."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.peers import Gateway, Origin
from tests.flow.wire import Line, head_of
from tests.running import ROOT


def status_json(proxy: Gateway) -> dict[str, Any]:
    """As a user gets it."""
    command = [sys.executable, "-m", "fastproxy", "status", "--json"]
    done = subprocess.run([*command, "--control-socket", proxy.control], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def counted(origin: Origin) -> Iterator[tuple[Gateway, str]]:
    with Origin() as second:
        settings = {
            "upstreams": {"a": {"backends": [origin.url]}, "b": {"backends": [second.url]}},
            "routes": [
                {"name": "first", "path": "/a/", "strip_prefix": "/a", "upstream": "a"},
                {"name": "second", "path": "/b/", "strip_prefix": "/b", "upstream": "b"},
                {"name": "fixed", "path": "= /teapot", "reply": {"status": 418, "body": "short"}},
                {"name": "moved", "path": "= /moved", "redirect": "/a/id"},
            ],
        }
        with Gateway(settings=settings, workers=2) as proxy:
            yield proxy, second.url


def test_counters_are_what_was_sent(counted: tuple[Gateway, str], origin: Origin) -> None:
    proxy, second = counted
    for _ in range(10):
        with Line(proxy.port) as line:
            for _ in range(3):
                assert line.ask("GET", "/a/bytes?n=1000").status == 200
            line.sock.sendall(head_of("POST", "/b/hash", "Content-Length: 500") + bytes(500))
            out = line.answer().size
            assert line.ask("GET", "/a/none").status == 404
            assert line.ask("GET", "/teapot").status == 418
            assert line.ask("GET", "/moved").status == 308
            assert line.ask("GET", "/nowhere").status == 404
    proxy.settle()
    found = status_json(proxy)
    totals = found["totals"]
    assert totals["requests"] == 80
    assert totals["accepted"] == 10
    assert totals["bytes_in"] == 5000
    routes = {one["name"]: one for one in found["routes"]}
    assert {name: one["requests"] for name, one in routes.items() if one["requests"]} == {
        "first": 40, "second": 10, "fixed": 10, "moved": 10,
    }  # fmt: skip
    assert routes["first"]["status"] == {
        "none": 0, "1xx": 0, "2xx": 30, "3xx": 0, "4xx": 10, "5xx": 0,
    }  # fmt: skip
    assert routes["second"]["bytes_in"] == 5000
    assert routes["second"]["bytes_out"] == 10 * out
    assert routes["first"]["bytes_out"] == 30 * 1000 + 10 * len("no such thing\n")
    assert routes["moved"]["status"]["3xx"] == routes["fixed"]["status"]["4xx"] == 10
    backends = {one["name"]: one for up in found["upstreams"] for one in up["backends"]}
    assert backends[origin.url]["requests"] == 40
    assert backends[origin.url]["status"]["4xx"] == 10
    assert backends[second]["requests"] == 10
    assert backends[second]["bytes_in"] == 5000
    assert all(one["inflight"] == 0 for one in backends.values())
    assert totals["upstream_connects"] + totals["upstream_reused"] == 50
    assert sum(one["requests"] for one in found["workers"]) == 80


def test_times_are_plausible(origin: Origin) -> None:
    with Gateway(upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port) as line:
            for turn in range(50):
                ms = 200 if turn % 25 == 24 else 20
                assert line.ask("GET", f"/slow?ms={ms}").status == 200
        found = status_json(proxy)
        for times in (found["latency"], found["upstreams"][0]["backends"][0]):
            assert 18 < times["p50_ms"] < 60
            assert times["p50_ms"] <= times["p90_ms"] <= times["p99_ms"]
            assert 180 < times["p99_ms"] < 400


def test_counters_of_websockets_and_cut_answers(origin: Origin) -> None:
    with Gateway(upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port) as line, contextlib.suppress(Exception):
            line.ask("GET", "/cut?n=5000")
        proxy.settle()
        found = proxy.status()
        assert found["totals"]["bytes_out"] == 5000
        assert found["status"]["2xx"] == 1
