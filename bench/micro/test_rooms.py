# SPDX-License-Identifier: MIT
"""Nanoseconds of every room (rooms.py)."""

from __future__ import annotations

from typing import Any

import pytest

from bench.micro.rooms import Probe, all_probes


@pytest.mark.parametrize("probe", all_probes(), ids=lambda p: f"{p.name} {p.simd}".rstrip())
def test_room(benchmark: Any, timing: Any, probe: Probe) -> None:
    benchmark.group = probe.group
    timing(probe.name, probe.simd or "ours", probe.make(), probe.size)
