"""A worker that does not come up: killed when its time is over, and tried again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.running import ROOT, Backend, Proxy, wait_until

HANGS = """
import os, time
from fastproxy.engine.doorway import Response

def mine(number):
    try:
        os.close(os.open(f"{os.path.dirname(__file__)}/{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

if any(mine(number) for number in range(TIMES)):
    time.sleep(3600)

async def handler(request, fetch):
    return Response(200, b"it came up")
"""


def hanging(backend: Backend, folder: Path, times: int, workers: int) -> Proxy:
    """A proxy with a responder whose module hangs for ever in the first `times` workers that import
    it. What is given to a start is cut down to 700 ms."""
    (folder / "hangs.py").write_text(HANGS.replace("TIMES", str(times)))
    inject: dict[str, Any] = {"handover": {"start_seconds": 0.7}}
    proxy = Proxy(
        upstreams=[backend.url],
        workers=workers,
        env={"PYTHONPATH": f"{folder}:{ROOT}"},
    )
    proxy.inject = {
        **inject,
        "config": {
            "workers": workers,
            "listeners": ["127.0.0.1:0"],
            "upstreams": {"default": {"backends": [backend.url]}},
            "routes": [
                {"path": "/", "upstream": "default"},
                {"path": "/hangs", "responder": "hangs"},
            ],
            "responders": {"hangs": "hangs:handler"},
            "control_socket": proxy.control,
            "access_log": "off",
        },
    }
    return proxy


def test_a_worker_that_hangs_in_its_start_is_tried_again(backend: Backend, tmp_path: Path) -> None:
    """The other one serves meanwhile, its queue too."""
    proxy = hanging(backend, tmp_path, times=1, workers=2)
    try:
        proxy.spawn()
        wait_until(lambda: "serving" in states(proxy))
        assert "starting" in states(proxy)
        port = proxy.port
        for _ in range(20):
            assert proxy.get("/", port).seconds < 1
        wait_until(lambda: states(proxy) == ["serving", "serving"])
        for _ in range(20):  # by both of them
            assert proxy.get("/hangs", port).status == 200
        assert proxy.log().count("was killed by signal 9: it did not come up in 0.7 s") == 1
        assert sorted(one["restarts"] for one in proxy.status()["workers"]) == [0, 1]
        assert proxy.stop() == 0
    finally:
        proxy.close()


def test_if_all_hang_it_ends_and_says_why(backend: Backend, tmp_path: Path) -> None:
    proxy = hanging(backend, tmp_path, times=100, workers=2)
    started = time.monotonic()
    proxy.spawn()
    try:
        assert proxy.process
        assert proxy.process.wait(15) == 1
        assert time.monotonic() - started > 0.7
        assert "no worker came up" in proxy.log()
        assert "it did not come up in 0.7 s" in proxy.log()
    finally:
        proxy.close()


def states(proxy: Proxy) -> list[str]:
    try:
        return [str(one["state"]) for one in proxy.status()["workers"]]
    except Exception:  # control is not there yet
        return []
