"""Becomes a master with a keyring of the test's own: `python -m tests.tls.launcher FILE`.

The file is JSON: {"config": {...}, "keyring": base64 of its bytes}. The plan's rows say TLS and
HTTP/2 where the keyring has an entry.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from fastproxy import start
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.memory import pack
from fastproxy.process.handover import launch
from fastproxy.tls.keyring import Keyring, decode

PROTOCOLS = {"http1": 0, "auto": 1, "http2": 2}


def mark(plan: bytearray, table: str, row: str, index: int, **values: int) -> None:
    """Write fields of a row of the plan."""
    size, fields = pack.LAYOUT[row]
    head = pack.read("PlanHeader", bytes(plan[: pack.size("PlanHeader")]))
    offset, count = head[table]
    assert index < count
    for name, value in values.items():
        at, length, _ = fields[name]
        where = offset + index * size + at
        plan[where : where + length] = value.to_bytes(length, "little")


def secured(plan: bytes, keyring: Keyring) -> bytes:
    changed = bytearray(plan)
    for index, listener in enumerate(keyring.listeners):
        if listener is not None:
            mark(changed, "listeners", "ListenerRow", index, tls=1, http2=listener.http2)
    for index, upstream in enumerate(keyring.upstreams):
        if upstream is not None:
            protocol = PROTOCOLS[upstream.protocol]
            mark(changed, "upstreams", "UpstreamRow", index, tls=1, protocol=protocol)
    return bytes(changed)


def main(given: dict[str, Any]) -> None:
    config, _ = check.sound(from_data(given["config"]))
    ready = start.prepare(config)
    data = base64.b64decode(given["keyring"])
    launch(ready.handover, secured(ready.plan, decode(data)), ready.roster, data)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
