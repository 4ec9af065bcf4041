"""Peers shared by the flow tests: started once, and left as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.flow.counting import Counting
from tests.flow.peers import Gateway, Granian, Nginx, Origin
from tests.flow.queueing import Capped
from tests.running import Backend


@pytest.fixture(scope="session")
def nginx() -> Iterator[Nginx]:
    with Nginx() as one:
        yield one


@pytest.fixture(scope="session")
def granian() -> Iterator[Granian]:
    with Granian() as one:
        yield one


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as one:
        yield one


def by_path(**backends: str) -> dict[str, Any]:
    """Settings: /NAME/... goes to that backend as /...."""
    return {
        "upstreams": {name: {"backends": [url]} for name, url in backends.items()},
        "routes": [
            {"name": name, "path": f"/{name}/", "strip_prefix": f"/{name}", "upstream": name}
            for name in backends
        ],
    }


@pytest.fixture(scope="session")
def gateway(nginx: Nginx, granian: Granian, origin: Origin) -> Iterator[Gateway]:
    """Two workers before all three: /nginx/..., /granian/..., /origin/..."""
    settings = by_path(nginx=nginx.url, granian=granian.url, origin=origin.url)
    with Gateway(settings=settings, workers=2) as one:
        yield one


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as one:
        yield one


@pytest.fixture
def capped(counting: Counting) -> Iterator[Capped]:
    """capped(most, queue={...}, workers=2): `counting` behind a gateway, with `most` places."""
    with ExitStack() as stack:

        def begin(
            most: int,
            queue: dict[str, Any] | None = None,
            workers: int = 2,
            **more: Any,
        ) -> Gateway:
            settings = {
                "upstreams": {
                    "a": {
                        "backends": [{"url": counting.url, "max_connections": most}],
                        "queue": queue or {},
                    }
                },
                "routes": [{"path": "/", "upstream": "a"}],
                **more,
            }
            return stack.enter_context(Gateway(settings=settings, workers=workers))

        yield begin
