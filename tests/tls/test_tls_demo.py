"""`fastproxy demo` by https://, as it says itself."""

from __future__ import annotations

import re
import ssl
import urllib.request
from pathlib import Path

from tests.flow.test_command_line import Demo
from tests.running import wait_until


def test_the_demo_serves_https(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.start()
        found = re.search(r"curl --cacert (\S+) (https://localhost:\d+/hello)", demo.text())
        assert found, demo.text()
        ca, url = found.groups()

        def answered() -> bytes:
            """Another demo of this user may just have made the certificate anew."""
            try:
                context = ssl.create_default_context(cafile=ca)
                with urllib.request.urlopen(url, timeout=10, context=context) as answer:
                    return bytes(answer.read())
            except (OSError, ssl.SSLError):
                return b""

        assert wait_until(answered).startswith(b"Hello from backend-")
        status = demo.status()
        assert url.rpartition(":")[2].partition("/")[0] in status["listeners"][1]
        assert status["certificates"][0]["names"][0] == "localhost"
    finally:
        demo.process.terminate()
        demo.process.wait(15)
