"""`fastproxy explain`: the right route, the reasons of the others, what the upstream reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fastproxy import cli

CONFIG = """\
listeners = [":8080", ":8443"]
forwarding.reject_encoded_slash = true
[[routes]]
name = "v1"
host = "api.example.com"
path = "/v1/{user}/"
methods = ["GET"]
upstream = "api"
strip_prefix = "/v1"
request_headers = { set = { X-User = "{param:user}" }, remove = ["X-Debug"] }
[[routes]]
name = "canary"
path = "/canary"
split = [{ upstream = "api", weight = 3 }, { upstream = "b" }]
split_by = "{cookie:user}"
[[routes]]
name = "old"
path = "/old"
redirect = { to = "https://{host}/new{args}", status = 301 }
[[routes]]
name = "ping"
path = "= /ping"
reply = { status = 404, body = "no {path}" }
[[routes]]
name = "page"
path = "= /"
listener = ":8443"
responder = "status"
[upstreams.api]
backends = ["http://127.0.0.1:9001"]
[upstreams.b]
backends = ["http://127.0.0.1:9002"]
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "f.toml").write_text(CONFIG)
    return str(tmp_path / "f.toml")


def call(path: str, *args: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.cli, ["explain", "-c", path, *args])


def told(path: str, *args: str) -> dict[str, Any]:
    result = call(path, "--json", *args)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_hit_with_all_that_becomes_of_it(path: str) -> None:
    url = "http://API.example.com:80/v1/%61nn/x/../y?q=1"
    found = told(path, "GET", url, "-H", "X-Debug: 1", "-H", "X-Keep: 2")
    assert found["request"] == {
        "method": "GET", "listener": ":8080", "host": "api.example.com", "path": "/v1/ann/y",
        "query": "q=1",
    }  # fmt: skip
    assert found["hit"] == {
        "route": 0, "name": "v1", "place": f"{path}:3", "params": {"user": "ann"},
        "upstreams": [{"name": "api", "share": 1.0, "backends": ["http://127.0.0.1:9001"]}],
        "split_by": "",
        "target": "/ann/y?q=1", "dropped": ["X-Debug"], "written": ["X-User: ann"],
    }  # fmt: skip
    assert [other["name"] for other in found["others"]] == ["canary", "old", "ping", "page"]
    assert "has routes of its own" in found["others"][0]["why"]


def test_each_action(path: str) -> None:
    split = told(path, "GET", "/canary/x")["hit"]["upstreams"]
    assert [(one["name"], one["share"]) for one in split] == [("api", 0.75), ("b", 0.25)]
    assert "upstream b (25%, by {cookie:user}): " in call(path, "GET", "/canary/x").stdout
    assert told(path, "GET", "http://x.org/old?a=b")["hit"]["redirect"] == {
        "status": 301, "location": "https://x.org/new?a=b",
    }  # fmt: skip
    assert told(path, "GET", "/ping")["hit"]["reply"] == {"status": 404, "body": "no /ping"}
    assert told(path, "GET", "/", "--listener", ":8443")["hit"]["responder"] == "status"


def test_misses(path: str) -> None:
    assert told(path, "POST", "http://api.example.com/v1/x/")["miss"] == {
        "status": 405, "text": "routes take it, but not with this method", "allow": ["GET", "HEAD"],
    }  # fmt: skip
    assert told(path, "GET", "http://api.example.com/v2/")["miss"]["status"] == 404
    assert told(path, "GET", "/")["miss"]["status"] == 404


def test_the_host_field_counts_more_than_the_url(path: str) -> None:
    found = told(path, "GET", "/v1/x/", "-H", "host: api.example.com:8080")
    assert found["hit"]["name"] == "v1"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["GET", "/a%2Fb"], "is answered 400"),
        (["GET", "/../x"], "is answered 400"),
        (["G T", "/"], "is not a method"),
        (["GET", "ftp://x/"], "is not an http URL"),
        (["GET", "http://a@b/"], "user name"),
        (["GET", "http://a b/"], "is not a host"),
        (["GET", "/", "-H", "nonsense"], "is not a header"),
        (["GET", "/", "-H", "A b: c"], "is not a header"),
        (["GET", "/", "--listener", ":1"], "no listener ':1'; there are: :8080, :8443"),
    ],
)
def test_what_cannot_be_asked(path: str, args: list[str], said: str) -> None:
    result = call(path, *args)
    assert result.exit_code == 1
    assert said in result.stderr


def test_for_people(path: str) -> None:
    lines = call(path, "GET", "http://api.example.com/v1/ann/").stdout.splitlines()
    assert lines[:8] == [
        "request  GET /v1/ann/",
        "host     api.example.com, by listener :8080",
        f"route    v1 (routes[0], {path}:3)",
        "param    user = ann",
        "upstream api: http://127.0.0.1:9001",
        "reads    /ann/",
        "with     X-User: ann",
        f"not      canary (routes[1], {path}:11): the host api.example.com has routes of its own, "
        "so routes without `host` are not asked",
    ]
    missed = call(path, "PUT", "http://api.example.com/v1/ann/").stdout
    assert "answer   405: routes take it, but not with this method; Allow: GET, HEAD" in missed


def test_an_unsound_file_is_told_as_by_check(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text("worker = 1\n" + CONFIG)
    result = call(str(tmp_path / "f.toml"), "GET", "/")
    assert result.exit_code == 1
    assert 'did you mean "workers"?' in result.stderr


def test_a_listener_that_sends_on_to_https(tmp_path: Path) -> None:
    """Before any route; but for what certificates are got by."""
    path = tmp_path / "sent.toml"
    path.write_text(
        'listeners = [{ bind = "127.0.0.1:8080", redirect_https = 8443 }]\n'
        '[[routes]]\npath = "/"\nreply = { status = 200, body = "here" }\n'
    )

    def asked(*args: str) -> str:
        command = ["explain", "-c", str(path), *args]
        return click.testing.CliRunner().invoke(cli.cli, command).output

    said = asked("GET", "http://shop.example/a?b=c")
    assert "308 to https://shop.example:8443/a?b=c (redirect_https of the listener)" in said
    assert "here" not in said
    assert "here" in asked("GET", "http://shop.example/.well-known/acme-challenge/x")
    found = json.loads(asked("GET", "http://shop.example/", "--json"))
    assert found["sent_on"] == {"status": 308, "location": "https://shop.example:8443/"}
