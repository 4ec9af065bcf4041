"""gRPC in HTTP/1.1's own words, which HTTP/2 is translated to and from: trailers of any size that
may be, errors a caller understands, deadlines, and silence that belongs to a stream."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.reading import Truncated
from tests.raw.recorder import BODY, CLOSE, HANG, chunked, coded, sized
from tests.raw.talking import Running, in_time
from tests.running import wait_until

KIND = b"Content-Type: application/grpc\r\n"
MESSAGE = b"\0\0\0\0\5hello"


def call(path: str, *lines: str, body: bytes = MESSAGE, kind: str = "application/grpc") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: a", "TE: trailers", "Transfer-Encoding: chunked"]
    head += [f"Content-Type: {kind}", *lines, "", ""]
    return "\r\n".join(head).encode() + chunked(body)


def status(proxy: Running, data: bytes) -> tuple[str, str]:
    """grpc-status and grpc-message of an answer that is nothing else."""
    answer = proxy.ask(data)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.one("content-type") == "application/grpc"
    return answer.one("grpc-status"), answer.one("grpc-message")


# ---- trailers -----------------------------------------------------------------------------------

DETAILS = b"grpc-status: 9\r\ngrpc-message: %b\r\ngrpc-status-details-bin: %b\r\n\r\n" % (
    b"m" * 2000, b"QUJD" * 1500)  # fmt: skip
LINES = b"a:\r\n" * 2040 + b"grpc-status:0\r\n\r\n"
"""As many lines as there may be: each grows by a space on its way."""


@pytest.mark.parametrize(("trailers", "passed"), [
    (b"grpc-status: 0\r\n\r\n", b"grpc-status: 0\r\n\r\n"),
    (DETAILS, DETAILS),
    (LINES, LINES.replace(b":", b": ")),
], ids=["small", "large", "many"])  # fmt: skip
@pytest.mark.parametrize("split", ["whole", "behind the data", "in the middle", "thrice"])
def test_trailers_pass_whole(proxy: Running, trailers: bytes, passed: bytes, split: str) -> None:
    """All of a trailer section, up to the 8 KiB it may have, however it comes; both ways."""
    half = len(trailers) // 2
    cuts: Sequence[int] = {
        "whole": [], "behind the data": [0], "in the middle": [half],
        "thrice": [1, half, len(trailers) - 1],
    }[split]  # fmt: skip
    parts = [trailers[a:b] for a, b in zip([0, *cuts], [*cuts, len(trailers)], strict=True)]
    steps = [step for part in parts for step in (part, 0.03)]
    steps[0] = coded(MESSAGE, more=KIND, end=False) + b"0\r\n" + parts[0]
    proxy.recorder.on("/t", BODY, *steps)
    with proxy.client() as client:
        head = call("/t").removesuffix(b"\r\n")
        client.send(head + trailers, [len(head) + at for at in cuts], 0.03)
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        wanted = b"a\r\n" + MESSAGE + b"\r\n0\r\n" + passed
        assert client.exactly(len(wanted)) == wanted
        client.send(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer().status == 200
    seen = proxy.recorder.only("/t")
    assert seen.one("te") == "trailers"
    assert seen.coded.endswith(b"0\r\n" + passed)


def test_trailers_of_two_calls_do_not_mix(proxy: Running) -> None:
    """Half of each has come when the other one goes on."""
    for name in (b"one", b"two"):
        proxy.recorder.on(
            f"/{name.decode()}", BODY, coded(MESSAGE, more=KIND, end=False) + b"0\r\nwho: ",
            0.2, name * 100, 0.2, b"\r\n\r\n",
        )  # fmt: skip
    with proxy.client() as first, proxy.client() as second:
        first.send(call("/one"))
        time.sleep(0.1)
        second.send(call("/two"))
        for client, name in ((first, b"one"), (second, b"two")):
            client.until(b"\r\n\r\n")
            assert client.until(b"\r\n\r\n").endswith(b"who: " + name * 100 + b"\r\n\r\n")


def test_too_many_trailers_are_refused(proxy: Running) -> None:
    proxy.recorder.on("/t", BODY, coded(MESSAGE, more=KIND, end=False), 0.05,
                      b"0\r\na:" + b"b" * 8200 + b"\r\n\r\n")  # fmt: skip
    with proxy.client() as client, pytest.raises(Truncated):
        client.send(call("/t"))
        client.answer()


def test_who_does_not_ask_for_trailers_gets_none(proxy: Running) -> None:
    proxy.recorder.on("/t", BODY, coded(MESSAGE, more=KIND, end=False) + b"0\r\n" + DETAILS)
    answer = proxy.ask(call("/t").replace(b"TE: trailers\r\n", b""))
    assert answer.body == MESSAGE
    assert b"grpc-status" not in answer.coded


# ---- errors -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(start: StartProxy) -> Running:
    return start(
        timeouts='upstream_first_byte = "300ms"\nupstream_connect = "300ms"\n'
        'upstream_idle = "300ms"\ntunnel_idle = "900ms"\nclient_body = "300ms"',
        limits="header_count = 20",
        routes="""
[[routes]]
host = "a"
path = "/down"
upstream = "down"
[[routes]]
host = "a"
path = "/small"
upstream = "main"
max_body = 20
[[routes]]
host = "a"
path = "/methods"
methods = ["GET"]
upstream = "main"
[[routes]]
host = "a"
path = "/short"
upstream = "main"
request_timeout = "400ms"
[[routes]]
host = "a"
path = "/p/"
upstream = "main"
[upstreams.down]
backends = ["http://127.0.0.1:1"]
""",
        top="log_format = '{status} {end_state} {path}'",
    )


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "Application/GRPC"])
@pytest.mark.parametrize(("path", "wanted", "says"), [
    ("/down", "14", "could not be reached"),
    ("/p/close", "14", "without an answer"),
    ("/p/bad", "14", ""),
    ("/p/hang", "4", "did not answer in time"),
    ("/nowhere", "12", "no route"),
    ("/methods", "2", "not allowed"),
    ("/small", "8", "larger than allowed"),
])  # fmt: skip
def test_our_errors_are_statuses(
    failing: Running, kind: str, path: str, wanted: str, says: str
) -> None:
    failing.recorder.on("/p/close", BODY, CLOSE)
    failing.recorder.on("/p/hang", BODY, HANG)
    failing.recorder.on("/p/bad", BODY, b"nonsense\r\n\r\n")
    code, message = status(failing, call(path, body=MESSAGE * 3, kind=kind))
    assert code == wanted
    assert says in message
    assert re.fullmatch("[ -$&-~]+", message)


def test_the_log_and_the_counts_know_the_cause(failing: Running) -> None:
    """HTTP's status says 200 to the caller, and to nobody else."""
    status(failing, call("/down"))
    log = failing.config.parent / "access.log"
    wait_until(lambda: "502 SC /down" in log.read_text())


@pytest.mark.parametrize("kind", ["application/grpcx", "application/json", "text/plain"])
def test_other_kinds_get_a_page(failing: Running, kind: str) -> None:
    answer = failing.ask(call("/down", kind=kind))
    assert answer.status == 502
    assert not answer.all("grpc-status")


def test_what_is_no_grpc_is_passed_on(failing: Running) -> None:
    """Clients map it themselves."""
    failing.recorder.on(
        "/p/html", BODY, sized(b"busy", b"503 Busy", b"Content-Type: text/html\r\n")
    )
    answer = failing.ask(call("/p/html"))
    assert (answer.status, answer.body, answer.all("grpc-status")) == (503, b"busy", [])


def test_an_answer_cut_in_the_middle_has_no_end(failing: Running) -> None:
    failing.recorder.on("/p/cut", BODY, coded(MESSAGE, more=KIND, end=False), 0.05, CLOSE)
    with failing.client() as client, pytest.raises(Truncated) as cut:
        client.send(call("/p/cut"))
        client.answer()
    assert cut.value.got == MESSAGE


# ---- deadlines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "least"), [
    ("150m", 0.15), ("200000u", 0.2), ("99999999n", 0.1), ("0S", 0.0), ("0n", 0.0),
])  # fmt: skip
def test_the_calls_own_deadline(failing: Running, given: str, least: float) -> None:
    """It is over when the caller says; the backend knows the same one and is cancelled."""
    failing.recorder.clear()
    failing.recorder.on("/p/slow", BODY, HANG)
    started = time.monotonic()
    code, message = status(failing, call("/p/slow", f"grpc-timeout: {given}"))
    in_time(started, least, least + 0.25)
    assert (code, message) == ("4", "the request took longer than allowed")
    if least:
        seen = failing.recorder.only("/p/slow")
        assert seen.one("grpc-timeout") == given
        line = failing.recorder.lines[seen.connection]
        failing.recorder.wait(lambda: line.ended)


@pytest.mark.parametrize(("given", "least"), [("1H", 0.4), ("2S", 0.4), ("100m", 0.1)])
def test_the_sooner_of_it_and_the_routes(failing: Running, given: str, least: float) -> None:
    failing.recorder.on("/short", BODY, coded(MESSAGE, more=KIND, end=False), HANG)
    started = time.monotonic()
    with failing.client() as client, pytest.raises(Truncated):
        client.send(call("/short", f"grpc-timeout: {given}"))
        client.answer()
    in_time(started, least, least + 0.3)


@pytest.mark.parametrize(
    "given", ["", "1", "S", "123456789S", "1s", "-1S", "1.5S", "0x1S", "1SS", "99999999H"]
)
def test_what_is_no_timeout_is_none(failing: Running, given: str) -> None:
    """It is passed on all the same: the backend may say more about it."""
    failing.recorder.clear()
    failing.recorder.on("/p/ok", BODY, 0.1, coded(MESSAGE, more=KIND))
    answer = failing.ask(call("/p/ok", f"grpc-timeout: {given}"))
    assert answer.body == MESSAGE
    assert failing.recorder.only("/p/ok").one("grpc-timeout") == given.strip()


def test_only_grpc_has_such_deadlines(failing: Running) -> None:
    failing.recorder.on("/p/ok", BODY, 0.1, sized(b"late"))
    answer = failing.ask(call("/p/ok", "grpc-timeout: 1m", kind="application/json"))
    assert answer.body == b"late"


def test_a_short_deadline_is_not_the_backends_fault(start: StartProxy) -> None:
    """Else any caller could have it ejected."""
    proxy = start(upstream="outlier = { consecutive_gateway = 2, most = 100 }")
    proxy.recorder.on("/slow", BODY, HANG)
    for _ in range(5):
        assert status(proxy, call("/slow", "grpc-timeout: 20m"))[0] == "4"
    (backend,) = proxy.status()["upstreams"][0]["backends"]
    assert backend["timeouts"] == 5
    assert backend["state"] == "up"


# ---- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"application/grpc", b"text/event-stream; charset=utf-8"])
def test_a_stream_may_be_silent(failing: Running, kind: bytes) -> None:
    """For as long as a tunnel; without a deadline."""
    more = b"Content-Type: %b\r\n" % kind
    failing.recorder.on(
        "/p/watch", BODY, coded(b"one", more=more, end=False), 0.6, chunked(b"two", end=False), HANG
    )
    asked = call("/p/watch") if b"grpc" in kind else b"GET /p/watch HTTP/1.1\r\nHost: a\r\n\r\n"
    started = time.monotonic()
    with failing.client() as client, pytest.raises(Truncated) as cut:
        client.send(asked)
        client.answer()
    assert cut.value.got == b"onetwo"
    in_time(started, 0.6 + 0.9, 2.5)


def test_what_is_no_stream_may_not(failing: Running) -> None:
    failing.recorder.on("/p/watch", BODY, coded(b"one", end=False), 0.6, chunked(b"two"))
    with failing.client() as client, pytest.raises(Truncated) as cut:
        client.send(b"GET /p/watch HTTP/1.1\r\nHost: a\r\n\r\n")
        client.answer()
    assert cut.value.got == b"one"


@pytest.mark.parametrize("answers", [True, False])
def test_a_caller_may_pause_between_messages(failing: Running, answers: bool) -> None:
    """Longer than any body may stall; whether its answer has begun or not."""
    now = coded(MESSAGE, more=KIND, end=False)
    steps = [now, BODY, chunked(MESSAGE)] if answers else [BODY, coded(MESSAGE, more=KIND)]
    failing.recorder.on("/p/both", *steps)
    with failing.client() as client:
        whole = call("/p/both")
        body = whole.index(b"a\r\n\0")
        client.send(whole, [body, len(whole) - 5], 0.6)
        answer = client.answer()
    assert answer.body == MESSAGE * (2 if answers else 1)


def test_one_side_that_speaks_keeps_both_alive(failing: Running) -> None:
    """The caller is silent for longer than a tunnel may be, the backend is not."""
    steps = [step for _ in range(5) for step in (0.3, chunked(b"x", end=False))]
    failing.recorder.on("/p/push", coded(MESSAGE, more=KIND, end=False), *steps, BODY,
                        chunked(b"end"))  # fmt: skip
    with failing.client() as client:
        whole = call("/p/push")
        client.send(whole, [len(whole) - 5], 1.6)
        assert client.answer().body == MESSAGE + b"x" * 5 + b"end"
