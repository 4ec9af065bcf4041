"""What is generated from the settings: the reference, the schema; and the page of dependencies."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastproxy.config import describe, document
from fastproxy.config.check import sound
from fastproxy.config.convert import hints
from fastproxy.config.load import from_data
from fastproxy.config.model import Config

ROOT = Path(__file__).resolve().parents[2]


def all_structs() -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    todo: list[type[msgspec.Struct]] = [Config]
    while todo:
        kind = todo.pop()
        if kind not in found:
            found.append(kind)
            for annotation in hints(kind).values():
                todo += describe.structs(annotation)
    return found


def test_the_reference_is_up_to_date() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    assert text == document.document(), (
        "run: python -m fastproxy.config.document > docs/configuration.md"
    )


@pytest.mark.parametrize("kind", all_structs(), ids=lambda kind: kind.__name__)
def test_every_key_is_explained(kind: type[msgspec.Struct]) -> None:
    intro, texts = describe.texts(kind)
    assert intro
    for field in msgspec.structs.fields(kind):
        section = list(describe.structs(hints(kind)[field.name]))
        assert texts.get(field.name) or section, f"{kind.__name__}.{field.name} has no text"


def test_the_example_of_the_reference_is_sound() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", document.document(), re.DOTALL)
    config, warnings = sound(from_data(tomllib.loads(example)))
    assert warnings == []
    assert config.upstreams["api"].members()[1].weight == 2


def validate(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """A small JSON Schema validator: the words our schema uses, no more."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return validate(root["$defs"][name], value, root)
    if "anyOf" in schema and not any(validate(one, value, root) for one in schema["anyOf"]):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type", [])
    types: dict[str, Any] = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list,
        "object": dict,
    }  # fmt: skip
    allowed = [kinds] if isinstance(kinds, str) else kinds
    is_bool = isinstance(value, bool)
    if allowed and not any(
        isinstance(value, types[kind]) and (kind == "boolean") == is_bool for kind in allowed
    ):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, (int, float)) and not is_bool:
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return bool(low <= value <= high)
    if isinstance(value, list):
        return all(validate(schema.get("items", {}), item, root) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        for key, item in value.items():
            inner = properties.get(key, rest)
            if inner is False or (inner is not True and not validate(inner, item, root)):
                return False
        return all(key in value for key in schema.get("required", []))
    return True


@pytest.mark.parametrize(
    ("definition", "name", "low", "high"),
    [
        ("Split", "weight", 0, 1_000_000),
        ("Reply", "status", 200, 599),
        ("Backend", "weight", 0, 256),
    ],
)
def test_the_schema_tells_ranges(definition: str, name: str, low: int, high: int) -> None:
    found = describe.json_schema(Config)["$defs"][definition]["properties"][name]
    assert (found["minimum"], found["maximum"]) == (low, high)


def test_the_schema_takes_what_the_check_takes() -> None:
    schema = describe.json_schema(Config)
    good: dict[str, Any] = {
        "workers": 2,
        "listeners": [":80", {"bind": "unix:/tmp/x", "mode": "0600"}],
        "routes": [{"upstream": "a", "max_body": "1MiB", "headers": {"X": True, "Y": "z"}}],
        "upstreams": {"a": {"backends": ["http://a", {"url": "http://b", "weight": 3}]}},
        "timeouts": {"drain": "1h30m", "keepalive": 5, "request": "off"},
        "limits": {"max_body": 100, "connections": "auto"},
        "forwarding": {"via": "edge", "trusted_proxies": ["10.0.0.0/8"]},
    }
    assert validate(schema, good, schema)
    sound(from_data(good))
    for section, key, value in [
        ("timeouts", "drain", "soon"), ("timeouts", "drian", 1), ("limits", "header_count", 129),
        ("limits", "connections", "many"), ("forwarding", "via", "a b"), ("forwarding", "via", 1),
        ("upstreams", "a", {"backend": []}), ("limits", "max_body", 1.5),
    ]:  # fmt: skip
        bad = {**good, section: {**good[section], key: value}}
        assert not validate(schema, bad, schema), (section, key)
    assert not validate(schema, {**good, "worker": 1}, schema)
    assert not validate(schema, {**good, "listeners": [{"mode": "0600"}]}, schema)


def test_every_default_of_the_schema_is_valid() -> None:
    schema = describe.json_schema(Config)
    for name, definition in [("Config", schema), *schema["$defs"].items()]:
        for key, shown in definition["properties"].items():
            if "default" in shown and shown["default"] != {}:
                assert validate({**shown, "default": None}, shown["default"], schema), (name, key)


def test_dependencies_are_all_on_their_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for group in project["project"]["optional-dependencies"].values():
        wanted += group
    page = (ROOT / "docs/dependencies.md").read_text()
    for requirement in wanted:
        match = re.match(r"([A-Za-z0-9_-]+)(.*)", requirement)
        assert match
        name, version = match.groups()
        assert f"| {name} | `{version}` |" in page, requirement
    rows = re.findall(r"^\| ([A-Za-z0-9-]+) \| `", page, re.MULTILINE)
    names = {re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in wanted}
    assert {row for row in rows if row != "package"} == names
