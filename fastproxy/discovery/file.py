# SPDX-License-Identifier: MIT
"""A file that lists backends, read anew whenever it changes.

It is looked at twice a second (stat), not watched: that sees edits in place, a new file renamed
over it, and the symlinks that Kubernetes swaps two directories up, on every file system, and costs
a few microseconds. A change is read once it has stood still from one look to the next, so half of a
file that is being written is not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from fastproxy.discovery.names import Says
from fastproxy.discovery.source import Publish

LOOK_SECONDS = 0.5

Mark = tuple[int, ...] | str
"""What tells one state of a file from another; a text: why it cannot be looked at."""


class FileSource:
    """`read(path)` gives the list, or raises ValueError or ConfigError with all that is wrong with
    it: then the list before stays, and it is said once, until the file changes again."""

    def __init__(self, path: str, read: Callable[[str], Sequence[Any]], log: Says) -> None:
        self.path = path
        self.read = read
        self.log = log
        self.taken: Mark | None = None
        """The state that was read, or that could not be."""

    async def run(self, publish: Publish) -> None:
        before: Mark | None = None
        while True:
            now = mark(self.path)
            if now != self.taken and (now == before or self.taken is None):
                self.taken = now
                self._take(publish)
            before = now
            await asyncio.sleep(LOOK_SECONDS)

    def _take(self, publish: Publish) -> None:
        try:
            publish(self.read(self.path))
        except Exception as error:
            for line in str(error).splitlines():
                self.log.error(f"{line} (the list before stays)")
        else:
            self.log.info(f"{self.path}: its backends are in force")


def mark(path: str) -> Mark:
    """The file behind all symlinks: another file, or the same written anew."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.strerror or str(error)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
