"""Response heads: parser and framing against the twin."""

from __future__ import annotations

from tests.fuzz import heads

DICTIONARY = heads.DICTIONARY


def run(data: bytes) -> object:
    return heads.run_head(False, data)
