"""testssl.sh (Debian's) on our profiles. Slow: it asks thousands of things, one after the other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.scanned import KINDS, scanned
from tests.running import FOREIGN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BAD = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
SEEN = {
    "SSLv2", "SSLv3", "TLS1_3", "ALPN_HTTP2", "PFS", "HSTS_time", "cert_chain_of_trust",
    "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW",
    "heartbleed", "CCS", "ticketbleed", "ROBOT", "CRIME_TLS", "BREACH", "POODLE_SSL",
    "fallback_SCSV", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
}  # fmt: skip
MORE = {
    "intermediate": {"TLS1_2", "SWEET32", "cipher_order", "secure_renego", "secure_client_renego"}
}
"""Some of what it must have found good: it got through."""
ELSEWHERE = {
    "security_headers": "fields of the page, which is the backend's",
    "cert_revocation": "a test's authority publishes no list and answers no OCSP",
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
        if one["severity"] in BAD and one["id"].partition(" ")[0] not in ELSEWHERE
    ]
    assert bad == [], "\n".join([*bad, done.stdout])
    good = {one["id"].partition(" ")[0] for one in findings if one["severity"] == "OK"}
    assert (SEEN | MORE.get(profile, set())) - good == set(), done.stdout
