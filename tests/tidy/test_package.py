"""What others install: an sdist that holds the rooms, and a wheel made of it that runs.

Slow: compiles `_core` once, in a fresh environment, by pip, as a user would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.running import Backend, wait_until
from tests.tidy.source import CYTHON, label, tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# A build of the whole, on a busy machine.
SECONDS = 500


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Its output; AssertionError with all it said if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environ() | (env or {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def clean_environ() -> dict[str, str]:
    """Ours without what would lead Python back into this tree."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("FASTPROXY_")}
    mine.pop("PYTHONPATH", None)
    return mine


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy: setuptools leaves an egg-info beside its sources."""
    folder = tmp_path_factory.mktemp("sdist")
    copy = folder / "tree"
    for path in tree():
        place = copy / label(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    code = (
        "from setuptools import build_meta; import sys; "
        f"sys.argv[1:] = []; print(build_meta.build_sdist({str(folder)!r}))"
    )
    run(sys.executable, "-c", code, cwd=copy)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip makes of the sdist, with build tools of its own choosing."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run(*pip, "wheel", "--no-deps", "-w", folder, sdist, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing but the wheel and what it asks for; its bin."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    pip = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "-q"]
    run(*pip, "install", wheel, cwd=folder)
    return folder / "bin"


def test_the_sdist_holds_what_is_compiled(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    rooms = {label(path) for path in tree(*CYTHON, ".h", ".py", ".pyi", under="fastproxy")}
    assert rooms - names == set()
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "fastproxy/py.typed"} <= names
    made = {name for name in names if name.endswith((".c", ".so", ".pyc", "_layout.pxi"))}
    assert made == set()


def test_the_wheel_holds_the_program_and_its_rooms(wheel: Path) -> None:
    assert f"cp{sys.version_info[0]}{sys.version_info[1]}" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    python = {label(path) for path in tree(".py", ".pyi", ".typed", under="fastproxy")}
    rooms = {label(path) for path in tree(".pxd", ".pxi", ".h", under="fastproxy")}
    assert (python | rooms) - names == set()
    compiled = {name.partition(".")[0] for name in names if name.endswith(".so")}
    assert compiled == {"fastproxy/_core", "fastproxy/_tls", "fastproxy/_http2"}
    assert {name.partition("/")[0] for name in names} == {"fastproxy", wheel_info(names)}


def wheel_info(names: set[str]) -> str:
    """The folder of metadata."""
    (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    return info


def test_an_installed_fastproxy_tells_its_version(installed: Path) -> None:
    out = run(installed / "fastproxy", "version", cwd=installed)
    assert "fastproxy 0.1.0" in out
    place = "import fastproxy; print(fastproxy.__file__)"
    where = run(installed / "python", "-c", place, cwd=installed)
    assert where.startswith(str(installed.parent))
    assert (Path(where.strip()).parent / "py.typed").exists()


def test_an_installed_fastproxy_proxies(installed: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    control = tmp_path / "control.sock"
    errors = tmp_path / "stderr"
    with Backend() as backend, open(errors, "wb") as said:
        process = subprocess.Popen(
            [
                str(installed / "fastproxy"),
                *("run", "--listen", "127.0.0.1:0", "--upstream", backend.url, "--workers", "1"),
                *("--control-socket", str(control)),
            ],
            cwd=tmp_path,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        try:
            address = wait_until(lambda: listening(installed, control, process, errors), 30)
            answer = run("curl", "-sS", "-i", f"http://{address}/hello", cwd=tmp_path)
            assert answer.startswith("HTTP/1.1 200")
            assert answer.endswith("hello\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def listening(
    installed: Path, control: Path, process: subprocess.Popen[bytes], errors: Path
) -> str:
    """The first listener, once every worker serves; "" before."""
    assert process.poll() is None, errors.read_text()
    code = (
        "import sys; from fastproxy.process import client\n"
        "try: status = client.status(sys.argv[1])\n"
        "except Exception: sys.exit()\n"
        "if status['workers'][0]['state'] == 'serving': print(status['listeners'][0])"
    )
    return run(installed / "python", "-c", code, str(control), cwd=control.parent).strip()
