"""nghttp and h2load, which are the HTTP/2 of nghttp2's own authors, toward both listeners."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.ways import BEHIND, MIB, TRAILER, Ways, body, digest
from tests.running import FOREIGN

every_listener = pytest.mark.parametrize("listener", ["tls", "plain"])
every_way = pytest.mark.parametrize("behind", BEHIND)
WINDOWS = {
    "small": ("-w", "10", "-W", "10"),
    "stream": ("-w", "10", "-W", "30"),
    "connection": ("-w", "30", "-W", "10"),
    "large": ("-w", "30", "-W", "30"),
}


def nghttp(*args: str, data: bytes | None = None) -> bytes:
    command = ["nghttp", "--no-verify-peer", "-t", "60", *args]
    done = subprocess.run(command, input=data, capture_output=True, env=FOREIGN, timeout=90)
    assert done.returncode == 0, done.stderr.decode()
    assert b"WARN" not in done.stderr.replace(b"certificate verification", b""), done.stderr
    return done.stdout


def har(path: Path) -> list[dict[str, int]]:
    """Status and size of every answer, in the order of their requests."""
    entries = json.loads(path.read_text())["log"]["entries"]
    return [
        {"status": one["response"]["status"], "size": one["response"]["content"]["size"]}
        for one in entries
    ]


@every_listener
@every_way
@pytest.mark.parametrize("windows", WINDOWS)
def test_windows(ways: Ways, listener: str, behind: str, windows: str) -> None:
    """A window of 1023 bytes is one that is always shut; 2^30 - 1 is never."""
    size = MIB // 2 if windows != "large" else 8 * MIB
    got = nghttp(*WINDOWS[windows], f"{getattr(ways, listener)}/{behind}/bytes?n={size}")
    assert digest(got) == digest(body(size))


@every_listener
@every_way
def test_many_addresses_at_once(ways: Ways, listener: str, behind: str, tmp_path: Path) -> None:
    """Forty on one connection, none of which may wait for another."""
    sizes = [1000 * (number % 40 + 1) for number in range(40)]
    urls = [f"{getattr(ways, listener)}/{behind}/bytes?n={size}" for size in sizes]
    nghttp("-n", "-w", "12", "-W", "14", "-r", str(tmp_path / "har"), *urls)
    assert har(tmp_path / "har") == [{"status": 200, "size": size} for size in sizes]


@every_listener
@pytest.mark.parametrize("how", ["--no-dep", "--no-rfc7540-pri", "-p1", "-p256", "-b200", "-c0"])
def test_its_ways_to_say_it(ways: Ways, listener: str, how: str, tmp_path: Path) -> None:
    """Priorities of either RFC, padding, no table for HPACK: the same answers."""
    urls = [f"{getattr(ways, listener)}/h1/bytes?n={size}" for size in range(5000, 5010)]
    nghttp("-n", how, "-r", str(tmp_path / "har"), *urls)
    assert [one["size"] for one in har(tmp_path / "har")] == list(range(5000, 5010))


@every_listener
@every_way
@pytest.mark.parametrize("more", [(), ("--expect-continue",), ("--no-content-length",), ("-b255",)])
def test_uploads(
    ways: Ways, listener: str, behind: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    data = body(MIB + 1)
    (tmp_path / "data").write_bytes(data)
    got = nghttp("-d", str(tmp_path / "data"), *more, f"{getattr(ways, listener)}/{behind}/hash")
    assert got.decode() == f"{len(data)} {digest(data)}"


@every_listener
def test_trailers_go_and_come(ways: Ways, listener: str, tmp_path: Path) -> None:
    """To nghttpd and back: one of the request, one of the answer."""
    data, mine = body(70_000), f"{listener}-{tmp_path.name}"
    (tmp_path / "data").write_bytes(data)
    url = f"{getattr(ways, listener)}/ng/echo"
    more = (f"--trailer=x-mine: {mine}", "--no-content-length", "-H", "te: trailers")
    verbose = nghttp("-nv", "-d", str(tmp_path / "data"), *more, url).decode()
    assert TRAILER in re.sub(r"\x1b\[[0-9;]*m", "", verbose)
    assert f"x-mine: {mine}" in ways.nghttpd.log()
    assert digest(nghttp("-d", str(tmp_path / "data"), url)) == digest(data)


@every_listener
def test_a_page_and_its_assets(ways: Ways, listener: str, tmp_path: Path) -> None:
    """nghttp reads the HTML and asks for what is in it on the same connection."""
    page = "".join(f'<img src="/h1/bytes?n={2000 + number}">' for number in range(20))
    (ways.nginx.www / "page.html").write_text(f"<html><body>{page}</body></html>")
    url = f"{getattr(ways, listener)}/h1/www/page.html"
    nghttp("-n", "-a", "-r", str(tmp_path / "har"), url)
    found = har(tmp_path / "har")
    assert {one["status"] for one in found} == {200}
    assert sorted(one["size"] for one in found)[-20:] == list(range(2000, 2020))


# ---- h2load -----------------------------------------------------------------------------------


def h2load(count: int, clients: int, streams: int, *args: str) -> int:
    """All must succeed; bytes of the bodies."""
    command = ["h2load", "-t1", f"-n{count}", f"-c{clients}", f"-m{streams}", *args]
    done = subprocess.run(command, capture_output=True, text=True, env=FOREIGN, timeout=100)
    assert done.returncode == 0, done.stderr
    want = f"{count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored"
    assert want in done.stdout, done.stdout
    assert f"{count} 2xx, 0 3xx" in done.stdout
    found = re.search(r"\((\d+)\) data", done.stdout)
    assert found, done.stdout
    return int(found[1])


@every_listener
@every_way
def test_h2load_small(ways: Ways, listener: str, behind: str) -> None:
    url = f"{getattr(ways, listener)}/{behind}/www/small"
    assert h2load(10_000, 16, 32, url) == 10_000 * 100


@every_listener
def test_h2load_http1(ways: Ways, listener: str) -> None:
    url = f"{getattr(ways, listener)}/h1/www/small"
    assert h2load(5_000, 16, 1, "--h1", url) == 5_000 * 100


@every_listener
@every_way
def test_h2load_large(ways: Ways, listener: str, behind: str) -> None:
    (ways.nginx.www / "mib").write_bytes(body(MIB))
    url = f"{getattr(ways, listener)}/{behind}/www/mib"
    assert h2load(100, 4, 8, url) == 100 * MIB


@every_listener
def test_h2load_uploads(ways: Ways, listener: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(body(MIB))
    url = f"{getattr(ways, listener)}/h1/hash"
    want = f"{MIB} {digest(body(MIB))}"
    assert h2load(50, 4, 4, "-d", str(tmp_path / "data"), url) == 50 * len(want)
