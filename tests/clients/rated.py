"""A grade by the rules of SSL Labs' Rating Guide (2009r), from what sslyze has found.

Not by SSL Labs: their scanner reaches public addresses only. Trust is left out, as in their grade
"if trust issues are ignored": a test's authority is nobody's. What sslyze does not look for (DROWN,
Ticketbleed and other faults of other implementations) is not in it.
"""

from __future__ import annotations

from typing import Any

PROTOCOLS = {"ssl_3_0": 80, "tls_1_0": 90, "tls_1_1": 95, "tls_1_2": 100, "tls_1_3": 100}
RSA_ALIKE = {253: 3072, 256: 3072, 384: 7680, 521: 15360}
"""Bits of a curve -> those of an RSA key that is as hard to break."""
GRADES = [(80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F")]
HSTS_SECONDS = 180 * 86400


def rated(found: dict[str, Any]) -> tuple[str, int]:
    """Grade and score. `found`: sslyze's `scan_result`, of all that is looked up here."""
    results = {name: one["result"] for name, one in found.items()}
    suites = {
        version: results[f"{version}_cipher_suites"]["accepted_cipher_suites"]
        for version in PROTOCOLS
    }
    marks = [mark for version, mark in PROTOCOLS.items() if suites[version]]
    every = [suite for ones in suites.values() for suite in ones]
    bits = [suite["cipher_suite"]["key_size"] for suite in every]
    key = key_bits(results, every)
    score = round(
        0.3 * (max(marks) + min(marks)) / 2
        + 0.3 * key_mark(key)
        + 0.4 * (cipher_mark(max(bits)) + cipher_mark(min(bits))) / 2
    )
    grade = next(grade for least, grade in GRADES if score >= least)
    # The worst letter is the greatest: "F" > "B" > "A".
    grade = max([grade, *caps(results, suites, every, key)])
    if grade == "A":
        grade += "-" if not suites["tls_1_3"] else "+" if exceptional(results) else ""
    return grade, score


def key_bits(results: dict[str, Any], suites: list[dict[str, Any]]) -> int:
    """The weakest of the certificates' keys and those that are agreed upon, as bits of RSA."""
    chains = results["certificate_info"]["certificate_deployments"]
    keys = [chain["received_certificate_chain"][0]["public_key"] for chain in chains]
    found = [
        RSA_ALIKE[one["key_size"]] if "EC" in one["algorithm"] else one["key_size"] for one in keys
    ]
    agreed = [suite["ephemeral_key"] for suite in suites if suite["ephemeral_key"]]
    found += [RSA_ALIKE[one["size"]] if "EC" in one["type_name"] else one["size"] for one in agreed]
    return int(min(found))


def key_mark(bits: int) -> int:
    steps = [(4096, 100), (2048, 90), (1024, 80), (512, 40), (1, 20)]
    return next((mark for least, mark in steps if bits >= least), 0)


def cipher_mark(bits: int) -> int:
    return 100 if bits >= 256 else 80 if bits >= 128 else 20 if bits else 0


def caps(
    results: dict[str, Any], suites: dict[str, Any], every: list[dict[str, Any]], key: int
) -> list[str]:
    """What it cannot be better than, for each reason that there is."""
    names = [suite["cipher_suite"]["name"] for suite in every]
    chains = results["certificate_info"]["certificate_deployments"]
    hashes = [one["received_certificate_chain"][0]["signature_hash_algorithm"] for one in chains]
    reneg = results["session_renegotiation"]
    reasons = {
        "B": [
            suites["tls_1_0"] or suites["tls_1_1"],
            not any(suite["ephemeral_key"] for suite in every),
            not any(part in name for name in names for part in ("_GCM_", "_CHACHA20_", "_CCM")),
            suites["ssl_3_0"] or any("_RC4_" in name for name in names),
            key < 2048,
        ],
        "C": [
            results["tls_compression"]["supports_compression"],
            not (suites["tls_1_2"] or suites["tls_1_3"]),
            any("_3DES_" in name or "_DES_" in name for name in names),
        ],
        "F": [
            results["ssl_2_0_cipher_suites"]["accepted_cipher_suites"],
            results["heartbleed"]["is_vulnerable_to_heartbleed"],
            results["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"],
            not results["robot"]["robot_result"].startswith("NOT_VULNERABLE"),
            not reneg["supports_secure_renegotiation"],
            any(suite["cipher_suite"]["is_anonymous"] for suite in every),
            any("_EXPORT" in name or "_NULL_" in name for name in names),
            any(one is None or one["name"] in ("md5", "sha1") for one in hashes),
        ],
    }
    return [grade for grade, held in reasons.items() if any(held)]


def exceptional(results: dict[str, Any]) -> bool:
    """A long HSTS, and no way down to an older version."""
    hsts = results["http_headers"]["strict_transport_security_header"]
    long = hsts is not None and (hsts["max_age"] or 0) >= HSTS_SECONDS
    return bool(long and results["tls_fallback_scsv"]["supports_fallback_scsv"])
