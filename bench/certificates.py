# SPDX-License-Identifier: MIT
"""Certificates for scenarios with TLS, made anew for each by the program `openssl`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.load import HOST, LoadError

KEYS = {
    "ecdsa": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"),
    "rsa": ("rsa:2048",),
}


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files. It is self-signed: who trusts it has it."""

    cert: str
    key: str
    both: str
    """The one behind the other, for who wants them so."""


def make(directory: Path, kind: str) -> Certificate:
    """For HOST, with a key of this kind. LoadError."""
    cert, key, both = (directory / name for name in ("site.pem", "site.key", "both.pem"))
    command = [
        "openssl", "req", "-x509", "-newkey", *KEYS[kind], "-noenc", "-days", "30",
        "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
        "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        raise LoadError("openssl is not installed: sudo apt-get install openssl") from None
    if done.returncode != 0:
        raise LoadError(f"openssl: {done.stderr.strip()}")
    both.write_text(cert.read_text() + key.read_text())
    return Certificate(str(cert), str(key), str(both))
