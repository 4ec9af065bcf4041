"""One stand for all clients: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.ways import Ways


@pytest.fixture(scope="session")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with Ways(tmp_path_factory.mktemp("ways")) as one:
        yield one
