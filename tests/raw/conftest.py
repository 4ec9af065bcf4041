"""One proxy and its recording backends per test module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.raw.recorder import Recorder
from tests.raw.talking import CONFIG, Running

StartProxy = Callable[..., Running]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProxy]:
    """start(timeouts=..., limits=..., forwarding=..., routes=..., backends=2): a proxy for this
    module; each text is TOML for its section."""
    running: list[Running] = []
    recorders: list[Recorder] = []

    def begin(urls: Sequence[str] | None = None, **parts: str) -> Running:
        recorder = Recorder().__enter__()
        recorders.append(recorder)
        directory: Path = tmp_path_factory.mktemp("raw")
        names = ("top", "timeouts", "limits", "forwarding", "routes", "upstream")
        backends = ", ".join(f'"{url}"' for url in (urls or [recorder.url]))
        log = parts.get("log", str(directory / "access.log"))
        listener = parts.get("listener", '"127.0.0.1:0"')
        fill = {name: parts.get(name, "") for name in names}
        config = CONFIG.format(backends=backends, log=log, listener=listener, **fill)
        path = directory / "fastproxy.toml"
        path.write_text(config)
        proxy = Running(config=path, workers=1)
        proxy.recorder = recorder
        proxy.start()
        running.append(proxy)
        return proxy

    yield begin
    try:
        for proxy in running:
            proxy.close()
    finally:
        for recorder in recorders:
            recorder.__exit__()


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    """A proxy with the shipped defaults (lingering shortened)."""
    return start()


@pytest.fixture
def proxy(plain: Running) -> Iterator[Running]:
    """`plain`, its recorder cleared; its worker must have outlived the test."""
    before = plain.children()
    plain.recorder.clear()
    yield plain
    assert plain.children() == before, plain.log()
