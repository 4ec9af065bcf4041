"""Chromium, headless: a page of 200 images over HTTP/2, a WebSocket on the same connection
(RFC 8441), and events that come when they are sent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.site import EVENTS, Site
from tests.clients.ways import stored
from tests.flow.peers import Gateway
from tests.flow.websockets_end import EchoServer
from tests.running import FOREIGN, wait_until
from tests.tls.certs import Authority

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--ignore-certificate-errors",
    "--remote-debugging-port=0",
]  # fmt: skip
LOG = "{client_port} {protocol} {path} {status}"


@contextlib.contextmanager
def chromium(url: str, home: Path) -> Iterator[None]:
    """On that page, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "ci/install-deps slow-servers brings it"
    environ = {**FOREIGN, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    with open(home / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={home}/profile", url],
            stdout=log, stderr=log, env=environ, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own: all of its processes
        process.wait(10)


def settings(site: Site, echo: EchoServer, folder: Path, behind: str) -> dict[str, object]:
    authority = Authority()
    pair = stored(folder, authority.sign("localhost"), authority)
    return {
        "listeners": [{"bind": "127.0.0.1:0", "tls": {"certificates": [pair]}}],
        "upstreams": {
            "site": {"backends": [behind or site.url]},
            "echo": {"backends": [behind or echo.url]},
        },
        "routes": [{"path": "/socket", "upstream": "echo"}, {"path": "/", "upstream": "site"}],
        "access_log": str(folder / "access.log"),
        "log_format": LOG,
    }


@pytest.fixture(params=["http1", "h2c"])
def visited(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Gateway, Site, EchoServer]]:
    """The page's origin behind one fastproxy, or behind two with HTTP/2 between them."""
    with contextlib.ExitStack() as stack:
        site, echo = stack.enter_context(Site()), stack.enter_context(EchoServer())
        behind = ""
        if request.param == "h2c":
            inner = settings(site, echo, tmp_path, "")
            inner |= {"listeners": [{"bind": "127.0.0.1:0", "http2": True}], "access_log": "off"}
            behind = f"h2c://127.0.0.1:{stack.enter_context(Gateway(settings=inner)).port}"
        outer = settings(site, echo, tmp_path, behind)
        gateway = stack.enter_context(Gateway(settings=outer, workers=2))
        yield gateway, site, echo


def test_a_page(visited: tuple[Gateway, Site, EchoServer], tmp_path: Path) -> None:
    gateway, site, echo = visited
    with chromium(f"https://localhost:{gateway.port}/", tmp_path):
        found = json.loads(site.reports.get(timeout=60))
        wait_until(lambda: echo.endings == [1000])
    assert found["navigation"] == "h2"
    assert found["images"] == {"loaded": 200, "protocols": ["h2"], "entries": 200}
    assert found["socket"] == {"same": True, "code": 1000, "clean": True}
    assert found["events"] == [str(number) for number in range(EVENTS)]
    told = [f"{word} {number}" for number in range(EVENTS) for word in ("sent", "heard")]
    assert site.order == told
    gateway.stop()
    lines = [line.split() for line in (tmp_path / "access.log").read_text().splitlines()]
    assert {protocol for _, protocol, *_ in lines} == {"HTTP/2.0"}
    ports = {path: port for port, _, path, _ in lines}
    assert ports["/socket"] == ports["/image/0"], "a connection of its own"
