# SPDX-License-Identifier: MIT
"""What the command line was given, read anew for a running instance (process/reload.py calls it).

`renewed` may take seconds (thousands of routes, certificates, names) and touches nothing: it is for
a thread of control. What it returns fits what was in force as a whole or is not returned at all:
ConfigError has everything that is wrong, with file and line. What no reload can change (sockets,
the number and user of processes, log files) counts as wrong, so that nothing is ever half in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from fastproxy import flags, start
from fastproxy.config import check as checking
from fastproxy.config import plugs
from fastproxy.config.backends import listed_in_files
from fastproxy.config.check import UPSTREAMS_MAX
from fastproxy.config.load import Document, path_where
from fastproxy.config.model import Config, Upstream
from fastproxy.config.numbers import Numbers
from fastproxy.config.plan import compile_plan
from fastproxy.errors import ConfigError, Problem
from fastproxy.process.handover import Handover
from fastproxy.process.reload import Current, Renewed
from fastproxy.process.rosters import upstreams_of
from fastproxy.process.status import plan_generation, route_names
from fastproxy.tls.build import build_keyring, wants_tls
from fastproxy.tls.keyring import Keyring, UpstreamKeys

FIXED = (
    "workers", "max_workers", "limits.learned_sessions", "user", "group", "pid_file",
    "control_socket", "access_log", "error_log", "log_level", "responders",
)  # fmt: skip
"""What takes a new master or new workers, by its path in the configuration; Handover has a field
of the same last name. So do `listeners`."""
HINT = "that takes a restart"


def renewed(now: Current) -> Renewed:
    """ConfigError if the configuration is wrong, or asks for what a reload cannot do."""
    before = now.handover
    old_upstreams = upstreams_of(before.upstreams)
    rows = before.retired_routes | {name: row for row, name in route_names(now.plan).items()}
    document = _document(before)
    checked = checking.check(document, Numbers(list(old_upstreams), rows))
    if checked.config is None:
        raise ConfigError(checked.errors)
    config, path = checked.config, before.config_path
    handover = start.handover(config, path, given=before.given)
    _keep(handover, before, config)
    if problems := _fixed(document, before, handover):
        raise ConfigError(problems)
    if now.keyring is None and wants_tls(config):
        raise ConfigError([Problem("", "there was no TLS at the start", HINT)])
    listed = listed_in_files(config, path)
    addresses, notes = start.resolve_all(config, known=now.addresses)
    merged = _merged(config, old_upstreams)
    plan = compile_plan(merged, plan_generation(now.plan) + 1, checked.stages)
    names = {name: row for row, name in route_names(plan).items()}
    handover.upstreams = start.plain_upstreams(merged, path)
    handover.retired = [name for name in merged.upstreams if name not in config.upstreams]
    taken = set(names.values())
    handover.retired_routes = {
        name: row for name, row in rows.items() if name not in names and row not in taken
    }
    owners = {row: name for name, row in rows.items()}
    return Renewed(
        handover,
        plan,
        _keyring(merged, handover, now),
        listed,
        addresses,
        [row for name, row in names.items() if owners.get(row, name) != name],
        checked.warnings,
        notes,
    )


def _document(before: Handover) -> Document:
    try:
        return flags.document(before.given.values, before.given.labels)
    except click.UsageError as error:
        raise ConfigError([Problem("", error.format_message())]) from None


def _keep(handover: Handover, before: Handover, config: Config) -> None:
    """What was decided once, at the start."""
    handover.session_key = before.session_key
    handover.control_socket = handover.control_socket or before.control_socket
    handover.start_seconds = before.start_seconds
    handover.demo, handover.extra = before.demo, before.extra
    if config.workers == "auto":
        handover.workers = before.workers


def _fixed(document: Document, before: Handover, after: Handover) -> list[Problem]:
    """What differs and cannot."""
    found = [
        document.problem(path_where(name), f"{_shown(was)} is in force, not {_shown(new)}", HINT)
        for name in FIXED
        if (was := getattr(before, _last(name))) != (new := getattr(after, _last(name)))
    ]
    old, new = ({one.bind for one in side.listeners} for side in (before, after))
    for text, binds in (("is new", new - old), ("is gone", old - new)):
        found += [document.problem(("listeners",), f"{bind} {text}", HINT) for bind in binds]
    if not found and before.listeners != after.listeners:
        found.append(document.problem(("listeners",), "sockets are made otherwise", HINT))
    return found


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _merged(config: Config, old: Mapping[str, Upstream]) -> Config:
    """With the upstreams that are gone, by number."""
    order = Numbers(list(old)).order(config.upstreams)
    if len(order) > UPSTREAMS_MAX:
        gone = len(order) - len(config.upstreams)
        text = f"{len(config.upstreams)} upstreams and {gone} that reloads have left out"
        hint = f"there is room for {UPSTREAMS_MAX}: a restart makes room"
        raise ConfigError([Problem("upstreams", text, hint)])
    upstreams = {name: config.upstreams.get(name) or old[name] for name in order}
    return msgspec.structs.replace(config, upstreams=upstreams)


def _keyring(config: Config, handover: Handover, now: Current) -> Keyring | None:
    """Made anew, but for upstreams that are gone: their files may be, too."""
    if now.keyring is None:
        return None
    numbers = {name: at for at, name in enumerate(config.upstreams)}
    theirs: dict[str, UpstreamKeys | None] = {
        name: now.keyring.upstreams[numbers[name]] for name in handover.retired
    }
    built = build_keyring(
        config,
        now.keyring.generation,
        handover.tls.directory,
        http2=not plugs.trouble(plugs.HTTP2),
        kept=theirs,
    )
    if built.errors:
        raise ConfigError(built.errors)
    return built.keyring
