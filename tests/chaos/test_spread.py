"""How requests are spread over backends, and storms that leave nothing behind."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections import Counter

from tests.flow.ledger import Ledger
from tests.flow.peers import Gateway, Origin, free_port, get
from tests.flow.wire import Line, head_of
from tests.running import wait_until

# ---- who gets how much --------------------------------------------------------------------------


def test_weights_are_exact() -> None:
    """One worker: after each whole turn of the wheel each has exactly its share, smoothly."""
    with Origin() as a, Origin() as b, Origin() as c:
        weights = {a.url: 5, b.url: 2, c.url: 1}
        settings = {
            "upstreams": {
                "u": {
                    "backends": [{"url": u, "weight": w} for u, w in weights.items()],
                    "balance": "round_robin",
                }
            },
            "routes": [{"path": "/", "upstream": "u"}],
        }
        names = {one.name: weights[one.url] for one in (a, b, c)}
        with Gateway(settings=settings, workers=1) as proxy, Line(proxy.port) as line:
            order = [line.ask("GET", "/id").text.split()[0] for _ in range(80)]
            assert Counter(order) == {name: 10 * weight for name, weight in names.items()}
            assert Counter(order[8:16]) == names
            # Smooth: the heavy one never more than twice in a row.
            assert not any(len(set(order[at : at + 4])) == 1 for at in range(77))
            assert {url: one["requests"] for url, one in proxy.backends().items()} == {
                url: 10 * weight for url, weight in weights.items()
            }


def test_weight_0_gets_nothing(origin: Origin) -> None:
    with Origin() as idle:
        backends = [{"url": origin.url}, {"url": idle.url, "weight": 0}]
        settings = {
            "upstreams": {"u": {"backends": backends}},
            "routes": [{"path": "/", "upstream": "u"}],
        }
        with Gateway(settings=settings, workers=2) as proxy:
            assert {get(proxy, "/id").status for _ in range(20)} == {200}
            assert idle.ask("/counts")["requests"] == 1  # this question


def test_two_workers_begin_at_different_backends() -> None:
    turns = "--balance=round_robin"
    with Origin() as a, Origin() as b, Gateway(turns, upstreams=[a.url, b.url], workers=2) as proxy:
        for _ in range(100):
            assert get(proxy, "/id").status == 200
        shares = [one["requests"] for one in proxy.backends().values()]
        assert sum(shares) == 100
        assert abs(shares[0] - shares[1]) <= 2


# ---- storms -------------------------------------------------------------------------------------


def test_clients_that_reset_in_every_state(origin: Origin) -> None:
    """RST while the head comes, while it waits, while the body flows, idle: nothing is left."""
    with Gateway(upstreams=[origin.url], workers=2) as proxy:
        beginnings = [
            b"",
            b"GET /id HT",
            head_of("GET", "/slow?ms=200"),
            head_of("GET", "/bytes?n=10000000"),
            head_of("POST", "/hash", "Content-Length: 1000000") + b"x" * 1000,
            head_of("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
            head_of("GET", "/id"),
        ]

        def storm() -> None:
            for turn in range(70):
                line = Line(proxy.port)
                line.sock.sendall(beginnings[turn % len(beginnings)])
                time.sleep(0.001 * (turn % 5))
                line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                line.sock.close()

        threads = [threading.Thread(target=storm) for _ in range(4)]
        with Ledger(proxy.port, lines=4) as ledger:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not ledger.failed
        proxy.settle()
        wait_until(lambda: proxy.totals()["kept_bytes"] == 0)
        totals = proxy.totals()
        assert totals["upstream_open"] == totals["upstream_idle"]
        assert [one["restarts"] for one in proxy.status()["workers"]] == [0, 0]


def test_a_backend_restarted_again_and_again_under_load() -> None:
    port = free_port()
    with Origin() as stays:
        backend = Origin(f"127.0.0.1:{port}").start()
        try:
            with Gateway(upstreams=[stays.url, backend.url], workers=2) as proxy:
                with Ledger(proxy.port, lines=8, methods=("GET",)) as ledger:
                    for _ in range(4):
                        ledger.until(60)
                        backend.signal(signal.SIGKILL)
                        backend.process.wait(5)
                        backend.close()
                        backend = Origin(f"127.0.0.1:{port}").start()
                # A GET may fail only on a connection that was fresh when the backend died.
                assert all(entry.status == 502 for entry in ledger.failed), ledger.failed[:3]
                assert len(ledger.failed) <= 4 * 8
                proxy.settle()
        finally:
            backend.close()
