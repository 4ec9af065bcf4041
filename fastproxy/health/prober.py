# SPDX-License-Identifier: MIT
"""The prober: asks every member of every upstream that has checks, for all workers. Control only.

One task per member asks, waits, asks again; the answers in a row decide (`Streak`), and a change is
written to the member's row of the scoreboard, where all workers see it with their next pick:

    health      what the checks say, and an agent's `down`
    admin       of it the agent's part: drain, maint, and "down" for a member that is mandatory to
                be proven and has not been yet. The operator's part is left alone
    percent, max_connections    by the agent
    up_since_ms when it came back: slow start counts from there

What is known lives here, and its outcome on the scoreboard: a control that is started anew takes
over from there, so nobody flaps when one dies. While there is none, the last words hold. Words of
checks or agents that a reload has done away with are taken back: nobody else ever would.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fastproxy import _core
from fastproxy._core import Board
from fastproxy.balance.build import Member
from fastproxy.health.agent import AgentProbe
from fastproxy.health.build import Check
from fastproxy.health.grpc import GrpcProbe
from fastproxy.health.http import HttpProbe
from fastproxy.health.probe import Probe, Seen, Target, ask
from fastproxy.health.tcp import TcpProbe
from fastproxy.health.words import Speech
from fastproxy.scoreboard import segment
from fastproxy.scoreboard.segment import Admin
from fastproxy.scoreboard.segment import Health as Word

PROBES: dict[str, type[Probe]] = {
    "http": HttpProbe, "https": HttpProbe, "tcp": TcpProbe, "tls": TcpProbe,
    "grpc": GrpcProbe, "grpcs": GrpcProbe,
}  # fmt: skip
Key = tuple[str, str]
"""(upstream, member's name), as in process/rosters.py."""


class Says(Protocol):
    """Where changes are told."""

    def info(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def error(self, text: str) -> None: ...


@dataclass(slots=True)
class Streak:
    """Whether somebody is up, by the answers in a row."""

    rise: int
    fall: int
    up: bool = True
    against: int = 0
    """Answers in a row that speak against `up`."""

    def take(self, good: bool) -> bool:
        """One more answer. True: that has turned it."""
        if good == self.up:
            self.against = 0
            return False
        self.against += 1
        if self.against < (self.rise if good else self.fall):
            return False
        self.up = good
        self.against = 0
        return True


@dataclass(slots=True)
class Watched:
    """One member, and what is known of it."""

    member: Member
    check: Check
    target: Target
    upstream: int
    row: int
    generation: int
    streak: Streak
    proven: bool
    speech: Speech = field(default_factory=Speech)
    since: float = field(default_factory=time.time)
    """Since when it has been up or down as far as we know (Unix time)."""
    last: Seen | None = None
    last_at: float = 0.0
    last_ms: float = 0.0
    agent_last: Seen | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def who(self) -> str:
        return f'upstream "{self.member.upstream}": {self.member.name}'


Step = Callable[[Watched], Awaitable[float]]
"""One question, and the seconds until the next."""


class Prober:
    """`checks`: the upstreams that have any; `broken`: those that should, but whose checks cannot
    be made now: their words stay. `update` needs a running loop."""

    def __init__(
        self,
        board: Board,
        upstreams: Iterable[str],
        checks: Mapping[str, Check],
        log: Says,
        broken: Iterable[str] = (),
    ) -> None:
        self.board = board
        self.order = {name: index for index, name in enumerate(upstreams)}
        self.checks = checks
        self.broken = frozenset(broken)
        self.log = log
        self.watched: dict[Key, Watched] = {}
        self.rows: dict[int, Watched] = {}
        self.unwatched: set[tuple[int, int]] = set()
        """(row, generation) of members without checks, as far as met."""

    # -- who is watched -------------------------------------------------------------------------

    def update(
        self, members: Iterable[Member], rows: Mapping[Key, int], generations: Mapping[int, int]
    ) -> None:
        """Who is a member from now on. Their rows are on the scoreboard already."""
        current: dict[Key, Watched] = {}
        fresh: list[Watched] = []
        for member in members:
            key = (member.upstream, member.name)
            row = rows[key]
            if member.upstream not in self.checks:
                self._leave(member, row, generations[row])
                continue
            if key in current:
                continue
            known = self.watched.get(key)
            if known is None or (known.row, known.generation) != (row, generations[row]):
                known = self._meet(member, row, generations[row])
                fresh.append(known)
            if known.member != member:
                known.member = member
                known.target = Target.of(member.address, member.backend.url)
            current[key] = known
        for key, one in self.watched.items():
            if current.get(key) is not one:
                self._stop(one)
        self.watched = current
        self.rows = {one.row: one for one in current.values()}
        for at, one in enumerate(fresh):
            self._start(one, at / len(fresh))

    def _meet(self, member: Member, row: int, generation: int) -> Watched:
        """Take over what the scoreboard says of it: it is new, or we are."""
        check = self.checks[member.upstream]
        settings = check.settings
        words = segment.backend(self.board, row)
        agent = Admin.of(words["admin"]).agent
        up = words["health"] == Word.UP
        speech = Speech(Word(agent) if agent in (Word.DRAIN, Word.MAINT) else None)
        if settings.kind == "off" and not up:  # only its agent can have said that
            up, speech = True, replace(speech, word=speech.word or Word.DOWN)
        one = Watched(
            member=member,
            check=check,
            target=Target.of(member.address, member.backend.url),
            upstream=self.order[member.upstream],
            row=row,
            generation=generation,
            streak=Streak(settings.rise, settings.fall, up=up),
            proven=agent != Word.DOWN or settings.kind == "off",
            speech=speech,
        )
        if not settings.agent.speaks:
            one.speech = SILENCE
            self._write(one)
        return one

    def _leave(self, member: Member, row: int, generation: int) -> None:
        """Of one that nobody asks: what was found when somebody did holds no more."""
        if member.upstream in self.broken or (row, generation) in self.unwatched:
            return
        self.unwatched.add((row, generation))
        old = segment.backend_words(self.board, row, WRITTEN)
        admin = Admin.of(old["admin"])._replace(agent=Word.UP).word
        self._put(row, old, {"health": int(Word.UP), "admin": admin, **FREE})

    def _start(self, one: Watched, share: float) -> None:
        """First checks are spread over an interval, so that they do not come at once; those that
        are waited for over a shorter one."""
        settings = one.check.settings
        agent = settings.agent
        if one.check.kind != "off":
            first = share * (float(settings.interval) if one.proven else self._short(one))
            one.tasks.append(asyncio.create_task(self._forever(one, self._check, first)))
        if agent.port:
            first = share * float(agent.interval or settings.interval)
            one.tasks.append(asyncio.create_task(self._forever(one, self._listen, first)))

    def _stop(self, one: Watched) -> None:
        for task in one.tasks:
            task.cancel()
        one.tasks.clear()

    def close(self) -> None:
        """Ask nobody any more. The words stay."""
        for one in self.watched.values():
            self._stop(one)
        self.watched, self.rows = {}, {}

    # -- asking ---------------------------------------------------------------------------------

    async def _forever(self, one: Watched, step: Step, pause: float) -> None:
        """Wait, do it, wait as long as it says."""
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await step(one)
            except Exception as error:
                # Ours, and it must be seen; but a member that is never asked again would be worse.
                self.log.error(f"{one.who}: a check ended by a fault of ours: {error!r}")
                pause = float(one.check.settings.interval)

    async def _check(self, one: Watched) -> float:
        began = time.perf_counter()
        kind, port = PROBES[one.check.kind], one.check.settings.port
        seen = await ask(kind, one.check, one.target, port, one.check.tls)
        one.last_ms = (time.perf_counter() - began) * 1000
        self.judge(one, seen)
        return self._pause(one)

    async def _listen(self, one: Watched) -> float:
        settings = one.check.settings
        self.hear(one, await ask(AgentProbe, one.check, one.target, settings.agent.port))
        return _jittered(float(settings.agent.interval or settings.interval), settings.jitter)

    def _short(self, one: Watched) -> float:
        return min(float(one.check.settings.transition), float(one.check.settings.interval))

    def _pause(self, one: Watched) -> float:
        """Until the next check."""
        settings = one.check.settings
        if one.streak.against or not one.proven:
            return _jittered(self._short(one), settings.jitter)
        usual = settings.interval if one.streak.up else settings.down or settings.interval
        return _jittered(float(usual), settings.jitter)

    # -- judging --------------------------------------------------------------------------------

    def judge(self, one: Watched, seen: Seen) -> None:
        """One check has been answered."""
        good = not seen.fault
        one.last, one.last_at = seen, time.time()
        before = one.since
        if one.streak.take(good):
            one.since = one.last_at
            self._tell(one, seen, one.since - before)
        if good:
            if not one.proven and one.streak.up:
                one.proven = True
            ejection = segment.backend_words(self.board, one.row, ("ejection",))["ejection"]
            if ejection >> 16 > time.monotonic_ns() // 1_000_000:
                _core.uneject(self.board, one.row, one.upstream)
                self.log.info(f"{one.who} is not ejected any more: a check was good")
        if seen.speech is not None:
            self.hear(one, seen)
        else:
            self._write(one)

    def _tell(self, one: Watched, seen: Seen, lasted: float) -> None:
        settings = one.check.settings
        if one.streak.up:
            what = "" if one.proven else ", it may serve"
            self.log.info(
                f"{one.who} is up{what} ({_times(settings.rise, 'good check')}, the last: "
                f"{seen.said or 'good'}; {lasted:.1f} s down)"
            )
        else:
            self.log.warning(
                f"{one.who} is down ({_times(settings.fall, 'failed check')}, the last: "
                f"{seen.fault})"
            )

    def hear(self, one: Watched, seen: Seen) -> None:
        """An agent has been asked, or has spoken in a check's answer. Silence changes nothing."""
        before = one.agent_last
        strange = seen.speech.strange if seen.speech else ()
        if strange and (before is None or not before.speech or before.speech.strange != strange):
            self.log.warning(f"{one.who}: its agent says unknown words: {' '.join(strange)}")
        elif not seen.speech and seen.fault and (before is None or before.fault != seen.fault):
            self.log.warning(f"{one.who}: its agent does not answer: {seen.fault}")
        one.agent_last = seen
        if seen.speech is not None:
            old, one.speech = one.speech, one.speech.then(seen.speech)
            if (said := _spoken(one.speech)) != _spoken(old):
                self.log.info(f"{one.who}: its agent says {said}")
        self._write(one)

    def _write(self, one: Watched) -> None:
        """Let the scoreboard say what is known, if it does not yet."""
        speech = one.speech
        well = one.streak.up and speech.word != Word.DOWN
        agent: Word = Word.UP if one.proven else Word.DOWN
        if speech.word is not None and speech.word > Word.DOWN:
            agent = speech.word
        old = segment.backend_words(self.board, one.row, WRITTEN)
        words = {
            "health": int(Word.UP if well else Word.DOWN),
            "admin": Admin.of(old["admin"])._replace(agent=int(agent)).word,
        }
        if speech.percent is not None:
            words["percent"] = speech.percent
        if speech.max_connections is not None:
            words["max_connections"] = speech.max_connections
        self._put(one.row, old, words)

    def _put(self, row: int, old: Mapping[str, int], words: Mapping[str, int]) -> None:
        """What of these words is another than before."""
        changed = {name: word for name, word in words.items() if word != old[name]}
        if not changed:
            return
        # At the proxy's own start nobody starts slowly: then a row has no `up_since_ms` yet.
        first = Admin.of(old["admin"]).agent == Word.DOWN and not old["up_since_ms"]
        if changed.get("health") == Word.UP and not first:
            changed["up_since_ms"] = time.monotonic_ns() // 1_000_000
        segment.set_backend(self.board, row, "", **changed)

    # -- telling --------------------------------------------------------------------------------

    def report(self, row: int) -> dict[str, Any] | None:
        """What `status` shows of a member's checks; None: it has none."""
        one = self.rows.get(row)
        if one is None:
            return None
        found: dict[str, Any] = {
            "kind": one.check.kind,
            "up": one.streak.up,
            "proven": one.proven,
            "since_unix": round(one.since, 1),
            "against": one.streak.against,
        }
        if one.last is not None:
            found["last"] = one.last.fault or one.last.said or "good"
            found["last_unix"], found["last_ms"] = round(one.last_at, 1), round(one.last_ms, 2)
        if one.agent_last is not None:
            found["agent"] = one.agent_last.fault or _spoken(one.speech)
        return found


FREE = {"percent": 100, "max_connections": 0}
SILENCE = Speech(percent=100, max_connections=0)
"""What holds where there is no agent."""
WRITTEN = ("health", "admin", "percent", "max_connections", "up_since_ms")


def _jittered(seconds: float, percent: int) -> float:
    return seconds * (1 + random.uniform(-percent, percent) / 100)


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("s in a row" if count > 1 else "")


def _spoken(speech: Speech) -> str:
    """What holds, in an agent's own words."""
    words = [] if speech.word is None else [speech.word.name.lower()]
    words += [] if speech.percent is None else [f"{speech.percent}%"]
    words += [] if speech.max_connections is None else [f"maxconn:{speech.max_connections}"]
    return " ".join(words) or "nothing"
