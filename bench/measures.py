# SPDX-License-Identifier: MIT
"""What can be measured: the names of figures in results, with their heading and meaning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One figure. Less is better but for rates."""

    name: str
    head: str
    """Heading of its column."""
    text: str
    digits: int = 1
    divisor: float = 1.0
    """What is shown is the figure divided by this."""
    more_is_better: bool = False

    def show(self, value: float | None) -> str:
        return "" if value is None else f"{value / self.divisor:,.{self.digits}f}"


_MIB = float(1 << 20)
ALL = (
    Measure("cpu_us", "us", "CPU time per request, us"),
    Measure("user_us", "user", "CPU time per request in user space, us"),
    Measure("system_us", "system", "CPU time per request in the kernel, us"),
    Measure("worker_us", "worker", "CPU time per request of the workers alone, us", 2),
    Measure("cpu_us_per_mib", "us/MiB", "CPU time per MiB of bodies, us", 0),
    Measure("handshakes", "hs/CPU s", "handshakes per second of CPU time", 0, more_is_better=True),
    Measure("rate", "req/s", "requests per second", 0, more_is_better=True),
    Measure("mib_rate", "MiB/s", "MiB of bodies per second", 0, more_is_better=True),
    Measure("requests", "requests", "requests of the turn", 0, more_is_better=True),
    Measure("p50_ms", "p50", "latency, median, ms", 2),
    Measure("p90_ms", "p90", "latency, 90th percentile, ms", 2),
    Measure("p99_ms", "p99", "latency, 99th percentile, ms", 2),
    Measure("p999_ms", "p99.9", "latency, 99.9th percentile, ms", 2),
    Measure("max_ms", "max", "latency, worst, ms", 1),
    Measure("errors", "errors %", "share of requests that failed", 3, 0.01),
    Measure("switches", "waits", "voluntary context switches per request", 2),
    Measure("preempted", "preempted", "involuntary context switches per request", 3),
    Measure("syscalls", "calls", "system calls per request", 1),
    Measure("others", "others", "share of the proxy's CPU that went to foreign processes", 2),
    Measure("rss_bytes", "RSS MiB", "resident memory of all processes, bytes", 0, _MIB),
    Measure("pss_bytes", "MiB", "the same, shared pages divided among who shares", 0, _MIB),
    Measure("idle_bytes", "B/conn", "growth of PSS per idle connection, bytes", 0),
    Measure("pss_before", "before", "PSS before the connections came, bytes", 1, _MIB),
)
BY_NAME = {one.name: one for one in ALL}

COLUMNS = {
    "cpu_us": ("cpu_us", "user_us", "ratio", "spread", "rate", "p50_ms", "p99_ms", "syscalls",
               "pss_bytes"),
    "worker_us": ("worker_us", "ratio", "spread", "cpu_us", "rate", "p99_ms", "pss_bytes"),
    "cpu_us_per_mib": ("cpu_us_per_mib", "ratio", "spread", "mib_rate", "rate", "p50_ms", "p99_ms",
                       "syscalls", "pss_bytes"),
    "handshakes": ("handshakes", "ratio", "spread", "cpu_us", "user_us", "rate", "p50_ms", "p99_ms",
                   "pss_bytes"),
    "rate": ("rate", "ratio", "spread", "cpu_us", "user_us", "p50_ms", "p99_ms", "pss_bytes"),
    "p99_ms": ("p99_ms", "ratio", "spread", "p50_ms", "p90_ms", "p999_ms", "max_ms", "errors",
               "cpu_us"),
    "idle_bytes": ("idle_bytes", "ratio", "pss_before", "pss_bytes", "rss_bytes"),
}  # fmt: skip
"""The table of a scenario, by its figure: what fits 80 columns."""
