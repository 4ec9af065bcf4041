# SPDX-License-Identifier: MIT
"""What is asked for, of whom, and what must come out. A scenario is data.

To add one: an entry of ALL. If it needs another configuration of the proxies, a field of `Setting`
(scenario.py), which every peer either knows or refuses (peers/base.py); if it needs another answer,
the origin (origin.c, origin_grpc.c); if it is measured in another way, a method (methods.py).
"""

from __future__ import annotations

from bench import secured
from bench.scenario import (
    KIB,
    MIB,
    OURS,
    REAL,
    Request,
    Scenario,
    Setting,
    Target,
    Variant,
    ratio,
    tuned,
)

BOTH = ("nginx", "haproxy")
BALANCERS = (OURS, *BOTH, "envoy")
"""Those whose experts would use them for balancing before anything else."""
BOTH_TUNED = ("nginx tuned", "haproxy tuned")
API_FIELDS = (
    ("User-Agent", "orders-client/4.18 (linux; x86_64)"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en-GB,en;q=0.8"),
    ("Content-Type", "application/json"),
    ("Authorization", "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6IjIwMjYtMTEifQ.eyJzdWIiOiI0NzExIn0.c2ln"),
    ("Cache-Control", "no-cache"),
    ("Origin", "https://shop.example"),
    ("Referer", "https://shop.example/basket?step=2"),
    ("Cookie", "session=5f2d8c1be0a94f7c; theme=dark; consent=1"),
    ("X-Api-Version", "2026-11-01"),
    ("X-Client-Id", "web-frontend"),
    ("X-Correlation-Id", "0c6f5b5e-6b5c-7a51-9d0c-6a1f0b7f2f11"),
    ("X-Tenant", "acme"),
    ("X-Idempotency-Key", "a1b2c3d4e5f6"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=00f067aa0ba902b7"),
    ("DNT", "1"),
)
"""With Host and Content-Length 20."""
SMALL = Request()
API = Request("/4096", headers=API_FIELDS, body=KIB)
CLOSE = Request(headers=(("Connection", "close"),))
ROUTES = Request(routes=10_000)
SHIPPED = "buffers of the peers as shipped and tuned to 256 KiB"


def bodies(name: str, text: str, request: Request, connections: int, quick: bool) -> Scenario:
    """Large bodies, down or up: CPU per MiB, peers as shipped and tuned."""
    measure = "cpu_us_per_mib"
    return Scenario(
        name,
        text,
        request,
        figure=measure,
        connections=connections,
        variants=tuned("nginx", "haproxy", "limit"),
        targets=(
            (ratio(0.8, *BOTH, *BOTH_TUNED, measure=measure),)
            if request.body
            else (ratio(0.65, *BOTH, measure=measure), ratio(0.85, *BOTH_TUNED, measure=measure))
        ),
        quick=quick,
    )


ALL = [
    Scenario(
        "small",
        "100-byte answers, 64 kept connections",
        SMALL,
        targets=(
            ratio(0.80, "nginx"),
            ratio(0.75, "haproxy"),
            ratio(0.35, "envoy"),
            ratio(1.15, "limit"),
            Target("user_us", most=2.0),
            Target("syscalls", most=4.8),
        ),
    ),
    Scenario(
        "fields",
        "as small, and the peers write the same six fields as fastproxy",
        SMALL,
        setting=Setting(same_fields=True),
        quick=False,
    ),
    Scenario(
        "api",
        "POST of 1 KiB JSON, answers of 4 KiB, 20 request fields",
        API,
        targets=(ratio(0.85, "nginx"),),
    ),
    bodies("large", f"1 MiB answers, {SHIPPED}", Request(f"/{MIB}"), 16, True),
    bodies("large-64m", f"64 MiB answers, {SHIPPED}", Request(f"/{64 * MIB}"), 4, False),
    bodies("upload", f"1 MiB requests, {SHIPPED}", Request("/100", body=MIB), 16, True),
    bodies("upload-64m", f"64 MiB requests, {SHIPPED}", Request("/100", body=64 * MIB), 4, False),
    Scenario(
        "close",
        "100-byte answers, a new connection for each request",
        CLOSE,
        targets=(ratio(0.90, "nginx"),),
    ),
    Scenario(
        "idle",
        "memory of 5,000 kept connections that have asked once and now wait",
        SMALL,
        method="idle",
        figure="idle_bytes",
        connections=5_000,
        targets=(
            Target("idle_bytes", most=400),
            ratio(1.0, "nginx", measure="idle_bytes"),
        ),
    ),
    Scenario(
        "many-backends",
        "as small, with 1,000 backends",
        SMALL,
        setting=Setting(backends=1_000),
        variants=(Variant("2 backends", Setting(backends=2), (OURS,)),),
        targets=(ratio(1.10, f"{OURS} 2 backends"),),
    ),
    Scenario(
        "checked-backends",
        "what 1,000 backends by p2c cost fastproxy, each checked every 5 s",
        SMALL,
        setting=Setting(backends=1_000, checks=True),
        figure="worker_us",
        variants=(
            Variant("2 backends", Setting(backends=2, checks=True), (OURS,)),
            Variant("unchecked", Setting(backends=1_000), (OURS, "limit")),
            Variant("2 unchecked", Setting(backends=2), ("limit",)),
        ),
        peers=(OURS, "limit"),
        targets=(ratio(1.03, f"{OURS} 2 backends", measure="worker_us"),),
        quick=False,
    ),
    Scenario(
        "many-routes",
        "100-byte answers by 10,000 routes, each asked in turn",
        ROUTES,
        setting=Setting(routes=10_000),
        variants=(Variant("1 route", Setting(), (OURS,)),),
        targets=(ratio(1.10, f"{OURS} 1 route"),),
    ),
    Scenario(
        "slow-backend",
        "1,000 requests a second to three backends: two take 5 ms, one 50",
        SMALL,
        method="paced",
        figure="p99_ms",
        peers=BALANCERS,
        rate=1_000,
        setting=Setting(backends=3, least_loaded=True),
        delay_ms=5,
        slow_ms=50,
        targets=(ratio(1.0, *BALANCERS[1:], measure="p99_ms"),),
        quick=False,
    ),
    Scenario(
        "failing-backend",
        "1,000 requests a second to three backends, of which one fails 30%",
        SMALL,
        method="paced",
        figure="p99_ms",
        peers=BALANCERS,
        rate=1_000,
        setting=Setting(backends=3, least_loaded=True, passive=True),
        delay_ms=5,
        failing_percent=30,
        targets=(
            Target("errors", BALANCERS[1:], most=0.0, difference=True),
            ratio(1.0, *BALANCERS[1:], measure="p99_ms"),
        ),
        quick=False,
    ),
    Scenario(
        "latency",
        "100-byte answers at half of the rate that saturates nginx",
        SMALL,
        method="paced",
        figure="p99_ms",
        targets=(ratio(1.0, *REAL, measure="p99_ms"),),
    ),
    Scenario(
        "log-on",
        "as small, with a JSON access log to a file",
        SMALL,
        setting=Setting(log=True),
        quick=False,
    ),
    Scenario(
        "log-cost",
        "what a JSON access log costs fastproxy",
        SMALL,
        setting=Setting(log=True),
        variants=(Variant("no log", Setting(), (OURS,)),),
        peers=(OURS,),
        targets=(Target("cpu_us", (f"{OURS} no log",), most=0.7, difference=True),),
    ),
    Scenario(
        "two-workers",
        "as small, two workers (processes, threads) on two CPUs: the rate counts",
        SMALL,
        figure="rate",
        setting=Setting(workers=2),
        targets=(Target("rate", REAL, least=1.0),),
    ),
    *secured.ALL,
]
BY_NAME = {one.name: one for one in ALL}
