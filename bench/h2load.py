# SPDX-License-Identifier: MIT
"""h2load: the closed loop over TLS, by HTTP/1.1 or HTTP/2. wrk speaks neither HTTP/2 nor chooses
what TLS is made of. What it prints is for people; this reads it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scenario import Scenario

CIPHER, GROUP = "TLS_AES_128_GCM_SHA256", "X25519"
"""All that is offered, so that all proxies take it."""
TLS = {"TLS Protocol": "TLSv1.3", "Cipher": CIPHER, "Server Temp Key": f"{GROUP} 253 bits"}
KINDS = ("failed", "errored", "timeout")


def program() -> str:
    """Its path; "" if it is not there."""
    return shutil.which("h2load") or ""


def command(
    scenario: Scenario, host: str, port: int, seconds: float, threads: int, log: Path, body: Path
) -> list[str]:
    """`log` gets a line for each request, `body` is what is sent as one."""
    setting, asked = scenario.setting, scenario.request
    protocol = ["--npn-list=h2"] if setting.http2 else ["--h1"]
    return [
        program() or "h2load", f"-t{threads}", f"-c{scenario.connections}", f"-m{scenario.streams}",
        f"-D{max(1, round(seconds * 1000))}ms", f"--log-file={log}",
        f"--connect-to=127.0.0.1:{port}", *protocol,
        *([f"--tls13-ciphers={CIPHER}", f"--groups={GROUP}"] if setting.tls else []),
        *(f"-H{name}: {value}" for name, value in asked.headers),
        *([f"-d{body}"] if asked.body else []),
        f"{'https' if setting.tls else 'http'}://{host}{asked.path}",
    ]  # fmt: skip


def disagreement(scenario: Scenario, output: str) -> str:
    """What was not negotiated as it should be; empty: all was."""
    setting = scenario.setting
    wanted = dict(TLS) if setting.tls else {}
    if setting.tls:
        wanted["Application protocol"] = "h2" if setting.http2 else "http/1.1"
    for name, value in wanted.items():
        found = re.search(rf"^{name}: (.*)$", output, re.MULTILINE)
        if not found or found[1] != value:
            return f"{name}: {found[1] if found else 'none'}, wanted: {value}"
    return ""


def read(output: str, log: Path) -> dict[str, Any]:
    """As wrk.lua tells it. ValueError: not understood."""
    seconds = re.search(r"^finished in ([\d.]+)(s|ms)", output, re.MULTILINE)
    line = re.search(r"^requests: (.*)$", output, re.MULTILINE)
    counts = {
        name: int(count) for count, name in re.findall(r"(\d+) (\w+)", line[1] if line else "")
    }
    traffic = re.search(r"\((\d+)\) total, .* \((\d+)\) data", output)
    statuses = re.search(
        r"^status codes: .*, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output, re.MULTILINE
    )
    if not (seconds and traffic and statuses and "succeeded" in counts):
        raise ValueError(output)
    times = sorted(latencies(log))
    return {
        "requests": counts["succeeded"],
        "us": round(float(seconds[1]) * (1e6 if seconds[2] == "s" else 1e3)),
        "bytes": int(traffic[1]),
        "data": int(traffic[2]),
        "errors": {
            **{name: counts[name] for name in KINDS},
            # What is 2xx may be more: of answers that were not read to their end, too.
            "status": sum(int(one) for one in statuses.groups()),
        },
        **{name: at(times, share) for name, share in SHARES.items()},
    }


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def latencies(log: Path) -> list[int]:
    """us of each request."""
    with log.open("rb") as file:
        return [int(line.rpartition(b"\t")[2]) for line in file]


def at(times: Sequence[int], share: float) -> int:
    """The quantile; `times` ascend."""
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0
