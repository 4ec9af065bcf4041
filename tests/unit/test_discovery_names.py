"""Names kept fresh: TTLs, failures, suspicion, flapping. Against a real server; times are real."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from fastproxy.balance.build import Place, sockaddr_inet
from fastproxy.discovery import names as naming
from fastproxy.discovery.names import Names
from fastproxy.discovery.resolver import first_answers, resolver_of
from fastproxy.discovery.settings import Dns
from fastproxy.discovery.system import SystemResolver
from fastproxy.schema import Duration, UpstreamUrl
from tests.nameserver import Responder

URL = UpstreamUrl.parse("http://api.test:81")


@pytest.fixture
def server() -> Iterator[Responder]:
    with Responder() as one:
        yield one


class Told:
    """What was published and said."""

    def __init__(self) -> None:
        self.news: list[dict[str, list[Place]]] = []
        self.lines: list[str] = []
        self.room = 1000

    def publish(self, news: Mapping[str, list[Place]]) -> None:
        if sum(len(places) for places in news.values()) > self.room:
            raise ValueError("too many")
        self.news.append(dict(news))

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = error = info

    def said(self, text: str) -> int:
        return sum(text in line for line in self.lines)


def at(*hosts: str) -> list[Place]:
    return sorted(sockaddr_inet(host, 81) for host in hosts)


async def until(what: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.01)


def follow(
    server: Responder,
    work: Callable[[Names, Told], Awaitable[None]],
    known: dict[str, list[Place]] | None = None,
    **dns: Any,
) -> None:
    """Run `work` while URL is followed."""

    async def run() -> None:
        settings = Dns(servers=[server.address], ipv6="off", **dns)
        told = Told()
        names = Names(resolver_of(settings), settings, told, told.publish)
        names.follow([URL], known or {})
        try:
            await work(names, told)
        finally:
            names.stop()

    asyncio.run(run())


def test_the_ttl_is_kept_to(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=2)

    async def work(names: Names, told: Told) -> None:
        await until(lambda: told.news)
        server.say("api.test", "A", "10.0.0.2", ttl=1)
        await until(lambda: len(told.news) == 2)
        server.say("api.test", "A", "10.0.0.3", ttl=60)
        await until(lambda: len(told.news) == 3)
        assert names.report()[0]["ttl_seconds"] == 60
        await asyncio.sleep(2.5)
        assert len(told.news) == 3

    follow(server, work)
    first, second, third = server.times("api.test", "A")
    assert 1.9 < second - first < 3
    assert 0.9 < third - second < 2


def test_ttls_are_clamped(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=0)

    async def work(names: Names, told: Told) -> None:
        await asyncio.sleep(1.8)
        assert 3 <= server.asked("api.test", "A") <= 4
        server.say("api.test", "A", "10.0.0.1", ttl=3600)
        await asyncio.sleep(3.0)
        assert 6 <= server.asked("api.test", "A") <= 8
        assert names.report()[0]["ttl_seconds"] == 1

    follow(server, work, min_ttl=Duration("0.5s"), max_ttl=Duration("1s"))


def test_a_failing_name_keeps_its_answer_and_is_asked_again(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=1)

    async def work(names: Names, told: Told) -> None:
        await until(lambda: told.news)
        server.forget("api.test", "A")
        await until(lambda: names.report()[0]["failures"] == 2)
        server.fail("api.test", "A")
        await until(lambda: names.report()[0]["failures"] == 3)
        (report,) = names.report()
        assert (report["addresses"], report["error"]) == (1, "the server failed (SERVFAIL)")
        assert report["age_seconds"] >= 3.7  # a TTL of 1 s, then 1 s and 2 s, each less a tenth
        assert told.said("no such name; keeping the last answer (1 addresses, ") == 1
        assert told.said("SERVFAIL") == 1
        server.say("api.test", "A", "10.0.0.2", ttl=60)
        await until(lambda: len(told.news) == 2)
        assert told.said("resolves again, after 3 failures") == 1
        assert told.news == [{str(URL): at("10.0.0.1")}, {str(URL): at("10.0.0.2")}]

    follow(server, work)
    times = server.times("api.test", "A")
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[1] > 0.85
    assert pauses[2] > 1.7
    assert pauses[3] < 0.85  # SERVFAIL: the library asks twice
    assert pauses[4] > 3.5


def test_a_name_never_known_is_said_so(server: Responder) -> None:
    async def work(names: Names, told: Told) -> None:
        await until(lambda: told.said("no such name; nothing known yet"))
        assert told.news == []
        assert names.report()[0]["age_seconds"] is None

    follow(server, work)


def test_an_answer_too_old_is_dropped_if_so_wanted(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=1)

    async def work(names: Names, told: Told) -> None:
        await until(lambda: told.news)
        began = time.monotonic()
        server.fail("api.test", "A")
        await until(lambda: len(told.news) == 2)
        assert told.news[1] == {str(URL): []}
        assert 1.9 < time.monotonic() - began < 3.5
        assert told.said("too old (dns.stale)") == 1
        server.say("api.test", "A", "10.0.0.1")
        await until(lambda: len(told.news) == 3)

    follow(server, work, stale=Duration("2s"))


def test_what_was_known_before_is_no_news(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.2", "10.0.0.1", ttl=1)

    async def work(names: Names, told: Told) -> None:
        await until(lambda: server.asked("api.test", "A") == 3)
        server.say("api.test", "A", "10.0.0.1", "10.0.0.2", ttl=1)
        await until(lambda: server.asked("api.test", "A") == 5)
        assert told.news == []

    follow(server, work, known={str(URL): at("10.0.0.1", "10.0.0.2")})


def test_a_suspected_name_is_asked_at_once_but_not_more_than_once_a_second(
    server: Responder,
) -> None:
    server.say("api.test", "A", "10.0.0.1", ttl=3600)

    async def work(names: Names, told: Told) -> None:
        await until(lambda: told.news)
        await asyncio.sleep(1.1)
        server.say("api.test", "A", "10.0.0.2", ttl=3600)
        names.suspect("http://somebody.else")
        assert server.asked("api.test", "A") == 1
        began = time.monotonic()
        names.suspect(str(URL))
        await until(lambda: len(told.news) == 2)
        assert time.monotonic() - began < 0.5
        for _ in range(100):
            names.suspect(str(URL))
            await asyncio.sleep(0.02)
        assert 3 <= server.asked("api.test", "A") <= 4

    follow(server, work)


def test_what_has_no_room_is_tried_again(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1", "10.0.0.2", ttl=1)

    async def work(names: Names, told: Told) -> None:
        told.room = 1
        await until(lambda: server.asked("api.test", "A") == 3)
        assert told.news == []
        assert told.said("too many; the members stay as they were") == 1
        told.room = 2
        await until(lambda: told.news)
        assert told.news == [{str(URL): at("10.0.0.1", "10.0.0.2")}]

    follow(server, work)


def test_names_that_change_together_are_published_together(server: Responder) -> None:
    many = [UpstreamUrl.parse(f"http://h{number}.test") for number in range(100)]
    for number in range(100):
        server.say(f"h{number}.test", "A", f"10.0.0.{number}")

    async def work(names: Names, told: Told) -> None:
        names.follow(many, {})
        await until(lambda: sum(len(one) for one in told.news) == 100)
        assert len(told.news) <= 30
        names.follow(many[:10], {})
        assert len(names.report()) == 10

    follow(server, work)


def test_a_bug_does_not_end_it(server: Responder, monkeypatch: pytest.MonkeyPatch) -> None:
    server.say("api.test", "A", "10.0.0.1")
    monkeypatch.setattr(naming, "RETRY_SECONDS", (0.05, 0.1))

    async def work(names: Names, told: Told) -> None:
        asking = names.resolver.ask
        monkeypatch.setattr(names.resolver, "ask", lambda url, last: 1 / 0)
        await until(lambda: told.said("ZeroDivisionError"))
        monkeypatch.setattr(names.resolver, "ask", asking)
        await until(lambda: told.news)

    follow(server, work)


def test_first_answers_wait_a_bounded_time(server: Responder) -> None:
    server.say("api.test", "A", "10.0.0.1")
    server.hush("hush.test", "A")
    urls = [URL, *(UpstreamUrl.parse(f"http://{one}.test") for one in ("hush", "none"))]
    began = time.monotonic()
    settings = Dns(servers=[server.address], ipv6="off")
    found, faults = first_answers(urls, settings, 1.0)
    assert time.monotonic() - began < 2
    assert found == {str(URL): at("10.0.0.1")}
    assert faults == {"http://hush.test": "no answer in time", "http://none.test": "no such name"}
    assert first_answers([], settings, 1.0) == ({}, {})


def test_without_the_library_the_system_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastproxy.discovery.resolver.find_spec", lambda name: None)
    found, faults = first_answers([UpstreamUrl.parse("http://localhost:81")], Dns(ipv6="off"), 5)
    assert (found, faults) == ({"http://localhost:81": at("127.0.0.1")}, {})

    async def kind() -> type:
        return type(resolver_of(Dns()))

    assert asyncio.run(kind()) is SystemResolver
