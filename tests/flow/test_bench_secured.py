"""The scenarios with TLS, HTTP/2 and gRPC: their loads and their origin do what they say.

Of ours and of nginx, what the latter does is known. No figure is asserted.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import certificates, peers, verify
from bench.build import program
from bench.lines import Answer, Line, connect
from bench.load import HOST, Loader, LoadError, message, pattern, prefixed
from bench.measure import Bench
from bench.peers import nginx
from bench.peers.base import Job
from bench.processes import Child, Processes, cpus
from bench.results import Plan, Result
from bench.scenarios import BY_NAME, Scenario, Setting
from bench.stand import free_port, wait_for

SANITIZED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
H2C = Setting(http2=True)
CALL = BY_NAME["grpc-unary"].request
CHECK = Plan(pairs=0)
ONE_TURN = Plan(seconds=1, pairs=1, warm=0)


def measured(name: str, *names: str, plan: Plan = ONE_TURN, ours: bool = True) -> Result:
    there, notes = peers.find(only=names, ours=ours)
    assert notes == []
    return Bench(plan, lambda _text, _seconds: None).scenario(BY_NAME[name], there)


# ---- scenarios ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tls-small", "h2-small", "tls-large", "grpc-unary"])
def test_cpu_per_request(name: str) -> None:
    """All three proxies, in all settings that they have there; ours is what is judged."""
    result = measured(name, "nginx", "haproxy")
    assert [one for one in result.notes if "FAILED" in one] == []
    assert len(result.rows) == (5 if name == "tls-large" else 3)
    assert result.rows[0].name == "fastproxy"
    for row in result.rows:
        sample = row.samples[0]
        assert sample["requests"] > 20
        assert sample["cpu_us"] > 1
        assert 0 < sample["p50_ms"] <= sample["p99_ms"] <= sample["max_ms"]
    assert len(result.verdicts) == len(BY_NAME[name].targets)
    for verdict in result.verdicts:
        assert verdict.found


@pytest.mark.parametrize("name", ["tls-handshake-rsa", "tls-resumed-ecdsa"])
def test_handshakes_per_second_of_cpu(name: str) -> None:
    result = measured(name, "nginx")
    assert [one.name for one in result.rows] == ["fastproxy", "nginx"]
    for row in result.rows:
        sample = row.samples[0]
        assert sample["requests"] > 20
        assert sample["handshakes"] == pytest.approx(1e6 / sample["cpu_us"])
    (verdict,) = result.verdicts
    assert verdict.found == pytest.approx(result.ratio("nginx", "handshakes"))


def test_targets_are_of_ours() -> None:
    """Without our row there is nothing to judge."""
    result = measured("h2-small", "nginx", plan=CHECK, ours=False)
    assert [one.name for one in result.rows] == ["nginx"]
    assert result.verdicts == []


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("name", "at"), [("tls-small", 99), ("h2-small", 99), ("h2c-small", 99), ("grpc-unary", 104)]
)
def test_a_wrong_answer_is_noticed(name: str, at: int, ours: bool) -> None:
    who = "fastproxy" if ours else "nginx"
    with pytest.raises(verify.WrongAnswerError, match=rf"{who} in {name}: body: .* byte {at} on"):
        measured(name, "nginx", plan=Plan(pairs=0, spoil=True), ours=ours)


def test_missing_trailers_are_noticed() -> None:
    answer = Answer("HTTP/2", 200, {"content-type": "application/grpc"}, prefixed(b"ab"))
    with pytest.raises(verify.WrongAnswerError, match=r"trailers: \{\}, expected"):
        verify.check_message(answer, b"ab")
    answer.trailers = dict(verify.TRAILERS)
    verify.check_message(answer, b"ab")


# ---- sessions -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Processes, int]]:
    with Processes() as processes:
        log = tmp_path_factory.mktemp("origin") / "log"
        command = [str(program("origin")), "0"]
        child = processes.start(command, cpus()[:1], log, subprocess.PIPE)
        yield processes, int(child.output.readline())


def proxy(
    origin: tuple[Processes, int], directory: Path, scenario: Scenario, more: str = ""
) -> tuple[Job, Child]:
    """nginx, with these lines more in its configuration."""
    processes, port = origin
    made = certificates.make(directory, scenario.setting.tls)
    to = (("127.0.0.1", port),)
    job = Job(directory, free_port(), to, scenario.setting, scenario.request, made)
    command = nginx.command(job, peers.base.where("nginx"))
    file = directory / "nginx.conf"
    file.write_text(file.read_text().replace("ssl_protocols", f"{more}\nssl_protocols"))
    child = processes.start(command, cpus()[:1], directory / "log")
    wait_for(job, child)
    return job, child


def handshakes(port: int, *args: str) -> tuple[int, str, str]:
    """Exit code, output, errors; with the sanitizers."""
    command = [str(program("handshakes", *SANITIZED)), "--port", str(port), "--path", "/100"]
    command += ["--host-header", HOST, "--seconds", "0.5", "--connections", "4", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("args", [(), ("--resume",)])
def test_handshakes_of_the_kind_that_is_wanted(
    origin: tuple[Processes, int], tmp_path: Path, args: tuple[str, ...]
) -> None:
    job, child = proxy(origin, tmp_path, BY_NAME["tls-resumed-ecdsa"])
    code, output, errors = handshakes(job.port, *args)
    assert (code, errors) == (0, "")
    found: dict[str, Any] = json.loads(output)
    assert set(found["errors"].values()) == {0}
    assert found["requests"] > 4
    assert found["size"] == 100
    assert 0 < found["p50"] <= found["p99"] <= found["max"]
    child.check()


def test_who_gives_no_tickets_is_noticed(origin: tuple[Processes, int], tmp_path: Path) -> None:
    job, _ = proxy(origin, tmp_path, BY_NAME["tls-resumed-ecdsa"], "ssl_session_tickets off;")
    verify.check(job.port, job.request, job.setting, (), job.trusted)
    with pytest.raises(verify.WrongAnswerError, match="session resumed: False, expected True"):
        verify.check_resumption(job.port, job.request, job.trusted)
    code, output, errors = handshakes(job.port, "--resume")
    if code == 0:  # a session that is asked for in vain counts as an error
        assert json.loads(output)["errors"]["unresumed"] > 0
    else:
        assert errors == f"handshakes: 127.0.0.1:{job.port} gives no ticket\n"


def test_handshakes_with_nobody(tmp_path: Path) -> None:
    port = free_port()
    code, _, errors = handshakes(port)
    assert code == 1
    assert f"127.0.0.1:{port} cannot be reached" in errors or "no request was answered" in errors
    assert handshakes(port, "--seconds", "x")[0] == 2
    assert handshakes(port, "--nonsense", "x")[0] == 2


def test_another_certificate_is_noticed(origin: tuple[Processes, int], tmp_path: Path) -> None:
    job, _ = proxy(origin, tmp_path, BY_NAME["tls-small"])
    (tmp_path / "other").mkdir()
    other = certificates.make(tmp_path / "other", "rsa")
    with pytest.raises(verify.WrongAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
        verify.check(job.port, job.request, job.setting, (), other.cert)


def test_without_http2_there_is_none(origin: tuple[Processes, int], tmp_path: Path) -> None:
    """ALPN: what was not agreed on is not spoken."""
    job, _ = proxy(origin, tmp_path, BY_NAME["tls-small"])
    with pytest.raises(OSError, match="no application protocol"):
        connect(job.port, Setting(tls="ecdsa", http2=True), job.trusted)


# ---- the origin of gRPC ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the origin, with the sanitizers: nothing may have been said at the end."""
    log = tmp_path_factory.mktemp("grpc") / "log"
    with Processes() as processes:
        command = [str(program("origin_grpc", *SANITIZED)), "0"]
        child = processes.start(command, cpus()[:1], log, subprocess.PIPE)
        yield int(child.output.readline())
        child.check()
        assert child.said() == ""


@pytest.fixture
def line(port: int) -> Iterator[Line]:
    with closing(connect(port, H2C)) as one:
        yield one


def call(line: Line, method: str, sent: bytes, **fields: str) -> Answer:
    wanted = {**verify.GRPC, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return line.ask("POST", f"/bench.Origin/{method}", wanted, sent)


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 65_536])
def test_a_message_of_any_size(line: Line, size: int) -> None:
    found = call(line, str(size), message(CALL))
    assert (found.status, found.version) == (200, "HTTP/2")
    verify.check_message(found, pattern(size))


def test_what_came_is_told(line: Line) -> None:
    verify.check_upload(line, CALL)
    head = call(line, "head", prefixed(b""), x_one="1").body[5:].decode()
    assert ":authority: bench.example\r\n" in head
    assert "x-one: 1\r\n" in head


@pytest.mark.parametrize(
    ("method", "sent", "fields", "status", "code"),
    [
        ("nothing", prefixed(b""), {}, 200, "12"),
        ("65537", prefixed(b""), {}, 200, "12"),
        ("1", b"", {}, 200, "3"),
        ("1", b"\0\0\0\0\x02a", {}, 200, "3"),
        ("1", b"\1\0\0\0\0", {}, 200, "3"),
        ("1", prefixed(b""), {"content_type": "text/plain"}, 415, None),
    ],
)
def test_what_it_refuses(
    line: Line, method: str, sent: bytes, fields: dict[str, str], status: int, code: str | None
) -> None:
    found = call(line, method, sent, **fields)
    assert (found.status, found.fields.get("grpc-status"), found.body) == (status, code, b"")


def test_many_at_once(port: int, tmp_path: Path) -> None:
    """By h2load, which leaves while answers are under way."""
    body = tmp_path / "body"
    body.write_bytes(message(CALL))
    command = ["h2load", "-c4", "-m100", "-D300ms", f"-d{body}"]
    command += [f"-H{name}: {value}" for name, value in verify.GRPC.items()]
    command += [f"http://127.0.0.1:{port}/bench.Origin/16384"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert " 0 failed, 0 errored, 0 timeout" in done.stdout
    assert ", 0 3xx, 0 4xx, 0 5xx" in done.stdout


def test_what_is_no_http2_is_let_go(port: int) -> None:
    with closing(connect(port)) as line:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            line.ask("GET", "/", {}, b"")


@pytest.mark.parametrize("name", ["handshakes", "origin_grpc"])
def test_compiles_without_a_warning(name: str) -> None:
    assert program(name, "-Werror").exists()


def test_a_load_that_finds_no_http2_is_an_error(
    origin: tuple[Processes, int], tmp_path: Path
) -> None:
    job, _ = proxy(origin, tmp_path, BY_NAME["tls-small"])
    processes, _ = origin
    loader = Loader(processes, cpus()[:1], tmp_path / "load.log")
    with pytest.raises(LoadError, match="h2-small: TLS Protocol: none"):
        loader.closed(BY_NAME["h2-small"], job.port, 0.2)
