# SPDX-License-Identifier: MIT
"""HTTP/2 for an engine, on libnghttp2. Missing where that library was not there at build time."""

from fastproxy._core import WorkerEngine

def attach(engine: WorkerEngine) -> None:
    """From now on this engine understands HTTP/2 where its plan says so. Worker only, once."""

def version() -> str:
    """Of libnghttp2, as text."""
