"""bench/paced keeps its rate, counts from the scheduled instant, and tells what went wrong.

Figures are asserted only as far as a loaded machine keeps them: a pause we made is a lower bound.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import build
from bench.build import program
from bench.processes import Processes, cpus
from bench.stand import free_port
from tests.raw.recorder import BODY, CLOSE, HANG, Recorder, Seen, Step, coded, sized

SANITIZED = ("-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def server() -> Iterator[Recorder]:
    with Recorder() as one:
        yield one


@pytest.fixture
def recorder(server: Recorder) -> Recorder:
    server.clear()
    return server


def run(port: int, *args: object, flags: tuple[str, ...] = SANITIZED) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    command = [str(program("paced/paced", *flags)), "--port", str(port), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


def paced(
    port: int, path: str, rate: float = 200, seconds: float = 0.5, connections: int = 8,
    more: Sequence[object] = (),
) -> dict[str, Any]:  # fmt: skip
    code, output, errors = run(
        port, "--path", path, "--rate", rate, "--seconds", seconds,
        "--connections", connections, *more,
    )  # fmt: skip
    assert (code, errors) == (0, "")
    found: dict[str, Any] = json.loads(output)
    assert sum(count for _, count in found["histogram"]) == found["done"]
    kinds = ("statuses", "sizes", "broken", "unanswered")
    assert sum(found[kind] for kind in kinds) == found["errors"] == found["due"] - found["done"]
    return found


def above(found: dict[str, Any], ms: float) -> int:
    """How many latencies were above."""
    return sum(count for us, count in found["histogram"] if us > ms * 1000)


def pausing(seconds: float, at: int) -> Step:
    """The whole server stands still once, before it answers the request of that number."""
    count = 0

    def step(_seen: Seen) -> Sequence[Step]:
        nonlocal count
        count += 1
        if count == at:
            time.sleep(seconds)
        return [sized(b"ok")]

    return step


def test_compiles_without_a_warning() -> None:
    assert program("paced/paced", "-Werror").exists()


def test_the_rate_is_kept_against_the_origin(tmp_path: Path) -> None:
    with Processes() as processes:
        command = [str(program("origin")), "0"]
        child = processes.start(command, cpus()[:1], tmp_path / "log", subprocess.PIPE)
        found = paced(int(child.output.readline()), "/100", rate=2000, seconds=1, connections=32)
    assert (found["due"], found["sent"], found["done"], found["errors"]) == (2000, 2000, 2000, 0)
    assert 1000 < found["rate"] <= 2100  # 2000, and the last answer may be late
    order = [found[name] for name in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")]
    assert order == sorted(order)
    assert found["p50_us"] > 0
    assert found["reopened"] == 0


def test_a_pause_is_felt_by_all_who_were_due_in_it(recorder: Recorder) -> None:
    """Coordinated omission: a load that waits would have 4 slow answers (one on each connection);
    120 were due while the server stood still."""
    recorder.on("/pause", BODY, pausing(0.6, at=50))
    found = paced(recorder.port, "/pause", rate=200, seconds=2, connections=4)
    assert found["done"] == found["due"] == 400
    assert above(found, 580) >= 1
    assert above(found, 300) >= 55  # 60, less what rounding takes
    assert above(found, 100) >= 95  # 100
    assert found["p99_us"] > 550_000
    assert found["max_us"] >= 599_000


def test_too_high_a_rate_queues(recorder: Recorder) -> None:
    """One connection, 20 ms an answer: 50/s; asked for 200/s, the last of 60 waits 0.9 s."""
    recorder.on("/slow", BODY, 0.02, sized(b"ok"))
    found = paced(recorder.port, "/slow", rate=200, seconds=0.3, connections=1)
    assert found["done"] == 60
    assert found["max_us"] > 850_000
    assert found["p50_us"] > 400_000
    assert found["rate"] < 51


def test_connections_are_used_in_turn(recorder: Recorder) -> None:
    found = paced(recorder.port, "/len/3", rate=100, seconds=0.4, connections=8)
    assert found["done"] == 40
    places = [seen.place for seen in recorder.requests]
    assert max(places) >= 4
    assert len({seen.connection for seen in recorder.requests}) == 8


def test_the_request(recorder: Recorder) -> None:
    fields = ["--header", "X-One: 1", "--header", "X-Two: 2", "--host-header", "a.example"]
    paced(recorder.port, "/route-%d/100?a", 100, 0.05, more=[*fields, "--url-count", 3])
    assert [seen.head for seen in recorder.requests] == [
        b"GET /route-%d/100?a HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"
        % (at % 3)
        for at in range(5)
    ]
    recorder.clear()
    paced(recorder.port, "/", 100, 0.01)
    assert recorder.requests[0].one("Host") == f"127.0.0.1:{recorder.port}"


def bytewise(answer: bytes) -> list[Step]:
    return [step for byte in answer for step in (bytes([byte]), 0.0005)]


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CODED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        sized(b""),
        sized(b"x" * 1000),
        INTERIM + sized(b"abc"),
        coded(b"abc", b"d" * 300),
        coded(),
        CODED + b"3;a=b\r\nabc\r\n0\r\nT: 1\r\nU: 2\r\n\r\n",
    ],
    ids=["empty", "sized", "interim", "chunked", "no chunk", "trailers"],
)
@pytest.mark.parametrize("cut", [False, True])
def test_answers(recorder: Recorder, answer: bytes, cut: bool) -> None:
    recorder.on("/a", BODY, *(bytewise(answer) if cut else [answer]))
    found = paced(recorder.port, "/a", rate=100, seconds=0.06, connections=3)
    assert (found["done"], found["reopened"]) == (6, 0)


def test_the_size_of_a_big_answer(recorder: Recorder) -> None:
    assert paced(recorder.port, "/chunked/3000000/1000000", 20, 0.2)["done"] == 4


def test_closed_connections_are_opened_anew(recorder: Recorder) -> None:
    recorder.on("/close", BODY, sized(b"x", more=b"Connection: close\r\n"), CLOSE)
    found = paced(recorder.port, "/close", rate=100, seconds=0.2, connections=2)
    assert (found["done"], found["errors"]) == (20, 0)
    assert 18 <= found["reopened"] <= 20
    recorder.clear()
    recorder.on("/silently", BODY, sized(b"x"), CLOSE)
    found = paced(recorder.port, "/silently", rate=50, seconds=0.2, connections=2)
    assert found["done"] + found["broken"] == 10
    assert found["reopened"] >= 8


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("statuses", [sized(b"ok", b"503 X")]),
        ("statuses", [b"HTTP/1.1 204 No Content\r\n\r\n"]),
        ("sizes", [sized(b"other")]),
        ("broken", [CLOSE]),
        ("broken", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", CLOSE]),
        ("broken", [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"]),
        ("broken", [b"HTTP/1.1 200 OK\r\n\r\nok", CLOSE]),
        ("broken", [sized(b"ok") + sized(b"ok")]),
        ("broken", [CODED + b"zz\r\n"]),
        ("broken", [CODED + b"2\r\nabc\r\n0\r\n\r\n"]),
        ("broken", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000]),
        ("unanswered", [HANG]),
    ],
)
def test_errors_are_counted(recorder: Recorder, kind: str, steps: list[Step]) -> None:
    """The first three answers are right, then two wrong ones."""
    served = 0

    def step(_seen: Seen) -> Sequence[Step]:
        nonlocal served
        served += 1
        return [sized(b"ok")] if served <= 3 else steps

    recorder.on("/e", BODY, step)
    more = ["--timeout", 0.3] if kind == "unanswered" else []
    found = paced(recorder.port, "/e", rate=50, seconds=0.1, connections=2, more=more)
    assert (found["due"], found["done"], found[kind], found["errors"]) == (5, 3, 2, 2)


def test_a_server_that_goes_away_and_comes_back(recorder: Recorder) -> None:
    """Refused for a while: what was due then waits, and is served."""
    port = free_port()
    command = [str(program("paced/paced", *SANITIZED)), "--port", str(port), "--rate", "50"]
    command += ["--seconds", "1", "--connections", "2"]
    listener = socket.create_server(("127.0.0.1", port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [listener.accept()[0] for _ in range(2)]
        listener.close()
        for line in lines:
            line.close()
        time.sleep(0.3)
        forward = subprocess.Popen(
            [
                program("limit/limit"),
                "--listen",
                str(port),
                "--origin",
                f"127.0.0.1:{recorder.port}",
            ]
        )
        try:
            found = json.loads(process.communicate(timeout=20)[0])
        finally:
            forward.kill()
            forward.wait()
    assert found["done"] >= 47
    assert found["errors"] <= 3
    assert above(found, 50) >= 5
    assert found["reopened"] > 2


def test_nothing_to_reach() -> None:
    code, output, errors = run(free_port(), "--rate", 10, "--seconds", 1, "--connections", 1)
    assert (code, output) == (1, "")
    assert errors.endswith("cannot be reached: Connection refused\n")


def test_nobody_answers(recorder: Recorder) -> None:
    recorder.on("/mute", HANG)
    started = time.monotonic()
    code, output, errors = run(
        recorder.port, "--path", "/mute", "--rate", 20, "--seconds", 0.2,
        "--connections", 2, "--timeout", 0.2,
    )  # fmt: skip
    assert (code, output) == (1, "")
    assert errors == f"paced: no request was answered by 127.0.0.1:{recorder.port}\n"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--rate, --seconds and --port are needed"),
        (["--rate", "0"], "--rate 0: a number from 0.1"),
        (["--rate"], "--rate: no value"),
        (["--rate", "1", "--seconds", "1", "--url-count", "3"], "--url-count needs a %d in --path"),
        (["--header", "nothing"], "--header 'nothing': no colon"),
        (["--else", "1"], "no option --else"),
    ],
)
def test_wrong_usage_is_told(args: list[str], message: str) -> None:
    code, output, errors = run(1, *args)
    assert (code, output) == (2, "")
    assert message in errors


HISTOGRAM = r"""
#include <math.h>
#include <stdio.h>
#include "histogram.h"
int main(void) {
    static Histogram all;
    double worst = 0;
    for (uint64_t ns = 0; ns < (1ULL << 40); ns = ns + 1 + ns / 997) {
        double off = fabs(bucket_ns(bucket_of(ns)) - (double)ns);
        if (ns && off / (double)ns > worst) worst = off / (double)ns;
        if (ns && bucket_of(ns) < bucket_of(ns - 1)) return 1;
    }
    for (int i = 1; i <= 10000; i++) histogram_add(&all, i * 1000);
    printf("%.5f %.0f %.0f %.0f %.0f\n", worst, quantile_us(&all, 0), quantile_us(&all, 0.5),
           quantile_us(&all, 0.99), quantile_us(&all, 1));
}
"""


def test_the_histogram_is_at_most_1_percent_off(tmp_path: Path) -> None:
    (tmp_path / "all.c").write_text(HISTOGRAM)
    command = [
        "cc",
        "-O1",
        *SANITIZED,
        "-I",
        str(build.HERE / "paced"),
        "-o",
        str(tmp_path / "all"),
    ]
    subprocess.run([*command, str(tmp_path / "all.c"), "-lm"], check=True)
    output = subprocess.run([tmp_path / "all"], capture_output=True, text=True, check=True).stdout
    worst, *quantiles = (float(one) for one in output.split())
    assert worst < 0.005
    assert quantiles == pytest.approx([1, 5001, 9901, 10000], rel=0.005)
