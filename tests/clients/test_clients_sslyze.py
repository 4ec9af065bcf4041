"""sslyze holds our profiles against Mozilla's guideline 5.7, certificates and trust included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.rated import rated
from tests.clients.scanned import KINDS, scanned
from tests.running import FOREIGN

SSLYZE = str(Path(sys.prefix) / "sslyze" / "bin" / "sslyze")


def scan(port: int, ca: str, guideline: str, into: Path) -> subprocess.CompletedProcess[str]:
    command = [SSLYZE, f"--mozilla_config={guideline}", f"--certinfo_ca_file={ca}", "--certinfo"]
    command += ["--http_headers", "--early_data", "--resum"]
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
    assert {one["status"] for one in results.values()} == {"COMPLETED"}
    old = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", *["tls_1_2"] * (profile == "modern")]
    for version in old:
        assert results[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"] == []
    assert results["tls_1_3_cipher_suites"]["result"]["accepted_cipher_suites"]
    assert not results["tls_1_3_early_data"]["result"]["supports_early_data"]
    assert results["tls_extended_master_secret"]["result"]["supports_ems_extension"]
    assert rated(results) == ("A+", 93)
    worse(results)


def worse(results: dict[str, Any]) -> None:
    """The grade is no empty word either."""

    def so(name: str, key: str, value: object) -> str:
        changed = {**results, name: {"result": {**results[name]["result"], key: value}}}
        return rated(changed)[0]

    suites = results["tls_1_3_cipher_suites"]["result"]["accepted_cipher_suites"]
    assert so("tls_1_1_cipher_suites", "accepted_cipher_suites", suites) == "B"
    assert so("tls_compression", "supports_compression", True) == "C"
    assert so("heartbleed", "is_vulnerable_to_heartbleed", True) == "F"
    assert so("ssl_2_0_cipher_suites", "accepted_cipher_suites", suites) == "F"
    assert so("http_headers", "strict_transport_security_header", None) == "A"
    weak = [{**suites[0], "ephemeral_key": {"type_name": "DH", "size": 1024}}]
    assert so("tls_1_3_cipher_suites", "accepted_cipher_suites", weak) == "B"


def test_it_would_say_so(tmp_path: Path) -> None:
    """Intermediate is not modern: what it calls compliant is no empty word."""
    with scanned("intermediate", tmp_path) as one:
        done = scan(one.port, one.ca, "modern", tmp_path / "found.json")
    assert f"localhost:{one.port}: FAILED - Not compliant" in done.stdout, done.stdout
    assert done.returncode == 1
