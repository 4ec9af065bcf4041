# SPDX-License-Identifier: MIT
"""Ours, from this tree or from another one: as it comes, with a limit on the connections of one
address switched on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.peers.base import Installed, Job, Own, Peer, first_version
from bench.scenario import Setting


def arguments(job: Job) -> list[str]:
    """Everything that is not set here is as users get it."""
    scheme = "h2c" if job.setting.http2_upstream else "http"
    plain = job.setting.plain
    lines = [
        *([f'listeners = ["127.0.0.1:{job.port}"]'] if plain else []),
        f"workers = {job.setting.workers}",
        'log_format = "json"',
        f'access_log = "{job.access_log if job.setting.log else "off"}"',
        *([] if plain else listener(job)),
        "[limits]",
        # More than any scenario opens, so that each connection is counted and none refused.
        "connections_per_ip = 60000",
        *([] if plain else ["requests_per_connection = 0", "upstream_idle = 1024"]),
        "[upstreams.origin]",
        f"backends = {json.dumps([f'{scheme}://{one}' for one in job.addresses()])}",
        *balancing(job.setting),
    ]
    for path in ["/", *job.route_paths()]:
        lines += ["[[routes]]", f'path = "{path}"', 'upstream = "origin"']
    file = job.write("fastproxy.toml", "\n".join(lines) + "\n")
    # As a flag: what the environment says of it would win over the file.
    control = str(job.directory / "control.sock")
    return ["-m", "fastproxy", "run", "-c", file, "--control-socket", control]


def listener(job: Job) -> list[str]:
    """With TLS, or HTTP/2 without it. ALPN offers both as it comes."""
    lines = ["[[listeners]]", f'bind = "127.0.0.1:{job.port}"']
    if not job.certificate:
        return [*lines, "http2 = true"]
    pair = f'{{ cert = "{job.certificate.cert}", key = "{job.certificate.key}" }}'
    return [*lines, "[listeners.tls]", f"certificates = [{pair}]"]


def balancing(setting: Setting) -> list[str]:
    """Of the upstream."""
    lines = []
    if setting.least_loaded:
        # By time to the first byte, of all: they are few. A backend that fails at once is fast, so
        # not where some do.
        lines.append(f'balance = "{"p2c" if setting.passive else "ewma"}"')
        lines.append("draws = 3")
    if setting.passive:
        # One failure and it is out for 30 s (as shipped: five in a row).
        lines += ["[upstreams.origin.outlier]", "consecutive = 1"]
    if setting.checks:
        lines += ["[upstreams.origin.health]", 'interval = "5s"', 'path = "/0"']
    return lines


PEER = Peer(
    name="fastproxy",
    source=Own(),
    program=sys.executable,
    version=("-m", "fastproxy", "--version"),
    command=lambda job, program: [program, *arguments(job)],
)


def other_tree(directory: str) -> Installed | None:
    """Another built tree: what did a change to the engine bring? None: not there."""
    if not (Path(directory) / "fastproxy" / "__main__.py").is_file():
        return None
    there = ["env", "-C", os.path.abspath(directory), sys.executable]
    peer = Peer(
        name=f"@{Path(directory).resolve().name}",
        source=Own(),
        program=sys.executable,
        version=PEER.version,
        command=lambda job, _: [*there, *arguments(job)],
        like=PEER.name,
    )
    return Installed(peer, sys.executable, first_version([*there, *PEER.version]))
