"""testssl.sh (Debian's) on our profiles. Slow: it asks thousands of things, one after the other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.scanned import KINDS, scanned
from tests.running import FOREIGN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
GOOD = {"OK", "INFO", "LOW", "DEBUG"}
ELSEWHERE = {
    "engine_problem": "about the openssl it runs, not about us",
    "cipher_order": "Mozilla's guideline: all ciphers are good, so the client chooses",
    "security_headers": "fields of the page, which is the backend's",
    "cert_crlDistributionPoints": "a test's authority publishes no list",
    "cert_ocspURL": "nor answers OCSP",
    "cert_revocation": "so neither of them is named",
}
"""Findings of another's doing, and whose."""


@pytest.mark.parametrize("profile", KINDS)
def test_nothing_of_medium_or_more(profile: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    with scanned(profile, tmp_path) as one:
        command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"]
        command += ["--ip", "127.0.0.1", "--add-ca", one.ca, "--jsonfile", str(found)]
        done = subprocess.run(
            [*command, f"localhost:{one.port}"], capture_output=True, text=True, timeout=800,
            env=FOREIGN, cwd=tmp_path,
        )  # fmt: skip
    findings = json.loads(found.read_text())
    bad = [
        f"{one['severity']} {one['id']}: {one['finding']}"
        for one in findings
        if one["severity"] not in GOOD and one["id"].partition(" ")[0] not in ELSEWHERE
    ]
    assert bad == [], "\n".join([*bad, done.stdout])
