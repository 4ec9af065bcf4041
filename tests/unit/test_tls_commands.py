"""`fastproxy cert`, --tls-cert and --tls-key, and certificates in `status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pytest
from rich.console import Console

from fastproxy import cli, flags, view
from fastproxy.tls.build import certificates_report
from fastproxy.tls.keyring import About, Keyring, ListenerKeys, Pair


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def call(*args: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.cli, list(args), prog_name="fastproxy")


def test_making_one_and_looking_at_it() -> None:
    made = call("cert", "self-signed", "localhost", "a.test", "--days", "30")
    assert made.exit_code == 0, made.output
    assert made.output.startswith(
        "localhost.pem and localhost.key: for localhost, a.test, 127.0.0.1, ::1, until "
    )
    assert "--tls-cert localhost.pem --tls-key localhost.key" in made.output
    assert "curl --cacert localhost.pem https://localhost:8443/" in made.output
    shown = call("cert", "show", "localhost.pem")
    assert shown.exit_code == 0
    assert "localhost, a.test, 127.0.0.1 and 1 more  self-signed  EC P-256" in shown.output
    told = json.loads(call("cert", "show", "localhost.pem", "--json").output)
    (entry,) = told["certificates"]
    assert entry["names"] == ["localhost", "a.test", "127.0.0.1", "::1"]
    assert entry["days_left"] == 29
    again = call("cert", "self-signed", "localhost")
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    assert call("cert", "self-signed", "localhost", "--force").exit_code == 0


def test_wildcards_and_directories() -> None:
    made = call("cert", "self-signed", "*.a.test", "--out", "x/y", "--rsa")
    assert "--resolve www.a.test:8443:127.0.0.1 https://www.a.test:8443/" in made.output
    assert (Path("x/y/wildcard.a.test.key").stat().st_mode & 0o777) == 0o600
    assert "RSA 2048" in call("cert", "show", "x/y/wildcard.a.test.pem").output


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["self-signed"], 2, "Missing argument"),
        (["self-signed", "a b"], 2, '"a b" is neither a name nor an address'),
        (["self-signed", "a", "--days", "0"], 2, "--days"),
        (["self-signed", "a", "--out", "/proc/none"], 1, "/proc/none cannot be written"),
        (["show"], 2, "name files, or a configuration with -c FILE"),
        (["show", "none.pem"], 1, "there is no file none.pem"),
        (["show", "-c", "none.toml"], 1, "cannot be read"),
    ],
)
def test_what_cannot_be(args: list[str], code: int, said: str) -> None:
    result = call("cert", *args)
    assert result.exit_code == code
    assert said in result.output + result.stderr


def test_those_of_a_configuration() -> None:
    call("cert", "self-signed", "a.test")
    text = """
listeners = [{ bind = ":443", tls = { certificates = [{ cert = "a.test.pem", key = "%s" }] } }]
routes = [{ upstream = "api" }]
upstreams = { api = { backends = ["http://127.0.0.1:1"] } }
"""
    Path("f.toml").write_text(text % "a.test.key")
    shown = call("cert", "show", "-c", "f.toml")
    assert shown.exit_code == 0
    assert ":443      a.test  self-signed" in shown.output
    Path("f.toml").write_text(text % "b.test.key")
    broken = call("cert", "show", "-c", "f.toml")
    assert broken.exit_code == 1
    assert 'there is no file b.test.key (did you mean "a.test.key"?)' in broken.stderr


def given(**values: Any) -> Any:
    return flags.document({"upstream": ("http://127.0.0.1:1",), **values})


def test_flags() -> None:
    one = given(listen=(":1", ":2"), tls_cert=("a.pem", "b.pem"), tls_key=("a.key", "b.key"))
    here = str(Path.cwd())
    pairs = [{"cert": f"{here}/{name}.pem", "key": f"{here}/{name}.key"} for name in "ab"]
    assert one.data["listeners"] == [
        {"bind": bind, "tls": {"certificates": pairs}} for bind in (":1", ":2")
    ]
    assert one.place(("listeners", 0, "tls", "certificates", 0, "cert")) == ("--tls-cert", 0)
    both = given(tls_cert=("a.pem",), backlog="7")
    assert both.data["listeners"] == [
        {
            "bind": "127.0.0.1:8080",
            "backlog": "7",
            "tls": {"certificates": [{"cert": f"{here}/a.pem"}]},
        }
    ]


def test_flags_over_a_file() -> None:
    Path("f.toml").write_text("""
listeners = [{ bind = ":1", tls = { profile = "modern", certificates = [{ dir = "x" }] } }]
""")
    found = flags.document({"config": "f.toml", "tls_cert": ("/a.pem",)})
    assert found.data["listeners"] == [
        {"bind": ":1", "tls": {"profile": "modern", "certificates": [{"cert": "/a.pem"}]}}
    ]


def test_flags_that_do_not_fit() -> None:
    result = call("run", "--upstream", "http://127.0.0.1:1", "--tls-key", "a.key")
    assert result.exit_code == 2
    assert "each --tls-key needs its --tls-cert" in result.stderr
    result = call("run", "--upstream", "http://127.0.0.1:1", "--tls-cert", "a.pem")
    assert result.exit_code == 2
    assert "--tls-cert: error: there is no file" in result.stderr


@pytest.mark.parametrize(("days", "shown"), [(-1, "expired"), (3, "3"), (1000, "1,000")])
def test_days_left(days: int, shown: str) -> None:
    about = About(["a", "b", "c", "d"], "CA", "RSA 2048", 0, days * 86400 + 1, "/a.pem")
    pair = Pair(b"", b"", ["a"], about=about)
    keyring = Keyring(1, [ListenerKeys([pair])], [])
    rows = certificates_report(keyring, [":443"], [], now=0)
    assert rows[0]["days_left"] == days
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view._certificates(rows, False))
    printed = console.export_text()
    assert f" {shown}  /a.pem" in printed
    assert "a, b, c and 1 more" in printed
