"""Algorithms through real workers: what they share, and what a request decides."""

from __future__ import annotations

import http.server
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flow.counting import Counting
from tests.flow.peers import Gateway, Origin, get
from tests.flow.wire import Line
from tests.running import wait_until

METHODS = ("ring", "maglev", "rendezvous")


def settings_of(backends: list[Any], **knobs: Any) -> dict[str, Any]:
    return {
        "upstreams": {"u": {"backends": backends, **knobs}},
        "routes": [{"path": "/", "upstream": "u"}],
        "forwarding": {"trusted_proxies": ["127.0.0.0/8"]},
    }


@pytest.fixture(scope="module")
def four() -> Iterator[list[Origin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Origin()) for _ in range(4)]


def holding(proxy: Gateway, count: int, *lines: str) -> list[threading.Thread]:
    """Requests that their backends hold, one after the other."""
    threads = []
    for _ in range(count):
        threads.append(
            threading.Thread(target=get, args=(proxy, "/hold?ms=3000", *lines), daemon=True)
        )
        threads[-1].start()
        time.sleep(0.005)
    return threads


def requests_by_worker(proxy: Gateway) -> list[int]:
    return [worker["requests"] for worker in proxy.status()["workers"]]


# ---- least_conn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 3]], ids=str)
def test_least_conn_is_within_1_of_ideal_over_both_workers(weights: list[int]) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(Counting()) for _ in weights]
        backends = [
            {"url": f"http://127.0.0.1:{one.port}", "weight": weight}
            for one, weight in zip(members, weights, strict=True)
        ]
        settings = settings_of(backends, balance="least_conn")
        proxy = stack.enter_context(Gateway(settings=settings, workers=2))
        threads = holding(proxy, 60)
        wait_until(lambda: proxy.inflight() == 60)
        found = [proxy.backends()[str(one["url"])]["inflight"] for one in backends]
        for load, weight in zip(found, weights, strict=True):
            assert abs(load - 60 * weight / sum(weights)) <= 1, found
        for thread in threads:
            thread.join(20)
        assert min(requests_by_worker(proxy)) > 10
        assert [one.worst for one in members] == found


# ---- hash: the same goes to the same ------------------------------------------------------------

ASKED = {
    "client_ip": ("{client_ip}", "/id", "X-Forwarded-For: 192.0.2.{}"),
    "header": ("{header:x-user}", "/id", "X-User: {}"),
    "cookie": ("{cookie:session}", "/id", "Cookie: a=b; session={}; c=d"),
    "path": ("{path}", "/bytes/../id/{}", "X-Any: {}"),
    "query": ("{query:id}", "/id?x=1&id={}", "X-Any: {}"),
    "two together": ("{method}-{header:x-user}", "/id", "X-User: {}"),
}


@pytest.mark.parametrize("kind", ASKED)
def test_the_same_goes_to_the_same_by_every_worker(kind: str, four: list[Origin]) -> None:
    """On both workers, and on those of another instance."""
    key, target, field = ASKED[kind]
    knobs = {"balance": "hash", "hash": {"key": key}}
    homes: dict[int, set[str]] = {number: set() for number in range(24)}
    turned = [[one.url for one in four], [one.url for one in reversed(four)]]
    for backends in turned:
        with Gateway(settings=settings_of(backends, **knobs), workers=2) as proxy:
            for _ in range(6):
                for number, seen in homes.items():
                    answer = get(proxy, target.format(number), field.format(number))
                    seen.add(answer.text.split()[0])
            assert min(requests_by_worker(proxy)) > 20
    assert all(len(seen) == 1 for seen in homes.values())
    assert len(set.union(*homes.values())) >= 3


@pytest.mark.parametrize("method", METHODS)
def test_one_that_dies_leaves_the_others_their_keys(method: str) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(Origin()) for _ in range(4)]
        knobs = {"balance": "hash", "hash": {"key": "{header:x-user}", "method": method}}
        settings = settings_of([one.url for one in members], **knobs)
        proxy = stack.enter_context(Gateway(settings=settings, workers=2))

        def homes() -> list[str]:
            found = []
            for number in range(40):
                names = {get(proxy, "/id", f"X-User: {number}").text.split()[0] for _ in range(3)}
                assert len(names) == 1, names
                found += names
            return found

        before = homes()
        dead = before[0]
        next(one for one in members if one.name == dead).kill()
        after = homes()
        assert [new for old, new in zip(before, after, strict=True) if old != dead] == [
            old for old in before if old != dead
        ]
        assert dead not in after


def test_ipv6_clients_go_by_their_network(four: list[Origin]) -> None:
    settings = settings_of([one.url for one in four], balance="hash")
    with Gateway(settings=settings, workers=2) as proxy:

        def home(address: str) -> str:
            return get(proxy, "/id", f"X-Forwarded-For: {address}").text.split()[0]

        for network in range(8):
            hosts = {home(f"2001:db8:0:{network:x}::{host:x}") for host in range(1, 6)}
            assert len(hosts) == 1
        assert len({home(f"2001:db8:0:{network:x}::1") for network in range(30)}) >= 3


def test_without_a_key_the_fallback_chooses(four: list[Origin]) -> None:
    knobs = {"balance": "hash", "hash": {"key": "{cookie:s}", "fallback": "round_robin"}}
    with Gateway(settings=settings_of([one.url for one in four], **knobs), workers=1) as proxy:
        seen = [get(proxy, "/id", "Cookie: other=1").text.split()[0] for _ in range(16)]
    assert seen[:4] * 4 == seen
    assert len(set(seen)) == 4


def test_a_bound_holds_over_both_workers() -> None:
    """All clients send one key. The first requests go home, what is more goes on."""
    with ExitStack() as stack:
        members = [stack.enter_context(Counting()) for _ in range(4)]
        urls = [f"http://127.0.0.1:{one.port}" for one in members]
        knobs = {"balance": "hash", "hash": {"key": "{header:x-user}", "bound": 1.25}}
        proxy = stack.enter_context(Gateway(settings=settings_of(urls, **knobs), workers=2))
        threads = holding(proxy, 40, "X-User: everybody")
        wait_until(lambda: proxy.inflight() == 40)
        found = sorted(proxy.backends()[url]["inflight"] for url in urls)
        assert found[-1] <= math.ceil(1.25 * 40 / 4)
        assert found[0] >= 1
        for thread in threads:
            thread.join(20)
        assert max(one.worst for one in members) == found[-1]
        assert min(requests_by_worker(proxy)) > 5


def test_a_bound_holds_while_all_come_and_go() -> None:
    """48 clients at once, all of one key: nobody ever has more than the bound of 48 requests."""
    with ExitStack() as stack:
        members = [stack.enter_context(Counting()) for _ in range(4)]
        urls = [f"http://127.0.0.1:{one.port}" for one in members]
        knobs = {"balance": "hash", "hash": {"key": "{header:x-user}", "bound": 1.0}}
        proxy = stack.enter_context(Gateway(settings=settings_of(urls, **knobs), workers=2))
        statuses: list[int] = []

        def client() -> None:
            with Line(proxy.port) as line:
                for _ in range(12):
                    statuses.append(line.ask("GET", "/hold?ms=20", "X-User: everybody").status)

        threads = [threading.Thread(target=client) for _ in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [200] * 48 * 12
        assert max(one.worst for one in members) <= 48 // 4
        assert min(requests_by_worker(proxy)) > 50


# ---- ewma ---------------------------------------------------------------------------------------


@contextmanager
def answering(delay: float, status: int) -> Iterator[str]:
    """A backend that takes so long for each answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def spread(balance: str, worse: tuple[float, int]) -> Counter[str]:
    """Who served 600 requests of 6 clients, two of three backends being quick."""
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(answering(*how))
            for name, how in (("worse", worse), ("one", (0.002, 200)), ("other", (0.002, 200)))
        }
        settings = settings_of(
            list(urls.values()), balance=balance, outlier={"consecutive": 0, "error_percent": 0}
        )
        proxy = stack.enter_context(Gateway(settings=settings, workers=2))

        def client() -> None:
            for _ in range(10):
                with Line(proxy.port) as line:
                    for _ in range(10):
                        line.ask("GET", "/")

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        rows = proxy.backends()
        return Counter({name: rows[url]["requests"] for name, url in urls.items()})


def test_ewma_avoids_a_slow_backend() -> None:
    found = spread("ewma", (0.1, 200))
    assert found.total() == 600
    assert 1 <= found["worse"] <= 18, found
    assert min(found["one"], found["other"]) > 100


def test_ewma_is_not_drawn_to_quick_errors() -> None:
    found = spread("ewma", (0.0, 500))
    assert 1 <= found["worse"] <= 18, found
    assert spread("p2c", (0.0, 500))["worse"] > 100  # what it would be otherwise


def test_ewma_leaves_one_that_refuses_or_says_nothing() -> None:
    with Origin() as quick, Origin() as mute, Origin() as dead:
        knobs = {"balance": "ewma", "draws": 3, "timeouts": {"first_byte": "200ms"},
                 "outlier": {"consecutive": 0}}  # fmt: skip
        urls = [quick.url, mute.url, dead.url]
        with Gateway(settings=settings_of(urls, **knobs), workers=2) as proxy:
            dead.kill()
            mute.stop()
            statuses = Counter(get(proxy, "/id").status for _ in range(100))
            mute.go()
        assert statuses[200] >= 97, statuses
        assert set(statuses) <= {200, 504}


# ---- what it is made of -------------------------------------------------------------------------


def test_a_bad_key_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "fastproxy.json"
    settings = settings_of(["http://127.0.0.1:1"], balance="hash", hash={"key": "{clientip}"})
    file.write_text(json.dumps({**settings, "listeners": ["127.0.0.1:0"]}))
    found = subprocess.run(
        [sys.executable, "-m", "fastproxy", "check", "-c", str(file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert found.returncode != 0
    assert "upstreams.u.hash.key" in found.stdout + found.stderr
    assert "did you mean {client_ip}?" in found.stdout + found.stderr
