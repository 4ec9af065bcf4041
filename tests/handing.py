"""Becomes a master with a handover made by a test: `python -m tests.handing JSON`.

The JSON holds Handover's fields; three more are ours: "plan" and "roster" (text, in the place of
the compiled ones) and "addresses" (URL -> [host, port] pairs, in the place of resolving it).
"""

from __future__ import annotations

import json
import sys

import msgspec

from fastproxy import _core
from fastproxy.balance import build
from fastproxy.process.handover import Handover, UpstreamSpec, launch
from fastproxy.process.rosters import upstreams_of

MODULE = "fastproxy.process.master" if hasattr(_core, "Engine") else "tests.standin"


def roster_of(specs: list[UpstreamSpec], given: dict[str, list[tuple[str, int]]]) -> bytes:
    upstreams = upstreams_of(specs)
    addresses = {
        str(member.url): [build.sockaddr_inet(*pair) for pair in given[str(member.url)]]
        if str(member.url) in given
        else build.resolve(member.url)
        for upstream in upstreams.values()
        for member in upstream.members()
    }
    rows = build.assign_rows(build.members(upstreams, addresses))
    return build.build_roster(upstreams, addresses, rows, 1)


if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    plan = fields.pop("plan", "plan 1").encode()
    addresses = fields.pop("addresses", {})
    handover = msgspec.convert(fields, Handover)
    launch(handover, plan, roster_of(handover.upstreams, addresses), module=MODULE)
