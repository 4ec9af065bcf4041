# SPDX-License-Identifier: MIT
"""The limit: forwarders in C that do nothing but what must be done (bench/limit). One process.

Small messages go through limit.c, bodies through bodies.c with 64 KiB or, tuned, 256 KiB scratch.
"""

from __future__ import annotations

from bench.build import HERE, BuildError, program
from bench.peers.base import Installed, Job, Own, Peer, any_of
from bench.scenario import KIB, Scenario, Setting

LARGE = 32 * KIB
"""Bodies from here on are for bodies.c."""


def command(job: Job, _: str) -> list[str]:
    to = ["--listen", str(job.port)]
    for address in job.addresses():
        to += ["--origin", address]
    if job.request.body_bytes < LARGE:
        return [str(program("limit/limit")), *to]
    scratch = (256 if job.setting.tuned else 64) * KIB
    return [str(program("limit/bodies")), *to, "--scratch", str(scratch)]


def cannot(scenario: Scenario, setting: Setting) -> str:
    if not setting.plain:
        return "no TLS, no HTTP/2"
    return any_of(
        one_worker_only=setting.workers > 1,
        one_backend_only=setting.backends > 1 and scenario.request.body_bytes >= LARGE,
        no_checks=setting.checks,
        no_routes=setting.routes > 1,
        no_log=setting.log,
        no_such_fields=setting.same_fields,
    )


class Limit(Peer):
    """Found where its source is."""

    def find(self, path: str = "") -> Installed | None:
        if not (HERE / "limit" / "limit.c").exists():
            return None
        try:
            return Installed(self, str(program("limit/limit")), "1")
        except BuildError:
            return None


PEER = Limit("limit", Own(), "", (), command, cannot)
