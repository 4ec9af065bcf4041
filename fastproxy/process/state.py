# SPDX-License-Identifier: MIT
"""The state file: what operators changed about backends, for the next start.

Control writes it after each order, whole and by rename, so that it is never half there. The next
start reads it: the first roster has what was added, removed and weighed; whoever was drained or
disabled comes with the second one, when control has put that word on the scoreboard
(`Rosters.catch_up`). What sources named is not in it: they are asked anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fastproxy.balance.build import Member
from fastproxy.balance.settings import Backend, Upstream
from fastproxy.process import changes as changing
from fastproxy.process.changes import Change
from fastproxy.scoreboard.segment import Health


def save(path: str, changes: Mapping[str, Change]) -> None:
    """OSError: the old one is still there, whole."""
    kept = {name: msgspec.structs.replace(one, provided={}) for name, one in changes.items()}
    text = msgspec.json.format(changing.text_of(kept) or "{}", indent=2)
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(fd)
    os.rename(new, path)


def load(
    path: str,
    upstreams: Mapping[str, Upstream],
    provided: Mapping[str, dict[str, list[Backend]]] | None = None,
) -> dict[str, Change]:
    """What is kept there about these upstreams, as far as it still means anything, beside what
    sources name now. No file is no change. OSError; ValueError if it is not ours."""
    try:
        text = Path(path).read_bytes() if path else b""
    except FileNotFoundError:
        text = b""
    found = changing.read(text, upstreams)
    fit(found, upstreams, provided)
    return found


def fit(
    found: Mapping[str, Change],
    upstreams: Mapping[str, Upstream],
    provided: Mapping[str, dict[str, list[Backend]]] | None = None,
) -> None:
    """Keep what still means something to these upstreams, beside what sources name now."""
    for name, change in found.items():
        change.provided = dict((provided or {}).get(name, {}))
        scheme = upstreams[name].scheme
        change.added = [one for one in change.added if one.url.scheme == scheme]
        change.prune(upstreams[name])


def first_members(members: list[Member], changes: Mapping[str, Change]) -> list[Member]:
    """Those for the first roster: of whom operators say nothing."""
    return [one for one in members if changes[one.upstream].word_of(one) == Health.UP]
