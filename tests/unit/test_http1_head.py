"""Request and response heads: every case in every way it can arrive."""

from __future__ import annotations

from typing import Any

import pytest

from fastproxy import _probe
from tests.oracle import compare
from tests.unit import http1_cases_request, http1_cases_response
from tests.unit.http1_cases import Case

SIMD = ("avx2", "sse2", "swar")
JUNK = b"\0\xff junk\r\n\r\nGET /junk HTTP/1.1\r\n\r\n"
METHODS = {"GET": 1, "HEAD": 2}
CASES = [(True, case) for case in http1_cases_request.CASES] + [
    (False, case) for case in http1_cases_response.CASES
]
every_case = pytest.mark.parametrize(
    ("request_side", "case"), CASES, ids=[f"{'req' if r else 'res'}: {c}" for r, c in CASES]
)


def parse(request_side: bool, case: Case, data: bytes, **how: Any) -> tuple[Any, ...]:
    """The probe's answer, with a framing fault made the answer itself."""
    answer = _probe.head_parse(
        request_side, data, limits=case.limits, request_method=METHODS[case.method], **how
    )
    if answer[0] == "head" and isinstance(answer[3], tuple):
        return ("framing", answer[1], answer[3])
    return tuple(answer)


def check(case: Case, answer: tuple[Any, ...]) -> None:
    if case.more:
        assert answer == ("more",)
    elif case.refused:
        fault = answer[2] if answer[0] == "framing" else answer
        assert fault[:3] == ("fault", *case.refused)
    else:
        assert answer[0] == "head", answer
        said = {**answer[2], **answer[3], "length": answer[3]["length"]}
        said["fields"] = [f[:2] for f in said["fields"]]
        assert {key: said[key] for key in case.want} == case.want


@every_case
@pytest.mark.parametrize("simd", SIMD)
def test_whole(request_side: bool, case: Case, simd: str) -> None:
    check(case, parse(request_side, case, case.data, simd=simd))
    check(case, parse(request_side, case, case.data, simd=simd, front=True))


@every_case
def test_byte_by_byte(request_side: bool, case: Case) -> None:
    whole = parse(request_side, case, case.data)
    for simd in SIMD:
        steps = range(1, len(case.data) + 1)
        assert parse(request_side, case, case.data, cuts=steps or [0], simd=simd) == whole


@every_case
def test_every_split_in_two(request_side: bool, case: Case) -> None:
    whole = parse(request_side, case, case.data)
    n = len(case.data)
    # Every place in the first and last 700 bytes; heads longer than that repeat one byte between.
    for cut in {*range(min(n, 700)), *range(max(0, n - 700), n)}:
        assert parse(request_side, case, case.data, cuts=[cut, n]) == whole, cut


@every_case
def test_junk_after(request_side: bool, case: Case) -> None:
    if case.more:
        return  # what comes behind an unfinished head belongs to it
    whole = parse(request_side, case, case.data)
    assert parse(request_side, case, case.data + JUNK) == whole


@every_case
def test_the_twin_agrees(request_side: bool, case: Case) -> None:
    mine = _probe.head_parse(
        request_side, case.data, limits=case.limits, request_method=METHODS[case.method]
    )
    compare.head(mine, request_side, case.data, case.limits, case.method.encode())


@every_case
def test_accepted_heads_are_described_exactly(request_side: bool, case: Case) -> None:
    """Offsets, line lengths, ids, the index by id and the flags all say the same as the text."""
    answer = parse(request_side, case, case.data)
    if answer[0] != "head":
        return
    head = answer[2]
    lines = b"".join(f[5] for f in head["fields"])
    assert answer[1] == head["length"]
    assert case.data[head["fields_off"] : head["length"]] == lines + b"\r\n"
    for name, value, number, flags, line_len, line in head["fields"]:
        assert len(line) == line_len
        assert line.partition(b":")[0] == name
        assert line.partition(b":")[2].strip(b" \t\r\n") == value
        assert number == _probe.name_to_id(name)
        assert bool(flags & 2) == (b"_" in name)
    ids = [f[2] for f in head["fields"]]
    assert head["ids"] == sum(1 << i for i in set(ids))
    assert head["twice"] == sum(1 << i for i in set(ids) if ids.count(i) > 1)
    assert head["last"] == {i: max(at for at, x in enumerate(ids) if x == i) for i in set(ids)}


LONG = {
    "target": lambda n: b"GET /" + b"x" * n + b" HTTP/1.1\r\n\r\n",
    "method": lambda n: b"G" * n + b" / HTTP/1.1\r\n\r\n",
    "name": lambda n: b"GET / HTTP/1.1\r\n" + b"x" * n + b": y\r\n\r\n",
    "value": lambda n: b"GET / HTTP/1.1\r\nX: " + b"y" * n + b"\r\n\r\n",
    "blanks before": lambda n: b"GET / HTTP/1.1\r\nX:" + b" " * n + b"y\r\n\r\n",
    "blanks after": lambda n: b"GET / HTTP/1.1\r\nX: y" + b" " * n + b"\r\n\r\n",
    "fields": lambda n: (
        b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * (n // 120) + b"\r\n") * 120 + b"\r\n"
    ),
}


@pytest.mark.parametrize("what", LONG)
def test_byte_by_byte_costs_linear_work(what: str) -> None:
    """Sixteen times the bytes: sixteen times the work (256 times, were bytes looked at twice)."""
    short, long = LONG[what](3000), LONG[what](48000)

    def best(data: bytes) -> float:
        return min(_probe.time_byte_by_byte(True, data, "swar") for _ in range(5))

    assert best(long) < 64 * best(short)
