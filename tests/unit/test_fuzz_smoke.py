"""Two seconds of every fuzz target, and proof that the fuzzer itself finds things."""

from __future__ import annotations

import random
import types
from pathlib import Path

import pytest

from tests.fuzz import engine


@pytest.mark.parametrize("target", engine.targets())
def test_two_seconds(target: str, tmp_path: Path) -> None:
    result = engine.fuzz(target, 2, seed=20240601, failures=tmp_path)
    assert result.failure is None, f"{result.why}: {result.failure.read_bytes()!r}"
    assert result.executions > result.seeds > 0


def planted(run: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> engine.Result:
    """Fuzz `run` as if it were a target."""
    monkeypatch.setattr(engine, "load", lambda _: types.SimpleNamespace(run=run))
    monkeypatch.setattr(engine, "corpus", lambda _: [b"hello world, " * 5])
    return engine.fuzz("planted", 20, seed=random.randrange(1 << 30), failures=tmp_path)


def test_a_difference_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        assert b"\0" not in data

    result = planted(run, monkeypatch, tmp_path)
    assert result.why == "raised"
    assert result.failure is not None
    assert result.failure.read_bytes() == b"\0"


def test_a_crash_is_found_with_its_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ctypes

    def run(data: bytes) -> None:
        if b"\xff" in data:
            ctypes.string_at(0)

    result = planted(run, monkeypatch, tmp_path)
    assert result.why == "killed by SIGSEGV"
    assert result.failure is not None
    assert b"\xff" in result.failure.read_bytes()


def test_a_hang_is_found_with_its_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        while b"\r" in data:
            pass

    monkeypatch.setattr(engine, "HANG_SECONDS", 1)
    result = planted(run, monkeypatch, tmp_path)
    assert result.why == "killed by SIGALRM"
    assert result.failure is not None
    assert b"\r" in result.failure.read_bytes()
