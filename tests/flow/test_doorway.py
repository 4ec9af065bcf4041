"""Routes that Python answers: parked exchanges, handlers that await, subrequests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flow.origin import pattern_hash
from tests.flow.peers import Gateway, Origin, get
from tests.flow.wire import Line, head_of
from tests.running import wait_until

HANDLERS = (
    "facts",
    "wait",
    "wait_at_gate",
    "open_gate",
    "close_gate",
    "one",
    "fan",
    "count",
    "wrong",
)


@pytest.fixture(scope="module")
def proxy(origin: Origin) -> Iterator[Gateway]:
    settings = {
        "upstreams": {"u": {"backends": [origin.url]}},
        "responders": {name: f"tests.flow.handlers:{name}" for name in HANDLERS},
        "routes": [
            {"name": "status", "path": "= /", "responder": "status"},
            {"name": "people", "path": "/people/{id}", "responder": "facts"},
            *({"name": name, "path": f"/{name}", "responder": name} for name in HANDLERS),
            {"name": "fixed", "path": "/fixed", "reply": {"body": "so"}},
            {"name": "up", "path": "/up/", "strip_prefix": "/up", "upstream": "u"},
        ],
    }
    with Gateway(settings=settings, workers=1) as one:
        yield one


def parked(proxy: Gateway) -> int:
    return proxy.totals()["parked"]


def test_the_status_page(proxy: Gateway) -> None:
    answer = get(proxy, "/", "Accept: text/html", "X-Hostile: <script>")
    assert answer.status == 200
    assert answer.fields["content-type"].startswith("text/html")
    assert "fastproxy" in answer.text
    assert "<script>" not in answer.text
    assert get(proxy, "/", method="HEAD").size == 0
    with Line(proxy.port) as line:
        line.sock.sendall(head_of("HEAD", "/") + head_of("GET", "/up/id"))
        assert line.answer("HEAD").fields["content-length"] != "0"
        assert line.answer().status == 200


def test_what_a_handler_is_told(proxy: Gateway) -> None:
    answer = get(proxy, "/people/7%2F8?a=1&b=%20", "X-One: 1", "x-one: 2", "X-Latin: \u00e9")
    told = json.loads(answer.text)
    assert (told["method"], told["query"], told["host"]) == ("GET", "a=1&b=%20", "test")
    assert told["path"] == "/people/7%2F8"
    assert told["params"] == ["7%2F8"]
    assert told["client_ip"] == "127.0.0.1"
    assert told["x"] == "1"
    assert ["X-Latin", "\u00e9".encode().decode("latin-1")] in told["headers"]
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["date"]


def test_a_handler_that_waits_holds_up_nobody(proxy: Gateway) -> None:
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(get, proxy, "/wait?ms=400") for _ in range(20)]
        wait_until(lambda: parked(proxy) == 20)
        started = time.monotonic()
        for _ in range(20):
            assert get(proxy, "/up/id").status == 200
        assert time.monotonic() - started < 2
        assert {one.result().text for one in waiting} == {"waited"}
    wait_until(lambda: parked(proxy) == 0)


def test_keep_alive_and_pipelining_through_handlers(proxy: Gateway) -> None:
    """In order, and without waiting for the next tick each time."""
    with Line(proxy.port) as line:
        started = time.monotonic()
        line.sock.sendall(b"".join(head_of("GET", f"/people/{n}") for n in range(60)))
        for number in range(60):
            assert json.loads(line.answer().text)["params"] == [str(number)]
        assert time.monotonic() - started < 60 * 0.020


def test_a_thousand_parked_at_once(proxy: Gateway) -> None:
    assert get(proxy, "/close_gate").text == "closed"
    lines = [Line(proxy.port) for _ in range(1000)]
    try:
        for number, line in enumerate(lines):
            line.sock.sendall(head_of("GET", "/wait_at_gate", f"X-Ledger: {number}"))
        wait_until(lambda: parked(proxy) == 1000, 20)
        assert get(proxy, "/up/id").status == 200
        assert get(proxy, "/open_gate").text == "open"
        for number, line in enumerate(lines):
            assert line.answer().text == str(number)
    finally:
        for line in lines:
            line.sock.close()
    wait_until(lambda: parked(proxy) == 0)


def test_clients_that_leave_while_they_are_parked(proxy: Gateway) -> None:
    assert get(proxy, "/close_gate").text == "closed"
    lines = [Line(proxy.port) for _ in range(60)]
    for line in lines:
        line.sock.sendall(head_of("GET", "/wait_at_gate", "X-Ledger: me"))
    wait_until(lambda: parked(proxy) == 60)
    for line in lines[:40]:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.sock.close()
    wait_until(lambda: parked(proxy) == 20)
    for line in lines[40:50]:
        line.sock.shutdown(socket.SHUT_WR)  # this one only has nothing more to say
    assert get(proxy, "/open_gate").text == "open"
    for line in lines[40:]:
        assert line.answer().text == "me"
        line.sock.close()
    wait_until(lambda: parked(proxy) == 0)
    assert get(proxy, "/people/1").status == 200


@pytest.mark.parametrize("size", [0, 100, 60_000, 300_000])
def test_a_body_that_nobody_reads(proxy: Gateway, size: int) -> None:
    """A handler sees the head alone; what follows is thrown away or the connection closed."""
    with Line(proxy.port) as line:
        line.sock.sendall(head_of("POST", "/wait?ms=50", f"Content-Length: {size}") + bytes(size))
        answer = line.answer()
        assert answer.text == "waited"
        if answer.fields.get("connection") != "close":
            assert line.ask("GET", "/up/id").status == 200
        else:
            assert size > 60_000


@pytest.mark.parametrize(
    "kind",
    ["raise", "none", "text", "status", "interim", "word", "crlf", "name", "framing", "wide",
     "headers"],
)  # fmt: skip
def test_a_handler_that_goes_wrong_is_500(proxy: Gateway, kind: str) -> None:
    answer = get(proxy, f"/wrong?kind={kind}")
    assert answer.status == 500
    assert "evil" not in answer.fields
    wait_until(lambda: parked(proxy) == 0)


@pytest.mark.parametrize(
    "target",
    ["/up/id%20HTTP/1.1%0d%0aX-Evil:%201%0d%0a", "/up/id%0d%0a", "/up/a%20b", "", "up/id"],
)
def test_a_subrequest_cannot_be_smuggled(proxy: Gateway, target: str) -> None:
    """`u` comes to the handler decoded: bytes that would end the line are refused."""
    assert get(proxy, f"/wrong?kind=fetch&u={target}").status == 500
    assert get(proxy, "/wrong?kind=fetch&u=/up/id&h=a%0d%0aX-Evil:%201").status == 500
    assert get(proxy, "/wrong?kind=fetch&u=/up/id&h=fine").text == "sent"


# ---- subrequests -----------------------------------------------------------------------------


def test_a_subrequest(proxy: Gateway) -> None:
    answer = get(proxy, "/one?u=/up/id")
    assert answer.fields["x-sub-status"] == "200"
    assert answer.text.endswith(" -")


def test_a_subrequest_with_a_body(proxy: Gateway) -> None:
    answer = get(proxy, "/one?u=/up/hash&method=POST&body=x&times=5000")
    assert answer.text.startswith("5000 ")


def test_a_subrequest_that_fails(proxy: Gateway) -> None:
    assert get(proxy, "/one?u=/up/none").fields["x-sub-status"] == "404"
    assert get(proxy, "/one?u=/nowhere").fields["x-sub-status"] == "404"
    assert get(proxy, "/one?u=/up/headless").fields["x-sub-status"] == "502"
    assert get(proxy, "/one?u=/up/cut?n=1000").fields["x-sub-status"] == "502"


def test_a_large_answer_to_a_subrequest(proxy: Gateway) -> None:
    answer = get(proxy, "/one?u=/up/bytes?n=900000")
    assert (answer.size, answer.sha256) == (900_000, pattern_hash(900_000))
    chunked = get(proxy, "/one?u=/up/bytes?n=900000%26framing=chunked")
    assert (chunked.size, chunked.sha256) == (900_000, pattern_hash(900_000))
    # What would not fit in memory that is set aside for it is refused.
    assert get(proxy, "/one?u=/up/bytes?n=5000000").fields["x-sub-status"] == "502"


def test_a_subrequest_to_another_handler(proxy: Gateway) -> None:
    answer = get(proxy, "/one?u=/people/9")
    assert json.loads(answer.text)["params"] == ["9"]
    assert get(proxy, "/one?u=/one?u=/up/id").fields["x-sub-status"] == "200"


def test_many_subrequests_at_once(proxy: Gateway) -> None:
    started = time.monotonic()
    answer = get(proxy, "/fan?n=50&u=/up/slow?ms=200")
    assert answer.text.count(" -") == 50
    assert time.monotonic() - started < 8
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: get(proxy, "/fan?n=20&u=/up/id").text, range(10)))
    assert all(text.count(" -") == 20 for text in found)
    proxy.settle()
    assert proxy.status()["status"]["5xx"] > 0  # of the tests above; and none of these hung


def test_no_answer_to_a_subrequest_is_lost(proxy: Gateway) -> None:
    """More at once than the doorway's ring has places (4096): each is answered. Handlers that could
    not even be told are a 503."""
    assert json.loads(get(proxy, "/count?n=5000&u=/fixed").text) == {"200": 5000}
    found = json.loads(get(proxy, "/count?n=5000&u=/people/1").text)
    assert found == {"200": 4096, "503": 904}
    wait_until(lambda: parked(proxy) == 0)


def test_a_client_leaves_while_its_handler_waits_for_a_subrequest(proxy: Gateway) -> None:
    for _ in range(20):
        line = Line(proxy.port)
        line.sock.sendall(head_of("GET", "/one?u=/up/slow?ms=150"))
        line.sock.close()
    time.sleep(0.05)
    wait_until(lambda: proxy.inflight() == 0 and parked(proxy) == 0)
    assert get(proxy, "/one?u=/up/id").status == 200
    assert proxy.status()["workers"][0]["restarts"] == 0
