"""Properties: on any input, however cut, hot path and twin say the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import _probe
from tests.oracle import compare
from tests.unit import http1_cases_request, http1_cases_response
from tests.unit.http1_cases_chunked import ACCEPTED, REFUSED
from tests.unit.http1_cases_path import HOSTS, NORMAL
from tests.unit.http1_cases_path import REFUSED as BAD_PATHS

REQUESTS = [c.data for c in http1_cases_request.CASES if len(c.data) < 600]
RESPONSES = [c.data for c in http1_cases_response.CASES if len(c.data) < 600]
BODIES = [c[1] for c in ACCEPTED if len(c[1]) < 600] + [c[1] for c in REFUSED if len(c[1]) < 600]
PATHS = [c[0] for c in NORMAL] + [c[0] for c in BAD_PATHS]
BITS = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"_",
    b"\xff",
    b"%2e",
    b"/",
    b";",
    b",",
    b"0",
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with up to four pieces taken out, put in, doubled or crossed with another seed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        a = draw(st.integers(0, len(data)))
        b = draw(st.integers(a, min(len(data), a + 12)))
        piece = draw(
            st.one_of(
                st.sampled_from(BITS),
                st.binary(max_size=3),
                st.just(data[a:b] * 2),
                st.sampled_from(seeds).map(lambda s: s[:40]),
            )
        )
        data = data[:a] + piece + data[b:]
    return data


def cuts_of(draw: st.DataObject, length: int) -> list[int]:
    inner = draw.draw(st.lists(st.integers(0, length), max_size=8, unique=True))
    return sorted({*inner, length})


def head_is_the_same(request: bool, data: bytes, draw: st.DataObject, method: bytes) -> None:
    number = compare.METHODS[method]
    whole = _probe.head_parse(request, data, request_method=number)
    for simd in ("avx2", "sse2", "swar"):
        cut = _probe.head_parse(
            request, data, cuts_of(draw, len(data)), simd=simd, request_method=number
        )
        assert cut == whole
    compare.head(whole, request, data, method=method)


@settings(max_examples=500, deadline=None)
@given(mutated(REQUESTS), st.data())
def test_request(data: bytes, draw: st.DataObject) -> None:
    head_is_the_same(True, data, draw, b"GET")


@settings(max_examples=300, deadline=None)
@given(mutated(RESPONSES), st.data(), st.sampled_from([b"GET", b"HEAD"]))
def test_response(data: bytes, draw: st.DataObject, method: bytes) -> None:
    head_is_the_same(False, data, draw, method)


@settings(max_examples=300, deadline=None)
@given(mutated(REQUESTS), st.data())
def test_limits(data: bytes, draw: st.DataObject) -> None:
    size = st.integers(8, 80)
    limits = draw.draw(st.tuples(size, size, size, st.integers(0, 4)))
    whole = _probe.head_parse(True, data, limits=limits)
    assert _probe.head_parse(True, data, cuts_of(draw, len(data)), limits=limits) == whole
    compare.head(whole, True, data, limits)


@settings(max_examples=500, deadline=None)
@given(mutated(BODIES), st.data())
def test_chunked(data: bytes, draw: st.DataObject) -> None:
    whole = _probe.body_decode(data, trailer_room=16384)
    cut = _probe.body_decode(data, cuts_of(draw, len(data)), trailer_room=16384)
    assert cut[:5] == whole[:5]
    compare.body(data, whole)


@settings(max_examples=500, deadline=None)
@given(mutated(PATHS))
def test_path(raw: bytes) -> None:
    compare.path(raw)


@settings(max_examples=500, deadline=None)
@given(st.text("/.%2efFcC0;a\\", max_size=24).map(lambda s: b"/" + s.encode()))
def test_path_of_dots_and_escapes(raw: bytes) -> None:
    compare.path(raw)


@settings(max_examples=300, deadline=None)
@given(mutated([h[0] for h in HOSTS]))
def test_host(text: bytes) -> None:
    compare.host(text)
