"""sslyze holds our profiles against Mozilla's guideline 5.7, certificates and trust included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.scanned import KINDS, scanned
from tests.running import FOREIGN

SSLYZE = str(Path(sys.prefix) / "sslyze" / "bin" / "sslyze")


def scan(port: int, ca: str, guideline: str, into: Path) -> subprocess.CompletedProcess[str]:
    command = [SSLYZE, f"--mozilla_config={guideline}", f"--certinfo_ca_file={ca}", "--certinfo"]
    command += [f"--json_out={into}", f"localhost:{port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=FOREIGN)


@pytest.mark.parametrize("profile", KINDS)
def test_a_profile_is_what_mozilla_asks_for(profile: str, tmp_path: Path) -> None:
    with scanned(profile, tmp_path) as one:
        done = scan(one.port, one.ca, profile, tmp_path / "found.json")
    assert f"localhost:{one.port}: OK - Compliant" in done.stdout, done.stdout
    assert done.returncode == 0
    (server,) = json.loads((tmp_path / "found.json").read_text())["server_scan_results"]
    results = server["scan_result"]
    assert {one["status"] for one in results.values()} <= {"COMPLETED", "NOT_SCHEDULED"}
    old = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", *["tls_1_2"] * (profile == "modern")]
    for version in old:
        assert results[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"] == []
    assert results["tls_1_3_cipher_suites"]["result"]["accepted_cipher_suites"]


def test_it_would_say_so(tmp_path: Path) -> None:
    """Intermediate is not modern: what it calls compliant is no empty word."""
    with scanned("intermediate", tmp_path) as one:
        done = scan(one.port, one.ca, "modern", tmp_path / "found.json")
    assert f"localhost:{one.port}: FAILED - Not compliant" in done.stdout, done.stdout
    assert done.returncode == 1
