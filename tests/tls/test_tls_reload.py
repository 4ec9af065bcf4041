"""New certificates while connections go on (TL4)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy import _core, _tls
from fastproxy.scoreboard import segment
from fastproxy.tls.keyring import (
    ClientAuth,  # fmt: skip
    Keyring,
    ListenerKeys,
    Pair,
    UpstreamKeys,
    encode,
)
from tests.running import Backend, Proxy, wait_until
from tests.tls.certs import Authority, Signed
from tests.tls.secure import Secure, ask, trusting

AUTHORITY = Authority()
ONE, TWO = AUTHORITY.sign("a.test"), AUTHORITY.sign("a.test")


def write(directory: Path, signed: Signed) -> None:
    """As tools do it: new files, then renamed."""
    for name, content in (("site.key", signed.key), ("site.pem", signed.cert)):
        path = directory / f"{name}.new"
        path.write_bytes(content)
        os.chmod(path, 0o600)
        path.rename(directory / name)


class Configured(Secure):
    """From a file, as users have it."""

    def command(self) -> list[str]:
        return Proxy.command(self)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Configured]:
    tmp_path.chmod(0o755)
    write(tmp_path, ONE)
    with Backend() as backend:
        config = tmp_path / "fastproxy.toml"
        config.write_text(f"""
            access_log = "off"
            [[listeners]]
            bind = "127.0.0.1:0"
            http2 = false
            [listeners.tls]
            certificates = [{{ cert = "site.pem", key = "site.key" }}]
            [upstreams.default]
            backends = ["{backend.url}"]
            [[routes]]
            path = "/"
            upstream = "default"
        """)
        with Configured([None], config=config, workers=2) as proxy:
            yield proxy


def test_a_new_certificate_is_in_force_and_nothing_is_dropped(
    running: Configured, tmp_path: Path
) -> None:
    context = trusting(AUTHORITY)
    with running.talk(context) as before:
        assert before.getpeercert(True) == ONE.der
        assert ask(before).endswith(b"hello\n")
        session = before.session
        write(tmp_path, TWO)

        def shown() -> bytes | None:
            with running.talk(trusting(AUTHORITY)) as client:
                ask(client)
                return client.getpeercert(True)

        wait_until(lambda: [shown() for _ in range(6)] == [TWO.der] * 6, 30)
        for _ in range(3):
            assert ask(before).endswith(b"hello\n")  # under the old one
    for _ in range(4):  # a session outlives the certificate it began with
        with running.talk(context, session=session) as after:
            assert ask(after).endswith(b"hello\n")
            assert after.session_reused


# ---- load -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> _core.WorkerEngine:
    board = segment.made(1)
    made = _core.WorkerEngine(0, board.fd)
    _tls.attach(made)
    _tls.attach(made)  # a second time is nothing
    return made


def keyring(pairs: list[Pair], **options: object) -> bytes:
    return encode(Keyring(1, [None, ListenerKeys(pairs, **options)], []))  # type: ignore[arg-type]


RSA = AUTHORITY.sign("a.test", kind="rsa")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no keyring"),
        (b"\x93\x01", "no keyring"),
        (keyring([]), "listener 1: there is no certificate"),
        (keyring([Pair(b"", ONE.key, [])]), "listener 1: there is no certificate"),
        (keyring([Pair(b"junk", ONE.key, [])]), "listener 1: there is no certificate"),
        (keyring([Pair(ONE.cert, b"", [])]), "listener 1: the key cannot be read"),
        (keyring([Pair(ONE.cert, TWO.key, [])]), "listener 1: .*mismatch"),
        (keyring([Pair(ONE.cert, RSA.key, [])]), "listener 1: certificate and key"),
        (keyring([Pair(ONE.cert[:-40], ONE.key, [])]), "listener 1: a certificate cannot be read"),
        (keyring([ONE.pair()], profile="old"), "listener 1: 'old' is no profile"),
        (keyring([ONE.pair()], client_auth=[ClientAuth("required", b"")]), "of an authority"),
        (keyring([ONE.pair()], client_auth=[ClientAuth("some", AUTHORITY.pem)]), "no mode"),
        (
            keyring([ONE.pair()], client_auth=[ClientAuth("required", AUTHORITY.pem, b"junk")]),
            "no revocation list",
        ),
        (encode(Keyring(1, [], [UpstreamKeys(ca=b"junk")])), "upstream 0: there is no certificate"),
        (encode(Keyring(1, [], [UpstreamKeys(protocol="http3")])), "upstream 0: 'http3'"),
        (encode(Keyring(1, [], [UpstreamKeys(verify=False, chain=ONE.cert)])), "upstream 0: the k"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(engine: _core.WorkerEngine, data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _tls.load(engine, data)


def test_loading_again_and_again(engine: _core.WorkerEngine) -> None:
    """And the system's authorities once."""
    many = [AUTHORITY.sign(f"h{number}.test").pair() for number in range(50)]
    data = encode(Keyring(1, [ListenerKeys(many)], [UpstreamKeys()]))
    for _ in range(5):
        _tls.load(engine, data)


def test_the_version_is_told() -> None:
    assert _tls.version().startswith("OpenSSL 3.")
    assert ssl.OPENSSL_VERSION_INFO >= (3,)
