"""Health settings in a configuration: what passes, and what is said about what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastproxy.config.check import check
from fastproxy.config.load import from_data, load
from fastproxy.health.build import GRPC, HTTP, ONLY_FOR, STREAM, build_check, problems
from fastproxy.health.settings import Health, Kind
from tests.unit.healthy import certificate, settings


def said(health: Any) -> list[str]:
    """What a configuration with this health table is told, "upstreams.a.health" left out."""
    found = check(from_data({
        "listeners": ["127.0.0.1:8080"],
        "routes": [{"path": "/", "upstream": "a"}],
        "upstreams": {"a": {"backends": ["http://127.0.0.1:9001"], "health": health}},
    }))  # fmt: skip
    assert (found.config is None) == bool(found.errors)
    assert not found.warnings
    return [str(problem).removeprefix("upstreams.a.health.") for problem in found.errors]


@pytest.mark.parametrize(
    "health",
    [
        {},
        {"kind": "tcp"},
        {"kind": "tcp", "send": "PING\r\n", "expect": {"body": r"^\+PONG"}},
        {"kind": "grpc", "service": "shop.Cart", "host": "cart.test"},
        {"kind": "https", "tls": {"verify": False, "server_name": "app.test"}},
        {"method": "HEAD", "path": "/up?x=1", "host": "app.test:81", "headers": {"X-A": "b c"}},
        {"expect": {"status": "200, 204", "headers": {"X-A": ""}, "json": {"a.b": True}}},
        {"interval": 1, "timeout": "500ms", "rise": 1, "fall": 1, "down": "1m", "jitter": 0},
        {"kind": "off", "agent": {"port": 9100, "send": "x\n", "interval": "1s"}},
        {"mandatory": True, "agent": {"header": "X-Agent"}},
    ],
)
def test_what_passes(health: dict[str, Any]) -> None:
    assert said(health) == []
    build_check(settings(**health))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "htp"}, 'kind: expected "http" or "https" or "tcp" or "tls" or "grpc" or "grpcs" or '
     '"off", got "htp" (did you mean "http"?)'),
    ({"intervall": "1s"}, 'intervall: unknown key (did you mean "interval"?)'),
    ({"status": "200"}, "status: unknown key (it belongs to [expect])"),
    ({"interval": 0}, "interval: must be from 10ms to 24h, got off"),
    ({"timeout": "2x"}, 'timeout: "2x" is not a duration'),
    ({"rise": 0}, "rise: must be from 1 to 1000, got 0"),
    ({"path": "up"}, 'path: must begin with a slash (write "/up")'),
    ({"path": "/a b"}, "path: has a character that must be written as %XX"),
    ({"path": "/ä"}, "path: has a character that must be written as %XX"),
    ({"path": "/a\r\nX: y"}, "path: has a character that must be written as %XX"),
    ({"method": "GE T"}, 'method: "GE T" is no method'),
    ({"method": "CONNECT"}, "method: CONNECT asks for a tunnel"),
    ({"host": "a/b"}, 'host: "a/b" is no host'),
    ({"headers": {"A B": "c"}}, 'headers: "A B" is no field name'),
    ({"headers": {"Host": "c"}}, "headers: Host cannot be set here (host is a setting of its own)"),
    ({"headers": {"Content-Length": "1"}}, "headers: Content-Length cannot be set here"),
    ({"headers": {"A": "c\r\nd"}}, "headers: A has a control character in its value"),
    ({"expect": {"status": "20"}}, 'expect.status: "20" does not fit; expected status codes'),
    ({"expect": {"status": "300-200"}}, 'expect.status: "300-200" holds nothing'),
    ({"expect": {"body": "a("}}, "expect.body: bad regex at character 3: missing closing paren"),
    ({"expect": {"headers": {"X": "a("}}}, "expect.headers: X: bad regex at character 3"),
    ({"expect": {"headers": {"X Y": ""}}}, 'expect.headers: "X Y" is no field name'),
    ({"expect": {"json": {"a..b": 1}}}, 'expect.json: "a..b" names no field'),
    ({"expect": {"json": {"a": [1]}}}, "expect.json.a: expected text or true or false"),
    ({"expect": {"limit": "17MiB"}}, "expect.limit: must be from 64 to 16MiB, got 17MiB"),
    ({"method": "HEAD", "expect": {"body": "x"}}, "method: the answer to HEAD has no body"),
    ({"kind": "tcp", "path": "/up"}, 'path: means nothing with kind = "tcp" (write kind = "http" '
     'or "https")'),
    ({"send": "x"}, 'send: means nothing with kind = "http"'),
    ({"kind": "grpc", "expect": {"body": "x"}}, 'expect.body: means nothing with kind = "grpc"'),
    ({"tls": {"verify": False}}, 'tls: means nothing with kind = "http" (write kind = "https"'),
    ({"kind": "off", "mandatory": True, "agent": {"port": 1}}, "mandatory: means nothing with"),
    ({"kind": "off"}, 'kind: nobody is asked: kind is "off" and there is no agent'),
    ({"kind": "grpc", "service": "a b"}, "service: has a character"),
    ({"agent": {"send": "x"}}, "agent.send: is for the agent's port"),
    ({"agent": {"interval": "1s"}}, "agent.interval: is for the agent's port"),
    ({"agent": {"port": 70000}}, "agent.port: must be from 0 to 65535"),
    ({"agent": {"header": "a b"}}, 'agent.header: "a b" is no field name'),
    ({"agent": {"json": "a."}}, 'agent.json: "a." names no field'),
    ({"kind": "tls", "tls": {"ca": "/no/such"}}, 'tls.ca: "/no/such": No such file'),
    ({"kind": "tls", "tls": {"key": "/k"}}, "tls.key: is a key without its certificate"),
    ({"kind": "tls", "tls": {"ca": "/etc/hostname"}}, 'tls.ca: "/etc/hostname" cannot be used'),
]  # fmt: skip


@pytest.mark.parametrize(("health", "text"), REFUSED)
def test_what_is_refused(health: dict[str, Any], text: str) -> None:
    found = said(health)
    assert any(one.startswith(text) for one in found), found


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """With their lines."""
    path = tmp_path / "f.toml"
    path.write_text("""\
listeners = ["127.0.0.1:8080"]
routes = [{ upstream = "a" }]
[upstreams.a]
backends = ["http://127.0.0.1:9001"]
[upstreams.a.health]
path = "up"
send = "x"
[upstreams.a.health.expect]
body = "("
""")
    found = [(one.line, one.path.rpartition("health.")[2]) for one in check(load(path, {})).errors]
    assert found == [(6, "path"), (7, "send"), (9, "expect.body")]


def test_every_key_that_is_for_some_kinds_is_known(tmp_path: Path) -> None:
    assert {kind for kinds in ONLY_FOR.values() for kind in kinds} == {*HTTP, *STREAM, *GRPC}
    assert {*HTTP, *STREAM, *GRPC, "off"} == set(Kind.__args__)  # type: ignore[attr-defined]
    for key in ONLY_FOR:
        holder, plain = Health(), key.rpartition(".")
        assert hasattr(getattr(holder, plain[0]) if plain[0] else holder, plain[2]), key


def test_keys_and_certificates(tmp_path: Path) -> None:
    certificate(tmp_path, "one.test")
    certificate(tmp_path, "two.test")
    one, two = str(tmp_path / "one.test"), str(tmp_path / "two.test")
    good = {"ca": f"{one}.pem", "cert": f"{one}.pem", "key": f"{one}.key"}
    assert said({"kind": "https", "tls": good}) == []
    (text,) = said({"kind": "https", "tls": {**good, "key": f"{two}.key"}})
    assert text.startswith("tls.cert:")
    assert "mismatch" in text.lower()


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    import subprocess

    certificate(tmp_path, "one.test")
    subprocess.run(
        ["openssl", "ec", "-in", "one.test.key", "-aes128", "-passout", "pass:secret",
         "-out", "locked.key"],
        cwd=tmp_path, check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    tls = {"cert": str(tmp_path / "one.test.pem"), "key": str(tmp_path / "locked.key")}
    (problem,) = problems(settings(kind="tls", tls=tls))
    assert "encrypted" in problem.text
