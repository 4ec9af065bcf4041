"""What a good answer is, judged without any network; and the words of agents."""

from __future__ import annotations

import time

import pytest

from fastproxy.health.expect import MISSING, Expectation, dig, same
from fastproxy.health.words import Speech, listen
from fastproxy.schema import status_ranges
from fastproxy.scoreboard.segment import Health as Word
from tests.unit.healthy import settings


def expect(**values: object) -> Expectation:
    return Expectation.of(settings(expect=values).expect)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("200-399", (200, 204, 301, 399), (199, 400, 404, 500)),
        ("200", (200,), (199, 201)),
        ("200,204, 300-302", (200, 204, 300, 302), (201, 303, 299)),
        ("404-404", (404,), (200, 403, 405)),
    ],
)
def test_status_ranges(text: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    wanted = expect(status=text)
    assert [wanted.head(status, {}) for status in good] == [""] * len(good)
    assert [wanted.head(status, {}) for status in bad] == [f"status {one}" for one in bad]


def test_a_range_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='"399-200" holds nothing'):
        status_ranges("399-200")


def test_headers() -> None:
    wanted = expect(headers={"X-Ready": "^yes$", "Server": ""})
    assert wanted.head(200, {"x-ready": "yes", "server": "x"}) == ""
    assert wanted.head(200, {"x-ready": "yes"}) == "no field server"
    assert "not what is expected" in wanted.head(200, {"x-ready": "yes, no", "server": "x"})


@pytest.mark.parametrize(
    ("pattern", "body", "good"),
    [
        ("ok", b"all ok here", True),
        ("^ok$", b"all ok here", False),
        (r"status:\s+fine", b"status:   fine", True),
        ("(?i)OK", b"ok", True),
        ("\u00fc", "f\u00fcr".encode(), True),
        ("x", b"", False),
    ],
)
def test_body(pattern: str, body: bytes, good: bool) -> None:
    assert (expect(body=pattern).content(body) == "") is good


def test_a_pattern_that_never_ends_is_a_bad_answer() -> None:
    began = time.monotonic()
    assert expect(body="^(a+)+$").content(b"a" * 5000 + b"!") != ""
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("field", "wanted", "body", "fault"),
    [
        ("status", "UP", b'{"status":"UP"}', ""),
        ("status", "UP", b'{"status":"DOWN"}', 'JSON field status is ""DOWN""'),
        ("a.b.1", 7, b'{"a":{"b":[1,7]}}', ""),
        ("a.b.2", 7, b'{"a":{"b":[1,7]}}', "no JSON field a.b.2"),
        ("a.b.x", 7, b'{"a":{"b":[1,7]}}', "no JSON field a.b.x"),
        ("ready", True, b'{"ready":true}', ""),
        ("ready", True, b'{"ready":1}', 'JSON field ready is "1"'),
        ("load", 0.5, b'{"load":0.5}', ""),
        ("n", 1, b'{"n":1.0}', ""),
        ("status", "UP", b"", "the body is no JSON"),
        ("status", "UP", b"<html>", "the body is no JSON"),
        ("status", "UP", b'["status"]', "no JSON field status"),
        ("status", "UP", b"[" * 100000, "the body is no JSON"),
    ],
)
def test_json(field: str, wanted: object, body: bytes, fault: str) -> None:
    assert expect(json={field: wanted}).content(body) == fault


def test_json_that_was_cut_is_told_so() -> None:
    wanted = expect(json={"a": 1}, limit=64)
    assert wanted.content(b'{"a":1,"b":"' + b"x" * 52, True) == "no JSON in the first 64 bytes"


def test_dig_and_same() -> None:
    assert dig({"a": [{"b": None}]}, "a.0.b") is None
    assert dig({"a": 1}, "a.b") is MISSING
    assert not same(True, 1)
    assert same(1.0, 1)
    assert not same("1", 1)


@pytest.mark.parametrize(
    ("text", "speech"),
    [
        ("up\n", Speech(Word.UP)),
        ("ready", Speech(Word.UP)),
        ("drain\n", Speech(Word.DRAIN)),
        ("maint", Speech(Word.MAINT)),
        ("down # disk full", Speech(Word.DOWN)),
        ("stopped", Speech(Word.DOWN)),
        ("75%\n", Speech(percent=75)),
        ("0%", Speech(percent=0)),
        ("250%", Speech(percent=100)),
        ("maxconn:30", Speech(max_connections=30)),
        ("UP, 50% maxconn:10\r\ndrain\n", Speech(Word.UP, 50, 10)),
        ("\r\n 20% \r\n", Speech(percent=20)),
        ("drain up", Speech(Word.UP)),
        ("", Speech()),
        ("  #only a remark", Speech()),
        ("upp", Speech(strange=("upp",))),
        ("75", Speech(strange=("75",))),
        ("-5% maxconn:x up", Speech(Word.UP, strange=("-5%", "maxconn:x"))),
    ],
)
def test_words_of_an_agent(text: str, speech: Speech) -> None:
    assert listen(text) == speech


def test_what_is_not_mentioned_stays() -> None:
    first = Speech().then(listen("drain 40% maxconn:5"))
    assert first.then(listen("up")) == Speech(Word.UP, 40, 5)
    assert first.then(listen("80%")) == Speech(Word.DRAIN, 80, 5)
    assert first.then(listen("hm")) == Speech(Word.DRAIN, 40, 5, ("hm",))
