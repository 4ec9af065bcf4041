"""Every kind of mistake: told with its line, its key, what is wrong, and what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastproxy.config.check import Checked, check, sound
from fastproxy.config.load import from_data, load
from fastproxy.config.model import Config
from fastproxy.errors import ConfigError

BASE = """\
listeners = ["127.0.0.1:8080"]
routes = [{ upstream = "api" }]
[upstreams.api]
backends = ["http://127.0.0.1:9001"]
"""


def checked(folder: Path, text: str, name: str = "f.toml") -> Checked:
    path = folder / name
    path.write_text(text)
    return check(load(path, {}))


def lines(found: Checked) -> list[str]:
    """Each error as "line path: text (hint)"."""
    shown = []
    for problem in found.errors:
        hint = f" ({problem.hint})" if problem.hint else ""
        shown.append(f"{problem.line} {problem.path}: {problem.text}{hint}")
    return shown


def test_a_sound_file(tmp_path: Path) -> None:
    found = checked(tmp_path, BASE)
    assert (found.errors, found.warnings) == ([], [])
    assert isinstance(found.config, Config)
    assert found.config.upstreams["api"].members()[0].weight == 1
    assert found.config.all_listeners()[0].backlog == 4096


ROUTE = 'routes = [{ upstream = "api" }]'
UPSTREAM = '[upstreams.api]\nbackends = ["http://127.0.0.1:9001"]\n'
TOP = 'listeners = ["127.0.0.1:8080"]\n' + ROUTE + "\n"

SHAPE = [
    # a line of the file, at line 3 of it: what is said
    ('worker = 2', 'worker: unknown key (did you mean "workers"?)'),
    ('keepalive = 3', 'keepalive: unknown key (it belongs to [timeouts])'),
    ('client_heade = 3', 'client_heade: unknown key (did you mean "timeouts.client_header"?)'),
    ('workers = "many"', 'workers: expected "auto" or a whole number, got "many"'),
    ('workers = "atuo"',
     'workers: expected "auto" or a whole number, got "atuo" (did you mean "auto"?)'),
    ('workers = 0', "workers: must be from 1 to 128, got 0"),
    ('workers = true', 'workers: expected "auto" or a whole number, got true'),
    ('workers = 1.5', 'workers: expected "auto" or a whole number, got 1.5'),
    ('workers = []', 'workers: expected "auto" or a whole number, got a list'),
    ('max_workers = 129', "max_workers: must be from 0 to 128, got 129"),
    ('user = 7', "user: expected text, got 7"),
    ('log_level = "warn"',
     'log_level: expected "debug" or "info" or "warning" or "error", got "warn" '
     '(did you mean "warning"?)'),
    ('timeouts = 3', "timeouts: expected a table, got 3 (write [timeouts] and its keys below)"),
    ('timeouts.drain = "soon"', 'timeouts.drain: "soon" is not a duration; write "10s"'),
    ('timeouts.drain = -1', 'timeouts.drain: "-1" is out of range'),
    ('timeouts.drain = [1]', "timeouts.drain: expected a duration, got a list"),
    ('timeouts.dran = 1', 'timeouts.dran: unknown key (did you mean "drain"?)'),
    ('limits.header = 1', "limits.header: must be from 64 to 32KiB, got 1"),
    ('limits.buffer_size = "1MiB"', "limits.buffer_size: must be from 16KiB to 512KiB, got 1MiB"),
    ('limits.header_count = 129', "limits.header_count: must be from 1 to 128, got 129"),
    ('limits.max_body = "1 X"', 'limits.max_body: "1 X" is not a size'),
    ('forwarding.trusted_proxies = "10.0.0.0/8"',
     'forwarding.trusted_proxies: expected a list, got "10.0.0.0/8" (write ["10.0.0.0/8"])'),
    ('forwarding.trusted_proxies = ["10.0.0.1/8"]',
     'forwarding.trusted_proxies[0]: "10.0.0.1/8" has bits behind its prefix; '
     "did you mean 10.0.0.0/8?"),
    ('forwarding.via = "a b"',
     'forwarding.via: "a b" does not fit; expected a name without spaces such as "edge-1"'),
    ('forwarding.forwarded = 1', "forwarding.forwarded: expected true or false, got 1"),
    ('responders = { a = "b" }',
     'responders.a: "b" does not fit; expected a function such as "package.module:function"'),
    ('access_log = false', "access_log: expected text, got false"),
    ('pid_file = "x\\u0007y"', "pid_file: "),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), SHAPE, ids=[line for line, _ in SHAPE])
def test_mistakes_of_shape(tmp_path: Path, line: str, said: str) -> None:
    found = checked(tmp_path, TOP + line + "\n" + UPSTREAM)
    if line.startswith("pid_file"):
        assert found.errors == []
        return
    (problem,) = lines(found)
    assert problem.startswith(f"3 {said}"), problem
    assert found.config is None


LISTENERS = [
    ('[]', "1 listeners: there is no listener"),
    ('"x"', '1 listeners: expected a list, got "x" (write ["x"])'),
    ('{ bind = ":80" }', "1 listeners: expected a list, got a table (write [[listeners]] in TOML)"),
    ('[8080]', "1 listeners[0]: "),
    ('["8080"]', '1 listeners[0]: "8080" has no port; did you mean ":8080"?'),
    ('["example.com:80"]', '1 listeners[0]: "example.com:80" names a host'),
    ('[{ bnd = ":80" }]', '1 listeners[0].bnd: unknown key (did you mean "bind"?)'),
    ('[{ backlog = 1 }]', '1 listeners[0]: "bind" is missing (write bind = ":8080")'),
    ('[{ bind = ":80", backlog = 0 }]', "1 listeners[0].backlog: must be from 1 to 65535, got 0"),
    ('[{ bind = "unix:/tmp/x", mode = "rw" }]',
     '1 listeners[0].mode: "rw" does not fit; expected octal permissions such as "0660"'),
    ('[{ bind = ":80", mode = "0600" }]', "1 listeners[0].mode: is for unix sockets only"),
    ('[{ bind = ":80", owner = "root" }]', "1 listeners[0].owner: is for unix sockets only"),
    ('[{ bind = "unix:/tmp/x", owner = "rooot" }]',
     '1 listeners[0].owner: there is no user "rooot" (did you mean "root"?)'),
    ('[{ bind = "unix:/tmp/x", owner = ":no-such-group" }]',
     '1 listeners[0].owner: there is no group "no-such-group"'),
    ('["unix:/no/such/dir/x"]', "1 listeners[0]: the directory /no/such/dir does not exist"),
    ('["unix:/tmp"]', "1 listeners[0]: /tmp is a directory"),
    ('[":80", ":80"]', "1 listeners[1]: :80 clashes with listeners[0], :80"),
    ('[":80", "127.0.0.1:80"]', "1 listeners[1]: 127.0.0.1:80 clashes"),
    ('["0.0.0.0:80", "127.0.0.1:80"]', "1 listeners[1]: 127.0.0.1:80 clashes"),
    ('["127.0.0.1:80", "localhost:80"]', "1 listeners[1]: localhost:80 clashes"),
    ('["unix:/tmp/x", "unix:/tmp/./x"]', "1 listeners[1]: unix:/tmp/./x clashes"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "said"), LISTENERS, ids=[value for value, _ in LISTENERS])
def test_mistakes_of_listeners(tmp_path: Path, value: str, said: str) -> None:
    found = checked(tmp_path, f"listeners = {value}\n{ROUTE}\n{UPSTREAM}")
    (problem,) = lines(found)
    assert problem.startswith(said), problem


@pytest.mark.parametrize(
    "value",
    [
        '["127.0.0.1:80", "127.0.0.2:80"]', '["0.0.0.0:80", "[::1]:80"]', '[":80", ":81"]',
        '["127.0.0.1:0", "127.0.0.1:0"]', '["unix:/tmp/x", "unix:/tmp/y"]',
        '[{ bind = "unix:/tmp/x", owner = "root:root", mode = "660" }]',
        '[{ bind = "unix:/tmp/x", owner = "0:0" }]',
    ],
)  # fmt: skip
def test_listeners_that_go_together(tmp_path: Path, value: str) -> None:
    assert lines(checked(tmp_path, f"listeners = {value}\n{ROUTE}\n{UPSTREAM}")) == []


BACKENDS = [
    ("backends = []", "4 upstreams.api.backends: has no backend"),
    ('balance = "round_robin"', "3 upstreams.api.backends: has no backend"),
    ('backends = ["http+srv://10.0.0.1"]', '4 upstreams.api.backends[0]: "http+srv://10.0.0.1":'),
    ('backends = ["http+srv://a:80"]', '4 upstreams.api.backends[0]: "http+srv://a:80": SRV rec'),
    ('backends_file = "none.toml"', "0 : cannot be read: No such file"),
    ('backends_source = "nowhere"', '4 upstreams.api.backends_source: "nowhere" does not fit'),
    ('backend = ["http://a"]', '4 upstreams.api.backend: unknown key (did you mean "backends"?)'),
    ('backends = ["a:80"]', '4 upstreams.api.backends[0]: "a:80" is not a backend URL; did you'),
    ('backends = ["http://a/x"]', '4 upstreams.api.backends[0]: "http://a/x" has a path or query'),
    ('backends = ["ftp://a"]', '4 upstreams.api.backends[0]: "ftp://a": unknown scheme "ftp"'),
    ("backends = [7]", '4 upstreams.api.backends[0]: expected text such as "http://127.0.0.1:9001" '
     "or a table, got 7"),
    ('backends = ["http://a:0"]', "4 upstreams.api.backends[0]: http://a:0: port 0"),
    ("backends = [{ weight = 1 }]", '4 upstreams.api.backends[0]: "url" is missing'),
    ('backends = [{ url = "http://a", weight = -1 }]',
     "4 upstreams.api.backends[0].weight: must be from 0 to 256, got -1"),
    ('backends = [{ url = "http://a", weight = 0 }]',
     "4 upstreams.api.backends: every weight is 0"),
    ('backends = ["http://a"]\nbalance = "round-robin"',
     '5 upstreams.api.balance: expected "p2c" or "round_robin" or "random" or "least_conn" '
     'or "ewma" or "hash", got "round-robin" (did you mean "round_robin"?)'),
    ('backends = ["http://a"]\nhash = { key = "{coookie:x}" }',
     "5 upstreams.api.hash.key: unknown variable {coookie:x} (did you mean {cookie}?)"),
    ('backends = ["http://a"]\nhash = { key = "{response_header:x}" }',
     "5 upstreams.api.hash.key: {response_header} is not known before a backend is chosen"),
    ('backends = ["http://a"]\nhash = { key = "same" }',
     "5 upstreams.api.hash.key: is the same for every request (write {client_ip})"),
    ('backends = ["http://a"]\nhash = { bound = 0.5 }',
     "5 upstreams.api.hash.bound: 0.5 would leave nobody to go to (write 0 (no bound), or 1 and "
     "more)"),
    ('backends = ["http://a"]\noutlier = { status = "599-500" }',
     '5 upstreams.api.outlier.status: "599-500" holds nothing: write the smaller number first'),
    ('backends = ["http://a"]\noutlier = { status = "404, 302" }',
     '5 upstreams.api.outlier.status: "404, 302" does not fit; expected status codes from 400'),
    ('backends = ["http://a"]\nhost = "fixed"',
     '5 upstreams.api.host: "fixed" does not fit; expected "pass", "upstream" or "fixed:NAME"'),
    ('backends = ["http://a"]\nhost = "fixed:a\\r\\nX: y"', "5 upstreams.api.host: "),
    ('backends = ["http://a"]\ntimeouts.conect = "1s"',
     '5 upstreams.api.timeouts.conect: unknown key (did you mean "connect"?)'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "said"), BACKENDS, ids=[value for value, _ in BACKENDS])
def test_mistakes_of_upstreams(tmp_path: Path, value: str, said: str) -> None:
    found = lines(checked(tmp_path, TOP + f"[upstreams.api]\n{value}\n"))
    assert any(problem.startswith(said) for problem in found), found


def test_limits_of_numbers_of_backends(tmp_path: Path) -> None:
    many = ", ".join(f'"http://10.1.{i >> 8}.{i & 255}"' for i in range(1025))
    found = checked(tmp_path, TOP + f"[upstreams.api]\nbackends = [{many}]\n")
    assert lines(found) == ["4 upstreams.api.backends: 1025 backends, at most 1024 are possible"]
    few = ", ".join(f'"http://10.1.{i >> 8}.{i & 255}"' for i in range(1000))
    text = TOP + "".join(f"[upstreams.u{i}]\nbackends = [{few}]\n" for i in range(5)) + UPSTREAM
    assert lines(checked(tmp_path, text))[0].endswith("5001 backends, at most 4096 are possible")


ROUTES = [
    ("routes = []", "2 routes: there is no route"),
    ('routes = [{ upstream = "ap" }]',
     "2 routes[0].upstream: no upstream 'ap' (did you mean 'api'?)"),
    ("routes = [{}]", "2 routes[0]: nothing to do"),
    ('routes = [{ upstream = "api", redirect = "/x" }]', "2 routes[0]: both upstream and redirect"),
    ('routes = [{ redirect = {} }]', '2 routes[0].redirect: "to" is missing'),
    ('routes = [{ redirect = { to = "/", status = 200 } }]',
     "2 routes[0].redirect.status: expected 301 or 302 or 303 or 307 or 308, got 200"),
    ('routes = [{ upstream = "api", methods = "GET" }]',
     '2 routes[0].methods: expected a list, got "GET" (write ["GET"])'),
    ('routes = [{ upstream = "api", path = "~ ((" }]', "2 routes[0].path: bad regex"),
    ('routes = [{ upstream = "api", max_body = "x" }]', '2 routes[0].max_body: "x" is not a size'),
    ('routes = [{ upstream = "api", listener = ":8081" }]',
     "2 routes[0].listener: no listener ':8081'"),
    ('routes = [{ reply = { body = "{clint_ip}" } }]',
     "2 routes[0].reply.body: unknown variable {clint_ip} (did you mean {client_ip}?)"),
    ('routes = [{ responder = "statsu" }]',
     '2 routes[0].responder: there is no responder "statsu" (did you mean "status"?)'),
    ('routes = [{ upstream = "api", request_headers = { set = { "A B" = "x" } } }]',
     "2 routes[0].request_headers.set"),
    ('routes = [{ upstream = "api", split = [{ upstream = "x", weigth = 1 }] }]',
     '2 routes[0].split[0].weigth: unknown key (did you mean "weight"?)'),
    ('routes = [{ split = [{ upstream = "api", weight = 1000001 }] }]',
     "2 routes[0].split[0].weight: must be from 0 to 1000000, got 1000001"),
    ('routes = [{ reply = { status = 199 } }]',
     "2 routes[0].reply.status: must be from 200 to 599, got 199"),
    ('routes = [{ upstream = "api", request_timeout = "x" }]',
     '2 routes[0].request_timeout: "x" is not a duration'),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), ROUTES, ids=[line for line, _ in ROUTES])
def test_mistakes_of_routes(tmp_path: Path, line: str, said: str) -> None:
    found = lines(checked(tmp_path, f'listeners = [":80"]\n{line}\n{UPSTREAM}'))
    assert any(problem.startswith(said) for problem in found), found


OTHERS = [
    ('log_format = "jsn"', 'log_format: unknown format "jsn" (did you mean "json"?)'),
    ('log_format = "{nope}"', "log_format: unknown variable {nope}"),
    ('log_format = "{client_ip"', "log_format: lone '{' at character 1"),
    ('error_log = "off"', 'error_log: cannot be off (write "-" for standard error)'),
    ('access_log = "/no/such/dir/log"', "access_log: the directory /no/such/dir does not exist"),
    ('access_log = "/tmp"', "access_log: /tmp is a directory"),
    ('pid_file = "/no/such/dir/pid"', "pid_file: the directory /no/such/dir does not exist"),
    ('control_socket = "/' + "x" * 101 + '"', "control_socket: a socket's path has at most 100"),
    ('user = "no-such-user"', 'user: there is no user "no-such-user"'),
    ('group = "no-such-group"', 'group: there is no group "no-such-group"'),
    ("workers = 4\nmax_workers = 2", "max_workers: is less than workers (4)"),
    ('limits = { header = "16KiB", headers = "8KiB" }',
     "limits.header: one header (16KiB) may not be larger than all (8KiB)"),
    ('limits = { request_line = "32KiB", headers = "48KiB" }',
     "limits.headers: request_line (32KiB) and headers (48KiB) are more than 64KiB together"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), OTHERS, ids=[line for line, _ in OTHERS])
def test_mistakes_of_meaning(tmp_path: Path, line: str, said: str) -> None:
    (problem,) = lines(checked(tmp_path, TOP + line + "\n" + UPSTREAM))
    number, _, text = problem.partition(" ")
    assert int(number) == 3 + line.count("\n")
    assert text.startswith(said), problem


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        path = "/proc/version"  # even root cannot write here
        said = "cannot be written"
    else:
        path, said = "/etc/passwd", "cannot be written by this user"
    found = lines(checked(tmp_path, TOP + f'access_log = "{path}"\n' + UPSTREAM))
    assert (said in found[0]) if os.geteuid() else found == [] or said in found[0]


WARNINGS = [
    ('timeouts.client_header = "off"', "timeouts.client_header: is off: one slow client"),
    ('forwarding.trusted_proxies = ["0.0.0.0/0"]',
     "forwarding.trusted_proxies[0]: 0.0.0.0/0 trusts everybody"),
    ('[upstreams.spare]\nbackends = ["http://a"]', "upstreams.spare: no route uses it"),
    ('[upstreams.u]\nbackends = ["http://a", "http://a"]',
     "upstreams.u.backends[1]: http://a is already backends[0]"),
    ('[upstreams.u]\nbackends = ["http://a"]\noutlier = { ejection = "10m" }',
     "upstreams.u.outlier.ejection: no ejection lasts longer than longest ("),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), WARNINGS, ids=[line for line, _ in WARNINGS])
def test_warnings_do_not_stop(tmp_path: Path, line: str, said: str) -> None:
    found = checked(tmp_path, TOP + line + "\n" + UPSTREAM)
    assert found.errors == []
    assert found.config is not None
    assert any(f"{w.path}: {w.text}".startswith(said) and w.line >= 3 for w in found.warnings)


def test_shadowed_routes_are_warned_of(tmp_path: Path) -> None:
    routes = 'listeners = [":80"]\nroutes = [{ upstream = "api" },\n { upstream = "api" }]\n'
    found = checked(tmp_path, routes + UPSTREAM)
    assert [(w.path, w.line) for w in found.warnings] == [("routes[1]", 3)]


def test_all_mistakes_at_once_in_order_of_lines(tmp_path: Path) -> None:
    found = checked(
        tmp_path,
        'worker = 1\nlisteners = [":80", "x"]\nlog_format = "jsn"\n[[routes]]\nupstream = "ap"\n'
        '[[routes]]\nmethods = 1\n[[routes]]\nredirect = "{nope}"\n[upstreams.api]\nbackends = []\n'
        "[upstreams.b]\nbackends = [1]\n[timeouts]\ndrain = 1\nx = 1\n",
    )
    assert [problem.split(":")[0] for problem in lines(found)] == [
        "1 worker", "2 listeners[1]", "3 log_format", "5 routes[0].upstream", "7 routes[1].methods",
        "9 routes[2].redirect.to", "11 upstreams.api.backends", "13 upstreams.b.backends[0]",
        "16 timeouts.x",
    ]  # fmt: skip


def test_a_broken_upstream_or_listener_is_not_reported_twice(tmp_path: Path) -> None:
    text = 'listeners = ["x"]\nroutes = [{ upstream = "api", listener = ":80" }]\n'
    found = lines(checked(tmp_path, text + "[upstreams.api]\nbackends = [1]\n"))
    assert [problem.split(":")[0] for problem in found] == [
        "1 listeners[0]",
        "4 upstreams.api.backends[0]",
    ]


def test_the_same_in_yaml_and_json(tmp_path: Path) -> None:
    yaml = "listeners: [':80']\nroutes:\n  - upstream: ap\nupstreams:\n  api: {backends: [7]}\n"
    json = (
        '{"listeners": [":80"],\n"routes": [{\n"upstream": "ap"}],\n'
        '"upstreams": {\n"api": {"backends": [7]}}}'
    )
    for name, text in (("f.yaml", yaml), ("f.json", json)):
        found = lines(checked(tmp_path, text, name))
        assert found[0].startswith("3 routes[0].upstream: no upstream 'ap'")
        assert found[1].startswith("5 upstreams.api.backends[0]: expected")


def test_texts_from_the_environment_become_numbers(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(TOP + 'workers = "${env:N}"\nforwarding.forwarded = "${env:F}"\n' + UPSTREAM)
    config, _ = sound(load(path, {"N": "3", "F": "true"}))
    assert config.workers == 3
    assert config.forwarding.forwarded is True
    with pytest.raises(ConfigError) as caught:
        sound(load(path, {"N": "secret", "F": "yes"}))
    texts = [problem.text for problem in caught.value.problems]
    assert texts == [
        'expected "auto" or a whole number, got "${env:N}"',
        'expected true or false, got "${env:F}"',
    ]


def test_quoted_numbers_stay_wrong(tmp_path: Path) -> None:
    assert lines(checked(tmp_path, TOP + 'limits.header_count = "5"\n' + UPSTREAM)) == [
        '3 limits.header_count: expected a whole number, got "5"'
    ]


def test_messages_hold_no_control_characters(tmp_path: Path) -> None:
    text = TOP + '"a\\u001b[31m" = 1\nuser = "x\\u001b]0;hi\\u0007"\n' + UPSTREAM
    for problem in lines(checked(tmp_path, text)):
        assert problem.isprintable(), problem


def test_data_without_a_file() -> None:
    found = check(from_data({}))
    assert [str(problem) for problem in found.errors] == [
        'listeners: there is no listener (write listeners = [":8080"])',
        'routes: there is no route: every request would get 404 (write [[routes]] with '
        'upstream = "...")',
    ]  # fmt: skip
