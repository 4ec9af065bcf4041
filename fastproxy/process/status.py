# SPDX-License-Identifier: MIT
"""What `fastproxy status` shows: the scoreboard, added up and with its names. Control only.

Times are milliseconds in the report, quantiles are right to within 1/16 (log-linear histograms).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastproxy import __version__, _core
from fastproxy._core import Board
from fastproxy.balance.build import Member
from fastproxy.memory import pack
from fastproxy.process import changes as changing
from fastproxy.process.handover import Handover
from fastproxy.process.rosters import Rosters
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin, Health, WorkerState

STATES = tuple(state.name.lower() for state in WorkerState)
HEALTH = tuple(word.name.lower() for word in Health)
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


def expiry(certificates: list[dict[str, Any]]) -> dict[str, int]:
    """How many are in force, how many are over, when the first one is."""
    ends = [one["not_after"] for one in certificates if "not_after" in one]
    return {
        "tls_certificates": len(certificates),
        "tls_certificates_expired": sum(end < time.time() for end in ends),
        "tls_first_expiry": min(ends, default=0),
    }


def times(buckets: list[int]) -> dict[str, float]:
    return {
        name: round(segment.quantile(buckets, share) / 1000, 3) for name, share in QUANTILES.items()
    }


class Status:
    """One instance's report, again and again."""

    def __init__(
        self,
        board: Board,
        handover: Handover,
        plan: bytes,
        listeners: list[str],
        rosters: Rosters,
        checked: Callable[[int], dict[str, Any] | None],
    ) -> None:
        self.board = board
        self.handover = handover
        self.listeners = listeners
        self.routes = route_names(plan)
        self.rosters = rosters
        self.names: Callable[[], list[dict[str, Any]]] = list
        """What discovery knows of names, once it runs."""
        self.certificates: Callable[[], list[dict[str, Any]]] = list
        """What is in the keyring in force."""
        self.reloads: Callable[[], dict[str, Any]] = dict
        """What became of reloads."""
        self.checked = checked
        """What the checks know of a row."""

    def report(self) -> dict[str, Any]:
        head = segment.header(self.board)
        slots = head["workers"]
        totals = segment.workers_sum(self.board, slots)
        certificates = self.certificates()
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
            "reloads": self.reloads(),
            "workers": [self.worker(slot) for slot in range(slots)],
            "totals": {
                **{name: totals[name] for name in (*segment.COUNTERS, *segment.GAUGES)},
                **expiry(certificates),
            },
            "limits": {name: totals[name] for name in segment.LIMITS},
            **self.routes_report(slots),
            "upstreams": self.upstreams_report(slots),
            "names": self.names(),
            "certificates": certificates,
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
        return float(head["started_unix_ms"] + until_ms - head["started_mono_ms"]) / 1000

    def upstreams_report(self, slots: int) -> list[dict[str, Any]]:
        """Every upstream with its members, and with those that were and still have requests."""
        rosters = self.rosters
        groups: dict[str, dict[str, Member]] = {name: {} for name in rosters.upstreams}
        for member in rosters.members:
            groups[member.upstream].setdefault(member.name, member)
        gone: dict[str, list[dict[str, Any]]] = {name: [] for name in rosters.upstreams}
        for (name, backend), row in rosters.rows.items():
            if backend not in groups[name] and self.board.inflight(row):
                entry = self.backend_report(row, slots)
                gone[name].append({**entry, "source": "removed", "state": "removed"})
        reports: list[dict[str, Any]] = []
        for number, (name, upstream) in enumerate(rosters.upstreams.items()):
            if name in rosters.retired and not gone[name]:
                continue
            sources = rosters.changes[name].sources(upstream)
            entries = [
                self.member_report(one, sources[str(one.backend.url)][1], slots)
                for one in groups[name].values()
            ]
            reports.append(
                {
                    "name": name,
                    "balance": upstream.balance,
                    "queued": segment.queued(self.board, number, slots),
                    "backends": entries + gone[name],
                    "changes": _changes_report(rosters.changes[name]),
                }
            )
        return reports

    def member_report(self, member: Member, source: str, slots: int) -> dict[str, Any]:
        """A member: as `backend_report`, and what its settings say. `source`: who named it."""
        settings = member.backend
        entry = self.backend_report(self.rosters.rows[(member.upstream, member.name)], slots)
        limits = [one for one in (entry["max_connections"], settings.max_connections) if one]
        return {
            **entry,
            "max_connections": min(limits, default=0),
            "source": source,
            "priority": member.priority,
            "backup": settings.backup,
            "zone": settings.zone,
        }

    def backend_report(self, row: int, slots: int) -> dict[str, Any]:
        """One row of the scoreboard: what is said of this backend, and what was seen of it."""
        entry = segment.backend(self.board, row)
        admin = Admin.of(entry["admin"])
        ejected_ms = (entry["ejection"] >> 16) - time.monotonic_ns() // 1_000_000
        found = {
            "name": entry["name"],
            "weight": entry["weight"],
            "health": name_of(HEALTH, entry["health"]),
            "admin": name_of(HEALTH, max(admin.operator, admin.agent)),
            "operator": name_of(HEALTH, admin.operator),
            "agent": name_of(HEALTH, admin.agent),
            "percent": entry["percent"],
            "ejected_seconds": round(max(0, ejected_ms) / 1000, 1),
            "ejected_until": self.ejected_until(entry["ejection"]),
            "ejections": entry["ejections"],
            "max_connections": entry["max_connections"],
            "check": self.checked(row),
            "inflight": self.board.inflight(row),
            **summary(segment.counts(self.board, "backend", row, slots)),
        }
        return {**found, "state": state_of(found)}


def state_of(backend: dict[str, Any]) -> str:
    """One word for people: the strongest of those that keep it from requests."""
    if backend["admin"] != "up":
        return str(backend["admin"])
    if backend["health"] != "up":
        return str(backend["health"])
    if backend["ejected_seconds"]:
        return f"ejected {max(1, round(backend['ejected_seconds']))} s"
    return "up" if backend["percent"] == 100 else f"{backend['percent']}%"


def _changes_report(change: changing.Change) -> dict[str, Any]:
    """What differs from the configuration."""
    return {
        "added": [str(one.url) for one in change.added],
        "removed": change.removed,
        "weights": change.weights,
        "provided": {source: len(found) for source, found in change.provided.items()},
    }
