"""Second opinions: what we accept, h11 and httptools (llhttp) read the same way.

Where they do not, the case says why in words, and is checked to still be true.
"""

from __future__ import annotations

import h11
import httptools
import pytest

from fastproxy import _probe
from tests.unit import http1_cases_request, http1_cases_response
from tests.unit.http1_cases import Case

REQUESTS = [
    c
    for c in [*http1_cases_request.ACCEPTED, *http1_cases_request.UPGRADE]
    if not c.refused and not c.more
]
RESPONSES = http1_cases_response.ACCEPTED
NONE, LENGTH, CHUNKED, CLOSE = range(4)


def ours(request_side: bool, case: Case) -> tuple[dict[str, object], dict[str, object]]:
    method = {"GET": 1, "HEAD": 2}[case.method]
    answer = _probe.head_parse(request_side, case.data, request_method=method)
    assert answer[0] == "head"
    return answer[2], answer[3]


def lower(fields: list[tuple[bytes, ...]]) -> list[tuple[bytes, bytes]]:
    return [(f[0].lower(), f[1]) for f in fields]


class Seen:
    """What httptools calls back with."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.whole_head = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.whole_head = True


def by_httptools_request(case: Case) -> tuple[bytes, bytes, str, list[tuple[bytes, bytes]]]:
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(case.data)
    except httptools.HttpParserUpgrade:
        pass
    assert seen.whole_head
    return parser.get_method(), seen.url, parser.get_http_version(), seen.fields


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_httptools_reads_requests_alike(case: Case) -> None:
    if case.httptools:
        with pytest.raises(httptools.HttpParserError):
            by_httptools_request(case)
        return
    head, _ = ours(True, case)
    want = (head["method_text"], head["target"], f"1.{head['minor']}", lower(head["fields"]))
    assert by_httptools_request(case) == want


def by_h11_request(case: Case) -> tuple[h11.Request, h11.Connection]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(case.data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event, connection


@pytest.mark.parametrize("case", REQUESTS, ids=str)
def test_h11_reads_requests_alike(case: Case) -> None:
    if case.h11:
        with pytest.raises(h11.RemoteProtocolError):
            by_h11_request(case)
        return
    head, framing = ours(True, case)
    event, connection = by_h11_request(case)
    assert event.method == head["method_text"]
    assert event.target == head["target"]
    assert event.http_version == b"1.%d" % head["minor"]
    assert [(n, v) for n, v in event.headers] == [
        (n, v.lower() if n == b"transfer-encoding" else v) for n, v in lower(head["fields"])
    ]
    # What follows: as much body as we say, or none.
    if framing["body"] == NONE:
        assert isinstance(connection.next_event(), h11.EndOfMessage | type(h11.PAUSED))
    else:
        assert connection.next_event() is h11.NEED_DATA


def by_httptools_response(case: Case) -> tuple[int, list[tuple[bytes, bytes]]]:
    seen = Seen()
    parser = httptools.HttpResponseParser(seen)
    try:
        parser.feed_data(case.data)
    except httptools.HttpParserUpgrade:
        pass
    assert seen.whole_head
    return parser.get_status_code(), seen.fields


@pytest.mark.parametrize("case", RESPONSES, ids=str)
def test_httptools_reads_responses_alike(case: Case) -> None:
    if case.httptools:
        with pytest.raises(httptools.HttpParserError):
            by_httptools_response(case)
        return
    head, _ = ours(False, case)
    assert by_httptools_response(case) == (head["status"], lower(head["fields"]))


@pytest.mark.parametrize("case", RESPONSES, ids=str)
def test_h11_reads_responses_alike(case: Case) -> None:
    head, framing = ours(False, case)
    connection = h11.Connection(h11.CLIENT)
    fields = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
    connection.send(h11.Request(method=case.method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    connection.receive_data(case.data)
    event = connection.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == head["status"]
    assert event.reason == head["reason"]
    if isinstance(event, h11.InformationalResponse):
        return
    after = connection.next_event()
    if framing["body"] == NONE:
        assert isinstance(after, h11.EndOfMessage)
    else:
        assert after is h11.NEED_DATA
