"""bench/limit and bench/paced do what their figures are trusted for.

No figure of the machine is asserted here: tests run on loaded machines.
"""

from __future__ import annotations

import pytest

from bench.build import program

STRICT = ("-Werror",)
SANITIZED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("name", ["limit/limit", "limit/bodies"])
@pytest.mark.parametrize("flags", [STRICT, SANITIZED], ids=["strict", "sanitized"])
def test_compiles_without_a_warning(name: str, flags: tuple[str, ...]) -> None:
    assert program(name, *flags).exists()
