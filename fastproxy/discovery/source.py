# SPDX-License-Identifier: MIT
"""The interface for who tells us about backends: `Source`, and what keeps one running.

A source knows all members that an upstream gets from it, and publishes the whole list whenever it
changes (docs/discovery.md has an example). Files are one (file.py); Consul, etcd and Kubernetes fit
the same interface. Sources run in control, in its event loop: they must not block it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastproxy.discovery.names import Says

PAUSE_SECONDS = (1.0, 60.0)
"""Before a source that ended is started again: the first pause, the longest; each is twice the one
before. One that has run for a minute begins anew."""

Publish = Callable[[Sequence[Any]], None]
"""Takes URLs, or tables as in `backends`: `{"url": ..., "weight": 2}`. ValueError says what is
wrong with them; then nothing has changed."""


class Source(Protocol):
    """What is to be written for another kind of source."""

    async def run(self, publish: Publish) -> None:
        """Publish the list now and whenever it changes, for ever. What it raises is logged, and it
        is called again after a pause; meanwhile the last list stays."""
        ...


async def keep(make: Callable[[], Source], publish: Publish, name: str, log: Says) -> None:
    """Make a source and run it, again and again, until cancelled."""
    first, longest = PAUSE_SECONDS
    pause = first
    while True:
        began = time.monotonic()
        try:
            await make().run(publish)
            fault = "it ended"
        except Exception as error:  # whatever it is: a source must not take control with it
            fault = str(error) or type(error).__name__
        if time.monotonic() - began > longest:
            pause = first
        log.error(f"{name}: {fault}; its last list stays, starting it again in {pause:g} s")
        await asyncio.sleep(pause)
        pause = min(longest, pause * 2)
