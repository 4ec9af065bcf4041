# SPDX-License-Identifier: MIT
"""Checked configuration -> what the master is handed: plan, roster, Handover.

The last of the starting process's work before it becomes the master. Nothing here can find a fault
in the configuration any more, except in the world around it: a name that does not resolve (said,
not fatal: control goes on asking) and tables that are full.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fastproxy.balance import build
from fastproxy.balance.build import Place
from fastproxy.config.backends import backends_path, listed_in_files
from fastproxy.config.model import Config
from fastproxy.config.plan import Stages, compile_plan, responders
from fastproxy.config.secure import keyring_of
from fastproxy.discovery.resolver import first_answers
from fastproxy.errors import ConfigError, Problem
from fastproxy.process import state
from fastproxy.process.changes import FILE, Change, text_of
from fastproxy.process.handover import Given, Handover, ListenerSpec, Tls
from fastproxy.process.rosters import all_members
from fastproxy.schema import enc_hook
from fastproxy.tls import keyring as keys
from fastproxy.tls.build import Built

RESOLVE_SECONDS = 5.0


@dataclass
class Start:
    """All that `launch` needs, and what is worth saying before."""

    handover: Handover
    plan: bytes
    roster: bytes
    keyring: bytes = b""
    """Empty: there is no TLS."""
    notes: list[str] = field(default_factory=list)


def cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its cgroup."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, min(count, 128))


def prepare(
    config: Config,
    config_path: str = "",
    demo: bool = False,
    stages: Stages | None = None,
    built: Built | None = None,
    given: Given | None = None,
) -> Start:
    """Read lists of backends, resolve names, compile plan and roster. ConfigError if a list is
    broken, a table is full, or the state file is not ours. `built`: the keyring, if a check has
    read it already. `given`: what a reload is to read again."""
    listed = listed_in_files(config, config_path)
    provided = {name: {FILE: backends} for name, backends in listed.items() if backends}
    try:
        changes = state.load(config.state_file, config.upstreams, provided)
    except (OSError, ValueError) as error:
        text = f"{config.state_file} is no state of ours: {error}"
        raise ConfigError([Problem("state_file", text, "move it away")]) from None
    handed = handover(config, config_path, demo, given)
    addresses, notes = resolve_all(config, changes)
    try:
        members = all_members(config.upstreams, changes, addresses)
        members = state.first_members(members, changes)
        rows = build.assign_rows(members)
        roster = build.build_roster(
            config.upstreams,
            addresses,
            rows,
            epoch=1,
            zone=config.zone,
            session_key=bytes.fromhex(handed.session_key),
            changes=text_of(changes),
            found=members,
        )
    except ValueError as error:
        raise ConfigError([Problem("upstreams", str(error))]) from None
    plan = compile_plan(config, 1, stages)
    built = built or keyring_of(config, config_path)
    if built is None:
        return Start(handed, plan, roster, b"", notes)
    if built.errors:
        raise ConfigError(built.errors)
    return Start(handed, plan, roster, keys.encode(built.keyring), notes)


def handover(
    config: Config, config_path: str = "", demo: bool = False, given: Given | None = None
) -> Handover:
    """The master's settings."""
    workers = cpus() if config.workers == "auto" else config.workers
    return Handover(
        listeners=[
            ListenerSpec(
                bind=str(listener.bind),
                backlog=listener.backlog,
                defer_accept=-(-listener.defer_accept.ms // 1000),
                keepalive=listener.keepalive,
                mode=int(listener.mode, 8),
                owner=listener.owner,
            )
            for listener in config.all_listeners()
        ],
        upstreams=plain_upstreams(config, config_path),
        dns=msgspec.to_builtins(config.dns, enc_hook=enc_hook),
        zone=config.zone,
        session_key=secrets.token_hex(32),
        workers=workers,
        max_workers=config.max_workers,
        learned_sessions=config.limits.learned_sessions,
        user=config.user,
        group=config.group,
        pid_file=os.path.abspath(config.pid_file) if config.pid_file else "",
        control_socket=os.path.abspath(config.control_socket) if config.control_socket else "",
        state_file=os.path.abspath(config.state_file) if config.state_file else "",
        drain_seconds=float(config.timeouts.drain),
        access_log=_log_path(config.access_log),
        error_log=_log_path(config.error_log),
        log_level=config.log_level,
        given=given or Given(),
        config_path=os.path.abspath(config_path) if config_path else "",
        responders=responders(config),
        demo=demo,
        tls=_tls(config, config_path),
    )


def _tls(config: Config, config_path: str) -> Tls:
    """What control needs to read keys and certificates again."""
    return Tls(
        listeners=[
            msgspec.to_builtins(one.tls, enc_hook=enc_hook) for one in config.all_listeners()
        ],
        http2=[one.http2 for one in config.all_listeners()],
        directory=_directory(config_path),
    )


def plain_upstreams(config: Config, config_path: str) -> dict[str, dict[str, Any]]:
    """Upstreams as plain data, with paths that mean the same from anywhere. Checks that say nothing
    of TLS trust whom requests trust."""
    found: dict[str, dict[str, Any]] = msgspec.to_builtins(config.upstreams, enc_hook=enc_hook)
    directory = _directory(config_path)
    for one in found.values():
        if one["backends_file"]:
            one["backends_file"] = backends_path(one["backends_file"], config_path)
        if one["tls"] and one["health"] and one["health"]["tls"] is None:
            paths = {key: one["tls"][key] for key in ("ca", "cert", "key") if one["tls"][key]}
            joined = {key: os.path.join(directory, path) for key, path in paths.items()}
            one["health"]["tls"] = one["tls"] | joined
    return found


def _directory(config_path: str) -> str:
    """What paths of certificates are relative to."""
    return os.path.dirname(os.path.abspath(config_path)) if config_path else os.getcwd()


def _log_path(path: str) -> str:
    return path if path in ("-", "off") else os.path.abspath(path)


def resolve_all(
    config: Config,
    changes: Mapping[str, Change] | None = None,
    known: Mapping[str, list[Place]] | None = None,
) -> tuple[dict[str, list[Place]], list[str]]:
    """(URL -> addresses, what could not be found), but for those that are `known`. Names are asked
    for side by side, and waited for at most RESOLVE_SECONDS: a slow resolver must not hold the
    start."""
    urls = {
        member.url
        for name, one in config.upstreams.items()
        for member in (changes[name].backends(one) if changes else one.members())
    }
    urls = {url for url in urls if str(url) not in (known or {})}
    found: dict[str, list[Place]] = {
        str(url): list(build.resolve(url)) for url in urls if build.is_numeric(url)
    }
    names = sorted(url for url in urls if not build.is_numeric(url))
    answers, faults = first_answers(names, config.dns, RESOLVE_SECONDS)
    notes = [
        f"{url} does not resolve yet ({fault}); asking again later" for url, fault in faults.items()
    ]
    return {**found, **answers}, notes
