"""What the tests of discovery share: origins on one port, a gateway that asks a name server of the
test, and what to read off it."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.flow.peers import Gateway, Origin, free_port
from tests.running import wait_until

NAME = "api.test"


@contextlib.contextmanager
def origins(*hosts: str) -> Iterator[list[Origin]]:
    """One on each address, all on the same port."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        yield [stack.enter_context(Origin(f"{host}:{port}")) for host in hosts]


def gateway(server: str, *backends: Any, dns: dict[str, Any] | None = None, **more: Any) -> Gateway:
    """Two workers before upstream `api`; names are asked of that server. No ejections: what fails
    shall be seen."""
    upstream = {"backends": list(backends), "outlier": {"consecutive": 0}, **more}
    settings = {
        "dns": {
            "servers": [server] if server else [],
            "ipv6": "off",
            "timeout": "1s",
            **(dns or {}),
        },
        "upstreams": {"api": upstream},
        "routes": [{"path": "/", "upstream": "api"}],
    }
    return Gateway(settings=settings, workers=2)


def members(proxy: Gateway) -> list[str]:
    """Addresses of those that are in the roster."""
    found = proxy.status()["upstreams"][0]["backends"]
    return sorted(one["name"].partition("#")[2] for one in found)


def epochs(proxy: Gateway) -> list[int]:
    return [one["roster_epoch"] for one in proxy.status()["workers"]]


def name_of(proxy: Gateway) -> dict[str, Any]:
    (found,) = proxy.status()["names"]
    return dict(found)


def in_force(proxy: Gateway, epoch: int) -> None:
    wait_until(lambda: epochs(proxy) == [epoch, epoch])


def seen(*all_of: Origin) -> Counter[str]:
    """Ledger entries that the origins have seen, together."""
    total: Counter[str] = Counter()
    for origin in all_of:
        line = http.client.HTTPConnection(
            origin.address.rpartition(":")[0], origin.port, timeout=20
        )
        line.request("GET", "/seen")
        total.update(json.loads(line.getresponse().read()))
        line.close()
    return total
