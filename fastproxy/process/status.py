# SPDX-License-Identifier: MIT
"""What `fastproxy status` shows: the scoreboard, added up and with its names. Control only.

Times are milliseconds in the report, quantiles are right to within 1/16 (log-linear histograms).
"""

from __future__ import annotations

import time
from typing import Any

from fastproxy import __version__, _core
from fastproxy._core import Board
from fastproxy.memory import pack
from fastproxy.process.handover import Handover
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import WorkerState

STATES = tuple(state.name.lower() for state in WorkerState)
HEALTH = ("up", "down", "drain", "maint")
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
PLAN_MAGIC = 0x504C5046
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}


def name_of(names: tuple[str, ...], number: int) -> str:
    """The board is written by workers: a number may be anything."""
    return names[number] if number < len(names) else f"?{number}"


def plan_generation(plan: bytes) -> int:
    """The number in a plan's header; 0 if these bytes are no plan of this build."""
    if len(plan) < pack.size("PlanHeader"):
        return 0
    head = pack.read("PlanHeader", plan)
    if head["magic"] != PLAN_MAGIC or head["layout_hash"] != _core.layout_hash():
        return 0
    return int(head["generation"])


def route_names(plan: bytes) -> dict[int, str]:
    """Counter row -> route name, from a plan. Empty if these bytes are no plan of this build."""
    if not plan_generation(plan):
        return {}
    first, count = pack.read("PlanHeader", plan)["routes"]["rows"]
    size, fields = pack.LAYOUT["RouteRow"]
    name_at, counter_at = fields["name"][0], fields["counter"][0]
    names = {}
    for at in range(first, first + count * size, size):
        offset, length, counter = (
            int.from_bytes(plan[at + where : at + where + 4], "little")
            for where in (name_at, name_at + 4, counter_at)
        )
        names[counter] = plan[offset : offset + length].decode(errors="replace")
    return names


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Counts of one route or backend for people: status by class, times as quantiles."""
    buckets = found.pop("buckets")
    status = dict(zip(STATUS_CLASSES, found.pop("status"), strict=True))
    return {**found, "status": status, **times(buckets)}


def times(buckets: list[int]) -> dict[str, float]:
    return {
        name: round(segment.quantile(buckets, share) / 1000, 3) for name, share in QUANTILES.items()
    }


class Status:
    """One instance's report, again and again."""

    def __init__(self, board: Board, handover: Handover, plan: bytes, listeners: list[str]) -> None:
        self.board = board
        self.handover = handover
        self.listeners = listeners
        self.routes = route_names(plan)

    def report(self) -> dict[str, Any]:
        head = segment.header(self.board)
        slots = head["workers"]
        return {
            "version": __version__,
            "state": "draining" if head["stopping"] else "running",
            "pid": head["master_pid"],
            "control_pid": head["control_pid"],
            "uptime_seconds": round(time.monotonic() - head["started_mono_ms"] / 1000, 1),
            "started_unix": head["started_unix_ms"] // 1000,
            "config": self.handover.config_path,
            "demo": self.handover.demo,
            "extra": self.handover.extra,
            "listeners": self.listeners,
            "control_socket": self.handover.control_socket,
            "plan_generation": head["plan_generation"],
            "roster_epoch": head["roster_epoch"],
            "workers": [self.worker(slot) for slot in range(slots)],
            "totals": segment.workers_sum(self.board, slots),
            **self.routes_report(slots),
            "upstreams": self.upstreams_report(slots),
        }

    def worker(self, slot: int) -> dict[str, Any]:
        row = segment.worker(self.board, slot)
        shown = {name: row[name] for name in (*segment.COUNTERS, *segment.GAUGES)}
        return {
            "slot": slot,
            "pid": row["pid"] if row["state"] != WorkerState.GONE else 0,
            "state": name_of(STATES, row["state"]),
            "restarts": max(0, row["generation"] - 1),
            "beat_age_ms": self.board.beat_age_ms(slot) if row["beat_ms"] else None,
            "plan_generation": row["plan_generation"],
            "roster_epoch": row["roster_epoch"],
            "adopted_by": row["adopted_by"] - 1 if row["adopted_by"] else None,
            **shown,
        }

    def routes_report(self, slots: int) -> dict[str, Any]:
        """Every route that has a name or was used, and the times of all of them together."""
        routes = []
        total = [0] * segment.WORDS["buckets"]
        status = dict.fromkeys(STATUS_CLASSES, 0)
        for index, name in sorted(self.routes.items()):
            found = segment.counts(self.board, "route", index, slots)
            total = [a + b for a, b in zip(total, found["buckets"], strict=True)]
            entry = {"name": name, **summary(found)}
            status = {key: count + entry["status"][key] for key, count in status.items()}
            routes.append(entry)
        return {"routes": routes, "status": status, "latency": times(total)}

    def ejected_until(self, ejection: int) -> float | None:
        """Unix time; None: it is not ejected now."""
        until_ms = ejection >> 16
        if until_ms <= time.monotonic_ns() // 1_000_000:
            return None
        head = segment.header(self.board)
        return (head["started_unix_ms"] + until_ms - head["started_mono_ms"]) / 1000

    def upstreams_report(self, slots: int) -> list[dict[str, Any]]:
        upstreams: list[dict[str, Any]] = [
            {
                "name": name,
                "balance": one["balance"],
                "queued": segment.queued(self.board, index, slots),
                "backends": [],
            }
            for index, (name, one) in enumerate(self.handover.upstreams.items())
        ]
        for row in segment.backends_used(self.board):
            entry = segment.backend(self.board, row)
            if entry["upstream"] >= len(upstreams):
                continue
            upstreams[entry["upstream"]]["backends"].append(
                {
                    "name": entry["name"],
                    "weight": entry["weight"],
                    "health": name_of(HEALTH, entry["health"]),
                    "admin": name_of(HEALTH, entry["admin"]),
                    "inflight": self.board.inflight(row),
                    "ejections": entry["ejections"],
                    "ejected_until": self.ejected_until(entry["ejection"]),
                    **summary(segment.counts(self.board, "backend", row, slots)),
                }
            )
        return upstreams
