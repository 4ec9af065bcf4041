"""What many clients cost a worker: slow readers, and those that only stay."""

from __future__ import annotations

import selectors
import socket
import time

import pytest

from tests.flow.origin import pattern
from tests.flow.peers import Gateway, Nginx, Peak, pss
from tests.flow.wire import Line, head_of
from tests.running import wait_until

KIB, MIB = 1 << 10, 1 << 20


# ---- many slow readers ------------------------------------------------------------------------


def read_slowly(nginx: Nginx, readers: int, size: int) -> tuple[int, int]:
    """(growth of the worker, bytes it kept) while that many clients read slowly. Every eighth
    reads it all in the end, the others leave."""
    body = b"".join(bytes(part) for part in pattern(size, MIB))
    (nginx.www / "large").write_bytes(body)
    with Gateway(upstreams=[nginx.url], workers=1) as proxy:
        assert proxy.get("/large").body == body
        with Peak(*proxy.worker_pids()) as peak:
            lines = [Line(proxy.port, rcvbuf=4 * KIB) for _ in range(readers)]
            for line in lines:
                line.sock.sendall(head_of("GET", "/large"))
            wait_until(lambda: proxy.totals()["requests"] + proxy.inflight() > readers, 60)
            left = dict.fromkeys(lines, b"")
            for _ in range(20):  # sips
                for line in lines:
                    left[line] += line.sock.recv(1 * KIB)
            wait_until(lambda: settled(proxy), 30, 0.3)
            kept = proxy.totals()["kept_bytes"]
            patient = lines[::8]
            for line in set(lines) - set(patient):
                line.sock.close()
                del left[line]
            for line in patient:
                line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
                line.sock.setblocking(False)
            drink_up(left, body)
        for line in lines:
            line.sock.close()
        proxy.settle()
        assert proxy.totals()["kept_bytes"] == 0
        assert proxy.status()["status"]["2xx"] == readers + 1
    return peak.growth, kept


def settled(proxy: Gateway) -> bool:
    """Nothing moves any more: everybody waits for the readers."""
    before = proxy.totals()["kept_bytes"]
    time.sleep(0.3)
    return before == proxy.totals()["kept_bytes"]


def drink_up(left: dict[Line, bytes], body: bytes) -> None:
    """Read all the rest; every body must be `body`."""
    chooser = selectors.DefaultSelector()
    for line, first in left.items():
        head, _, rest = first.partition(b"\r\n\r\n")
        assert b"200 OK" in head
        assert body.startswith(rest)
        chooser.register(line.sock, selectors.EVENT_READ, [len(rest)])
    view = memoryview(body)
    end = time.monotonic() + 120
    while chooser.get_map():
        assert time.monotonic() < end, f"{len(chooser.get_map())} readers still wait"
        for key, _ in chooser.select(1):
            sock, at = key.fileobj, key.data
            data = sock.recv(256 * KIB)  # type: ignore[union-attr]
            assert data, "cut off"
            assert view[at[0] : at[0] + len(data)] == data
            at[0] += len(data)
            if at[0] == len(body):
                chooser.unregister(sock)


@pytest.mark.measures
def test_200_slow_readers(nginx: Nginx) -> None:
    """Of 6 MiB: more than the kernel takes, so that the worker has to wait for them."""
    growth, kept = read_slowly(nginx, 200, 6 * MIB)
    assert kept > 0
    assert growth < 32 * MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_2000_slow_readers(nginx: Nginx) -> None:
    growth, kept = read_slowly(nginx, 2000, MIB)
    print(f"\n2,000 slow readers of 1 MiB: worker +{growth / MIB:.1f} MiB, "
          f"of that {kept / MIB:.1f} MiB kept for them")  # fmt: skip
    assert growth <= 64 * MIB


# ---- idle connections -------------------------------------------------------------------------


def serve_each(lines: list[Line]) -> None:
    for first in range(0, len(lines), 200):
        batch = lines[first : first + 200]
        for line in batch:
            line.sock.sendall(head_of("GET", "/small"))
        for line in batch:
            assert line.answer().status == 200


def idle_cost(nginx: Nginx, few: int, many: int) -> float:
    """Bytes of PSS, all processes, for each idle connection between `few` and `many`."""
    lines: list[Line] = []
    with Gateway(upstreams=[nginx.url], workers=2) as proxy:

        def to(count: int) -> int:
            while len(lines) < count:
                fresh = [Line(proxy.port) for _ in range(200)]
                serve_each(fresh)
                lines.extend(fresh)
            wait_until(lambda: proxy.totals()["connections"] == count)
            time.sleep(0.3)
            return pss(proxy.family())

        try:
            before = to(few)
            after = to(many)
            serve_each(lines)  # and they all still work
        finally:
            for line in lines:
                line.sock.close()
        proxy.settle()
    return (after - before) / (many - few)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_8000_idle_connections(nginx: Nginx) -> None:
    cost = idle_cost(nginx, 1000, 8000)
    print(f"\nidle connections: {cost:.0f} bytes of PSS each, from 1,000 to 8,000")
    assert cost <= 400


@pytest.mark.measures
def test_idle_connections_are_small(nginx: Nginx) -> None:
    """The same at a smaller scale, so with more noise: a second chance."""
    assert idle_cost(nginx, 400, 2000) <= 600 or idle_cost(nginx, 400, 2000) <= 600
