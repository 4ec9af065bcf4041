"""What h2load prints is read, and what was negotiated is looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import h2load
from bench.load import LoadError, counted, message, pattern
from bench.scenarios import BY_NAME

OUTPUT = """starting benchmark...
spawning thread #0: 16 total client(s). Timing-based test with 0s of warm-up time and 2s of \
main duration for measurements.
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2

finished in 2.01s, 124352.00 req/s, 16.25MB/s
requests: 1000 total, 1512 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1003 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 32.50MB (34073824) total, 728.91KB (746400) headers (space savings 94.00%), \
24.90MB (26113920) data
                     min         max         mean         sd        +/- sd
time for request:      512us     19.39ms      2.76ms      1.96ms    84.27%
"""
SMALL = BY_NAME["h2-small"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten requests took 1 us, one 2 ms."""
    file = tmp_path / "log"
    file.write_text("".join(f"1795892910691425\t200\t{us}\n" for us in [1] * 10 + [2000]))
    return file


def test_what_it_prints_is_read(log: Path) -> None:
    found = h2load.read(OUTPUT, log)
    assert found["errors"] == {"failed": 0, "errored": 0, "timeout": 0, "status": 0}
    assert (found["requests"], found["us"]) == (1000, 2_010_000)
    assert (found["bytes"], found["data"]) == (34_073_824, 26_113_920)
    assert (found["p50"], found["p90"], found["p99"], found["max"]) == (1, 1, 2000, 2000)
    load = counted(SMALL, "h2load", found)
    assert (load.requests, load.seconds, load.read_bytes) == (1000, 2.01, 34_073_824)
    assert load.latency["max_ms"] == 2.0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("0 failed", "2 failed", "{'failed': 2}"),
        ("0 timeout", "3 timeout", "{'timeout': 3}"),
        ("0 4xx", "7 4xx", "{'status': 7}"),
        ("1000 succeeded", "0 succeeded", "no request was answered"),
        ("(26113920) data", "(99999) data", "answers were too short"),
    ],
)
def test_what_went_wrong_is_told(log: Path, old: str, new: str, told: str) -> None:
    assert old in OUTPUT
    with pytest.raises(LoadError) as error:
        counted(SMALL, "h2load", h2load.read(OUTPUT.replace(old, new), log))
    assert told in str(error.value)


def test_other_words_are_not_understood(log: Path) -> None:
    with pytest.raises(ValueError):
        h2load.read("starting benchmark...\n", log)


@pytest.mark.parametrize(
    ("scenario", "old", "new", "told"),
    [
        ("h2-small", "", "", ""),
        ("h2c-small", "TLSv1.3", "", ""),
        ("tls-small", "", "", "Application protocol: h2, wanted: http/1.1"),
        ("h2-small", "TLSv1.3", "TLSv1.2", "TLS Protocol: TLSv1.2, wanted: TLSv1.3"),
        ("h2-small", "AES_128", "AES_256", "Cipher: TLS_AES_256_GCM_SHA256, wanted: TLS_AES_128"),
        ("h2-small", "Server Temp Key", "Key", "Server Temp Key: none, wanted: X25519 253 bits"),
    ],
)
def test_all_must_have_agreed_on_the_same(scenario: str, old: str, new: str, told: str) -> None:
    found = h2load.disagreement(BY_NAME[scenario], OUTPUT.replace(old, new) if old else OUTPUT)
    assert found.startswith(told)
    assert bool(found) == bool(told)


def test_the_command_says_what_is_asked_for(tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        body = tmp_path / "body"
        return h2load.command(BY_NAME[name], "a.example", 8999, 0.5, 1, tmp_path / "log", body)

    h2, h2c, h1, call = map(words, ("h2-small", "h2c-small", "tls-small", "grpc-unary"))
    for one in (h2, h2c, h1, call):
        assert {"-D500ms", "--connect-to=127.0.0.1:8999"} <= set(one)
    assert {"-c16", "-m32", "--npn-list=h2", "https://a.example/100"} <= set(h2)
    assert {"-c64", "-m1", "--h1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256"} <= set(h1)
    assert h2c[-1] == "http://a.example/100"
    assert {"-Hte: trailers", f"-d{tmp_path / 'body'}"} <= set(call)


def test_a_call_of_grpc_has_a_prefix() -> None:
    call = BY_NAME["grpc-unary"].request
    assert message(call) == b"\0\0\0\0\x64" + pattern(100)
    assert message(replace(call, grpc=False)) == pattern(100)
    assert call.answer_bytes == 100
