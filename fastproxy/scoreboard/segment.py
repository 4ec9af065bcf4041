# SPDX-License-Identifier: MIT
"""The scoreboard's memfd: made once by the master, mapped by everybody, read for status.

Sizes are fixed at start and sealed: capacities are generous because untouched pages of a memfd
cost nothing. What must be atomic is done by `_core.Board`; here are the layout and the readers.
Words are read one by one while others write them, so sums are right to within what happens while
summing.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple, Self

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.memory import pack

WORDS = _core.board_words()
WORKERS_MAX = WORDS["workers_max"]
BACKENDS_MAX = WORDS["backends_max"]
ROUTES_MAX = WORDS["routes_max"]
BEAT_STALE_MS = WORDS["beat_stale_ms"]
SESSIONS = 1 << 18
"""Learned sessions there is room for if nobody says otherwise; 16 bytes each, once used."""
SESSIONS_MAX = 1 << 24  # read.pxd
SUB_BUCKETS = 8  # per power of two; 1 << HISTOGRAM_SUB_BITS
SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
COUNTERS = (
    "accepted", "requests", "upstream_connects", "upstream_reused", "faults", "refused",
    "accept_paused", "adopted", "helped", "log_lines", "log_dropped", "bytes_in", "bytes_out",
    "epoll_ctl", "turns", "queue_timeouts", "queue_refused", "sessions_learned", "sessions_evicted",
    "tls_handshakes", "tls_resumed", "tls_failed",
    "tls_upstream_handshakes", "tls_upstream_resumed", "tls_upstream_failed",
)  # fmt: skip
LIMITS = (
    "http2_rapid_reset", "http2_reset_by_us", "http2_continuations", "http2_header_bytes",
    "http2_settings_flood", "http2_ping_flood", "http2_priority_flood", "http2_empty_data",
    "http2_window_flood", "http2_stalled",
)  # fmt: skip
"""How often a limit on abuse was met, and the connection ended for it."""
GAUGES = (
    "connections", "idle", "upstream_open", "upstream_idle", "kept_bytes", "parked", "queued",
)  # fmt: skip


class WorkerState(IntEnum):
    """As in table.pxd (a test compares)."""

    EMPTY = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3
    GONE = 4


class Ring(IntFlag):
    """Doorbell bits, as in table.pxd (a test compares)."""

    ADOPT = 1
    PLAN = 2
    ROSTER = 4
    SLOT_FREED = 8
    DRAIN = 16
    REOPEN = 32
    STOP = 64
    KEYRING = 128


class Health(IntEnum):
    """HealthWord of table.pxd (a test compares)."""

    UP = 0
    DOWN = 1
    DRAIN = 2
    MAINT = 3


class Admin(NamedTuple):
    """BackendRow.admin, as in table.pxd: who said what of a member. Nobody may undo another's."""

    operator: int = 0
    agent: int = 0
    gone: bool = False

    @classmethod
    def of(cls, word: int) -> Self:
        return cls(word & 0xFF, word >> 8 & 0xFF, bool(word >> 16))

    @property
    def word(self) -> int:
        return self.operator | self.agent << 8 | self.gone << 16


def create(
    workers: int,
    backends: int = BACKENDS_MAX,
    routes: int = ROUTES_MAX,
    name: str = "scoreboard",
    sessions: int = SESSIONS,
) -> int:
    """A new board's memfd (close-on-exec). `workers`: slots, that is all workers there may ever
    be. `sessions` is rounded up to a power of two. ValueError if a capacity is beyond what the
    format allows."""
    for what, value, most in (
        ("workers", workers, WORKERS_MAX),
        ("backends", backends, BACKENDS_MAX),
        ("routes", routes, ROUTES_MAX),
        ("sessions", sessions, SESSIONS_MAX),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"{what}: {value} is not within 1 to {most}")
    header, length = _layout(workers, backends, routes, 1 << (sessions - 1).bit_length())
    seed = os.urandom(16)
    fd = os.memfd_create(f"fastproxy-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, length)
    row = pack.pack(
        "BoardHeader",
        {
            **header,
            "magic": WORDS["magic"],
            "version": WORDS["version"],
            "layout_hash": _core.layout_hash(),
            "started_unix_ms": time.time_ns() // 1_000_000,
            "started_mono_ms": time.monotonic_ns() // 1_000_000,
            "client_ip_seed": seed,
            "master_pid": os.getpid(),
        },
    )
    os.pwrite(fd, row, 0)
    made_ms = time.monotonic_ns() // 1_000_000
    tickets = {"count": 1, "made_ms": made_ms, "ring": ticket_key()}
    os.pwrite(fd, pack.pack("TicketBoard", tickets), header["tickets_off"])
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def ticket_key() -> bytes:
    """A new key for session tickets (`Board.rotate_tickets`)."""
    return os.urandom(WORDS["ticket_bytes"])


def made(workers: int, sessions: int = SESSIONS) -> Board:
    """A new board, mapped; its memfd is open once, as `fd` of the board."""
    fd = create(workers, sessions=sessions)
    try:
        return Board(fd)
    finally:
        os.close(fd)


def _layout(workers: int, backends: int, routes: int, sessions: int) -> tuple[dict[str, int], int]:
    """Where each array starts, and the length of all. Arrays start on pages of their own, so that
    one worker's columns share no page with the next array."""
    header = {
        "workers": workers,
        "backends": backends,
        "routes": routes,
        "sessions": sessions,
    }
    at = pack.size("BoardHeader")
    for name, size in (
        ("workers_off", workers * pack.size("WorkerRow")),
        ("backends_off", backends * pack.size("BackendRow")),
        ("inflight_off", workers * backends * 4),
        ("backend_counts_off", workers * backends * pack.size("BackendCount")),
        ("route_counts_off", workers * routes * pack.size("RouteCount")),
        ("client_ips_off", WORDS["client_ip_slots"] * pack.size("ClientIpRow")),
        ("client_ip_held_off", workers * WORDS["client_ip_slots"] * 2),
        ("upstreams_off", WORDS["upstreams_max"] * pack.size("UpstreamBoard")),
        ("queues_off", workers * WORDS["upstreams_max"] * pack.size("QueueCell")),
        ("sessions_off", sessions * pack.size("SessionRow")),
        ("tickets_off", pack.size("TicketBoard")),
    ):
        at += -at % 4096
        header[name] = at
        at += size
    at += -at % 4096
    header["length"] = at
    return header, at


def header(board: Board) -> dict[str, Any]:
    """The header row as it is now."""
    return pack.read("BoardHeader", os.pread(board.fd, pack.size("BoardHeader"), 0))


def _head(board: Board, name: str) -> int:
    """One word of the header that never changes, without reading the rest."""
    offset, length, _ = pack.LAYOUT["BoardHeader"][1][name]
    words = memoryview(board).cast("Q" if length == 8 else "I")
    return int(words[offset // length])


def set_header(board: Board, **values: int) -> None:
    """Write words of the header. Master only (control: plan_generation, roster_epoch)."""
    for name, value in values.items():
        offset, length, _ = pack.LAYOUT["BoardHeader"][1][name]
        os.pwrite(board.fd, value.to_bytes(length, "little"), offset)


def worker(board: Board, slot: int) -> dict[str, Any]:
    """A worker's row."""
    at = _head(board, "workers_off") + slot * pack.size("WorkerRow")
    return pack.read("WorkerRow", memoryview(board), at)


def backend(board: Board, row: int) -> dict[str, Any]:
    """A backend's row; its name as text."""
    at = _head(board, "backends_off") + row * pack.size("BackendRow")
    found = pack.read("BackendRow", memoryview(board), at)
    found["name"] = bytes(found["name"]).rstrip(b"\0").decode(errors="replace")
    return found


def backend_words(board: Board, row: int, names: Iterable[str]) -> dict[str, int]:
    """Some words of a backend's row, without reading the rest."""
    at = _head(board, "backends_off") + row * pack.size("BackendRow")
    view = memoryview(board)
    found = {}
    for name in names:
        offset, length, _ = pack.LAYOUT["BackendRow"][1][name]
        found[name] = int(view.cast("Q" if length == 8 else "I")[(at + offset) // length])
    return found


def backends_used(board: Board) -> list[int]:
    """Backend rows that have or had an owner (generation above 0)."""
    size, fields = pack.LAYOUT["BackendRow"]
    first = (_head(board, "backends_off") + fields["generation"][0]) // 8
    step = size // 8
    words = memoryview(board).cast("Q")
    generations = words[first : first + _head(board, "backends") * step : step].tolist()
    return [row for row, generation in enumerate(generations) if generation]


def set_backend(board: Board, row: int, name: str = "", **values: int) -> None:
    """Control's words of a backend row: upstream, weight, health, admin, percent, max_connections,
    up_since_ms, generation. Generation is stored last: who sees the new one sees the rest. Then
    workers are told to look (`Board.touch`)."""
    at = _head(board, "backends_off") + row * pack.size("BackendRow")
    if name:
        offset, length, _ = pack.LAYOUT["BackendRow"][1]["name"]
        text = name.encode()[: length - 1].ljust(length, b"\0")
        memoryview(board)[at + offset : at + offset + length] = text
    generation = values.pop("generation", None)
    _set_words(board, "BackendRow", at, values)
    if generation is not None:
        _set_words(board, "BackendRow", at, {"generation": generation})
    offset, _, _ = pack.LAYOUT["BackendRow"][1]["upstream"]
    board.touch(memoryview(board).cast("I")[(at + offset) // 4])


def clear_backend(board: Board, row: int) -> None:
    """A row that nobody uses, made ready for a new owner: no word and no count of the old one is
    left. Control, before `set_backend` gives it a new generation."""
    at = _head(board, "backends_off") + row * pack.size("BackendRow")
    kept = ("generation", "upstream", "name", "pad0", "pad1", "pad2")
    words = dict.fromkeys(set(pack.LAYOUT["BackendRow"][1]) - set(kept), 0)
    _set_words(board, "BackendRow", at, {**words, "percent": 100})
    size, rows = pack.size("BackendCount"), _head(board, "backends")
    first = _head(board, "backend_counts_off")
    for slot in range(board.workers):
        at = first + (slot * rows + row) * size
        if any(memoryview(board)[at : at + size]):  # pages that are not touched cost nothing
            memoryview(board)[at : at + size] = bytes(size)


def clear_route(board: Board, row: int) -> None:
    """A route's counters, made ready for another one."""
    size, rows = pack.size("RouteCount"), _head(board, "routes")
    first = _head(board, "route_counts_off")
    for slot in range(board.workers):
        at = first + (slot * rows + row) * size
        if any(memoryview(board)[at : at + size]):  # as above
            memoryview(board)[at : at + size] = bytes(size)


def _set_words(board: Board, struct: str, at: int, values: dict[str, int]) -> None:
    view = memoryview(board)
    for name, value in values.items():
        offset, length, _ = pack.LAYOUT[struct][1][name]
        words = view.cast("Q" if length == 8 else "I")
        words[(at + offset) // length] = value


def workers_sum(board: Board, slots: int) -> dict[str, int]:
    """Counters and gauges of the first `slots` workers, added up."""
    total = dict.fromkeys([*COUNTERS, *LIMITS, *GAUGES], 0)
    for slot in range(slots):
        row = worker(board, slot)
        for name in total:
            total[name] += row[name]
    return total


def counts(board: Board, kind: str, index: int, slots: int) -> dict[str, Any]:
    """One route's or backend's row added up over the first `slots` workers.

    `kind`: "route" or "backend". Times are a list of histogram buckets under "buckets".
    """
    struct, offsets, per_worker, times = {
        "route": ("RouteCount", "route_counts_off", "routes", "total"),
        "backend": ("BackendCount", "backend_counts_off", "backends", "first_byte"),
    }[kind]
    rows = _head(board, per_worker)
    if not 0 <= index < rows:
        raise IndexError(f"no {kind} row {index}")
    size, fields = pack.LAYOUT[struct]
    start = _head(board, offsets)
    words = memoryview(board).cast("Q")
    total = [0] * (size // 8)
    for slot in range(slots):
        at = (start + (slot * rows + index) * size) // 8
        # `requests` comes first: an unused row is hardly touched. A backend that was never reached
        # has no requests, but connect errors.
        if words[at] or (kind == "backend" and words[at + fields["connect_errors"][0] // 8]):
            row = words[at : at + size // 8].tolist()
            total = [a + b for a, b in zip(total, row, strict=True)]
    found: dict[str, Any] = {}
    for name, (offset, length, _) in fields.items():
        if name == "pad":
            continue
        part = total[offset // 8 : (offset + length) // 8]
        found["buckets" if name == times else name] = part if len(part) > 1 else part[0]
    return found


def counted(board: Board, row: int, field: str) -> list[int]:
    """One field of a backend's counts, added up over all workers, without reading the rest."""
    size, fields = pack.LAYOUT["BackendCount"]
    offset, length, _ = fields[field]
    rows, start = _head(board, "backends"), _head(board, "backend_counts_off")
    words = memoryview(board).cast("Q")
    total = [0] * (length // 8)
    for slot in range(board.workers):
        at = (start + (slot * rows + row) * size + offset) // 8
        found = words[at : at + length // 8].tolist()
        if any(found):
            total = [a + b for a, b in zip(total, found, strict=True)]
    return total


def connect_errors(board: Board, rows: Iterable[int]) -> dict[int, int]:
    """Connects that failed, of each of these backend rows, over all workers."""
    return {row: counted(board, row, "connect_errors")[0] for row in rows}


def queued(board: Board, upstream: int, slots: int) -> int:
    """Requests that the first `slots` workers have waiting for an upstream."""
    size, fields = pack.LAYOUT["QueueCell"]
    start = _head(board, "queues_off") + upstream * size + fields["length"][0]
    step = WORDS["upstreams_max"] * size
    words = memoryview(board).cast("I")
    return sum(words[(start + slot * step) // 4] for slot in range(slots))


def bucket_middle(index: int) -> float:
    """The middle of a histogram bucket in microseconds (the reverse of `histogram_index`)."""
    if index < SUB_BUCKETS:
        return float(index)
    power, sub = index // SUB_BUCKETS - 1, index % SUB_BUCKETS
    low = (SUB_BUCKETS + sub) << power
    width = 1 << power
    return low + (width - 1) / 2


def quantile(buckets: list[int], share: float) -> float:
    """Microseconds below which `share` (0 to 1) of the values lie, to within 1/16; 0.0 if there is
    no value yet. Nearest rank: the result lies in the bucket of a value that was really seen."""
    total = sum(buckets)
    if not total:
        return 0.0
    rank = max(1, -int(-share * total // 1))
    seen = 0
    for index, count in enumerate(buckets):
        seen += count
        if seen >= rank:
            return bucket_middle(index)
    return bucket_middle(len(buckets) - 1)
