# SPDX-License-Identifier: MIT
"""What runs under callgrind (counting.py starts it): python -m bench.counted rooms|whole [ONLY]

Prints [[SIMD path, probe, n], ...] as JSON; each was run n times, then 2n times, between marks.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from bench.micro.heads import BROWSER, SMALL
from bench.micro.rooms import SIMD, all_probes
from bench.micro.whole import CLIENTS, LOGGED, Whole
from bench.micro.whole_http2 import WholeHttp2
from fastproxy import _probe

WHOLE = {
    "request small": (SMALL, {}),
    "request small, JSON log": (SMALL, LOGGED),
    "request browser": (BROWSER, {}),
}
MANY = 1000
MANY_BACKENDS = f"request small, {MANY:,} backends"
"""By the first path only: nothing of it scans."""
HTTP2 = "request small, HTTP/2"
"""From 2 connections with 32 streams each, without TLS; by the first path only: most of it is
libnghttp2's."""
ROUNDS = 4
"""Of whole requests, CLIENTS each."""

Step = tuple[str, str, int]


def marked(run: Callable[[int], object], rounds: int) -> None:
    """Once before, so that what happens at the first time is over."""
    run(rounds)
    _probe.count_mark()
    run(rounds)
    _probe.count_mark()
    run(2 * rounds)
    _probe.count_mark()


def has_path(simd: str) -> bool:
    """Is this path of the scanner to be had on this CPU?"""
    return not simd or _probe.scan_ends(b"", simd)[2] == simd


def rooms(only: str) -> Iterator[Step]:
    for probe in all_probes():
        if probe.counted and only in probe.name and has_path(probe.simd):
            marked(probe.make(), probe.rounds)
            yield probe.simd, probe.name, probe.rounds


def whole(only: str) -> Iterator[Step]:
    for simd in filter(has_path, SIMD):
        os.environ["FASTPROXY_SIMD"] = simd
        for name, (request, changes) in WHOLE.items():
            if only in name:
                yield whole_one(simd, name, Whole(changes, request))
        if only in MANY_BACKENDS and simd == SIMD[0]:
            yield whole_one(simd, MANY_BACKENDS, Whole(backends=MANY))
        if only in HTTP2 and simd == SIMD[0] and find_spec("fastproxy._http2"):
            yield whole_one(simd, HTTP2, WholeHttp2())


def whole_one(simd: str, name: str, requests: Whole) -> Step:
    marked(requests.run, ROUNDS)
    requests.close()
    return simd, name, ROUNDS * CLIENTS


if __name__ == "__main__":
    gc.disable()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # both ends of all backends are here
    json.dump(list({"rooms": rooms, "whole": whole}[sys.argv[1]](sys.argv[2])), sys.stdout)
