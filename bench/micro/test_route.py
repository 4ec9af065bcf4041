"""Routing and log lines, in ns per call, looped inside the probe.

`pytest bench/micro/test_route.py -s` prints one row per case. "one path" asks the same request
again and again (work), "all paths" asks for all routes in random order (work and cache misses).
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fastproxy import _probe
from fastproxy.template.build import Escape
from fastproxy.template.presets import PRESETS
from tests.unit.routing import IDS, Plan, compiled

SIZES = (1, 100, 10_000)
CALLS = 40_000


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(15))


KINDS: dict[str, tuple[str, str]] = {
    "exact": ("= /api/v1/resource-{n}/items", "/api/v1/resource-{n}/items"),
    "prefix": ("/api/v1/resource-{n}", "/api/v1/resource-{n}/items/7"),
    "param": ("/api/v1/resource-{n}/{{id}}", "/api/v1/resource-{n}/7"),
    "host": ("/", "/"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_match(kind: str, size: int) -> None:
    pattern, path = KINDS[kind]
    rows = [
        {"path": pattern.format(n=n), **({"host": f"h{n}.example.com"} if kind == "host" else {})}
        for n in range(size)
    ]
    plan = Plan(*rows)
    asked = [(f"h{n}.example.com".encode(), path.format(n=n).encode()) for n in range(size)]
    assert plan.ask(path.format(n=size - 1), host=asked[-1][0])[:2] == (0, size - 1)
    random.Random(1).shuffle(asked)
    same = best(lambda: plan.probe.time_match(asked[:1], CALLS))
    all_paths = best(lambda: plan.probe.time_match(asked, max(1, CALLS // size)))
    print(f"\n{kind:8} {size:6} routes: {same:6.1f} ns one path, {all_paths:6.1f} ns all paths")


@pytest.mark.parametrize("count", [1, 10])
def test_regex(count: int) -> None:
    plan = Plan(*({"path": rf"~ ^/r{n}/(\d+)$"} for n in range(count)))
    asked = [(b"h", f"/r{count - 1}/123".encode())]
    spent = best(lambda: plan.probe.time_match(asked, CALLS))
    print(f"\nregex    {count:6} routes: {spent:6.1f} ns, the last one matches")


@pytest.mark.parametrize("name", PRESETS)
def test_log_line(name: str) -> None:
    fields = [(b"Host", b"example.com"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"gzip"),
              (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
              (b"Referer", b"https://example.com/start")]  # fmt: skip
    scene = _probe.scene_of(
        request=_probe.head_of(fields, IDS), client_ip=b"192.0.2.17", method=b"GET",
        host=b"example.com", target=b"/api/v1/resource/77/items?x=1", status=200, bytes_out=1234,
        time_total_us=1234, time_first_byte_us=900, route=b"/api/", upstream=b"api", minor=1,
        backend=b"http://127.0.0.1:9001", end_state=b"ok", worker=1,
        request_id=b"01909bcd-7f3e-7b5e-9d3c-5f4f7a1c2b3d",
        time_local=b"22/Nov/2026:14:38:26 +0000", time_iso=b"2026-11-22T14:38:26.123456Z",
    )  # fmt: skip
    preset = PRESETS[name]
    plan = compiled(preset.text, preset.escape)
    line, _ = _probe.render_template(plan, 0, scene)
    spent = best(lambda: _probe.time_render(plan, 0, scene, CALLS))
    print(f"\nlog line {name:8}: {spent:6.1f} ns, {len(line)} bytes")


@pytest.mark.parametrize("escape", [Escape.HEADER, Escape.LOG, Escape.JSON, Escape.TARGET])
def test_escape(escape: Escape) -> None:
    scene = _probe.scene_of(target=b"/a/path/of/some/length/without/anything/odd/in/it?and=1")
    plan = compiled("{target}", escape)
    spent = best(lambda: _probe.time_render(plan, 0, scene, CALLS))
    print(f"\nescape {escape.name:7}: {spent:6.1f} ns for 55 clean bytes")
