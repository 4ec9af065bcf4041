# SPDX-License-Identifier: MIT
"""Health as control sees it: the prober and the sweep, fed with the same members.

watch = Watch(board, upstreams, log)
watch.update(members, rows, generations, roster)    # at start, and with every new roster
watch.report(row)                                   # for `status`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from fastproxy._core import Board
from fastproxy.balance.build import Member
from fastproxy.balance.settings import Outlier
from fastproxy.health.build import Check, build_check
from fastproxy.health.outlier import Sweep
from fastproxy.health.prober import Key, Prober, Says
from fastproxy.health.settings import Health


class Upstream(Protocol):
    """What of an upstream's settings counts here."""

    @property
    def health(self) -> Health | None: ...

    @property
    def outlier(self) -> Outlier: ...


class Watch:
    """`upstreams`: all of them, in the order of the plan. `update` needs a running loop."""

    def __init__(self, board: Board, upstreams: Mapping[str, Upstream], log: Says) -> None:
        checks: dict[str, Check] = {}
        broken: list[str] = []
        for name, one in upstreams.items():
            try:
                if one.health is not None:
                    checks[name] = build_check(one.health)
            except (OSError, ValueError) as error:
                # The file was sound when it was checked: whoever has broken it since must not
                # take control down with it.
                log.warning(f'upstream "{name}": no health checks: {error}')
                broken.append(name)
        self.prober = Prober(board, upstreams, checks, log, broken)
        self.sweep = Sweep(board, {name: one.outlier for name, one in upstreams.items()}, log)

    def update(
        self,
        members: Iterable[Member],
        rows: Mapping[Key, int],
        generations: Mapping[int, int],
        roster: bytes,
    ) -> None:
        """Who is a member from now on; the scoreboard's rows know them already."""
        members = list(members)
        self.prober.update(members, rows, generations)
        self.sweep.update(members, rows, generations, roster)
        self.sweep.start()

    def report(self, row: int) -> dict[str, Any] | None:
        """The checks of one member; None: it has none."""
        return self.prober.report(row)

    def close(self) -> None:
        """Ask and judge nobody any more. The scoreboard's words stay."""
        self.prober.close()
        self.sweep.close()
