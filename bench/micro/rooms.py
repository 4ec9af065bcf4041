# SPDX-License-Identifier: MIT
"""Every room of the hot path as a probe: prepared once, then repeated in C as often as asked.

One list serves both readings: test_rooms.py times a probe, bench/budgets.py counts its
instructions. A new room is a line in its function here; a new balancing algorithm, parser input or
log format comes by itself.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from bench.micro.heads import BODIES, HEADS, PATHS
from fastproxy import _probe
from fastproxy.balance import build
from fastproxy.balance.session import session_id
from fastproxy.balance.settings import Backend, Balance, Hash, Session, Upstream
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.template.presets import PRESETS
from tests.unit.routing import IDS, Plan, compiled

SIMD = ("avx2", "sse2", "swar")
"""Paths of clib/scan.h; what does not scan has none."""

Run = Callable[[int], float]
"""Do it that many times without coming back to Python; nanoseconds of one."""


@dataclass(frozen=True)
class Probe:
    """One line of the tables."""

    name: str
    """Room, then what."""
    make: Callable[[], Run]
    size: int = 0
    """Bytes that one operation works on; 0: none to speak of."""
    simd: str = ""
    rounds: int = 1000
    """Of a count: so many that some hundred instructions of Python do not show (they are not quite
    the same each time), so few that callgrind is done in a tenth of a second."""
    counted: bool = True
    """Whether its instructions have a budget. Not if only the cache tells it from another one."""

    @property
    def group(self) -> str:
        """What it is shown beside: the same work on other paths, or the rest of its room."""
        return self.name if self.simd else self.name.partition(" ")[0].rstrip(",")


def ready(function: Callable[..., float], *given: object, **more: object) -> Callable[[], Run]:
    """A probe that needs no preparation: the number of repetitions comes behind `given`."""
    run = partial(function, *given, **more)
    return lambda: run


def all_probes() -> list[Probe]:
    """In the order of the tables."""
    return [
        *parse(),
        *body(),
        *route(),
        *pick(),
        *session(),
        *rewrite(),
        *log(),
        *timers(),
        *scoreboard(),
    ]


def parse() -> Iterator[Probe]:
    """Heads whole and in two pieces, on each path of the scanner; paths."""
    for simd in SIMD:
        for name, data in HEADS.items():
            for pieces, cut in (("", 0), (", 2 pieces", len(data) // 2)):
                request = not data.startswith(b"HTTP/")
                make = ready(_probe.time_head, request, data, simd=simd, cut=cut)
                yield Probe(f"parse {name}{pieces}", make, len(data), simd, 300)
    for name, path in PATHS.items():
        yield Probe(f"path {name}", ready(_probe.time_path, path, options=1))


FRAMES = {
    "a frame of 100 bytes": b"\x82\xe4mask" + b"x" * 100,
    "a frame of 16 KiB": b"\x82\xfe\x40\0mask" + b"x" * 16384,
    "100 frames of 10 bytes": (b"\x82\x8amask" + b"x" * 10) * 100,
}


def body() -> Iterator[Probe]:
    """Chunks, in and out."""
    for name, data in BODIES.items():
        yield Probe(f"decode {name}", ready(_probe.time_chunked, data), len(data), rounds=20)
    yield Probe("encode a chunk", ready(_probe.time_chunk, b"x" * 4096), rounds=5000)
    for name, data in FRAMES.items():
        yield Probe(f"walk {name}", ready(_probe.time_frames, data), len(data), rounds=1000)


ROUTES = {
    "exact": ("= /api/v1/resource-{n}/items", "/api/v1/resource-{n}/items"),
    "prefix": ("/api/v1/resource-{n}", "/api/v1/resource-{n}/items/7"),
    "param": ("/api/v1/resource-{n}/{{id}}", "/api/v1/resource-{n}/7"),
    "host": ("/", "/"),
}


def route() -> Iterator[Probe]:
    """One route asked for again and again (work), and all in random order (work and cache)."""
    for kind in ROUTES:
        for size in (1, 100, 10_000):
            name = f"route {kind}, {size:,}"
            # Compiling 10,000 routes is Python's work and takes callgrind minutes.
            few = size <= 100
            yield Probe(name, partial(matching, kind, size, 1), counted=few)
            if size > 1:
                every = partial(matching, kind, size, size)
                yield Probe(f"{name} asked in turn", every, counted=False)
    for size in (1, 10):
        yield Probe(f"route regex, {size}", partial(matching_regex, size))


def matching(kind: str, size: int, asked: int) -> Run:
    pattern, path = ROUTES[kind]
    hosts = [f"h{n}.example.com" if kind == "host" else "example.com" for n in range(size)]
    plan = Plan(*(
        {"path": pattern.format(n=n), **({"host": hosts[n]} if kind == "host" else {})}
        for n in range(size)
    ))  # fmt: skip
    assert plan.ask(path.format(n=size - 1), host=hosts[-1])[:2] == (0, size - 1)
    ways = [(hosts[n].encode(), path.format(n=n).encode()) for n in range(size)]
    random.Random(1).shuffle(ways)
    return lambda n: plan.probe.time_match(ways[:asked], max(1, n // asked))


def matching_regex(size: int) -> Run:
    """The last one matches."""
    plan = Plan(*({"path": rf"~ ^/r{n}/(\d+)$"} for n in range(size)))
    asked = [(b"h", f"/r{size - 1}/123".encode())]
    return lambda n: plan.probe.time_match(asked, n)


def pick() -> Iterator[Probe]:
    """Each algorithm and each method of hashing that a configuration may name."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        (name, {"balance": name}) for name in get_args(Balance) if name != "hash"
    ]
    for method in ("ring", "maglev", "rendezvous"):
        how = {"balance": "hash", "hash": Hash(method=method)}
        kinds.append((f"hash {method}", how))
    kinds.append(("hash bounded", {"balance": "hash", "hash": Hash(bound=1.25)}))
    for name, how in kinds:
        for size in (2, 10, 1000):
            all_looked_at = name in ("least_conn", "hash rendezvous", "hash bounded")
            rounds = 500 if all_looked_at and size == 1000 else 5000
            yield Probe(f"pick {name}, {size:,}", partial(picking, how, size), rounds=rounds)


def picking(how: dict[str, Any], size: int) -> Run:
    """Nobody is idle: one request under way at each member, seen in both workers' columns."""
    urls = [UpstreamUrl.parse(f"http://10.0.{n >> 8}.{n & 255}:80") for n in range(size)]
    pool = {"a": Upstream(backends=[Backend(url=one) for one in urls], **how)}
    addresses = {str(one): build.resolve(one) for one in urls}
    rows = build.assign_rows(build.members(pool, addresses))
    roster = build.build_roster(pool, addresses, rows, 1)
    fd = segment.create(2)
    board = _probe.BoardProbe(fd, os.fstat(fd).st_size)
    os.close(fd)
    for row in range(size):
        board.inflight(row % 2, row, 1)
        _probe.latency_seen(board, row, 1000 + row, 1)
    worker = _probe.Picker(roster, board)
    return lambda n: worker.time(n, 1)


COOKIES = b"theme=dark; _ga=GA1.2.1234567890.1700000000; lang=en-GB; fp=%b; consent=yes"
LEARNED = 100_000


def session() -> Iterator[Probe]:
    """From the request's cookies to the member; learned sessions in a table that is 38% full."""
    for size in (2, 10, 1000):
        yield Probe(f"session cookie, {size:,}", partial(cookie_of, size), rounds=5000)
    yield Probe("session cookie, none", partial(cookie_of, 10, name=b"none"), rounds=5000)
    for what in ("find", "learn"):
        name = f"session learned, {what}"
        yield Probe(name, partial(sessions_learned, what, 1), rounds=5000)
        every = partial(sessions_learned, what, LEARNED)
        yield Probe(f"{name} in turn", every, counted=False)


def cookie_of(size: int, name: bytes = b"fp") -> Run:
    urls = [UpstreamUrl.parse(f"http://10.0.{n >> 8}.{n & 255}:80") for n in range(size)]
    upstream = Upstream(backends=list(urls), session=Session(cookie="fp"))
    pool, addresses = {"a": upstream}, {str(one): build.resolve(one) for one in urls}
    rows = build.assign_rows(build.members(pool, addresses))
    roster = build.build_roster(pool, addresses, rows, 1, session_key=b"bench")
    last = f"http://10.0.{size - 1 >> 8}.{size - 1 & 255}:80"
    value = session_id(upstream.session, b"bench", "a", last).hex().encode()
    head = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + COOKIES % value + b"\r\n\r\n"
    assert _probe.cookie_member(head, name, roster) == (size - 1 if name == b"fp" else -2)
    return lambda n: _probe.cookie_member(head, name, roster, 0, n)


def sessions_learned(what: str, asked: int) -> Run:
    fd = segment.create(1)
    board = _probe.BoardProbe(fd, os.fstat(fd).st_size)
    os.close(fd)
    keys = struct.pack(f"={LEARNED}Q", *(random.Random(n).getrandbits(64) for n in range(LEARNED)))
    _probe.time_sessions(board, keys, "learn", LEARNED)
    return lambda n: _probe.time_sessions(board, keys[: asked * 8], what, n)


FIELDS = [
    (b"Host", b"example.com"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"gzip"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
    (b"Referer", b"https://example.com/start"), (b"X-Debug", b"1"),
]  # fmt: skip
EDITS = {
    "set": {"X-Env": "prod", "X-Client": "{client_ip}"},
    "add": {"X-Via": "edge"},
    "append": {"Accept": "text/html"},
    "remove": ["X-Debug"],
}


def scene() -> Any:
    """A usual request, as templates see it."""
    return _probe.scene_of(
        request=_probe.head_of(FIELDS, IDS), client_ip=b"192.0.2.17", method=b"GET",
        host=b"example.com", target=b"/api/v1/resource/77/items?x=1", status=200, bytes_out=1234,
        time_total_us=1234, time_first_byte_us=900, route=b"/api/", upstream=b"api",
        protocol=b"HTTP/1.1", backend=b"http://127.0.0.1:9001", end_state=b"--", worker=1,
        request_id=b"01909bcd-7f3e-7b5e-9d3c-5f4f7a1c2b3d",
        time_local=b"22/Nov/2026:14:38:26 +0000", time_iso=b"2026-11-22T14:38:26.123456Z",
    )  # fmt: skip


def rewrite() -> Iterator[Probe]:
    """The edits of a request's fields."""
    yield Probe("rewrite 0 edits", partial(editing, {}), rounds=5000)
    yield Probe("rewrite 5 edits", partial(editing, EDITS))


def editing(edits: dict[str, Any]) -> Run:
    plan = Plan({"path": "/", "request_headers": edits})
    values = scene()
    wanted = b"X-Client: 192.0.2.17\r\n" if edits else b""
    assert wanted in plan.probe.time_edits(plan.rewrites[0], FIELDS, values, 1)[2]
    return lambda n: plan.probe.time_edits(plan.rewrites[0], FIELDS, values, n)[0]


def log() -> Iterator[Probe]:
    """Lines by name."""
    for name, preset in PRESETS.items():
        plan, values = compiled(preset.text, preset.escape), scene()
        line, _ = _probe.render_template(plan, 0, values)
        yield Probe(f"log line {name}", ready(_probe.time_render, plan, 0, values), len(line))


def timers() -> Iterator[Probe]:
    """The wheel."""
    for what in ("arm", "re-arm", "cancel", "tick"):
        yield Probe(f"timer {what}", ready(_probe.time_timers, what), rounds=20_000)


def scoreboard() -> Iterator[Probe]:
    """What one exchange writes there; test_board.py has it from two processes."""
    yield Probe("scoreboard update", partial(counting, 0), rounds=5000)


def counting(worker: int) -> Run:
    fd = segment.create(workers=2, backends=2, routes=1)
    probe = board_probe(fd)
    os.close(fd)
    return lambda n: probe.time_request(worker, worker, 0, n)


def board_probe(fd: int) -> Any:
    """A mapping of the board; the fd is not kept."""
    return _probe.BoardProbe(fd, os.fstat(fd).st_size)
