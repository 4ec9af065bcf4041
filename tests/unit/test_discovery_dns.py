"""Names asked of real servers: dnsmasq, and a responder for what dnsmasq does not do."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fastproxy.balance.build import Endpoint, Place, address_of, address_text, sockaddr_inet
from fastproxy.discovery import hosts
from fastproxy.discovery.answer import Answer, UnresolvedError
from fastproxy.discovery.dns import DnsResolver
from fastproxy.discovery.settings import Dns
from fastproxy.discovery.system import THREAD_NAME, THREADS_MAX, SystemResolver
from fastproxy.schema import Duration, UpstreamUrl
from tests.nameserver import Dnsmasq, Responder

URL = "http://api.test:81"


@pytest.fixture
def server() -> Iterator[Responder]:
    with Responder() as one:
        yield one


def ask(
    server: Responder | Dnsmasq | None, url: str = URL, last: Sequence[Place] = (), **dns: object
) -> Answer:
    """As control asks, once."""
    servers = [server.address] if server else ["127.0.0.1:1"]
    given = {"ipv6": "on", "timeout": Duration("2s"), "servers": servers, **dns}
    settings = Dns(**given)  # type: ignore[arg-type]

    async def once() -> Answer:
        return await DnsResolver(settings).ask(UpstreamUrl.parse(url), last)

    return asyncio.run(once())


def shown(answer: Answer) -> list[str]:
    return [address_text(address_of(place), port=True) for place in answer.places]


def at(host: str, port: int = 81) -> bytes:
    return sockaddr_inet(host, port)


# ---- dnsmasq ------------------------------------------------------------------------------------


def test_addresses_and_ttl_of_dnsmasq() -> None:
    known = {"api.test": ["10.0.0.2", "fd00::1", "10.0.0.1"], "one.test": ["10.9.9.9"]}
    with Dnsmasq(known, ttl=7) as server:
        answer = ask(server)
        assert shown(answer) == ["10.0.0.1:81", "10.0.0.2:81", "[fd00::1]:81"]
        assert answer.ttl == 7
        assert shown(ask(server, ipv6="off")) == ["10.0.0.1:81", "10.0.0.2:81"]
        assert shown(ask(server, ipv6="only")) == ["[fd00::1]:81"]
        assert shown(ask(server, "http://one.test")) == ["10.9.9.9:80"]
        with pytest.raises(UnresolvedError, match="no such record"):
            ask(server, "http://one.test", ipv6="only")
        with pytest.raises(UnresolvedError, match="no such name") as caught:
            ask(server, "http://nobody.test")
        assert caught.value.gone


def test_a_thousand_addresses_of_dnsmasq() -> None:
    """Far beyond a datagram: asked for again by TCP."""
    many = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    with Dnsmasq({"api.test": many[::-1]}) as server:
        answer = ask(server)
    assert len(answer.places) == 1000
    assert answer.dropped == 0
    assert set(shown(answer)) == {f"{one}:81" for one in many}
    assert answer.places == sorted(answer.places, key=address_of)


def test_services_of_dnsmasq() -> None:
    flags = [
        "--srv-host=_http._tcp.api.test,a.test,8001,10,60",
        "--srv-host=_http._tcp.api.test,b.test,8002,10,20",
        "--srv-host=_http._tcp.api.test,c.test,8003,20,0",
    ]
    known = {"a.test": ["10.0.0.1", "fd00::1"], "b.test": ["10.0.0.2"], "c.test": ["10.0.0.3"]}
    with Dnsmasq(known, *flags, ttl=3) as server:
        answer = ask(server, "http+srv://_http._tcp.api.test")
    assert answer.ttl == 3
    assert answer.places == [
        Endpoint(at("10.0.0.1", 8001), 3, 0, "a.test:8001"),
        Endpoint(at("10.0.0.2", 8002), 1, 0, "b.test:8002"),
        Endpoint(at("10.0.0.3", 8003), 1, 1, "c.test:8003"),
        Endpoint(at("fd00::1", 8001), 3, 0, "a.test:8001"),
    ]


# ---- the responder ------------------------------------------------------------------------------


def test_the_order_of_an_answer_and_doubles_are_no_news(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.3", "10.0.0.1", "10.0.0.2")
    first = ask(server)
    server.say("api.test", "A", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert ask(server) == first


def test_the_smallest_ttl_on_the_way_counts(server: Responder) -> None:
    server.say("web.test", "A", "10.0.0.1", ttl=300)
    server.say("api.test", "A", "CNAME web.test.", ttl=9)
    assert ask(server, ipv6="off").ttl == 9
    server.say("api.test", "A", "CNAME web.test.", ttl=900)
    assert ask(server, ipv6="off").ttl == 300


def test_each_answer_is_asked_for_and_not_kept_by_the_library(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=3600)
    for _ in range(3):
        ask(server, ipv6="off")
    assert server.asked("api.test", "A") == 3
    server.say("api.test", "A", "10.0.0.2", ttl=3600)
    assert shown(ask(server, ipv6="off")) == ["10.0.0.2:81"]


def test_more_than_a_datagram_comes_by_tcp(server: Responder) -> None:
    many = [f"10.1.0.{number}" for number in range(1, 201)]
    server.say("api.test", "A", *many)
    assert len(ask(server, ipv6="off").places) == 200
    assert server.asked("api.test", "A", tcp=True) == 1


def test_more_than_a_thousand_are_cut_the_same_way_each_time(server: Responder) -> None:
    many = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(1030)]
    server.say("api.test", "A", *many)
    first = ask(server, ipv6="off")
    server.say("api.test", "A", *many[::-1])
    assert (len(first.places), first.dropped) == (1000, 30)
    assert ask(server, ipv6="off") == first


@pytest.mark.parametrize(
    ("how", "text", "gone"),
    [("fail", "SERVFAIL", False), ("hush", "no answer in time", False), ("say", "no such", True)],
)
def test_no_answer_says_why(server: Responder, how: str, text: str, gone: bool) -> None:
    getattr(server, how)("api.test", "A")
    began = time.monotonic()
    with pytest.raises(UnresolvedError, match=text) as caught:
        ask(server, ipv6="off", timeout=Duration("1s"))
    assert caught.value.gone == gone
    assert time.monotonic() - began < 3


def test_a_refusal_and_nobody_there(server: Responder) -> None:
    server.fail("api.test", "A", rcode=5)
    with pytest.raises(UnresolvedError, match="refused"):
        ask(server, ipv6="off", timeout=Duration("1s"))
    with pytest.raises(UnresolvedError, match="no DNS server can be reached|in time"):
        ask(None, ipv6="off", timeout=Duration("1s"))


def test_a_slow_answer_is_waited_for(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1")
    server.slow("api.test", "A", 0.5)
    assert shown(ask(server, ipv6="off")) == ["10.0.0.1:81"]


@pytest.mark.parametrize("how", ["fail", "hush"])
def test_a_broken_half_keeps_what_it_had(server: Responder, how: str) -> None:
    """A broken AAAA neither takes IPv4 with it nor lets IPv6 come and go."""
    server.say("api.test", "A", "10.0.0.2", ttl=300)
    getattr(server, how)("api.test", "AAAA")
    known = [at("10.0.0.1"), at("fd00::1")]
    answer = ask(server, last=known, timeout=Duration("1s"))
    assert shown(answer) == ["10.0.0.2:81", "[fd00::1]:81"]
    assert answer.ttl == 1  # soon again
    assert shown(ask(server, timeout=Duration("1s"))) == ["10.0.0.2:81"]
    server.say("api.test", "AAAA")  # there is none, says the server
    assert shown(ask(server, last=known)) == ["10.0.0.2:81"]


def test_services_with_a_broken_target_keep_what_it_had(server: Responder) -> None:
    server.say("_x._tcp.test", "SRV", "0 5 80 a.test.", "0 5 80 b.test.", "9 1 80 gone.test.")
    server.say("a.test", "A", "10.0.0.1")
    server.fail("b.test", "A")
    before = [Endpoint(at("10.0.0.7", 80), 1, 0, "b.test:80")]
    answer = ask(server, "http+srv://_x._tcp.test", before, ipv6="off", timeout=Duration("1s"))
    assert [(place.name, place.weight) for place in answer.places] == [  # type: ignore[union-attr]
        ("a.test:80", 1),
        ("b.test:80", 1),
    ]
    assert answer.ttl == 1


def test_services_that_are_none(server: Responder) -> None:
    server.say("_x._tcp.test", "SRV", "0 0 0 .")
    with pytest.raises(UnresolvedError, match="no SRV record with a target"):
        ask(server, "http+srv://_x._tcp.test")
    server.say("_x._tcp.test", "SRV", "0 0 80 gone.test.")
    with pytest.raises(UnresolvedError, match=r"gone.test: no such name"):
        ask(server, "http+srv://_x._tcp.test")
    with pytest.raises(UnresolvedError, match="no such name"):
        ask(server, "http+srv://_nothing._tcp.test")


def test_an_odd_name_is_an_answer_too(server: Responder) -> None:
    with pytest.raises(UnresolvedError):
        ask(server, f"http://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 60}")
    server.say("my_service", "A", "10.0.0.1")
    assert shown(ask(server, "http://my_service", ipv6="off")) == ["10.0.0.1:80"]


def test_many_at_once_are_all_answered() -> None:
    known = {f"h{number}.test": [f"10.0.0.{number % 250 + 1}"] for number in range(500)}

    async def ask_all(server: Dnsmasq) -> set[str]:
        resolver = DnsResolver(Dns(servers=[server.address], ipv6="off"))
        urls = [UpstreamUrl.parse(f"http://{name}:81") for name in known]
        found = await asyncio.gather(*map(resolver.ask, urls))
        return {text for answer in found for text in shown(answer)}

    with Dnsmasq(known) as server:
        for _ in range(4):
            assert len(asyncio.run(ask_all(server))) == 250


def test_nothing_is_left_behind(server: Responder) -> None:
    """Neither sockets nor threads, whether there was an answer or none."""
    server.say("api.test", "A", "10.0.0.1")
    server.hush("hush.test", "A")

    async def many() -> tuple[int, int]:
        resolver = DnsResolver(Dns(servers=[server.address], ipv6="off", timeout=Duration("0.2s")))
        counts = []
        for _ in range(2):
            asks = [resolver.ask(UpstreamUrl.parse(URL)) for _ in range(50)]
            asks += [resolver.ask(UpstreamUrl.parse("http://hush.test")) for _ in range(50)]
            results = await asyncio.gather(*asks, return_exceptions=True)
            assert sum(isinstance(one, Answer) for one in results) == 50
            await asyncio.sleep(0.5)  # the responder's own threads end
            counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
        assert counts[0] == counts[1]
        return counts[0]

    asyncio.run(many())


# ---- /etc/hosts ---------------------------------------------------------------------------------


def test_hosts_come_first(
    server: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hosts"
    file.write_text(
        "# comment\n10.7.0.1 API.test other # 10.7.0.9 api.test\nfd00::7 api.test\n"
        "fe80::1%eth0 api.test\nnonsense api.test\n"
    )
    assert hosts.look_up("api.test.", file) == ["10.7.0.1", "fd00::7"]
    assert hosts.look_up("other", file) == ["10.7.0.1"]
    assert hosts.look_up("localhost", file) == ["127.0.0.1", "::1"]
    assert hosts.look_up("x.localhost", file) == ["127.0.0.1", "::1"]
    assert hosts.look_up("api", file) == []
    assert hosts.look_up("api.test", tmp_path / "none") == []
    monkeypatch.setattr(hosts.look_up, "__defaults__", (file,))
    server.say("api.test", "A", "10.0.0.1")
    assert shown(ask(server)) == ["10.7.0.1:81", "[fd00::7]:81"]
    assert shown(ask(server, ipv6="off")) == ["10.7.0.1:81"]
    assert server.questions == []


def test_localhost_needs_no_server() -> None:
    answer = ask(None, "http://localhost:81", ipv6="off")
    assert shown(answer) == ["127.0.0.1:81"]


# ---- the system's resolver ----------------------------------------------------------------------


def system(url: str, **dns: object) -> Answer:
    settings = Dns(**dns)  # type: ignore[arg-type]

    async def once() -> Answer:
        return await SystemResolver(settings).ask(UpstreamUrl.parse(url))

    return asyncio.run(once())


def test_the_system_resolves_too() -> None:
    answer = system("http://localhost:81", ipv6="off", interval=Duration("9s"))
    assert (shown(answer), answer.ttl) == (["127.0.0.1:81"], 9)
    with pytest.raises(UnresolvedError):
        system("http://no-such-host.invalid")
    with pytest.raises(UnresolvedError, match="SRV records need"):
        system("http+srv://_http._tcp.test")


def test_threads_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups that hang keep their threads; no more are made."""
    hang = threading.Event()
    monkeypatch.setattr(
        "fastproxy.balance.build.resolve", lambda url: hang.wait(20) and [at("::1")]
    )

    async def many() -> None:
        resolver = SystemResolver(Dns(timeout=Duration("0.2s")))
        for _ in range(3):
            asks = [resolver.ask(UpstreamUrl.parse(f"http://h{n}.test")) for n in range(20)]
            results = await asyncio.gather(*asks, return_exceptions=True)
            assert {str(one) for one in results} == {"no answer in time"}
            asking = [one for one in threading.enumerate() if one.name == THREAD_NAME]
            assert len(asking) == THREADS_MAX
        hang.set()
        await asyncio.sleep(0.1)
        assert (await resolver.ask(UpstreamUrl.parse(URL))).places == [at("::1")]

    asyncio.run(many())
