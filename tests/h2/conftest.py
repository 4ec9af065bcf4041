"""One instance for all cases; each opens its own connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.h2.subject import Subject, make


@pytest.fixture(scope="session")
def instance() -> Iterator[Subject]:
    with make() as one:
        yield one


@pytest.fixture
def subject(instance: Subject) -> Iterator[Subject]:
    """`instance`, its origin cleared; its worker must have outlived the test."""
    instance.clear()
    yield instance
    assert instance.alive()
