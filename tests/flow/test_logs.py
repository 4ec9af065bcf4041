"""Access log and counters: every request once, whole, whatever happens to the file or the pipe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Nginx, Origin, wrk
from tests.flow.wire import Line, head_of
from tests.running import ROOT, wait_until

COMMON = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"([^"]*)" (\d{3}) (\d+)'
)
COMBINED = re.compile(COMMON.pattern + r' "([^"]*)" "([^"]*)"')
HOSTILE = 'a"b\\c\td\x80\xff é \u2028</script>{status}%n\x7f'.encode("utf-8").replace(b"\x7f", b"")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines_of(path: Path, count: int) -> list[str]:
    """The lines of the log once there are that many (or more)."""
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count)
    return path.read_text(errors="surrogateescape").splitlines()


def some_requests(proxy: Gateway) -> None:
    with Line(proxy.port) as line:
        assert line.ask("GET", "/id?x=1", "User-Agent: me/1", "Referer: http://r/").status == 200
        line.sock.sendall(head_of("POST", "/hash", "Content-Length: 3") + b"abc")
        assert line.answer().status == 200
        assert line.ask("HEAD", "/id").status == 200
        assert line.ask("GET", "/nothing-here").status == 404
        assert line.ask("GET", "/bytes?n=1234&framing=chunked").size == 1234


# ---- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [("combined", COMBINED), ("common", COMMON)])
def test_formats_of_old(origin: Origin, log: Path, name: str, shape: re.Pattern[str]) -> None:
    flags = [f"--access-log={log}", f"--log-format={name}"]
    with Gateway(*flags, upstreams=[origin.url], workers=1) as proxy:
        some_requests(proxy)
        found = [shape.fullmatch(line) for line in lines_of(log, 5)]
    assert all(found)
    seen = [(one[1], one[2], one[3]) for one in found if one]
    assert seen[0][:2] == ("GET /id?x=1 HTTP/1.1", "200")
    assert seen[1][:2] == ("POST /hash HTTP/1.1", "200")
    assert seen[2] == ("HEAD /id HTTP/1.1", "200", "0")
    assert seen[3][1] == "404"
    assert seen[4][2] == "1234"
    if name == "combined":
        assert (found[0][4], found[0][5]) == ("http://r/", "me/1")  # type: ignore[index]


def test_json_lines(origin: Origin, log: Path) -> None:
    flags = [f"--access-log={log}", "--log-format=json"]
    with Gateway(*flags, upstreams=[origin.url], workers=1) as proxy:
        some_requests(proxy)
        with Line(proxy.port) as line:
            line.ask("GET", "/slow?ms=120")
        rows = [json.loads(line) for line in lines_of(log, 6)]
    first, second = rows[:2]
    assert first["client_ip"] == "127.0.0.1"
    assert (first["method"], first["target"], first["protocol"]) == ("GET", "/id?x=1", "HTTP/1.1")
    assert (first["status"], first["end_state"], first["retries"]) == (200, "--", 0)
    assert (first["user_agent"], first["referer"], first["host"]) == ("me/1", "http://r/", "test")
    assert first["backend"] == origin.url
    assert (second["bytes_in"], second["method"]) == (3, "POST")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-.*", first["request_id"])
    assert len({row["request_id"] for row in rows}) == len(rows)
    slow = rows[5]
    assert 0.1 < slow["time_first_byte"] <= slow["time_total"] < 5
    assert first["time_connect"] < 0.1
    assert slow["time_connect"] is None  # a kept connection: there was none to make


def test_a_template_of_ones_own(origin: Origin, log: Path) -> None:
    form = "{method}|{path}|{status}|{bytes_out}|{header:X-Mine}|{response_header:Content-Length}"
    flags = [f"--access-log={log}", f"--log-format={form}"]
    with Gateway(*flags, upstreams=[origin.url], workers=1) as proxy:
        with Line(proxy.port) as line:
            line.ask("GET", "/bytes?n=77", "X-Mine: yes")
        (row,) = lines_of(log, 1)
    assert row.startswith("GET|/bytes|200|77|yes|")


def test_what_a_hostile_client_says_stays_in_its_field(origin: Origin, log: Path) -> None:
    for name in ("combined", "json"):
        log.unlink(missing_ok=True)
        flags = [f"--access-log={log}", f"--log-format={name}"]
        with Gateway(*flags, upstreams=[origin.url], workers=1) as proxy:
            with Line(proxy.port) as line:
                line.sock.sendall(
                    b'GET /id?"><&%0a%0d HTTP/1.1\r\nHost: x\r\nReferer: "\\\r\nUser-Agent: '
                    + HOSTILE + b"\r\n\r\n"
                )  # fmt: skip
                status = line.answer().status
            raw = (lines_of(log, 1), log.read_bytes())[1]
        assert raw.count(b"\n") == 1
        assert not any(byte < 32 for byte in raw[:-1])
        if name == "json":
            row = json.loads(raw.decode("utf-8"))
            assert row["status"] == status
            assert row["user_agent"].startswith('a"b\\c')
        else:
            assert COMBINED.fullmatch(raw.decode("latin-1").rstrip("\n"))


def test_requests_that_were_none_are_logged_too(origin: Origin, log: Path) -> None:
    with Gateway(f"--access-log={log}", upstreams=[origin.url], workers=1) as proxy:
        for bad in (b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET /\r\n\r\n"):
            with Line(proxy.port) as line:
                line.sock.sendall(bad)
                assert line.answer().status in (400, 505)
        rows = lines_of(log, 3)
    assert len(rows) == 3
    assert all(COMBINED.fullmatch(row) for row in rows), rows


# ---- end states ---------------------------------------------------------------------------------


def test_end_states(origin: Origin, log: Path) -> None:
    form = "{target} {end_state} {status}"
    flags = [f"--access-log={log}", f"--log-format={form}", "--upstream-first-byte-timeout=300ms",
             "--client-body-timeout=300ms"]  # fmt: skip
    with Gateway(*flags, upstreams=[origin.url], workers=1) as proxy:

        def cut_off(data: bytes, wait: float = 0.1) -> None:
            with Line(proxy.port) as line:
                line.sock.sendall(data)
                time.sleep(wait)
                line.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")

        def ask(target: str, *lines: str, method: str = "GET", body: bytes = b"") -> None:
            with Line(proxy.port) as line, contextlib.suppress(Exception):
                line.sock.sendall(head_of(method, target, *lines) + body)
                line.answer()

        ask("/id")
        ask("/mute?504")
        ask("/headless")
        ask("/cut?n=1000")
        ask("/hash?408", "Content-Length: 10", method="POST", body=b"x")
        cut_off(head_of("GET", "/slow?ms=250&gone"))
        cut_off(head_of("POST", "/hash?gone", "Content-Length: 10") + b"x")
        cut_off(head_of("GET", "/bytes?n=30000000"), 0.3)
        found = {}
        for line in lines_of(log, 8):
            target, *rest = line.split(" ")
            found[target] = tuple(rest)
    assert found == {
        "/id": ("--", "200"),
        "/mute?504": ("sH", "504"),
        "/headless": ("SH", "502"),
        "/cut?n=1000": ("SD", "200"),
        "/hash?408": ("cQ", "408"),
        "/slow?ms=250&gone": ("CH", "499"),
        "/hash?gone": ("CQ", "499"),
        "/bytes?n=30000000": ("CD", "200"),
    }


# ---- where it goes ------------------------------------------------------------------------------


def test_standard_output(origin: Origin) -> None:
    with Gateway("--access-log=-", upstreams=[origin.url], workers=2) as proxy:
        some_requests(proxy)
        out = proxy.directory / "stdout"
        assert len(lines_of(out, 5)) == 5


def test_off(origin: Origin) -> None:
    with Gateway("--access-log=off", upstreams=[origin.url], workers=2) as proxy:
        some_requests(proxy)
        assert proxy.totals()["log_lines"] == 0
        assert (proxy.directory / "stdout").read_bytes() == b""


def test_a_route_may_be_left_out(origin: Origin, log: Path) -> None:
    settings = {
        "access_log": str(log),
        "upstreams": {"u": {"backends": [origin.url]}},
        "routes": [
            {"path": "/", "upstream": "u"},
            {"path": "/slow", "upstream": "u", "access_log": False},
        ],
    }
    with Gateway(settings=settings, workers=1) as proxy, Line(proxy.port) as line:
        for target in ("/id?1", "/slow?ms=0", "/id?2"):
            assert line.ask("GET", target).status == 200
        rows = lines_of(log, 2)
    assert ["/slow" in row for row in rows] == [False, False]


class Piped:
    """A gateway whose standard output is a pipe of ours, read only when told."""

    def __init__(self, origin: Origin, *flags: str, workers: int = 2) -> None:
        self.proxy = Gateway("--access-log=-", *flags, upstreams=[origin.url], workers=workers)
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def __enter__(self) -> Piped:
        proxy = self.proxy
        with open(proxy.directory / "stderr", "ab") as errors:
            proxy.process = subprocess.Popen(
                proxy.command(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.writer,
                stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        os.close(self.writer)
        try:
            wait_until(proxy._serving, 20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.close(self.reader)
        self.proxy.close()

    def read_all(self) -> bytes:
        data = b""
        while part := os.read(self.reader, 65536):
            data += part
        return data


def test_a_pipe_that_nobody_reads_holds_nobody_up(origin: Origin) -> None:
    """The writer is stuck, its ring fills, lines are dropped and counted; requests go on."""
    agent = "User-Agent: " + "x" * 4000
    with Piped(origin, workers=1) as piped:
        proxy = piped.proxy
        assert proxy.port
        with Line(proxy.port) as line:
            for _ in range(600):
                started = time.monotonic()
                assert line.ask("GET", "/id", agent).status == 200
                assert time.monotonic() - started < 2
        totals = proxy.totals()
        assert totals["log_dropped"] > 50
        assert totals["log_lines"] + totals["log_dropped"] == 600
        found: list[bytes] = []
        reading = threading.Thread(target=lambda: found.append(piped.read_all()), daemon=True)
        reading.start()
        wait_until(lambda: proxy.stop() == 0)
        reading.join(20)
        rows = found[0].splitlines()
        assert len(rows) == totals["log_lines"]
        assert all(COMBINED.fullmatch(row.decode()) for row in rows)


def test_two_workers_never_mix_lines_in_a_pipe(origin: Origin) -> None:
    """Lines of all lengths, longer than PIPE_BUF too, through a pipe of one page."""
    with Piped(origin, workers=2) as piped:
        proxy = piped.proxy
        port = proxy.port
        found: list[bytes] = []
        reading = threading.Thread(target=lambda: found.append(piped.read_all()), daemon=True)
        reading.start()

        def ask(worker: int) -> None:
            for number in range(60):
                agent = f"{worker}-{number}-" + "ab"[worker % 2] * (97 * number % 7900)
                with Line(port) as line:
                    assert line.ask("GET", "/id", f"User-Agent: {agent}").status == 200

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert proxy.stop() == 0
        reading.join(20)
    rows = [COMBINED.fullmatch(row.decode()) for row in found[0].splitlines()]
    assert all(rows)
    assert len(rows) == 360
    agents = {row[5] for row in rows if row}
    assert len(agents) == 360
    for agent in agents:
        worker, number, rest = agent.split("-")
        assert rest == "ab"[int(worker) % 2] * (97 * int(number) % 7900)


def test_two_workers_never_mix_lines_in_a_file(nginx: Nginx, log: Path) -> None:
    with Gateway(f"--access-log={log}", upstreams=[nginx.url], workers=2) as proxy:
        load = wrk(f"{proxy.url}/small", 32, 1, "-H", "User-Agent: " + "y" * 700)
        assert load.clean
        proxy.settle()
        total = proxy.totals()
        assert total["log_dropped"] == 0
        rows = lines_of(log, total["requests"])
    assert len(rows) == total["requests"] == total["log_lines"]
    assert all(COMBINED.fullmatch(row) for row in rows)


# ---- rotation -----------------------------------------------------------------------------------


def test_rotation_under_load_loses_no_line(origin: Origin, log: Path) -> None:
    with Gateway(f"--access-log={log}", upstreams=[origin.url], workers=2) as proxy:
        assert proxy.process
        with Ledger(proxy.port, lines=16) as ledger:
            for turn in range(6):
                ledger.until(80)
                log.rename(log.with_name(f"access.{turn}"))
                proxy.process.send_signal(signal.SIGUSR1)
                wait_until(log.exists)
        assert not ledger.failed
        proxy.settle()
        files = sorted(log.parent.glob("access.*"))

        def rows() -> list[str]:
            return [row for path in files for row in path.read_text().splitlines()]

        wait_until(lambda: len(rows()) >= len(ledger.entries))
        assert len(rows()) == len(ledger.entries) == proxy.totals()["log_lines"]
        assert all(COMBINED.fullmatch(row) for row in rows())
        assert len(files) == 7
        # After the last rotation nobody writes to the old files any more.
        sizes = [path.stat().st_size for path in files if path != log]
        with Ledger(proxy.port, lines=8) as ledger:
            ledger.until(50)
        wait_until(lambda: log.stat().st_size > 0)
        assert [path.stat().st_size for path in files if path != log] == sizes


def test_the_writer_shares_no_descriptors(origin: Origin, log: Path) -> None:
    """Its thread would make every call of the engine dearer, and hold what the engine closes."""

    def held(folder: Path) -> list[str]:
        return [os.readlink(link) for link in folder.iterdir() if int(link.name) > 2]

    with Gateway(f"--access-log={log}", upstreams=[origin.url], workers=1) as proxy:
        assert proxy.process
        some_requests(proxy)
        tasks = Path(f"/proc/{proxy.worker_pids()[0]}/task")
        (thread,) = [task for task in tasks.iterdir() if task.name != tasks.parent.name]
        own, door = sorted(held(thread / "fd"))
        assert own == str(log)
        assert door.startswith("socket:")
        assert str(log) not in held(tasks.parent / "fd")
        log.rename(log.with_name("access.0"))
        proxy.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: sorted(held(thread / "fd")) == [str(log), door])
        some_requests(proxy)
        assert len(lines_of(log, 5)) == 5


def test_a_stop_writes_what_is_left(origin: Origin, log: Path) -> None:
    with Gateway(f"--access-log={log}", upstreams=[origin.url], workers=2) as proxy:
        with Ledger(proxy.port, lines=8) as ledger:
            ledger.until(200)
        assert proxy.stop() == 0
        assert log.read_bytes().count(b"\n") == len(ledger.entries)
