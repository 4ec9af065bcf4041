"""fastproxy where libssl or libnghttp2 is not: it builds, `check` says what is missing and how to
get it, and what needs neither is served.

Slow: compiles `_core` once and each sister once. `.ci/run` runs it, by `make test-without`.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.peers import Gateway
from tests.h2 import frames as h2
from tests.h2.client import Client, context
from tests.h2.subject import make_pair
from tests.running import Backend
from tests.tidy.source import label, tree
from tests.tidy.test_package import clean_environ, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SWITCHES = {"_tls": "FASTPROXY_NO_TLS", "_http2": "FASTPROXY_NO_HTTP2"}
MISSING = {"neither": {"_tls", "_http2"}, "no TLS": {"_tls"}, "no HTTP/2": {"_http2"}}
REMEDY = "then make build, or pip install --no-binary fastproxy --force-reinstall fastproxy)"
SAID = {
    "_tls": f"TLS is not built in (sudo apt-get install -y libssl-dev, {REMEDY}",
    "_http2": f"HTTP/2 is not built in (sudo apt-get install -y libnghttp2-dev, {REMEDY}",
}
BACKEND = "http://127.0.0.1:9"
TLS_LISTENER = {"bind": "127.0.0.1:0", "tls": {"certificates": [{"cert": "a.pem", "key": "a.key"}]}}


@dataclass
class Built:
    """A build that lacks `missing`; it lies in `folder`."""

    folder: Path
    missing: set[str]

    def python(self, *args: str) -> list[str]:
        """-P: what is in the working directory is not imported."""
        return [sys.executable, "-P", *args]

    @property
    def env(self) -> dict[str, str]:
        return clean_environ() | {"PYTHONPATH": str(self.folder)}

    def check(self, config: dict[str, Any], folder: Path) -> tuple[int, str]:
        """What `fastproxy check` says."""
        path = folder / "fastproxy.json"
        path.write_text(json.dumps(config))
        done = subprocess.run(
            self.python("-m", "fastproxy", "check", "-c", str(path)),
            cwd=folder, env={**self.env, "COLUMNS": "400"}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


class Lean(Gateway):
    """That build at work."""

    def __init__(self, built: Built, **options: Any) -> None:
        super().__init__(env={"PYTHONPATH": str(built.folder)}, workers=1, **options)
        self.built = built

    def command(self) -> list[str]:
        _, *rest = super().command()
        return self.built.python(*rest)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, nothing in it compiled."""
    folder = tmp_path_factory.mktemp("without")
    folder.chmod(0o755)
    for path in tree():
        if label(path).startswith("fastproxy") or path.name in ("setup.py", "pyproject.toml"):
            place = folder / label(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module", params=MISSING)
def built(sources: Path, request: pytest.FixtureRequest) -> Built:
    """What is compiled already is not compiled again; what is not wanted is left out."""
    missing = MISSING[request.param]
    switches = {SWITCHES[one]: "1" for one in missing}
    command = ["setup.py", "-q", "build", "--build-lib=out", "--build-temp=parts"]
    said = run(sys.executable, *command, cwd=sources, env=switches)
    for one in missing:
        assert f"{one} is left out: {SWITCHES[one]} is set" in said
        for path in (sources / "out/fastproxy").glob(f"{one}.*.so"):
            path.unlink()  # of the build before
    found = {path.name.partition(".")[0] for path in (sources / "out/fastproxy").glob("*.so")}
    assert found == {"_core", "_tls", "_http2"} - missing
    return Built(sources / "out", missing)


def config(listener: object = "127.0.0.1:0", **upstream: Any) -> dict[str, Any]:
    return {
        "listeners": [listener],
        "routes": [{"path": "/", "upstream": "a"}],
        "upstreams": {"a": {"backends": [BACKEND], **upstream}},
    }


NEEDS: list[tuple[str, str, dict[str, Any]]] = [
    ("_tls", "listeners[0].tls", config(TLS_LISTENER)),
    ("_tls", "upstreams.a.backends", config(backends=["https://127.0.0.1:9"])),
    ("_http2", "listeners[0].http2", config({"bind": "127.0.0.1:0", "http2": True})),
    ("_http2", "upstreams.a.backends", config(backends=["h2c://127.0.0.1:9"])),
    (
        "_http2",
        "upstreams.a.protocol",
        config(backends=["https://127.0.0.1:9"], protocol="http2"),
    ),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    cert, key = make_pair(folder)
    os.rename(cert, folder / "a.pem")
    os.rename(key, folder / "a.key")
    return folder


@pytest.mark.parametrize(("part", "where", "given"), NEEDS)
def test_check_names_what_is_missing(
    built: Built, part: str, where: str, given: dict[str, Any], pair: Path
) -> None:
    code, said = built.check(given, pair)
    assert (f"{where}: {SAID[part]}" in said) == (part in built.missing), said
    others = built.missing - {part}
    if where == "upstreams.a.protocol":
        assert (SAID["_tls"] in said) == ("_tls" in built.missing)
        others -= {"_tls"}
    assert not [one for one in others if SAID[one] in said]
    assert code == (1 if "is not built in" in said else 0), said


def test_run_refuses_likewise(built: Built, pair: Path) -> None:
    """With the same words, before anything is listened on."""
    for part, _, given in NEEDS:
        if part in built.missing:
            (pair / "run.json").write_text(json.dumps(given))
            done = subprocess.run(
                built.python("-m", "fastproxy", "run", "-c", "run.json"),
                cwd=pair, env=built.env | {"COLUMNS": "400"}, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 1
            assert SAID[part] in done.stdout + done.stderr


def test_http1_is_served(built: Built) -> None:
    with Backend() as backend, Lean(built, upstreams=[backend.url]) as proxy:
        for _ in range(3):
            answer = proxy.get("/")
            assert (answer.status, answer.body) == (200, b"hello\n")
        # HTTP/2's first bytes are no request of HTTP/1.1
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as line:
            line.sendall(h2.PREFACE)
            assert line.recv(65536).startswith(b"HTTP/1.1 ")
        assert proxy.stop() == 0


def test_what_is_there_is_served(built: Built, pair: Path) -> None:
    """TLS without HTTP/2 offers HTTP/1.1 only; HTTP/2 without TLS is h2c."""
    if built.missing == {"_http2"}:
        certificates = [{"cert": str(pair / "a.pem"), "key": str(pair / "a.key")}]
        listener: dict[str, Any] = {"tls": {"certificates": certificates}}
    elif built.missing == {"_tls"}:
        listener = {"http2": True}
    else:
        listener = {}
    with Backend() as backend:
        settings = config({"bind": "127.0.0.1:0", **listener}, backends=[backend.url])
        with Lean(built, settings=settings) as proxy:
            address = ("127.0.0.1", proxy.port)
            if "http2" in listener:
                with Client(address, tls=False) as client:
                    client.send(h2.get())
                    assert client.outcome(1) == "200"
            elif "tls" in listener:
                assert spoken(address, "h2", "http/1.1") == ("http/1.1", b"hello\n")
                assert spoken(address) == (None, b"hello\n")
            else:
                assert proxy.get("/").body == b"hello\n"


def spoken(address: tuple[str, int], *protocols: str) -> tuple[str | None, bytes]:
    """What was agreed on, and the answer to a request."""
    how: ssl.SSLContext = context(*protocols)
    with socket.create_connection(address, 10) as plain:
        with how.wrap_socket(plain, server_hostname="a.test") as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := line.recv(65536):
                data += piece
            return line.selected_alpn_protocol(), data.partition(b"\r\n\r\n")[2]
