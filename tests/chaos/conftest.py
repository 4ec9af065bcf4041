"""What stands behind the proxies of these tests: one of each in a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flow.peers import Origin
from tests.running import Backend


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as one:
        yield one


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one
