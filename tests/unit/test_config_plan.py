"""The plan: what stands in it, that it is the same each time, that every offset is inside."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastproxy import _core, start
from fastproxy.config import plan
from fastproxy.config.check import sound
from fastproxy.config.load import from_data
from fastproxy.config.model import Config
from fastproxy.engine.settings import Forwarding, Limits, Timeouts
from fastproxy.errors import ConfigError
from fastproxy.memory import pack

FULL = {
    "listeners": ["127.0.0.1:8080", {"bind": "unix:/tmp/x.sock", "keepalive": False}],
    "routes": [
        {"upstream": "api", "path": "/v1/", "name": "v1"},
        {"split": [{"upstream": "api", "weight": 3}, {"upstream": "b"}], "path": "/s"},
        {"responder": "status", "path": "= /", "request_timeout": "3s", "max_body": "1k"},
        {"redirect": "https://{host}{path}", "host": "*.example.com"},
    ],
    "upstreams": {
        "api": {"backends": ["http://127.0.0.1:9001"], "host": "upstream"},
        "b": {
            "backends": ["http://127.0.0.1:9002"],
            "host": "fixed:example.com",
            "timeouts": {"connect": "250ms", "idle": "2s"},
        },
    },
    "forwarding": {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"], "via": "edge"},
    "limits": {"max_body": "1MiB"},
}


def config(**changes: Any) -> Config:
    made, _ = sound(from_data({**FULL, **changes}))
    return made


def rows(data: bytes, struct: str, where: tuple[int, int]) -> list[dict[str, Any]]:
    size = pack.size(struct)
    return [pack.read(struct, data, where[0] + at * size) for at in range(where[1])]


def text(data: bytes, where: tuple[int, int]) -> str:
    return data[where[0] : where[0] + where[1]].decode()


def test_what_stands_in_a_plan() -> None:
    data = plan.compile_plan(config(), 7)
    header = pack.read("PlanHeader", data)
    assert (header["magic"], header["version"], header["generation"]) == (0x504C5046, 1, 7)
    assert header["layout_hash"] == _core.layout_hash()
    assert header["length"] == len(data)
    listeners = rows(data, "ListenerRow", header["listeners"])
    assert [text(data, row["name"]) for row in listeners] == ["127.0.0.1:8080", "unix:/tmp/x.sock"]
    assert [(row["port"], row["is_unix"], row["keepalive"]) for row in listeners] == [
        (8080, 0, 1),
        (0, 1, 0),
    ]
    api, other = rows(data, "UpstreamRow", header["upstreams"])
    assert (text(data, api["name"]), api["host_policy"], api["connect_ms"]) == ("api", 1, 5000)
    assert (text(data, other["host"]), other["host_policy"]) == ("example.com", 2)
    assert (other["connect_ms"], other["first_byte_ms"], other["idle_ms"]) == (250, 60_000, 2000)
    names = rows(data, "Text", header["responders"])
    assert [text(data, (row["off"], row["len"])) for row in names] == ["status"]
    routes = rows(data, "RouteRow", header["routes"]["rows"])
    assert text(data, routes[0]["name"]) == "v1"
    assert [row["action"] for row in routes] == [0, 1, 4, 2]
    assert [row["max_body"] for row in routes] == [1 << 20, 1 << 20, 1024, 1 << 20]
    assert [row["request_timeout_ms"] for row in routes] == [0, 0, 3000, 0]
    settings = header["settings"]
    trusted = rows(data, "CidrRow", settings["trusted"])
    assert [row["bits"] for row in trusted] == [104, 8]
    assert bytes(trusted[0]["address"]) == b"\0" * 10 + b"\xff\xff\x0a\0\0\0"
    assert text(data, settings["via_name"]) == "edge"
    assert settings["log_line"]["parts"][1] > 5


def test_every_default_of_the_issue() -> None:
    """Section 3 of the issue, number by number."""
    data = plan.compile_plan(config(limits={}), 1)
    header = pack.read("PlanHeader", data)
    settings = header["settings"]
    wanted = {
        "client_header_ms": 10_000, "client_body_ms": 30_000, "client_write_ms": 30_000,
        "keepalive_ms": 75_000, "tunnel_idle_ms": 3_600_000, "tunnel_age_ms": 0,
        "drain_ms": 30_000,
        "lingering_ms": 2_000, "upstream_keepalive_ms": 60_000, "upstream_age_ms": 3_600_000,
        "request_line_bytes": 8192, "header_bytes": 8192, "headers_bytes": 32768,
        "header_count": 128, "connections": 0, "connections_per_ip": 0,
        "requests_per_connection": 10000, "upstream_idle": 256, "upstream_requests": 10000,
        "read_bytes": 524288, "abort_on_close": 0, "reject_host_mismatch": 0, "merge_slashes": 0,
        "reject_encoded_slash": 0, "keep_underscores": 0, "forwarded": 0, "forward_trailers": 0,
        "request_id_trust": 0, "access_log": 1,
    }  # fmt: skip
    assert {name: settings[name] for name in wanted} == wanted
    api = rows(data, "UpstreamRow", header["upstreams"])[0]
    assert (api["connect_ms"], api["first_byte_ms"], api["idle_ms"]) == (5_000, 60_000, 60_000)
    routes = rows(data, "RouteRow", header["routes"]["rows"])
    assert {(row["max_body"], row["request_timeout_ms"]) for row in routes} == {
        (0, 0),
        (1024, 3000),
    }


def test_what_is_hashed() -> None:
    """The address alone needs no template; bytes that are always there are no key."""

    def row(balance: str, key: str) -> dict[str, Any]:
        one = {"backends": ["http://a:1"], "balance": balance,
               "hash": {"key": key, "ipv6_prefix": 56}}  # fmt: skip
        data = plan.compile_plan(config(upstreams={"api": one, "b": one}), 1)
        header = pack.read("PlanHeader", data)
        return rows(data, "UpstreamRow", header["upstreams"])[0]

    assert row("p2c", "{client_ip}")["key_kind"] == plan.KEY_NONE
    alone = row("hash", "{client_ip}")
    assert (alone["key_kind"], alone["key_ipv6_prefix"]) == (plan.KEY_CLIENT_IP, 56)
    two = row("hash", "{client_ip}-{header:x-user}/")
    assert (two["key_kind"], two["key_fixed"]) == (plan.KEY_TEMPLATE, 2)
    assert two["key"]["parts"][1] >= 3


@pytest.mark.parametrize("section", ["timeouts", "limits", "forwarding"])
def test_every_setting_reaches_the_plan(section: str) -> None:
    """Change each field on its own: some word of Settings (or a route) must change with it."""
    kinds = {"timeouts": Timeouts, "limits": Limits, "forwarding": Forwarding}
    other: dict[str, Any] = {
        "trusted_proxies": ["10.0.0.0/9"], "via": "other", "header_count": 64, "headers": "16KiB",
        "header": "1KiB", "request_line": "1KiB", "buffer_size": "64KiB", "upstream_idle": 5,
    }  # fmt: skip
    base = plan.compile_plan(config(limits={}, forwarding={}), 1)
    for field in msgspec.structs.fields(kinds[section]):
        values = {"timeouts": "7s", "limits": 77, "forwarding": True}
        value = values[section]
        if section != "timeouts" or field.name in ("headers", "header"):
            value = other.get(field.name, value)
        if section == "limits" and field.name == "headers":
            value = "16KiB"
        changes: dict[str, Any] = {"limits": {}, "forwarding": {}, section: {field.name: value}}
        if field.name == "learned_sessions":  # the scoreboard's, which the master makes
            assert start.handover(config(**changes)).learned_sessions == value
            continue
        assert plan.compile_plan(config(**changes), 1) != base, field.name


def test_a_plan_is_deterministic() -> None:
    assert plan.compile_plan(config(), 3) == plan.compile_plan(config(), 3)
    assert plan.compile_plan(config(), 3) != plan.compile_plan(config(), 4)


def test_the_request_timeout_of_all_routes() -> None:
    data = plan.compile_plan(config(timeouts={"request": "9s"}), 1)
    header = pack.read("PlanHeader", data)
    routes = rows(data, "RouteRow", header["routes"]["rows"])
    assert [row["request_timeout_ms"] for row in routes] == [9000, 9000, 3000, 9000]


def test_what_switches_a_default_off() -> None:
    """ "off" is not the same as absent."""
    off = {"name": "v1", "upstream": "api", "request_timeout": "off", "max_body": "off"}
    upstream = {"backends": ["http://127.0.0.1:1"], "timeouts": {"first_byte": "off", "idle": 0}}
    made = config(
        routes=[off, {"upstream": "api", "path": "/other"}],
        upstreams={"api": upstream},
        timeouts={"request": "9s"},
    )
    data = plan.compile_plan(made, 1)
    header = pack.read("PlanHeader", data)
    routes = rows(data, "RouteRow", header["routes"]["rows"])
    assert [(row["max_body"], row["request_timeout_ms"]) for row in routes] == [
        (0, 0),
        (1 << 20, 9000),
    ]
    (api,) = rows(data, "UpstreamRow", header["upstreams"])
    assert (api["connect_ms"], api["first_byte_ms"], api["idle_ms"]) == (5000, 0, 0)


def test_every_slice_and_text_is_inside() -> None:
    data = plan.compile_plan(config(), 1)
    header = pack.read("PlanHeader", data)
    base = pack.size("PlanHeader")
    for name, struct in (("listeners", "ListenerRow"), ("upstreams", "UpstreamRow")):
        offset, count = header[name]
        assert base <= offset
        assert offset % 8 == 0
        assert offset + count * pack.size(struct) <= len(data)
        for row in rows(data, struct, header[name]):
            for key in ("name", "host"):
                at, length = row.get(key, (0, 0))
                assert at + length <= len(data)


def test_responders_are_found_by_name() -> None:
    routes = [{"responder": "status", "path": "= /"}, {"responder": "mine"}]
    made = config(routes=routes, responders={"mine": "my.module:answer", "spare": "a:b"})
    assert plan.responders(made) == {
        "status": plan.RESPONDERS["status"],
        "mine": "my.module:answer",
    }


@pytest.mark.parametrize("name", ["combined", "common", "json", "{client_ip}", '{{"a":{status}}}'])
def test_log_formats_compile(name: str) -> None:
    header = pack.read("PlanHeader", plan.compile_plan(config(log_format=name), 1))
    assert header["settings"]["log_line"]["parts"][1] >= 1


def test_an_unsound_configuration_is_refused_even_unchecked() -> None:
    made = config()
    broken = msgspec.structs.replace(made, upstreams={})
    with pytest.raises(ConfigError, match="no upstream 'api'"):
        plan.compile_plan(broken, 1)
    with pytest.raises(ConfigError, match="unknown variable"):
        plan.compile_plan(msgspec.structs.replace(made, log_format="{nope}"), 1)


def test_ten_thousand_routes_compile_in_time() -> None:
    routes = [{"upstream": "api", "path": f"/r{at}/x"} for at in range(10_000)]
    made, _ = sound(from_data({**FULL, "routes": routes}))
    header = pack.read("PlanHeader", plan.compile_plan(made, 1))
    assert header["routes"]["rows"][1] == 10_000


def test_zero_requests_on_a_connection_are_all_of_them() -> None:
    limits = {"requests_per_connection": 0, "upstream_requests": 0}
    made = plan.compile_plan(config(limits=limits), 1)
    settings = pack.read("PlanHeader", made)["settings"]
    assert settings["requests_per_connection"] == settings["upstream_requests"] == 0xFFFFFFFF
