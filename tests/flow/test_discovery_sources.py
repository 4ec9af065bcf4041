"""Files that list backends, and sources of one's own, before a running proxy of two workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flow.discovering import NAME, epochs, gateway, in_force, members, name_of, origins, seen
from tests.flow.ledger import Ledger
from tests.flow.peers import Origin, get
from tests.nameserver import Responder
from tests.running import ROOT, wait_until


def rewrite(path: Path, *backends: Any) -> None:
    """As careful programs do: a new file, renamed over the old one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"backends": list(backends)}))
    new.rename(path)


def test_edits_of_a_file_under_load_fail_no_request(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with contextlib.ExitStack() as stack:
        all_of = [stack.enter_context(Origin()) for _ in range(3)]
        urls = [one.url for one in all_of]
        rewrite(path, urls[0])
        proxy = stack.enter_context(gateway("", backends_file=str(path)))
        ledger = stack.enter_context(Ledger(proxy.port, lines=16))
        assert list(proxy.backends()) == urls[:1]
        ledger.until(200)
        for epoch, now in enumerate(
            [urls[:2], urls[1:], [urls[2], {"url": urls[0], "weight": 9}]], 2
        ):
            rewrite(path, *now)
            in_force(proxy, epoch)
            ledger.until(200)
        path.write_text('{"backends": ["http://127.0.0.1:1", "ftp://x"],\n "more": 1}')
        wait_until(lambda: "unknown scheme" in proxy.log())
        time.sleep(1.2)
        ledger.until(100)
        assert epochs(proxy) == [4, 4]  # the list before stays
        os.kill(proxy.status()["control_pid"], signal.SIGKILL)
        wait_until(lambda: proxy.log().count("unknown scheme") == 2)  # said by its heir too
        ledger.until(100)
        assert proxy.backends()[urls[0]]["weight"] == 9
        ledger.stop()
        assert not ledger.failed, ledger.count()
        ledger.check_origin(seen(*all_of))
        log = proxy.log()
    assert f'{path}:1: backends[1]: "ftp://x": unknown scheme' in log
    assert f"{path}:2: more: unknown key" in log


def test_names_in_a_file_are_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    with origins("127.0.0.1", "127.0.0.2") as (first, _), Responder() as server:
        server.say(NAME, "A", "127.0.0.1", ttl=1)
        path.write_text(f'backends = ["http://{NAME}:{first.port}"]\n')
        with gateway(server.address, backends_file=str(path)) as proxy:
            assert members(proxy) == ["127.0.0.1"]
            server.say(NAME, "A", "127.0.0.2", ttl=1)
            wait_until(lambda: members(proxy) == ["127.0.0.2"])
            server.say("other.test", "A", "127.0.0.1")
            path.write_text(f'backends = ["http://other.test:{first.port}"]\n')
            wait_until(lambda: members(proxy) == ["127.0.0.1"])
            assert get(proxy, "/id").status == 200
            assert name_of(proxy)["name"] == f"http://other.test:{first.port}"


def test_a_broken_file_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("backends:\n  - http://127.0.0.1:9001\n  - {url: http://a, weigth: 3}\n")
    config = tmp_path / "fastproxy.toml"
    config.write_text(
        'listeners = ["127.0.0.1:0"]\nroutes = [{ path = "/", upstream = "a" }]\n'
        '[upstreams.a]\nbackends_file = "list.yaml"\n'
    )
    command = [sys.executable, "-m", "fastproxy", "check", "-c", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"{path}:3: error: backends[1].weigth: unknown key" in done.stderr
    path.write_text("backends: []\n")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    path.unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"{path}: error: cannot be read: No such file" in done.stderr


# ---- a source of one's own ----------------------------------------------------------------------

SOURCE = """
import asyncio, json, os

class Watch:
    async def run(self, publish):
        while True:
            words = open(os.environ["WATCHED"]).read().split()
            if "end" in words:
                raise RuntimeError("its server is gone")
            publish([{"url": word, "weight": 2} for word in words])
            await asyncio.sleep(0.1)
"""


def test_a_source_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watching.py").write_text(SOURCE)
    watched = tmp_path / "watched"
    monkeypatch.setenv("WATCHED", str(watched))
    with Origin() as first, Origin() as second:
        watched.write_text(first.url)
        before = gateway("", backends_source="watching:Watch")
        before.env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
        with before as proxy:
            in_force(proxy, 2)
            assert get(proxy, "/id").body.decode().split()[0] == first.name
            watched.write_text(f"{first.url} {second.url}")
            in_force(proxy, 3)
            assert {one["weight"] for one in proxy.backends().values()} == {2}
            watched.write_text("ftp://x")
            wait_until(
                lambda: 'upstream api: watching:Watch: backends[0].url: "ftp://x"' in proxy.log()
            )
            watched.write_text("end")
            wait_until(lambda: "its server is gone; its last list stays" in proxy.log(), 10)
            assert get(proxy, "/id").status == 200
            assert epochs(proxy) == [3, 3]
