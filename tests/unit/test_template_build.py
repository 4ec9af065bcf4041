"""Compiling templates: names, arguments, braces, and what is refused."""

import re

import pytest

from fastproxy import _core
from fastproxy.memory.pack import Blob, size
from fastproxy.template.build import Escape, TemplateError, compile_template, parse_template
from fastproxy.template.presets import PRESETS, log_format
from fastproxy.template.variables import CAPTURE, VARIABLES, describe


def test_names_and_numbers_are_those_of_the_enum() -> None:
    assert {name: v.number for name, v in VARIABLES.items()} == _core.variables()
    assert max(_core.variables().values()) == CAPTURE - 1
    assert len(describe()) == len(VARIABLES)


def test_literals_are_joined_and_braces_doubled() -> None:
    parts = parse_template("a{{b}}c{host}", Escape.HEADER)
    assert parts[0]["text"] == b"a{b}c"
    assert parts[1]["variable"] == VARIABLES["host"].number
    assert len(parts) == 2
    assert parse_template("", Escape.HEADER) == []


def test_params_by_name_index_and_short() -> None:
    for text in ("{param:id}", "{id}", "{param:2}"):
        (part,) = parse_template(text, Escape.HEADER, ["user", "id"])
        assert (part["variable"], part["arg"]) == (VARIABLES["param"].number, 1)


def test_a_param_does_not_hide_a_variable() -> None:
    (part,) = parse_template("{host}", Escape.HEADER, ["host"])
    assert part["variable"] == VARIABLES["host"].number


def test_query_with_a_name_is_a_parameter() -> None:
    assert parse_template("{query}", Escape.HEADER)[0]["variable"] == VARIABLES["query"].number
    (part,) = parse_template("{query:q}", Escape.HEADER)
    assert (part["variable"], part["text"]) == (VARIABLES["query_param"].number, b"q")


def test_known_headers_carry_their_id() -> None:
    ids = _core.field_ids()
    assert parse_template("{header:User-Agent}", Escape.LOG)[0]["arg"] == ids["user-agent"]
    assert parse_template("{header:X-Mine}", Escape.LOG)[0]["arg"] == 0


@pytest.mark.parametrize(
    ("text", "wrong", "hint"),
    [
        ("{clientip}", "unknown variable {clientip}", "did you mean {client_ip}?"),
        ("{Client-IP}", "unknown variable", "did you mean {client_ip}?"),
        ("{}", "unknown variable {}", "known are"),
        ("a{host", "lone '{' at character 2", "write {{"),
        ("a}b", "lone '}' at character 2", "write }}"),
        ("{header}", "{header} needs a name", "{header:NAME}"),
        ("{header:a b}", "'a b' is not a field name", ""),
        ("{host:x}", "{host} takes no argument", ""),
        ("{param:x}", "no param 'x'", "it has: id"),
        ("{cookie:a\tb}", "cannot be the name of a cookie", ""),
        ("a\r\nX: y", "control character '\\r'", ""),
        ("a\0", "control character", ""),
    ],
)
def test_what_is_refused(text: str, wrong: str, hint: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text, Escape.HEADER, ["id"])
    assert wrong in str(caught.value)
    assert hint in caught.value.hint


def test_a_target_is_made_of_uri_characters() -> None:
    parse_template("https://{host}/a%20b?x=[1]#f", Escape.TARGET)
    for bad in ("/a b", "/\u00e9", '/"', "/a\\b"):
        with pytest.raises(TemplateError, match="cannot stand in a URL"):
            parse_template(bad, Escape.TARGET)


def test_captures() -> None:
    groups = {"0": 0, "1": 1, "name": 2}
    parts = parse_template("/x$1/${name}-$$/{host}$0", Escape.TARGET, (), groups)
    assert [p["text"] if p["variable"] == 0 else (p["variable"], p.get("arg")) for p in parts] == [
        b"/x", (CAPTURE, 1), b"/", (CAPTURE, 2), b"-$/", (VARIABLES["host"].number, None),
        (CAPTURE, 0),
    ]  # fmt: skip
    for bad in ("$2", "${other}", "a$"):
        with pytest.raises(TemplateError):
            parse_template(bad, Escape.TARGET, (), groups)
    assert parse_template("$1", Escape.TARGET)[0]["text"] == b"$1"


def test_presets_compile() -> None:
    for preset in PRESETS.values():
        rows = compile_template(Blob(size("Template")), preset.text, preset.escape)["parts"][1]
        variables = len(re.findall(r"(?<!{){[a-z]", preset.text))
        assert rows == variables + (not preset.text.endswith("}") or preset.text.endswith("}}"))
    assert log_format("json") is PRESETS["json"]
    assert log_format("{host} {status}").escape is Escape.LOG
    assert log_format('{{"h":"{host}"}}').escape is Escape.JSON
