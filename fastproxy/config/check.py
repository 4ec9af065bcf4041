# SPDX-License-Identifier: MIT
"""Is this configuration sound? All of what is wrong with it, at once.

Three passes over one document: shape (convert.py: types, unknown keys, ranges), meaning (below:
things that exist, addresses that clash, weights that are all zero), and the stages' own builders
(routes, rewrites, templates), which are run for their problems and are the same code that compiles
the plan, so that what passes here cannot fail there. Warnings never stop a start.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastproxy.balance import session
from fastproxy.balance.build import BACKENDS_MAX
from fastproxy.balance.settings import Backend, Outlier
from fastproxy.config.backends import faults, listed_in_files, odd_schemes, resolving
from fastproxy.config.convert import BROKEN, Converter, closest
from fastproxy.config.load import Document, Where, path_where
from fastproxy.config.model import Config, Listener, Upstream
from fastproxy.config.numbers import Numbers
from fastproxy.config.plan import RESPONDERS, Stages, build_stages, hash_key, log_template
from fastproxy.config.secure import findings, keyring_of
from fastproxy.errors import ConfigError, Problem
from fastproxy.health.build import problems as health_problems
from fastproxy.schema import status_ranges
from fastproxy.template.build import Escape, check_template
from fastproxy.template.presets import PRESETS
from fastproxy.tls.build import Built

HEAD_BYTES_CEILING = 65536  # memory/limits.pxd
UPSTREAMS_MAX = 1024


@dataclass
class Checked:
    """The outcome: `config` is None if there is any error."""

    config: Config | None
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    stages: Stages | None = None
    """Routes as built on the way, for `compile_plan`."""
    keyring: Built | None = None
    """Keys and certificates as read on the way; None: no TLS."""


def check(document: Document, before: Numbers | None = None) -> Checked:
    """Every problem of a document, in the order of its lines. `before`: rows in force, where this
    is for a reload."""
    return _Check(document, before).run()


def sound(document: Document) -> tuple[Config, list[Problem]]:
    """(configuration, warnings), or ConfigError with every error."""
    checked = check(document)
    if checked.config is None:
        raise ConfigError(checked.errors)
    return checked.config, checked.warnings


class _Check:
    def __init__(self, document: Document, before: Numbers | None = None) -> None:
        self.document = document
        self.before = before
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.built: Stages | None = None
        self.keys: Built | None = None

    def error(self, where: Where, text: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(where, text, hint))

    def warn(self, where: Where, text: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(where, text, hint, warning=True))

    def run(self) -> Checked:
        converter = Converter(self.error, self.document.is_text)
        config: Config = converter.convert(Config, self.document.data, ())
        self.broken = converter.broken
        if config is not BROKEN:
            self.meaning(config)
        order = {source.name: at for at, source in enumerate(self.document.sources)}
        self.problems.sort(key=lambda p: (order.get(p.file, -1), p.line))
        unique = list(dict.fromkeys(self.problems))
        errors = [problem for problem in unique if not problem.warning]
        warnings = [problem for problem in unique if problem.warning]
        return Checked(None if errors else config, errors, warnings, self.built, self.keys)

    def meaning(self, config: Config) -> None:
        """What single values cannot show. Broken sections are None here and are passed over."""
        self.listeners(config)
        self.upstreams(config)
        self.tls(config)
        self.limits(config)
        self.timeouts(config)
        self.forwarding(config)
        self.processes(config)
        self.paths(config)
        self.logs(config)
        self.stages(config)

    def listeners(self, config: Config) -> None:
        if not config.listeners and "listeners" not in self.broken:
            self.error(("listeners",), "there is no listener", 'write listeners = [":8080"]')
        seen: list[tuple[int, Listener]] = []
        for at, given in enumerate(config.listeners):
            if given is None:
                continue
            listener = given if isinstance(given, Listener) else Listener(bind=given)
            where = ("listeners", at, "bind") if isinstance(given, Listener) else ("listeners", at)
            for other_at, other in seen:
                if _clash(listener, other):
                    text = f"{listener.bind} clashes with listeners[{other_at}], {other.bind}"
                    self.error(where, text, "one address can be listened on once")
                    break
            seen.append((at, listener))
            if listener.bind.is_unix:
                self.directory(where, listener.bind.path)
                self.owner((*where[:2], "owner"), listener.owner)
            elif listener.owner or listener.mode != "0666":
                key = "owner" if listener.owner else "mode"
                self.error((*where[:2], key), "is for unix sockets only")

    def owner(self, where: Where, owner: str) -> None:
        user, _, group = owner.partition(":")
        self.user(where, user)
        self.group(where, group)

    def user(self, where: Where, name: str) -> None:
        if name and not name.isdecimal():
            try:
                pwd.getpwnam(name)
            except (KeyError, ValueError):
                self.error(where, f'there is no user "{name}"', closest(name, _users()))

    def group(self, where: Where, name: str) -> None:
        if name and not name.isdecimal():
            try:
                grp.getgrnam(name)
            except (KeyError, ValueError):
                known = [entry.gr_name for entry in grp.getgrall()]
                self.error(where, f'there is no group "{name}"', closest(name, known))

    def upstreams(self, config: Config) -> None:
        total = 0
        for name, upstream in config.upstreams.items():
            where = ("upstreams", name)
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
                text = "an upstream's name has letters, digits, dot, dash, underscore, at most 64"
                self.error(where, text)
            if upstream is not None:
                total += len(upstream.backends)
                self.upstream(where, upstream)
        if total > BACKENDS_MAX:
            self.error(("upstreams",), f"{total} backends, at most {BACKENDS_MAX} are possible")
        if len(config.upstreams) > UPSTREAMS_MAX:
            text = f"{len(config.upstreams)} upstreams, at most {UPSTREAMS_MAX} are possible"
            self.error(("upstreams",), text)
        listed: dict[str, list[Backend]] = {}
        sources = self.document.sources
        try:
            listed = listed_in_files(config, sources[0].name if sources else "")
        except ConfigError as error:
            self.problems += error.problems
        for at, text, hint in odd_schemes(config, listed):
            self.error(at, text, hint)
        for at, text, hint, odd in resolving(config, listed):
            (self.warn if odd else self.error)(at, text, hint)

    def tls(self, config: Config) -> None:
        sources = self.document.sources
        self.keys = keyring_of(config, sources[0].name if sources else "")
        for at, text, hint, odd in findings(config, self.keys):
            (self.warn if odd else self.error)(at, text, hint)

    def upstream(self, where: Where, upstream: Upstream) -> None:
        backends = (*where, "backends")
        if upstream.health is not None:
            for problem in health_problems(upstream.health):
                path = (*where, "health", *path_where(problem.path))
                self.error(path, problem.text, problem.hint)
        members = upstream.members()
        others = upstream.backends_file or upstream.backends_source
        if not members and not others:
            self.error(backends, "has no backend", 'write backends = ["http://127.0.0.1:9001"]')
        elif not others and all(member.weight == 0 for member in members):
            self.error(backends, "every weight is 0: nobody would serve")
        for at, text, hint in faults(members):
            (self.warn if hint else self.error)((*backends, *at), text, hint)
        self.hash(where, upstream)
        self.outlier((*where, "outlier"), upstream.outlier)
        self.template((*where, "queue", "priority"), upstream.queue.priority)
        for key, text, hint in session.faults(upstream):
            self.error((*where, *key), text, hint)
        self.template((*where, "subset", "value"), upstream.subset.value)
        label = upstream.subset.label
        if label and members and all(label not in member.labels for member in members):
            labels = [name for member in members for name in member.labels]
            hint = closest(label, labels) or 'write labels = { NAME = "..." } to the backends'
            self.warn((*where, "subset", "label"), f'no backend has the label "{label}"', hint)

    def hash(self, where: Where, upstream: Upstream) -> None:
        key = hash_key(upstream)
        if isinstance(key, Problem):
            self.error((*where, "hash", "key"), key.text, key.hint)
        if 0 < upstream.hash.bound < 1:
            text = f"{upstream.hash.bound:g} would leave nobody to go to"
            self.error((*where, "hash", "bound"), text, "write 0 (no bound), or 1 and more")

    def outlier(self, where: Where, rules: Outlier) -> None:
        try:
            status_ranges(rules.status)
        except ValueError as error:
            self.error((*where, "status"), str(error))
        if rules.ejection > rules.longest:
            text = f"no ejection lasts longer than longest ({rules.longest})"
            self.warn((*where, "ejection"), text)

    def template(self, where: Where, text: str) -> None:
        """Is it one? Of a request alone: no path params, no answer."""
        problems: list[Problem] = []
        check_template("", text, Escape.HEADER, (), problems)
        for problem in problems:
            self.error(where, problem.text, problem.hint)

    def limits(self, config: Config) -> None:
        limits = config.limits
        if limits.header > limits.headers:
            text = f"one header ({limits.header}) may not be larger than all ({limits.headers})"
            self.error(("limits", "header"), text)
        if limits.request_line + limits.headers > HEAD_BYTES_CEILING:
            text = (
                f"request_line ({limits.request_line}) and headers ({limits.headers}) "
                "are more than 64KiB together"
            )
            self.error(("limits", "headers"), text)

    def timeouts(self, config: Config) -> None:
        for name, danger in (
            ("client_header", "one slow client can hold a connection for ever"),
            ("client_body", "one slow client can hold a connection for ever"),
            ("client_write", "a client that stops reading holds its connection for ever"),
            ("upstream_connect", "a dead backend holds requests until the system gives up"),
        ):
            if getattr(config.timeouts, name) == 0:
                self.warn(("timeouts", name), f"is off: {danger}")

    def forwarding(self, config: Config) -> None:
        for at, cidr in enumerate(config.forwarding.trusted_proxies):
            if cidr.network.prefixlen == 0:
                text = f"{cidr} trusts everybody: any client can claim any address"
                self.warn(("forwarding", "trusted_proxies", at), text)

    def processes(self, config: Config) -> None:
        if isinstance(config.workers, int) and 0 < config.max_workers < config.workers:
            text = f"is less than workers ({config.workers})"
            self.error(("max_workers",), text)
        self.user(("user",), config.user)
        self.group(("group",), config.group)
        if (config.user or config.group) and os.geteuid() != 0:
            key = "user" if config.user else "group"
            self.warn((key,), "takes effect only when started as root")

    def paths(self, config: Config) -> None:
        for key in ("pid_file", "state_file", "control_socket"):
            path = getattr(config, key)
            if path and key != "control_socket":
                self.directory((key,), path)
            elif path and len(path.encode()) > 100:
                self.error((key,), "a socket's path has at most 100 bytes")
            if "\0" in path:
                self.error((key,), "has a NUL character")
        for key in ("access_log", "error_log"):
            path = getattr(config, key)
            if path not in ("-", "off"):
                self.log_file((key,), path)
        if config.error_log == "off":
            self.error(("error_log",), "cannot be off", 'write "-" for standard error')

    def directory(self, where: Where, path: str) -> bool:
        """Whether the file could stand there."""
        parent = os.path.dirname(os.path.abspath(path.replace("\0", "")))
        if "\0" in path or not path:
            self.error(where, "is not a path")
        elif not os.path.isdir(parent):
            self.error(where, f"the directory {parent} does not exist")
        elif os.path.isdir(path):
            self.error(where, f"{path} is a directory")
        else:
            return True
        return False

    def log_file(self, where: Where, path: str) -> None:
        if not self.directory(where, path):
            return
        if os.path.exists(path):
            if not os.access(path, os.W_OK):
                self.error(where, f"{path} cannot be written by this user")
        elif not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
            self.error(where, f"{path} cannot be made by this user")

    def logs(self, config: Config) -> None:
        text = config.log_format
        if "{" not in text and text not in PRESETS:
            known = ", ".join(PRESETS)
            hint = closest(text, PRESETS) or f"{known}, or a template with {{variables}}"
            self.error(("log_format",), f'unknown format "{text}"', hint)
            return
        problem = log_template(None, text)
        if isinstance(problem, Problem):
            self.error(("log_format",), problem.text, problem.hint)

    def stages(self, config: Config) -> None:
        """The builders of routes and rewrites, run for what they find."""
        if not config.routes and "routes" not in self.broken:
            hint = 'write [[routes]] with upstream = "..."'
            self.error(("routes",), "there is no route: every request would get 404", hint)
        self.built = build_stages(config, self.before)
        unknown_upstream = False
        for problem in self.built.problems:
            if problem.path.endswith(".listener") and self.incomplete("listeners", config):
                continue  # it may well name the one that is broken
            if problem.path.endswith(".upstream") and "upstreams" in self.broken:
                continue
            unknown_upstream |= problem.path.endswith(".upstream")
            report = self.warn if problem.warning else self.error
            report(path_where(problem.path), problem.text, problem.hint)
        known = {**RESPONDERS, **config.responders}
        for at, route in enumerate(config.routes):
            if route is not None and route.responder and route.responder not in known:
                text = f'there is no responder "{route.responder}"'
                self.error(("routes", at, "responder"), text, closest(route.responder, known))
        if unknown_upstream or self.incomplete("routes", config):
            return  # it may well be meant by what is broken
        used = set(_upstreams_used(config))
        for name in config.upstreams:
            if name not in used:
                self.warn(("upstreams", name), "no route uses it")

    def incomplete(self, section: str, config: Config) -> bool:
        """Whether something of this list was broken and is missing now."""
        return section in self.broken or None in getattr(config, section)


def _clash(one: Listener, other: Listener) -> bool:
    a, b = one.bind, other.bind
    if a.is_unix or b.is_unix:
        return a.is_unix and b.is_unix and os.path.normpath(a.path) == os.path.normpath(b.path)
    if a.port != b.port or a.port == 0:
        return False
    if a.host == b.host or "::" in (a.host, b.host):
        return True
    return "0.0.0.0" in (a.host, b.host) and (":" in a.host) == (":" in b.host)


def _users() -> Iterator[str]:
    return (entry.pw_name for entry in pwd.getpwall())


def _upstreams_used(config: Config) -> Iterator[str]:
    """Names of upstreams in routes, wherever a route can name one."""
    for route in config.routes:
        if route is not None:
            if route.upstream:
                yield route.upstream
            yield from (part.upstream for part in route.split)
