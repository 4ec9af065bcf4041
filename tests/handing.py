"""Becomes a master with a handover that no configuration gives: `python -m tests.handing JSON`.

{"config": {...}, "handover": {...}, "plan": "...", "addresses": {...}}: the configuration as a file
would have it; fields of `Handover` to set; text in the place of the compiled plan; and for URLs of
backends the [host, port] pairs they are to have resolved to. All but the first may be absent.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastproxy import start
from fastproxy.balance import build
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.process.handover import launch


def main(given: dict[str, Any]) -> None:
    config, _ = check.sound(from_data(given["config"]))
    ready = start.prepare(config)
    for name, value in given.get("handover", {}).items():
        setattr(ready.handover, name, value)
    plan = given["plan"].encode() if "plan" in given else ready.plan
    roster = ready.roster
    if "addresses" in given:
        addresses, _ = start.resolve_all(config)
        for url, pairs in given["addresses"].items():
            addresses[url] = [build.sockaddr_inet(*pair) for pair in pairs]
        rows = build.assign_rows(build.members(config.upstreams, addresses))
        key = bytes.fromhex(ready.handover.session_key)
        roster = build.build_roster(config.upstreams, addresses, rows, 1, session_key=key)
    launch(ready.handover, plan, roster, ready.keyring)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
