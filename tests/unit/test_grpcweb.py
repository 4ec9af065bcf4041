"""gRPC-Web: bodies against the slow twin however they come, and the knobs."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import _probe
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.config.plan import compile_plan
from fastproxy.errors import ConfigError
from fastproxy.memory import pack
from tests.oracle.grpcweb import answer, frame, text_in

NONE, BINARY, TEXT = range(3)
TRAILERS = b"grpc-status: 0\r\nGrpc-Message: So: OK\r\n"
MESSAGES = st.lists(st.binary(max_size=40), max_size=5).map(lambda all_: b"".join(map(frame, all_)))
LINES = st.sampled_from([b"", TRAILERS, b"grpc-status: 13\r\n"])


@pytest.mark.parametrize(("kind", "wanted"), [
    (b"application/grpc-web", (BINARY, b"")),
    (b"application/grpc-web+proto", (BINARY, b"+proto")),
    (b"Application/gRPC-Web+json; charset=x", (BINARY, b"+json")),
    (b"application/grpc-web-text", (TEXT, b"")),
    (b"application/grpc-web-text+proto ;a=b", (TEXT, b"+proto")),
    (b"application/grpc-web-text+" + b"x" * 63, (TEXT, b"+" + b"x" * 63)),
    (b"application/grpc-web-text+" + b"x" * 64, (NONE, b"")),
    (b"application/grpc", (NONE, b"")), (b"application/grpc+web", (NONE, b"")),
    (b"application/grpc-webx", (NONE, b"")), (b"application/grpc-web-texts", (NONE, b"")),
    (b"", (NONE, b"")), (b"text/plain", (NONE, b"")),
])  # fmt: skip
def test_kinds(kind: bytes, wanted: tuple[int, bytes]) -> None:
    assert _probe.web_kind(kind) == wanted


@pytest.mark.parametrize("data", [
    b"", b"YQ==", b"YWI=", b"YWJj", b"YQ==YWI=YWJj", b"YWJj" * 1000, b"+/+/", b"AAAA",
    b"Y", b"YQ", b"YQ=", b"YWI", b"YQ=a", b"=", b"==", b"YWJj=", b"Y===", b"YR==", b"YWJ=",
    b"YW Jj", b"YWJj\n", b"YWJ-", b"YWJ_", b"\xff\xff\xff\xff", b"YQ==Y",
])  # fmt: skip
def test_text_requests(data: bytes) -> None:
    for at in range(len(data) + 1):
        assert _probe.web_text_in(data, [at]) == text_in(data)
    assert _probe.web_text_in(data, range(1, len(data))) == text_in(data)


@given(st.lists(st.binary(max_size=50), max_size=6), st.data())
def test_text_requests_at_every_split(parts: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(base64.b64encode(part) for part in parts)
    if draw.draw(st.booleans()) and data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw.draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    assert _probe.web_text_in(data) == _probe.web_text_in(data, cuts) == text_in(data)


@given(MESSAGES, LINES, st.sampled_from([BINARY, TEXT]), st.data())
def test_answers_at_every_split(
    data: bytes, trailers: bytes, kind: int, draw: st.DataObject
) -> None:
    """What is written does not depend on how it came, a stream that is cut included."""
    data = data[: draw.draw(st.integers(0, len(data)))]
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    wanted = answer(data, trailers, text=kind == TEXT)
    assert b"".join(_probe.web_out(kind, data, trailers)) == wanted
    assert b"".join(_probe.web_out(kind, data, trailers, cuts)) == wanted
    bytewise = _probe.web_out(kind, data, trailers, range(1, len(data)))
    assert b"".join(bytewise) == wanted


@pytest.mark.parametrize("size", range(7))
def test_a_message_can_be_read_when_its_last_byte_has_come(size: int) -> None:
    one, two = frame(b"x" * size), frame(b"second")
    pieces = _probe.web_out(TEXT, one + two, TRAILERS, [len(one)])
    assert [base64.b64decode(piece) for piece in pieces] == [
        one, two, frame(b"grpc-status: 0\r\ngrpc-message: So: OK\r\n", 0x80)]  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 2, 5, 7, 8, 13, 1000])
def test_the_room_is_large_enough(size: int) -> None:
    """Many messages at once, and the most trailers there may be."""
    data = frame(b"x" * size) * (300_000 // (size + 5))
    trailers = b"a: b\r\n" * 1706
    out = _probe.web_out(TEXT, data, trailers)
    assert b"".join(out) == answer(data, trailers, text=True)


# ---- the knobs ----------------------------------------------------------------------------------


def configured(grpc_web: Any) -> dict[str, Any]:
    """The row that a route with this knob names."""
    config, _ = check.sound(from_data({
        "listeners": [":8080"],
        "upstreams": {"a": {"backends": ["h2c://127.0.0.1:1"]}},
        "routes": [{"path": "/plain", "upstream": "a"},
                   {"path": "/web", "upstream": "a", "grpc_web": grpc_web}],
    }))  # fmt: skip
    plan = compile_plan(config, 1)
    header = pack.read("PlanHeader", plan)
    first, count = header["grpc_web"]["rows"]
    assert count == (2 if grpc_web else 1)
    routes = header["routes"]["rows"][0]
    named = [
        pack.read("RouteRow", plan, routes + n * pack.size("RouteRow"))["grpc_web"] for n in (0, 1)
    ]
    assert named == [0, 1 if grpc_web else 0]
    row = pack.read("GrpcWebRow", plan, first + (count - 1) * pack.size("GrpcWebRow"))

    def text(pair: tuple[int, int]) -> str:
        return plan[pair[0] : pair[0] + pair[1]].decode()

    origins = range(row["origins"][0], row["origins"][0] + 8 * row["origins"][1], 8)
    row["origins"] = [text(pack.read("OriginRow", plan, at)["text"]) for at in origins]
    return row | {name: text(row[name]) for name in ("allow", "expose")}


def test_off_and_on() -> None:
    assert configured(False)["origins"] == []
    plain = configured(True)
    assert (plain["origins"], plain["any_origin"], plain["max_age"]) == ([], 0, 600)
    assert plain["allow"].startswith("content-type, x-grpc-web")
    assert plain["expose"].startswith("grpc-status, grpc-message")


def test_origins_and_names() -> None:
    row = configured({
        "origins": ["https://a.example", "http://localhost:3000", "https://a.example"],
        "allow_headers": ["X-Token", "content-type"], "expose_headers": ["X-Cost"],
        "credentials": True, "max_age": "1h",
    })  # fmt: skip
    assert row["origins"] == ["https://a.example", "http://localhost:3000"]
    assert row["allow"].endswith(", authorization, x-token")
    assert row["expose"].endswith(", x-cost")
    assert (row["credentials"], row["max_age"], row["any_origin"]) == (1, 3600, 0)
    assert configured({"origins": ["*"]})["any_origin"] == 1


@pytest.mark.parametrize(("given", "says"), [
    ({"origins": ["a.example"]}, "origins"), ({"origins": ["https://a.example/"]}, "origins"),
    ({"origins": ["https://A.example"]}, "origins"), ({"origins": ["null"]}, "origins"),
    ({"origins": ["*"], "credentials": True}, "credentials"),
    ({"allow_headers": ["a b"]}, "allow_headers"), ({"expose_headers": ["a\r\n"]}, "expose"),
    ({"origin": []}, "origin"), ("yes", "grpc_web"),
])  # fmt: skip
def test_what_is_refused(given: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(given)
    assert all(says in problem.path for problem in caught.value.problems)
