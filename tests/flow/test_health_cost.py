"""What a thousand checked backends cost control. `pytest -s` prints it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.flow.peers import Gateway, cpu_seconds
from tests.running import ROOT, wait_until

BACKENDS = 1000
SECONDS = 15.0


@pytest.fixture
def port() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.flow.nodding"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        assert process.stdin
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_thousand_checks_every_five_seconds(port: int, kind: str) -> None:
    """Under 20% of a core, the sweep included."""
    urls = [f"http://127.0.{at // 250}.{at % 250 + 1}:{port}" for at in range(BACKENDS)]
    table = {"backends": urls, "health": {"kind": kind}}
    settings = {"routes": [{"upstream": "web"}], "upstreams": {"web": table}}
    with Gateway(settings=settings, workers=2) as proxy:

        def asked() -> int:
            return sum("last" in one["check"] for one in proxy.backends().values())

        wait_until(lambda: asked() == BACKENDS, 20, 1.0)
        control = int(proxy.status()["control_pid"])
        before, began = cpu_seconds(control), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_seconds(control) - before) / (time.monotonic() - began)
        entries = list(proxy.backends().values())
        last = [one["check"]["last_unix"] for one in entries]
        assert {one["state"] for one in entries} == {"up"}
        assert time.time() - min(last) < 5 * 1.2 + 2 + 2  # nobody is left behind
    print(f"\n{BACKENDS} {kind} checks every 5 s: {share:.1%} of a core, "
          f"{share / (BACKENDS / 5) * 1e6:.0f} us each")  # fmt: skip
    assert share < 0.20
