"""Passive ejection, slow and plain: what fastproxy/balance/outlier.pxd must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Member:
    """What is known of one."""

    weight: int = 1
    up: bool = True
    """What the checks say."""
    wanted: bool = True
    """What the operator says."""
    failures: int = 0
    gateways: int = 0
    window: tuple[int, int] = (0, 0)
    """(since, failures)"""
    until_ms: int = 0
    times: int = 0
    ejections: int = 0

    def ejected(self, now_ms: int) -> bool:
        return self.until_ms > now_ms

    def counts(self) -> bool:
        """Is it one of those of whom so many percent may be ejected?"""
        return self.weight > 0 and self.wanted

    def able(self, now_ms: int) -> bool:
        return self.counts() and self.up and not self.ejected(now_ms)


@dataclass
class Group:
    """An upstream and its rules."""

    members: list[Member]
    consecutive: int = 5
    consecutive_gateway: int = 0
    recent: int = 0
    """Failures within window_ms."""
    window_ms: int = 10_000
    base_ms: int = 30_000
    longest_ms: int = 300_000
    most: int = 10
    decisions: int = field(default=0)

    def success(self, at: int) -> None:
        self.members[at].failures = self.members[at].gateways = 0

    def failure(self, at: int, gateway: bool, now_ms: int) -> bool:
        """Ejected by this one?"""
        member = self.members[at]
        if member.ejected(now_ms):
            return False
        member.failures += 1
        member.gateways = member.gateways + 1 if gateway else 0
        since, count = member.window
        if self.recent:
            over = not count or now_ms >= since + self.window_ms
            member.window = (now_ms, 1) if over else (since, count + 1)
        reached = [
            rule > 0 and count > 0 and count % rule == 0
            for count, rule in (
                (member.failures, self.consecutive),
                (member.gateways, self.consecutive_gateway),
                (member.window[1], self.recent),
            )
        ]
        return any(reached) and self.eject(at, now_ms)

    def eject(self, at: int, now_ms: int) -> bool:
        member = self.members[at]
        if not member.able(now_ms):
            return False
        if not any(other.able(now_ms) for other in self.members if other is not member):
            return False
        pool = [one for one in self.members if one.counts()]
        out = sum(one.ejected(now_ms) for one in pool)
        if out > 0 and 100 * (out + 1) > self.most * len(pool):
            return False
        member.times = min(65535, member.times + 1)
        member.until_ms = now_ms + min(self.longest_ms, self.base_ms * member.times)
        member.failures = member.gateways = 0
        member.window = (0, 0)
        member.ejections += 1
        self.decisions += 1
        return True

    def uneject(self, at: int, now_ms: int) -> bool:
        member = self.members[at]
        if not member.ejected(now_ms):
            return False
        member.until_ms = now_ms
        return True

    def forgive(self, at: int, now_ms: int) -> int:
        member = self.members[at]
        if not member.ejected(now_ms) and member.times:
            member.times -= 1
        return member.times
