# SPDX-License-Identifier: MIT
"""What callers may ask of control: one JSON object a line, `verb` says what.

    {"verb": "status"}                       all there is to see (process/status.py)
    {"verb": "version"}, {"verb": "ping"}
    {"verb": "stop"}, {"verb": "quit"}, {"verb": "reopen"}     passed on to the master
    {"verb": "reload"}                       read the configuration anew (process/reload.py)
    {"verb": "backends", "upstream": "web"}  the upstreams and their backends; all without a name
    {"verb": "backend", "action": "drain", "upstream": "web", "backends": ["127.0.0.1:9001"]}
                                             an order about backends (process/orders.py)

    ->  {"ok": true, ...}   or   {"ok": false, "error": "..."}

An order or reload is answered when every worker that serves has what came of it, or after
IN_FORCE_SECONDS with "in_force": false. A reload that is refused is "ok", and not "done".
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from fastproxy import __version__
from fastproxy._core import Board
from fastproxy.balance.build import Place
from fastproxy.process import orders
from fastproxy.process.channels import Message
from fastproxy.process.log import Log
from fastproxy.process.orders import Done, Order, OrderError
from fastproxy.process.reload import Reload
from fastproxy.process.rosters import Rosters
from fastproxy.process.status import Status
from fastproxy.schema import UpstreamUrl
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import WorkerState

IN_FORCE_SECONDS = 2.0
IN_FORCE_STEP_SECONDS = 0.002


class Request(msgspec.Struct):
    """One line from a caller. Unknown keys are left alone: newer callers may send more."""

    verb: str
    upstream: str = ""


class House(Protocol):
    """What verbs need of control."""

    board: Board
    rosters: Rosters
    status: Status
    log: Log
    reload: Reload

    def tell_master(self, message: Message) -> bool: ...

    def hand_on(self, roster: bytes) -> None: ...

    def keep_state(self) -> str: ...

    async def look_up(self, url: UpstreamUrl) -> list[Place]: ...


Verb = Callable[[House, bytes], Awaitable[dict[str, Any]]]


async def answer(house: House, line: bytes) -> dict[str, Any]:
    """The answer to one line."""
    try:
        request = msgspec.json.decode(line, type=Request)
        verb = VERBS.get(request.verb)
        if verb is None:
            return {
                "ok": False,
                "error": f"no verb {request.verb!r}; there are {', '.join(VERBS)}",
            }
        return {"ok": True, **await verb(house, line)}
    except msgspec.MsgspecError as error:
        return {"ok": False, "error": f"not a request: {error}"}
    except OrderError as error:
        return {"ok": False, "error": str(error)}


async def status(house: House, _: bytes) -> dict[str, Any]:
    return house.status.report()


async def version(_: House, __: bytes) -> dict[str, Any]:
    return {"version": __version__}


async def ping(_: House, __: bytes) -> dict[str, Any]:
    return {"pid": os.getpid()}


async def to_master(house: House, line: bytes) -> dict[str, Any]:
    verb = msgspec.json.decode(line, type=Request).verb
    if not house.tell_master(Message("verb", text=verb)):
        raise OrderError("the master does not listen")
    return {}


async def reload(house: House, _: bytes) -> dict[str, Any]:
    began = time.monotonic()
    found = await house.reload.run()
    late = await _late_workers(house.board, "plan_generation", found.generation)
    return {
        "done": found.done,
        "plan_generation": found.generation,
        "problems": [msgspec.to_builtins(one) for one in found.problems],
        "notes": found.notes,
        "in_force": not late,
        "late_workers": late,
        "seconds": round(time.monotonic() - began, 4),
    }


async def backends(house: House, line: bytes) -> dict[str, Any]:
    name = msgspec.json.decode(line, type=Request).upstream
    wanted = orders.upstream_meant(house.rosters, name) if name else ""
    found = house.status.upstreams_report(house.board.workers)
    return {
        "roster_epoch": house.rosters.epoch,
        "upstreams": [one for one in found if wanted in ("", one["name"])],
    }


async def backend(house: House, line: bytes) -> dict[str, Any]:
    """Between the look-ups and the last wait nothing else of control runs: orders do not mix."""
    order = msgspec.json.decode(line, type=Order)
    began = time.monotonic()
    names = orders.names_to_resolve(order)
    found = await asyncio.gather(*(_look_up(house, url) for url in names))
    answers = {str(url): addresses for url, addresses in zip(names, found, strict=True)}
    done = orders.carry_out(house.rosters, order, answers)
    changed = ", ".join(done.changed) or "as it was"
    what = order.action if order.weight is None else f"{order.action} {order.weight}"
    house.log.info(f"operator: {what} {done.upstream}: {changed}")
    epoch = house.rosters.epoch
    if done.roster is not None:
        house.hand_on(done.roster)
    kept = house.keep_state() if done.roster is not None else ""
    late = (
        await _late_workers(house.board, "roster_epoch", epoch) if done.roster is not None else []
    )
    return {
        "action": order.action,
        "upstream": done.upstream,
        "changed": done.changed,
        "backends": _entries(house, done),
        "note": "; ".join(one for one in (done.note, kept) if one),
        "roster_epoch": epoch,
        "in_force": not late,
        "late_workers": late,
        "seconds": round(time.monotonic() - began, 4),
    }


async def _look_up(house: House, url: UpstreamUrl) -> list[Place]:
    try:
        return await house.look_up(url)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer in time"
        raise OrderError(f"{url} does not resolve ({why}): nothing was added") from None


def _entries(house: House, done: Done) -> list[dict[str, Any]]:
    """Those it was about, as `backends` shows them."""
    rows = [house.rosters.rows[(done.upstream, one.name)] for one in done.members]
    return [house.status.backend_report(row, house.board.workers) for row in rows]


async def _late_workers(board: Board, word: str, number: int) -> list[int]:
    """Wait until every worker that serves has a roster of this epoch or later (or a plan of this
    generation: `word` is the one of its row); slots of those that have not in time."""
    end = time.monotonic() + IN_FORCE_SECONDS
    while True:
        late = [
            slot
            for slot in range(board.workers)
            if board.state(slot) in (WorkerState.SERVING, WorkerState.DRAINING)
            and segment.worker(board, slot)[word] < number
        ]
        if not late or time.monotonic() >= end:
            return late
        await asyncio.sleep(IN_FORCE_STEP_SECONDS)


VERBS: dict[str, Verb] = {
    "status": status,
    "version": version,
    "ping": ping,
    "stop": to_master,
    "quit": to_master,
    "reopen": to_master,
    "reload": reload,
    "backends": backends,
    "backend": backend,
}
