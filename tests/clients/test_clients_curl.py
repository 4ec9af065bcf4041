"""curl, over every protocol that it and we speak, to every kind of backend: bytes are compared."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.ways import BEHIND, FILE_BYTES, MIB, Ways, body, digest
from tests.flow.origin import pattern_hash
from tests.running import FOREIGN

KINDS = {
    "http1": ("plain", "--http1.1", "1.1"),
    "h2c": ("plain", "--http2-prior-knowledge", "2"),
    "tls-http1": ("tls", "--http1.1", "1.1"),
    "tls-h2": ("tls", "--http2", "2"),
}
SIZES = [0, 1, 100, 16383, 16384, 16385, 65535, 65536, 100_001, MIB + 1]
HUGE = 100 * MIB
every_kind = pytest.mark.parametrize("kind", KINDS)
every_way = pytest.mark.parametrize("behind", BEHIND)


class Curl:
    """One run of curl with several transfers: `got` is what they gave, one after the other,
    `facts` what it tells of each."""

    def __init__(self, ways: Ways, kind: str, *targets: str, more: tuple[str, ...] = (),
                 data: bytes | None = None) -> None:  # fmt: skip
        listener, flag, self.version = KINDS[kind]
        base = getattr(ways, listener)
        command = [
            "curl",
            "-sS",
            "--no-progress-meter",
            "--max-time",
            "60",
            "--cacert",
            ways.ca,
            flag,
            *more,
        ]
        command += ["-w", "%{stderr}%{json}\\n", *(base + target for target in targets)]
        done = subprocess.run(command, input=data, capture_output=True, env=FOREIGN, timeout=90)
        assert done.returncode == 0, done.stderr.decode()
        self.got = done.stdout
        lines = done.stderr.decode().splitlines()
        self.facts = [json.loads(line) for line in lines if line.startswith("{")]
        assert len(self.facts) == len(targets)
        assert {one["http_version"] for one in self.facts} == {self.version}

    @property
    def statuses(self) -> set[int]:
        return {one["response_code"] for one in self.facts}


@every_kind
@every_way
def test_bodies_come_exactly(ways: Ways, kind: str, behind: str) -> None:
    """All on one connection, by length and chunked. (By prior knowledge each on its own: curl 7.88
    fails when it does that on a connection that it has, whoever the server is.)"""
    targets = [
        f"/{behind}/bytes?n={n}&framing={how}" for n in SIZES for how in ("length", "chunked")
    ]
    at_once = 1 if kind == "h2c" else len(targets)
    runs = [Curl(ways, kind, *targets[at : at + at_once]) for at in range(0, len(targets), at_once)]
    assert all(one.statuses == {200} for one in runs)
    got = b"".join(one.got for one in runs)
    assert digest(got) == digest(b"".join(body(n) * 2 for n in SIZES))
    assert all(sum(fact["num_connects"] for fact in one.facts) == 1 for one in runs)


@every_kind
@every_way
@pytest.mark.parametrize("size", [1, 65536, 3 * MIB + 7])
def test_bodies_go_exactly(ways: Ways, kind: str, behind: str, size: int) -> None:
    """With a length, without one, and with Expect: 100-continue."""
    target, data = f"/{behind}/hash", body(size)
    for more in (("--data-binary", "@-", "-HExpect:"), ("-T", "-"), ("--data-binary", "@-")):
        done = Curl(ways, kind, target, more=more, data=data)
        assert done.got.decode() == f"{size} {digest(data)}", more


@every_kind
@every_way
def test_what_goes_comes_back(ways: Ways, kind: str, behind: str) -> None:
    data = body(2 * MIB + 3)
    done = Curl(ways, kind, f"/{behind}/echo", more=("-T", "-"), data=data)
    assert digest(done.got) == digest(data)


@every_kind
@every_way
def test_head(ways: Ways, kind: str, behind: str) -> None:
    done = Curl(ways, kind, f"/{behind}/www/file", more=("-I",))
    fields = dict(line.lower().split(": ", 1) for line in done.got.decode().splitlines()[1:-1])
    assert (done.statuses, fields["content-length"]) == ({200}, str(FILE_BYTES))
    assert done.facts[0]["size_download"] == 0


@every_kind
@every_way
def test_ranges_pass(ways: Ways, kind: str, behind: str) -> None:
    whole, target = body(FILE_BYTES), f"/{behind}/www/file"
    for asked, start, end in (("0-0", 0, 1), ("1000-70000", 1000, 70001), ("-5", -5, None),
                              ("299999-", 299999, None)):  # fmt: skip
        done = Curl(ways, kind, target, more=("-r", asked))
        assert (done.statuses, done.got) == ({206}, whole[start:end]), asked
    parts = Curl(ways, kind, target, more=("-r", "0-9,100-119"))
    assert parts.statuses == {206}
    assert whole[:10] in parts.got
    assert whole[100:120] in parts.got
    assert Curl(ways, kind, target, more=("-r", "400000-")).statuses == {416}


@every_kind
@every_way
def test_early_hints(ways: Ways, kind: str, behind: str) -> None:
    done = Curl(ways, kind, f"/{behind}/hints", more=("-i",))
    assert done.got.startswith(f"HTTP/{done.version} 103".encode())
    assert b"rel=preload" in done.got
    assert done.statuses == {200}


@every_way
def test_side_by_side(ways: Ways, behind: str, tmp_path: Path) -> None:
    """Fifty at a time on one connection, each into a file of its own."""
    names = [str(tmp_path / str(size)) for size in range(1000, 1050)]
    more = ["-Z"]
    for name in names:
        more += ["-o", name]
    targets = [f"/{behind}/bytes?n={2000 * (size - 999)}" for size in range(1000, 1050)]
    done = Curl(ways, "tls-h2", *targets, more=tuple(more))
    assert done.statuses == {200}
    for number, name in enumerate(names):
        assert Path(name).read_bytes() == body(2000 * (number + 1))


def test_tls_sessions_are_resumed(ways: Ways) -> None:
    """Each answer ends its connection, the next one comes back with a ticket, which curl uses once.
    (In TLS 1.2 curl takes no tickets; and there is no other way to resume here.)"""
    before = ways.front.totals()
    done = Curl(ways, "tls-http1", *["/h1/bytes?n=100"] * 5, more=("-HConnection: close",))
    assert done.got == body(100) * 5
    assert sum(one["num_connects"] for one in done.facts) == 5
    after = ways.front.totals()
    assert after["tls_handshakes"] - before["tls_handshakes"] == 5
    assert after["tls_resumed"] - before["tls_resumed"] == 4


def hashed(ways: Ways, kind: str, target: str) -> str:
    """A download that is hashed as it comes."""
    listener, flag, _ = KINDS[kind]
    url = getattr(ways, listener) + target
    command = f"curl -sS --fail --max-time 100 --cacert '{ways.ca}' {flag} '{url}' | sha256sum"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True,
                          env=FOREIGN, timeout=110)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()[0]


LARGE = [("tls-h2", "h1"), ("tls-h2", "tls"), ("h2c", "h2c"), ("tls-http1", "tls")]


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("huge") / "body"
    path.write_bytes(body(HUGE))
    return path


@pytest.mark.parametrize(("kind", "behind"), LARGE)
def test_100_mib_down(ways: Ways, kind: str, behind: str) -> None:
    assert hashed(ways, kind, f"/{behind}/bytes?n={HUGE}") == pattern_hash(HUGE)


@pytest.mark.parametrize(("kind", "behind"), LARGE)
def test_100_mib_up(ways: Ways, kind: str, behind: str, huge: Path) -> None:
    done = Curl(ways, kind, f"/{behind}/hash", more=("-T", str(huge)))
    assert done.got.decode() == f"{HUGE} {pattern_hash(HUGE)}"
