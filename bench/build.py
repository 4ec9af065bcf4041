# SPDX-License-Identifier: MIT
"""C programs of the harness, compiled when they are needed and not newer than their source."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
LIBRARIES = {
    "handshakes": ("openssl/ssl.h", "libssl-dev", ("-lssl", "-lcrypto")),
    "origin_grpc": ("nghttp2/nghttp2.h", "libnghttp2-dev", ("-lnghttp2",)),
}
"""Of the programs that need some: a header, its Debian package, and words for the linker."""


class BuildError(Exception):
    """No compiler, or it said no."""


def program(name: str, *flags: str) -> Path:
    """The path of `bench/NAME.c`, compiled: program("origin"), program("limit/limit"). `flags` are
    more words for the compiler; what they make lies in a folder of its own."""
    source = HERE / f"{name}.c"
    made = BUILD.joinpath(*(word.strip("-").replace("/", "_") for word in flags), name)
    if made.exists() and made.stat().st_mtime >= changed(source):
        return made
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if not compiler:
        raise BuildError("no C compiler: sudo apt-get install gcc libc6-dev")
    made.parent.mkdir(parents=True, exist_ok=True)
    part = made.with_suffix(f".{os.getpid()}")
    header, package, libraries = LIBRARIES.get(name, ("", "", ()))
    if header and not has_header(compiler, header):
        raise BuildError(f"{source.name} needs {header}: sudo apt-get install {package}")
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", *flags, "-o", str(part), str(source), *libraries],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{source.name} does not compile:\n{done.stderr}")
    part.replace(made)
    return made


def changed(source: Path) -> float:
    """When it, or a header beside or below it, was written last."""
    return max(one.stat().st_mtime for one in (source, *source.parent.rglob("*.h")))


def has_header(compiler: str, header: str) -> bool:
    """Whether `#include <header>` is understood."""
    said = subprocess.run(
        [compiler, "-E", "-x", "c", "-"],
        input=f"#include <{header}>\n".encode(),
        capture_output=True,
        check=False,
    )
    return said.returncode == 0


def missing_packages() -> list[str]:
    """Debian packages without which some program does not compile."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or "gcc"
    return [
        package
        for header, package, _ in LIBRARIES.values()
        if not shutil.which(compiler) or not has_header(compiler, header)
    ]
