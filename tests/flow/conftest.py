"""Peers shared by the flow tests: started once, and left as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.peers import Gateway, Granian, Nginx, Origin
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
