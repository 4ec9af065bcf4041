"""HTTP/1.1 heads and bodies: nanoseconds each, next to httptools (llhttp) and h11.

    python -m pytest bench/micro/test_parse.py

Ours loop inside one call of the probe, so a round is the work of LOOPS heads and the real figure is
`ns_each` in the extra info (also printed as a table at the end). httptools and h11 are called from
Python as their users call them; they build Python objects, we fill a struct, so the ratio says what
a Python server saves and not that llhttp's C is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h11
import httptools
import pytest

from fastproxy import _probe

LOOPS = 20000

SMALL = (
    b"GET /hello HTTP/1.1\r\nHost: example.com\r\nUser-Agent: wrk/4.2\r\nAccept: */*\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
API = (
    b"POST /v1/users/4711/orders?expand=items HTTP/1.1\r\nHost: api.example.com\r\n"
    b"Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 128\r\nAccept: application/json\r\n"
    b"X-Request-ID: 018f3f3e-7c1a-7000-8000-0123456789ab\r\nUser-Agent: python-httpx/0.27\r\n\r\n"
)
BROWSER = (
    b"GET /static/app/main.js?v=123 HTTP/1.1\r\nHost: www.example.com\r\n"
    b"Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
    b"(KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,"
    b"application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Referer: https://www.example.com/\r\nCookie: session=0123456789abcdef0123456789abcdef; "
    b"theme=dark; _ga=GA1.2.1234567890.1234567890\r\nSec-Fetch-Mode: navigate\r\n"
    b"Cache-Control: max-age=0\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.5\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n"
)
HEADS = {"small": SMALL, "api": API, "browser": BROWSER, "answer": ANSWER}
BODIES = {
    "4 KiB chunks": (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 16 + b"0\r\n\r\n",
    "10 byte chunks": (b"a\r\n" + b"x" * 10 + b"\r\n") * 400 + b"0\r\n\r\n",
}
PATHS = {
    "plain": b"/static/app/main.js",
    "escape": b"/static/app/%41main.js",
    "dots": b"/a/b/../c",
}

Table = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """Collects ns per operation and prints them once, at the end."""
    rows: Table = {}
    yield rows
    for what, figures in rows.items():
        print(f"\n{what:28}", *(f"{who} {ns:9.1f} ns" for who, ns in figures.items()), end="")
    print()


def measure(benchmark: object, table: Table, what: str, who: str, run: Callable[[], float]) -> None:
    """Run under pytest-benchmark; `run` answers ns each. The best round counts."""
    figures: list[float] = []
    benchmark.pedantic(  # type: ignore[attr-defined]
        lambda: figures.append(run()), rounds=7, warmup_rounds=1
    )
    benchmark.extra_info["ns_each"] = min(figures)  # type: ignore[attr-defined]
    table.setdefault(what, {})[who] = min(figures)


def timed(work: Callable[[], object], loops: int) -> float:
    """ns of one call of `work`, from Python."""
    from time import perf_counter

    began = perf_counter()
    for _ in range(loops):
        work()
    return (perf_counter() - began) / loops * 1e9


@pytest.mark.parametrize("simd", ["avx2", "sse2", "swar"])
@pytest.mark.parametrize("head", HEADS)
def test_ours(benchmark: object, table: Table, head: str, simd: str) -> None:
    data = HEADS[head]
    request = not data.startswith(b"HTTP/")
    run = lambda: _probe.time_head(request, data, LOOPS, simd)  # noqa: E731
    measure(benchmark, table, f"head {head} ({len(data)} B)", simd, run)


class Listener:
    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_url(self, url: bytes) -> None:
        pass


@pytest.mark.parametrize("head", HEADS)
def test_httptools(benchmark: object, table: Table, head: str) -> None:
    data = HEADS[head]
    kind = httptools.HttpResponseParser if data[:5] == b"HTTP/" else httptools.HttpRequestParser
    run = lambda: timed(lambda: kind(Listener()).feed_data(data), 2000)  # noqa: E731
    measure(benchmark, table, f"head {head} ({len(data)} B)", "httptools", run)


def by_h11(data: bytes) -> None:
    server = not data.startswith(b"HTTP/")
    connection = h11.Connection(h11.SERVER if server else h11.CLIENT)
    connection.receive_data(data)
    connection.next_event()


@pytest.mark.parametrize("head", HEADS)
def test_h11(benchmark: object, table: Table, head: str) -> None:
    data = HEADS[head]
    run = lambda: timed(lambda: by_h11(data), 200)  # noqa: E731
    measure(benchmark, table, f"head {head} ({len(data)} B)", "h11", run)


@pytest.mark.parametrize("body", BODIES)
def test_chunked(benchmark: object, table: Table, body: str) -> None:
    data = BODIES[body]
    run = lambda: _probe.time_chunked(data, 300)  # noqa: E731
    measure(benchmark, table, f"body {body} ({len(data)} B)", "ours", run)


@pytest.mark.parametrize("body", BODIES)
def test_chunked_httptools(benchmark: object, table: Table, body: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    def once() -> None:
        parser.feed_data(BODIES[body])

    def run() -> float:
        nonlocal parser
        spent = 0.0
        for _ in range(100):
            parser = httptools.HttpRequestParser(Listener())
            parser.feed_data(head)
            spent += timed(once, 1)
        return spent / 100

    parser = httptools.HttpRequestParser(Listener())
    measure(benchmark, table, f"body {body} ({len(BODIES[body])} B)", "httptools", run)


@pytest.mark.parametrize("path", PATHS)
def test_path(benchmark: object, table: Table, path: str) -> None:
    run = lambda: _probe.time_path(PATHS[path], LOOPS, 1)  # noqa: E731
    measure(benchmark, table, f"path {path}", "ours", run)
