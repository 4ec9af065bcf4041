"""Rendering: each variable's value, each escape, and that nothing of a stranger breaks out."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import _probe
from fastproxy.template.build import Escape
from fastproxy.template.presets import COMBINED, COMMON, JSON, JSON_FIELDS
from fastproxy.template.variables import VARIABLES
from tests.unit.routing import IDS, compiled, rendered

SCENE: dict[str, Any] = {
    "client_ip": b"192.0.2.7", "client_port": 51111, "peer_ip": b"10.0.0.1", "scheme": b"https",
    "host": b"example.com", "authority": b"Example.com:8443", "method": b"GET",
    "target": b"/a/../b?x=1", "path": b"/b", "query": b"x=1&y=a%20b&x=2", "request_id": b"r-1",
    "route": b"users", "upstream": b"api", "backend": b"http://10.0.0.2:9001",
    "listener": b":8443", "server_port": 8443, "status": 204, "bytes_in": 0, "bytes_out": 18446744,
    "time_total_us": 1234, "time_connect_us": 1_000_001, "time_first_byte_us": 999_999,
    "retries": 2, "end_state": b"ok", "time_local": b"22/Nov/2026:14:38:26 +0000",
    "time_iso": b"2026-11-22T14:38:26.123456Z", "protocol": b"HTTP/1.1", "worker": 3,
    "params": [b"7", b"p2"],
}  # fmt: skip
REQUEST = [
    (b"Host", b"Example.com:8443"), (b"X-A", b"1"), (b"x-a", b"2"), (b"Referer", b"http://r/"),
    (b"User-Agent", b"curl/8"), (b"Cookie", b"a=1; sid=abc"), (b"Cookie", b"b=2"),
]  # fmt: skip
RESPONSE = [(b"Content-Type", b"text/html"), (b"X-Up", b"u")]
NAMED = {
    "header": "X-A", "response_header": "X-Up", "cookie": "b", "param": "id", "query_param": "y",
}  # fmt: skip


def scene(**more: Any) -> dict[str, Any]:
    heads = {"request": _probe.head_of(REQUEST, IDS), "response": _probe.head_of(RESPONSE, IDS)}
    return SCENE | heads | more


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{client_ip}:{client_port}", b"192.0.2.7:51111"),
        ("{scheme}://{authority}{path}{args}", b"https://Example.com:8443/b?x=1&y=a%20b&x=2"),
        ("{method} {target} {protocol}", b"GET /a/../b?x=1 HTTP/1.1"),
        ("{request_line}", b"GET /a/../b?x=1 HTTP/1.1"),
        ("{host} {query}", b"example.com x=1&y=a%20b&x=2"),
        ("{header:x-a}|{header:None}|{header:referer}", b"1, 2||http://r/"),
        ("{response_header:X-Up} {response_header:content-type}", b"u text/html"),
        ("{cookie:sid} {cookie:b} {cookie:no}", b"abc 2 "),
        ("{param:id} {id} {n}", b"7 7 p2"),
        ("{query:x} {query:y} {query:z}", b"1 a%20b "),
        ("{route}/{upstream}/{backend}", b"users/api/http://10.0.0.2:9001"),
        ("{listener} {server_port} {peer_ip}", b":8443 8443 10.0.0.1"),
        ("{status} {bytes_in} {bytes_out}", b"204 0 18446744"),
        ("{time_total} {time_connect} {time_first_byte}", b"0.001234 1.000001 0.999999"),
        ("{retries} {end_state} {worker} {request_id}", b"2 ok 3 r-1"),
        ("{time_local} {time_iso}", b"22/Nov/2026:14:38:26 +0000 2026-11-22T14:38:26.123456Z"),
        ("{{}}", b"{}"),
    ],
)
def test_values(text: str, value: bytes) -> None:
    assert rendered(text, Escape.HEADER, ["id", "n"], **scene()) == value


def test_every_variable_renders_absent_things_without_a_word() -> None:
    for name, variable in VARIABLES.items():
        text = f"{{{name}:{NAMED[name]}}}" if variable.takes_name else f"{{{name}}}"
        got = rendered(text, Escape.HEADER, ["id"])
        assert got in (b"", b"0", b"0.000000"), name
        if not variable.is_number:
            assert rendered(text, Escape.LOG, ["id"]) == b"-", name


def test_json_numbers_are_null_where_unknown() -> None:
    text = "[{status},{time_connect},{time_first_byte},{bytes_in},{time_total}]"
    assert json.loads(rendered(text, Escape.JSON)) == [None, None, None, 0, 0.0]


any_bytes = st.binary(max_size=40) | st.text(max_size=20).map(lambda t: t.encode())


@st.composite
def strange_scenes(draw: st.DrawFn) -> dict[str, Any]:
    """A scene in which every span, field and param is any bytes at all."""
    more: dict[str, Any] = {
        name: draw(any_bytes) for name, value in SCENE.items()
        if isinstance(value, bytes) and name != "end_state"
    }  # fmt: skip
    more["end_state"] = draw(st.binary(min_size=2, max_size=2))
    more["params"] = [draw(any_bytes)]
    more["protocol"] = draw(st.sampled_from([b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"]))
    more["status"] = draw(st.integers(0, 65535))
    fields = [(b"X-A", draw(any_bytes)), (b"Cookie", b"b=" + draw(any_bytes)),
              (b"Referer", draw(any_bytes)), (b"User-Agent", draw(any_bytes))]  # fmt: skip
    more["request"] = _probe.head_of(fields, IDS)
    more["response"] = _probe.head_of([(b"X-Up", draw(any_bytes))], IDS)
    return SCENE | more


EVERY = "|".join(
    f"{{{name}:{NAMED[name]}}}" if v.takes_name else f"{{{name}}}" for name, v in VARIABLES.items()
)
EVERY_TARGET = EVERY.replace("|", "/")


@settings(max_examples=300, deadline=None)
@given(strange_scenes())
def test_no_control_character_gets_into_a_header(values: dict[str, Any]) -> None:
    got = rendered(EVERY, Escape.HEADER, ["id"], **values)
    assert not re.search(rb"[\x00-\x1f\x7f]", got)


@settings(max_examples=300, deadline=None)
@given(strange_scenes())
def test_a_target_is_always_a_uri(values: dict[str, Any]) -> None:
    got = rendered(EVERY_TARGET, Escape.TARGET, ["id"], **values)
    assert re.fullmatch(rb"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;= %-]*", got)
    assert b" " not in got.replace(b" HTTP/", b"", 1).replace(b" ", b"", 1)


@settings(max_examples=300, deadline=None)
@given(strange_scenes())
def test_json_lines_always_parse(values: dict[str, Any]) -> None:
    got = rendered(JSON, Escape.JSON, **values)
    assert b"\n" not in got
    line = json.loads(got)
    assert list(line) == list(JSON_FIELDS)
    for name in ("route", "host", "target", "method"):
        try:
            assert line[name] == values[name].decode()
        except UnicodeDecodeError:
            assert "\ufffd" in line[name]


@settings(max_examples=300, deadline=None)
@given(strange_scenes())
def test_log_lines_stay_one_line_with_their_quotes(values: dict[str, Any]) -> None:
    got = rendered(COMBINED, Escape.LOG, **values)
    assert re.fullmatch(rb"[\x20-\x7e]*", got)
    assert got.count(b'"') == 6
    assert rendered(EVERY, Escape.LOG, ["id"], **values).count(b'"') == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_log_escape_can_be_undone(value: bytes) -> None:
    got = rendered("{route}", Escape.LOG, route=value or b"-")
    undone = re.sub(rb"\\x([0-9A-F]{2})", lambda m: bytes.fromhex(m[1].decode()), got)
    assert undone == (value or b"-")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_html_escape(value: bytes) -> None:
    got = rendered("<p>{route}</p>", Escape.HTML, route=value)[3:-4]
    assert not re.search(rb"[<>\"'\x00-\x08\x7f]|&(?!(amp|lt|gt|quot|#39);)", got)


def test_escapes_by_hand() -> None:
    value = b"a\"b\\c\n\x00\x7f\xc3\xa9\xff<&'>#?% |"
    one = {"route": value}
    assert rendered("{route}", Escape.HEADER, **one) == b"a\"b\\c\xc3\xa9\xff<&'>#?% |"
    assert rendered("{route}", Escape.LOG, **one) == (
        rb"a\x22b\x5Cc\x0A\x00\x7F\xC3\xA9\xFF<&'>#?% |"
    )
    assert rendered("{route}", Escape.JSON, **one) == (
        b"a\\\"b\\\\c\\n\\u0000\\u007f\xc3\xa9\\ufffd<&'>#?% |"
    )
    assert rendered("{route}", Escape.TARGET, **one) == (
        b"a%22b%5Cc%0A%00%7F%C3%A9%FF%3C&'%3E%23%3F%%20%7C"
    )
    assert rendered("{args}", Escape.TARGET, query=b"a?b#c") == b"?a?b%23c"
    assert rendered("{route}", Escape.HTML, **one) == (
        b"a&quot;b\\c\n\xc3\xa9\xff&lt;&amp;&#39;&gt;#?% |"
    )


@pytest.mark.parametrize(
    "bad",
    [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xf0\x80\x80\x80",
     b"\xc3", b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80"],
)  # fmt: skip
def test_invalid_utf8_in_json(bad: bytes) -> None:
    for value in (bad, b"x" + bad, bad + b"y", b"12345678" + bad + b"12345678"):
        got = json.loads(rendered('"{route}"', Escape.JSON, route=value))
        assert got.replace("\ufffd", "") == value.replace(bad, b"").decode()
    good = "\u07ff\u0800\uffff\U0001f600\ue000\ud7ff\U0010ffff"
    assert json.loads(rendered('"{route}"', Escape.JSON, route=good.encode())) == good


def test_runs_of_every_length_and_place() -> None:
    for length in range(26):
        for at in range(length + 1):
            value = b"a" * at + b"\n" + b"b" * (length - at)
            clean = value.replace(b"\n", b"")
            assert rendered("{route}", Escape.HEADER, route=value) == clean
            assert rendered("{route}", Escape.LOG, route=value) == value.replace(b"\n", b"\\x0A")
            assert rendered("{route}", Escape.JSON, route=value) == value.replace(b"\n", b"\\n")


# The format strings of nginx and Apache, as a parser would write them.
COMBINED_LINE = re.compile(
    r'(\S+) - (\S+) \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "([^"]*)" (\d{3}) '
    r'(\d+|-) "([^"]*)" "([^"]*)"'
)


def test_combined_is_what_tools_expect() -> None:
    got = rendered(COMBINED, Escape.LOG, **scene()).decode()
    found = COMBINED_LINE.fullmatch(got)
    assert found is not None
    assert found.groups() == (
        "192.0.2.7", "-", "22/Nov/2026:14:38:26 +0000", "GET /a/../b?x=1 HTTP/1.1", "204",
        "18446744", "http://r/", "curl/8",
    )  # fmt: skip
    assert rendered(COMMON, Escape.LOG, **scene()).decode() + ' "http://r/" "curl/8"' == got
    bare = rendered(COMBINED, Escape.LOG, time_local=SCENE["time_local"])
    assert bare == b'- - - [22/Nov/2026:14:38:26 +0000] "-" 000 0 "-" "-"'
    assert COMBINED_LINE.fullmatch(bare.decode())


def test_json_preset() -> None:
    line = json.loads(rendered(JSON, Escape.JSON, **scene()))
    assert line["status"] == 204
    assert line["time_first_byte"] == 0.999999
    assert line["user_agent"] == "curl/8"
    assert line["worker"] == 3


def test_what_does_not_fit_sets_full_and_stays_inside() -> None:
    plan = compiled(EVERY, Escape.JSON, ["id"])
    whole, full = _probe.render_template(plan, 0, _probe.scene_of(**scene()))
    assert not full
    for room in range(len(whole)):
        got, full = _probe.render_template(plan, 0, _probe.scene_of(**scene()), room)
        assert full
        assert len(got) <= room


def test_the_checker_refuses_what_lies_outside() -> None:
    plan = bytearray(compiled("{host} x {header:X-A}", Escape.HEADER))
    assert _probe.check_template(bytes(plan), 0) == 0
    for at in range(8):
        damaged = bytearray(plan)
        damaged[at] ^= 0xFF
        assert _probe.check_template(bytes(damaged), 0) == -1


def test_the_checker_wants_room_behind_a_literal() -> None:
    """It is copied in whole blocks, so they must be there to be read."""
    plan = compiled("x", Escape.HEADER)
    for cut in range(1, 33):
        assert _probe.check_template(plan[:-cut], 0) == -1
    for length in range(70):
        text = "abcdefg" * 10
        assert rendered(text[:length] + "{route}", route=b"r") == text[:length].encode() + b"r"
        assert rendered(text[:length]) == text[:length].encode()
