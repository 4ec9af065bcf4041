"""Certificates are replaced while it runs: every worker has the new ones, nobody is cut off."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from functools import partial

import pytest

from tests.running import Backend, wait_until
from tests.tls.certs import Authority
from tests.tls.files import PAIR, Filed
from tests.tls.secure import ask, showing, trusting

LOOKS = 12
"""Connections that reach both workers, as good as surely."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.mark.parametrize("renamed", [False, True], ids=["in place", "renamed"])
def test_files_are_replaced(authority: Authority, renamed: bool) -> None:
    old, new = authority.sign("a.test"), authority.sign("a.test", kind="rsa")
    context = trusting(authority)
    with Backend() as backend, Filed(old, backend.url, [{"tls": PAIR}]) as proxy:
        with proxy.talk(context) as line:
            assert ask(line).endswith(b"hello\n")
            proxy.site(new, renamed=renamed)
            wait_until(lambda: proxy.serial(context) == new.certificate.serial_number)
            time.sleep(0.1)
            seen = {proxy.serial(context) for _ in range(LOOKS)}
            assert seen == {new.certificate.serial_number}
            # who came before is still served
            assert ask(line).endswith(b"hello\n")
        status = proxy.status()
        (entry,) = status["certificates"]
        assert (entry["kind"], entry["names"]) == ("RSA 2048", ["a.test"])
        assert status["totals"]["tls_certificates"] == 1
        assert status["totals"]["tls_certificates_expired"] == 0
        assert status["totals"]["tls_first_expiry"] == entry["not_after"]
        assert "certificates are replaced: keyring 2" in proxy.log()


def test_symlinks_as_of_kubernetes(authority: Authority) -> None:
    """..data is a link to a directory, and is renamed over; the files are links through it."""
    old, new = authority.sign("a.test"), authority.sign("a.test")
    context = trusting(authority)
    tls = {"certificates": [{"dir": "secret"}]}
    with Backend() as backend:
        proxy = Filed(old, backend.url, [{"tls": tls}])
        secret = proxy.directory / "secret"
        for name, signed in (("..one", old), ("..two", new)):
            proxy.put(f"secret/{name}.tmp", b"")  # makes the directory
            (secret / f"{name}.tmp").unlink()
            (secret / name).mkdir()
            (secret / name / "tls.crt").write_bytes(signed.cert)
            (secret / name / "tls.key").write_bytes(signed.key)
            (secret / name / "tls.key").chmod(0o600)
        (secret / "..data").symlink_to("..one")
        for name in ("tls.crt", "tls.key"):
            (secret / name).symlink_to(f"..data/{name}")
        with proxy:
            assert proxy.serial(context) == old.certificate.serial_number
            (secret / "..data_tmp").symlink_to("..two")
            os.rename(secret / "..data_tmp", secret / "..data")
            wait_until(lambda: proxy.serial(context) == new.certificate.serial_number)
            assert " error " not in proxy.log()


def test_one_more_in_a_directory(authority: Authority) -> None:
    context = trusting(authority)
    tls = {"certificates": [{"dir": "."}], "unknown_sni": "refuse"}
    with Backend() as backend, Filed(authority.sign("a.test"), backend.url, [{"tls": tls}]) as one:
        more = authority.sign("b.test")
        one.put("b.pem", more.cert)
        one.put("b.key", more.key)
        wait_until(lambda: len(one.status()["certificates"]) == 2)
        assert one.serial(context, "b.test") == more.certificate.serial_number


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_is_revoked_stays_out(authority: Authority, version: ssl.TLSVersion) -> None:
    """From one second to the next, a session of before notwithstanding; others come in as ever."""
    people = Authority("people")
    cards = {name: people.sign(name) for name in ("alice", "bob")}
    contexts = {name: showing(trusting(authority), card) for name, card in cards.items()}
    files = {"people.pem": people.pem, "crl.pem": people.revoke()}
    asked = {"client_auth": {"ca": "people.pem", "crl": "crl.pem"}}
    site = authority.sign("a.test")
    with Backend() as backend:
        with Filed(site, backend.url, [{"tls": {**PAIR, **asked}}], files=files) as proxy:
            sessions = {}
            for name, context in contexts.items():
                context.minimum_version = context.maximum_version = version
                with proxy.talk(context) as line:
                    assert ask(line).endswith(b"hello\n")
                    sessions[name] = line.session
            proxy.put("crl.pem", people.revoke(cards["alice"]))

            def comes_in(name: str, **options: object) -> bool:
                try:
                    with proxy.talk(contexts[name], **options) as line:  # type: ignore[arg-type]
                        return ask(line).endswith(b"hello\n")
                except (OSError, AssertionError):
                    return False

            wait_until(lambda: not any(comes_in("alice") for _ in range(LOOKS)))
            assert not any(comes_in("alice", session=sessions["alice"]) for _ in range(LOOKS))
            assert comes_in("bob", session=sessions["bob"])
            assert comes_in("bob")


def test_what_is_bad_changes_nothing(authority: Authority) -> None:
    old, new = authority.sign("a.test"), authority.sign("a.test")
    context = trusting(authority)
    with Backend() as backend, Filed(old, backend.url, [{"tls": PAIR}]) as proxy:
        proxy.put("site.key", b"")
        wait_until(lambda: "no private key in site.key" in proxy.log())
        said = proxy.log()
        assert "listeners[0].tls.certificates[0].key" in said
        assert "(certificates stay as they are)" in said
        assert proxy.serial(context) == old.certificate.serial_number
        time.sleep(1)
        assert proxy.log() == said  # it is said once
        proxy.site(new)
        wait_until(lambda: proxy.serial(context) == new.certificate.serial_number)


def test_a_touched_file_is_no_news(authority: Authority) -> None:
    with Backend() as backend, Filed(authority.sign("a.test"), backend.url, [{"tls": PAIR}]) as one:
        os.utime(one.directory / "site.pem")
        time.sleep(1)
        assert "keyring" not in one.log()


def test_successors_have_the_new_ones(authority: Authority) -> None:
    """Of workers and of control."""
    old, new = authority.sign("a.test"), authority.sign("a.test")
    third = authority.sign("a.test")
    context = trusting(authority)
    with Backend() as backend, Filed(old, backend.url, [{"tls": PAIR}]) as proxy:
        proxy.site(new)
        wait_until(lambda: proxy.serial(context) == new.certificate.serial_number)
        before = proxy.worker_pids()
        control = proxy.status()["control_pid"]
        for pid in (*before, control):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: set(proxy.worker_pids()).isdisjoint(before), 20)
        seen = {proxy.serial(context) for _ in range(LOOKS)}
        assert seen == {new.certificate.serial_number}
        proxy.site(third)
        wait_until(lambda: proxy.serial(context) == third.certificate.serial_number)
        assert "keyring 3" in proxy.log()


def test_swaps_under_load_cut_nobody(authority: Authority) -> None:
    pairs = [authority.sign("a.test") for _ in range(4)]
    context = trusting(authority)
    over = threading.Event()
    faults: list[str] = []
    served = [0]

    def client() -> None:
        while not over.is_set():
            try:
                with proxy.talk(context) as line:
                    for _ in range(20):
                        assert ask(line).endswith(b"hello\n")
                        served[0] += 1
            except Exception as error:
                faults.append(repr(error))

    with Backend() as backend, Filed(pairs[0], backend.url, [{"tls": PAIR}]) as proxy:
        clients = [threading.Thread(target=client) for _ in range(3)]
        for one in clients:
            one.start()
        try:
            for pair in pairs[1:]:
                proxy.site(pair)
                serial = pair.certificate.serial_number
                wait_until(partial(lambda wanted: proxy.serial(context) == wanted, serial))
        finally:
            over.set()
            for one in clients:
                one.join()
        assert faults == []
        assert served[0] > 100


def test_all_workers_swap_within_100_ms(authority: Authority) -> None:
    """From when control has it: of two workers the slower one counts."""
    pairs = [authority.sign("a.test"), authority.sign("a.test")]
    context = trusting(authority)
    with Backend() as backend, Filed(pairs[0], backend.url, [{"tls": PAIR}]) as proxy:
        proxy.site(pairs[1])
        wait_until(lambda: "keyring 2 goes to the workers" in proxy.log(), step=0.005)
        time.sleep(0.1)
        seen = {proxy.serial(context) for _ in range(LOOKS)}
        assert seen == {pairs[1].certificate.serial_number}
