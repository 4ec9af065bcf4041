"""One instance for all cases; each opens its own connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.h2.behind import Behind
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


@pytest.fixture(scope="module")
def before_http2() -> Iterator[Behind]:
    """One instance before a scripted HTTP/2 server, for all tests of a file."""
    with Behind() as one:
        yield one


@pytest.fixture
def behind(before_http2: Behind) -> Iterator[Behind]:
    """`before_http2`, cleared; what it leaves behind is checked."""
    before_http2.clear()
    yield before_http2
    before_http2.check()
