"""TLS in a configuration: what fits together, and what of it stands in the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastproxy.config import plan, plugs
from fastproxy.config.check import Checked, check
from fastproxy.config.load import from_data, load
from fastproxy.config.plugs import Plug
from fastproxy.memory import pack
from fastproxy.tls import making
from fastproxy.tls.settings import Hsts

BASE = """\
routes = [{ upstream = "api" }]
[[listeners]]
bind = "127.0.0.1:8443"
tls = { certificates = [{ cert = "a.pem", key = "a.key" }] }
[upstreams.api]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    making.write_pair(str(tmp_path / "a"), *making.self_signed(["a.test"]))
    return tmp_path


def checked(folder: Path, text: str) -> Checked:
    (folder / "f.toml").write_text(text)
    return check(load(folder / "f.toml", {}))


def told(found: Checked) -> list[str]:
    return [
        f"{one.path}: {one.text}" + (f" ({one.hint})" if one.hint else "")
        for one in [*found.errors, *found.warnings]
    ]


HTTPS = 'backends = ["https://127.0.0.1:9443"]\n'
MISTAKES = [
    # below [upstreams.api]: what is said
    ('backends = ["https://a", "http://b"]',
     "upstreams.api.backends[1]: http://b among https:// backends: all of an upstream speak the s"),
    ('backends = ["h2c://127.0.0.1:1", "http://127.0.0.1:2"]',
     "upstreams.api.backends[1]: http://127.0.0.1:2 among h2c:// backends"),
    ('backends = ["http://127.0.0.1:1"]\ntls = {}',
     "upstreams.api.tls: is of no use: its backends are http:// (write https:// URLs)"),
    ('backends = ["http://127.0.0.1:1"]\nprotocol = "http2"',
     "upstreams.api.protocol: http:// backends speak HTTP/1.1 (write h2c:// for HTTP/2 without TL"),
    ('backends = ["h2c://127.0.0.1:1"]\nprotocol = "http1"',
     "upstreams.api.protocol: h2c:// backends speak HTTP/2 (write http://)"),
    ('backends = ["https://127.0.0.1:1"]\nprotocol = "h2"',
     'upstreams.api.protocol: expected "auto" or "http1" or "http2", got "h2"'),
    (HTTPS + 'health = { path = "/up" }',
     'upstreams.api.health.kind: "http" asks in plain text what speaks TLS: every check would f'),
    (HTTPS + 'tls = { server_name = "a b" }',
     'upstreams.api.tls.server_name: "a b" does not fit; expected a name such as "api.internal"'),
    (HTTPS + 'tls = { verfy = false }',
     'upstreams.api.tls.verfy: unknown key (did you mean "verify"?)'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said[:60] for _, said in MISTAKES])
def test_mistakes_of_upstreams(text: str, said: str, folder: Path) -> None:
    found = told(checked(folder, BASE + text))
    assert any(one.startswith(said) for one in found), found


TLS = 'tls = { certificates = [{ cert = "a.pem", key = "a.key" }], %s }'
LISTENERS = [
    # the listener's table: what is said
    ('tls = {}', 'listeners[0].tls: "certificates" is missing'),
    ('tls = { certificates = [] }', "listeners[0].tls.certificates: must have at least 1 items"),
    ('tls = { certificates = [{ cert = "b.pem", key = "a.key" }] }',
     'listeners[0].tls.certificates[0].cert: there is no file b.pem (did you mean "a.pem"?)'),
    (TLS % 'profile = "old"', 'listeners[0].tls.profile: expected "intermediate" or "modern", got'),
    (TLS % 'early_data = "1MiB"', "listeners[0].tls.early_data: must be from 0 to 64KiB"),
    (TLS % 'hsts = "includeSubDomains"',
     'listeners[0].tls.hsts: "includeSubDomains" has no max-age: browsers ignore it'),
    (TLS % r'hsts = "max-age=1\n"', "listeners[0].tls.hsts: "),
    (TLS % 'hsts = { preload = true }',
     "listeners[0].tls.hsts.preload: browsers preload only with include_subdomains = true"),
    (TLS % 'client_auth = { mode = "required" }',
     'listeners[0].tls.client_auth: "ca" is missing'),
    (TLS % 'client_auth = { ca = "a.pem", hosts = ["*"] }',
     "listeners[0].tls.client_auth.hosts[0]: "),
    ('redirect_https = true, ' + TLS % 'ktls = false',
     "listeners[0].redirect_https: is for plain listeners: this one speaks https:// itself"),
    ('redirect_https = 70000', "listeners[0].redirect_https: must be from 1 to 65535"),
    ('redirect_https = 9443',
     "listeners[0].redirect_https: leads to port 9443, where no listener is (write redirect_https"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "said"), LISTENERS, ids=[said[:60] for _, said in LISTENERS])
def test_mistakes_of_listeners(table: str, said: str, folder: Path) -> None:
    other = f'{{ bind = "127.0.0.1:8443", {TLS % "ktls = false"} }}'
    text = f"""\
listeners = [{{ bind = "127.0.0.1:8080", {table} }}, {other}]
routes = [{{ upstream = "api" }}]
[upstreams.api]
backends = ["http://127.0.0.1:9001"]
"""
    found = told(checked(folder, text))
    assert any(one.startswith(said) for one in found), found


def test_no_extension_no_tls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Plug("fastproxy._nothing", "TLS", "libssl-dev")
    monkeypatch.setattr(plugs, "TLS", missing)
    (said,) = told(checked(folder, BASE + 'backends = ["http://127.0.0.1:9001"]'))
    assert said.startswith(
        "listeners[0].tls: TLS is not built in (sudo apt-get install -y libssl-dev, then make build"
    )
    plain = 'listeners = ["127.0.0.1:1"]\nroutes = [{ upstream = "api" }]\n[upstreams.api]\n'
    (said,) = told(checked(folder, plain + HTTPS))
    assert said.startswith("upstreams.api.backends: TLS is not built in")


@pytest.mark.parametrize(
    ("listener", "upstream", "where"),
    [
        ('{ bind = "127.0.0.1:1", http2 = true }', 'backends = ["http://127.0.0.1:1"]',
         "listeners[0].http2"),
        ('"127.0.0.1:1"', 'backends = ["h2c://127.0.0.1:1"]', "upstreams.api.backends"),
        ('"127.0.0.1:1"', HTTPS + 'protocol = "http2"', "upstreams.api.protocol"),
    ],
)  # fmt: skip
def test_no_extension_no_http2(
    listener: str, upstream: str, where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugs, "HTTP2", Plug("fastproxy._nothing", "HTTP/2", "libnghttp2-dev"))
    text = f'listeners = [{listener}]\nroutes = [{{ upstream = "api" }}]\n[upstreams.api]\n'
    (said,) = told(checked(folder, text + upstream))
    assert said.startswith(f"{where}: HTTP/2 is not built in (sudo apt-get install -y libnghttp2-")


def test_a_file_of_backends_speaks_what_its_upstream_does(folder: Path) -> None:
    (folder / "b.toml").write_text('backends = ["https://127.0.0.1:9443"]')
    (said,) = told(checked(folder, BASE + 'backends_file = "b.toml"'))
    assert said.startswith("upstreams.api.backends_file: b.toml lists https://127.0.0.1:9443, the ")
    assert "[upstreams.api.tls]" in said
    assert told(checked(folder, BASE + 'backends_file = "b.toml"\ntls = {}')) == []


# ---- what stands in the plan ----------------------------------------------------------------


def rows(data: bytes, struct: str, where: tuple[int, int]) -> list[dict[str, Any]]:
    size = pack.size(struct)
    return [pack.read(struct, data, where[0] + at * size) for at in range(where[1])]


def text(data: bytes, where: tuple[int, int]) -> str:
    return data[where[0] : where[0] + where[1]].decode()


def test_rows(folder: Path) -> None:
    pair = {"cert": str(folder / "a.pem"), "key": str(folder / "a.key")}
    auth = {"ca": str(folder / "a.pem"), "client_cert_header": "xfcc"}
    tls = {"certificates": [pair], "hsts": {"max_age": "1d"}, "client_auth": auth}
    given = {
        "listeners": [
            {"bind": "127.0.0.1:8443", "tls": tls},
            {"bind": "127.0.0.1:8444", "tls": {"certificates": [pair]}, "http2": False},
            {"bind": "127.0.0.1:8080", "redirect_https": True, "http2": True},
            {"bind": "127.0.0.1:8081", "redirect_https": 8443},
            "127.0.0.1:8082",
        ],
        "routes": [{"split": [{"upstream": name, "weight": 1} for name in "abcde"]}],
        "upstreams": {
            "a": {"backends": ["https://127.0.0.1:1"]},
            "b": {"backends": ["https://127.0.0.1:1"], "protocol": "http1"},
            "c": {"backends": ["https://127.0.0.1:1"], "protocol": "http2"},
            "d": {"backends": ["h2c://127.0.0.1:1"]},
            "e": {"backends": ["http://127.0.0.1:1"]},
        },
    }
    found = check(from_data(given))
    assert found.config is not None, told(found)
    data = plan.compile_plan(found.config, 1)
    head = pack.read("PlanHeader", data)
    listeners = rows(data, "ListenerRow", head["listeners"])
    wanted = [(1, 1, 2, 0), (1, 0, 0, 0), (0, 1, 0, 443), (0, 0, 0, 8443), (0, 0, 0, 0)]
    names = ("tls", "http2", "client_cert", "https_port")
    assert [tuple(row[name] for name in names) for row in listeners] == wanted
    assert [text(data, row["hsts"]) for row in listeners] == ["max-age=86400", "", "", "", ""]
    upstreams = rows(data, "UpstreamRow", head["upstreams"])
    assert [(row["tls"], row["protocol"]) for row in upstreams] == [
        (1, plan.UPSTREAM_AUTO),
        (1, plan.UPSTREAM_HTTP1),
        (1, plan.UPSTREAM_HTTP2),
        (0, plan.UPSTREAM_H2C),
        (0, plan.UPSTREAM_HTTP1),
    ]
    assert found.keyring is not None
    keyring = found.keyring.keyring
    assert [one is not None for one in keyring.listeners] == [True, True, False, False, False]
    assert [one and one.http2 for one in keyring.listeners[:2]] == [True, False]
    assert [one and one.protocol for one in keyring.upstreams] == [
        "auto", "http1", "http2", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hsts", "value"),
    [
        (Hsts(), "max-age=31536000"),
        (Hsts(include_subdomains=True, preload=True),
         "max-age=31536000; includeSubDomains; preload"),
    ],
)  # fmt: skip
def test_hsts(hsts: Hsts, value: str) -> None:
    assert hsts.value == value
