# SPDX-License-Identifier: MIT
"""Control's reload: the configuration is read anew, and is in force as a whole or not at all.

What takes time (reading, checking, compiling, looking names up) happens in a thread and touches
nothing (fastproxy/renew.py, named in the handover); what changes something happens in one step of
the loop, so that orders, names and certificates come before it or after it. The master then keeps
plan, roster, keyring and settings as one, and hands them to every worker as one (decision 0014).
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastproxy.balance.build import Place
from fastproxy.balance.settings import Backend
from fastproxy.errors import ConfigError, Problem
from fastproxy.process import state
from fastproxy.process.changes import CODE, FILE, Change
from fastproxy.process.handover import Handover
from fastproxy.process.rosters import Rosters, rosters_of
from fastproxy.process.status import plan_generation
from fastproxy.scoreboard import segment
from fastproxy.tls import keyring as keys
from fastproxy.tls.keyring import Keyring

if TYPE_CHECKING:
    from fastproxy.process.control import Control


@dataclass(frozen=True)
class Current:
    """What there is now."""

    handover: Handover
    plan: bytes
    keyring: Keyring | None
    """None: no TLS."""
    addresses: Mapping[str, list[Place]]
    """Of backends, by URL."""


@dataclass(frozen=True)
class Renewed:
    """What comes in its place."""

    handover: Handover
    plan: bytes
    keyring: Keyring | None
    listed: dict[str, list[Backend]]
    """Upstream -> what its backends_file lists."""
    addresses: dict[str, list[Place]]
    reused: list[int]
    """Rows of route counters that belonged to other routes."""
    warnings: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reloaded:
    """What became of one."""

    done: bool
    generation: int
    """Of the plan in force now."""
    problems: list[Problem] = field(default_factory=list)
    """Errors; warnings, if it is done."""
    notes: list[str] = field(default_factory=list)


class Reload:
    """All reloads of one control, one after the other."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.turn = asyncio.Lock()
        self.done = self.refused = 0
        self.asked: set[asyncio.Task[Reloaded]] = set()
        self.last: dict[str, Any] | None = None

    def report(self) -> dict[str, Any]:
        """For status: since control was started."""
        return {"done": self.done, "refused": self.refused, "last": self.last}

    def begin(self) -> None:
        """By a signal. One that waits for its turn is enough: it reads what is there by then."""
        if len(self.asked) < 2:
            task = asyncio.get_running_loop().create_task(self.run())
            self.asked.add(task)
            task.add_done_callback(self.asked.discard)

    async def run(self) -> Reloaded:
        """Reload now. The error log says what became of it."""
        control = self.control
        async with self.turn:
            began = time.monotonic()
            kept = control.keyrings
            now = Current(
                control.handover,
                control.in_force.plan,
                kept.keyring if kept is not None else None,
                dict(control.rosters.addresses),
            )
            try:
                ready = await asyncio.to_thread(_renewed, now)
            except ConfigError as error:
                return self._say(error.problems)
            except Exception as error:  # of code that is not ours, too; nothing has changed yet
                return self._say([Problem("", f"{type(error).__name__}: {error}")])
            try:
                self._put_in_force(ready)
            except ConfigError as error:
                return self._say(error.problems)
            problems = [str(one) for one in ready.warnings]
            for text in [*problems, *ready.notes]:
                control.log.warning(text)
            self.done += 1
            number = plan_generation(ready.plan)
            control.log.info(f"reloaded: plan {number} ({time.monotonic() - began:.2f} s)")
            self.last = {"unix": int(time.time()), "done": True, "problems": problems}
            return Reloaded(True, number, ready.warnings, ready.notes)

    def _say(self, problems: list[Problem]) -> Reloaded:
        """It is refused."""
        control = self.control
        number = plan_generation(control.in_force.plan)
        for problem in problems:
            control.log.error(str(problem))
        control.log.error(f"reload refused: plan {number} stays in force")
        self.refused += 1
        texts = [str(one) for one in problems]
        self.last = {"unix": int(time.time()), "done": False, "problems": texts}
        return Reloaded(False, number, problems)

    def _put_in_force(self, ready: Renewed) -> None:
        """Nothing else of control runs meanwhile. ConfigError: a table is full, nothing changed."""
        control = self.control
        rosters = rosters_of(ready.handover, control.in_force.roster, control.board)
        changes = rosters.changes
        state.fit(changes, rosters.upstreams, _provided(rosters, ready.listed))
        changes.update({name: Change() for name in rosters.retired})
        try:
            roster = rosters.renew(changes, ready.addresses)
        except ValueError as error:
            raise ConfigError([Problem("upstreams", str(error))]) from None
        keyring = control.in_force.keyring
        if ready.keyring is not None and control.keyrings is not None:
            ready.keyring.generation = control.keyrings.keyring.generation + 1
            keyring = keys.encode(ready.keyring)
        for row in ready.reused:
            segment.clear_route(control.board, row)
        control.renew(ready.handover, rosters, ready.plan, roster, keyring)
        control.keep_state()


def _renewed(now: Current) -> Renewed:
    """Late: an instance may never be reloaded, and reading configurations takes a lot of code."""
    place = now.handover.given.reader
    if not place:
        text = "this instance was started without a configuration that could be read again"
        raise ConfigError([Problem("", text)])
    module, _, name = place.partition(":")
    ready: Renewed = getattr(importlib.import_module(module), name)(now)
    return ready


def _provided(
    rosters: Rosters, listed: dict[str, list[Backend]]
) -> dict[str, dict[str, list[Backend]]]:
    """What files list now; what other sources named last, where they are still asked."""
    found = {name: {FILE: backends} for name, backends in listed.items() if backends}
    for name, one in rosters.current.items():
        named = rosters.changes[name].provided.get(CODE)
        if one.backends_source and named:
            found.setdefault(name, {})[CODE] = named
    return found
