"""Each case of the tables on both listeners: what comes back, what the origin got, who lives.

After a case the connection still serves unless it was ended, a bystander is served in any case, and
the origin got nothing that the case does not allow: not a byte of "/smuggled", nothing malformed.
`FASTPROXY_FRAMES_AGAINST` (tests/h2/subject.py) asks others than fastproxy.
"""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from tests.h2 import (
    cases_fields,
    cases_flow,
    cases_frames,
    cases_framing,
    cases_hpack,
    cases_messages,
    cases_security,
)
from tests.h2.case import ALIVE, ANY, NEVER, ONCE, UNFINISHED, Case
from tests.h2.client import Client, context
from tests.h2.subject import KINDS, Subject
from tests.raw.recorder import Seen

CASES = [
    *cases_framing.CASES,
    *cases_frames.CASES,
    *cases_flow.CASES,
    *cases_messages.CASES,
    *cases_fields.CASES,
    *cases_hpack.CASES,
    *cases_security.CASES,
]


def run(client: Client, case: Case) -> str:
    """Send it; what became of it."""
    for step in case.steps():
        if isinstance(step, bytes):
            client.send(step)
        else:
            step(client)
    if ALIVE in case.expect:
        client.sync()
        return client.outcome(case.watch) if client.decided(case.watch) else ALIVE
    return client.outcome(case.watch)


def forwarded(subject: Subject, fence: str) -> list[Seen]:
    """What the origin got of the case."""
    requests = subject.recorder.requests
    assert [one.path for one in requests].count(fence) == 1
    for one in requests:
        assert not one.trouble, f"{one.trouble} in\n{one.head!r}"
        assert not one.path.startswith("/smuggled"), one.head
        assert "smuggled" not in one.names(), one.head
    return [one for one in requests if one.path != fence]


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        pytest.param(case, kind, id=f"{case.label}-{kind}")
        for case in CASES
        for kind in KINDS
        if case.only in ("", kind)
    ],
)
def test_case(subject: Subject, case: Case, kind: str) -> None:
    with subject.client(kind, case.hello) as client:
        outcome = run(client, case)
        assert outcome in case.expect, f"{outcome}; wanted: {', '.join(sorted(case.expect))}"
        if case.serves and not client.failed():
            assert client.sync(), "the connection serves no more"
        seen = forwarded(subject, subject.bystander(kind))
        got = [(one.method, one.target, one.complete) for one in seen]
        if case.forwarded == NEVER:
            assert got == []
        elif case.forwarded == UNFINISHED:
            assert not any(one.complete for one in seen), got
        elif case.forwarded == ONCE:
            assert [one.complete for one in seen] == [True], got
        else:
            assert case.forwarded == ANY
        if case.check:
            case.check(client, seen)


def test_the_tables() -> None:
    """Enough of them, each with a name of its own and a section."""
    assert len(CASES) >= 120
    names = Counter((case.label, case.only) for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    sections = {case.section.split(" ", 1)[1].split(".")[0] for case in CASES}
    assert sections >= set("345678")


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["h2", "http/1.1"], "h2"),
        (["http/1.1", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["h2c", "http/1.1"], "http/1.1"),
    ],
)
def test_what_is_negotiated(subject: Subject, offered: list[str], taken: str) -> None:
    """RFC 9113 section 3.2: "h2" over TLS, and never "h2c"."""
    with (
        socket.create_connection(subject.addresses["tls"], 5) as plain,
        context(*offered).wrap_socket(plain, server_hostname="a.test") as sock,
    ):
        assert sock.selected_alpn_protocol() == taken
