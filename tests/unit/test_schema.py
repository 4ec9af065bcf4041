"""The words of all settings: what they take, what they refuse, how they are shown."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import schema
from fastproxy.schema import BindAddress, ByteSize, Cidr, Duration, HostPort, UpstreamUrl


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10), ("500ms", 0.5), ("1h", 3600), ("1h30m", 5400), ("1.5s", 1.5), ("2d", 172800),
        (7, 7), (0.25, 0.25), ("7", 7), ("off", 0), (0, 0), ("1m30s500ms", 90.5),
    ],
)  # fmt: skip
def test_durations(text: object, seconds: float) -> None:
    assert schema.parse_duration(text) == pytest.approx(seconds)
    assert float(Duration(text)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "10 s", "-1s", "1x", "10S", "1e3", "s10", "10s ", "1h-5m", -1, True, None, [],
    "4000d",
     float("inf"), float("nan"), "9" * 400 + "s", "١s"],
)  # fmt: skip
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration|out of range"):
        schema.parse_duration(text)


def test_durations_in_milliseconds_never_round_to_off() -> None:
    assert Duration("1ms").ms == 1
    assert Duration(0.0001).ms == 1
    assert Duration("0.5ms").ms == 1
    assert Duration("1.0005s").ms == 1001
    assert Duration("off").ms == 0


@given(st.integers(0, 10**9))
def test_a_shown_duration_reads_back(ms: int) -> None:
    shown = str(Duration(ms / 1000))
    assert Duration(shown).ms == Duration(ms / 1000).ms


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8KiB", 8192), ("8k", 8192), ("8K", 8192), ("8kB", 8000), ("1MiB", 1 << 20),
        ("1m", 1 << 20),
        ("1MB", 10**6), ("1.5KiB", 1536), ("2GiB", 2 << 30), (4096, 4096), ("4096", 4096),
        ("10b", 10), ("off", 0), ("1 MiB", 1 << 20),
    ],
)  # fmt: skip
def test_sizes(text: object, size: int) -> None:
    assert schema.parse_size(text) == size
    assert ByteSize(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "k", "-1", "1.5", "0.3k", "1kk", "1TiBx", 1.5, True, None, -1, 1 << 63, "9" * 30, "1  k"],
)
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        schema.parse_size(text)


@given(st.integers(0, 1 << 62))
def test_a_shown_size_reads_back(size: int) -> None:
    assert ByteSize(str(ByteSize(size))) == size


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("10.0.0.0/8", (b"\0" * 10 + b"\xff\xff\x0a\0\0\0", 104)),
        ("192.168.1.7", (b"\0" * 10 + b"\xff\xff\xc0\xa8\x01\x07", 128)),
        ("fd00::/8", (b"\xfd" + b"\0" * 15, 8)),
        ("::/0", (b"\0" * 16, 0)),
        ("0.0.0.0/0", (b"\0" * 10 + b"\xff\xff\0\0\0\0", 96)),
    ],
)
def test_networks(text: str, mapped: tuple[bytes, int]) -> None:
    assert Cidr.parse(text).mapped() == mapped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("10.0.0.0/33", "not a network"),
        ("ten", "not a network"),
        ("fe80::1%eth0", "scope"),
        ("10.0.0.0 /8", "space"),
        (7, "expected a network"),
    ],
)
def test_what_is_no_network(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cidr.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        (":8080", "::", 8080, ""),
        ("127.0.0.1:80", "127.0.0.1", 80, ""),
        ("[::1]:80", "::1", 80, ""),
        ("localhost:80", "127.0.0.1", 80, ""),
        ("0.0.0.0:0", "0.0.0.0", 0, ""),
        ("unix:/run/x.sock", "", 0, "/run/x.sock"),
    ],
)
def test_bind_addresses(text: str, host: str, port: int, path: str) -> None:
    bind = BindAddress.parse(text)
    assert (bind.host, bind.port, bind.path) == (host, port, path)
    assert bind == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (8080, 'write ":8080"'),
        ("8080", "no port"),
        ("127.0.0.1", "no port"),
        ("example.com:80", "names a host"),
        ("1.2.3:80", "neither an address"),
        ("::1:80", "brackets"),
        ("[::1:80", "closing bracket"),
        ("[::1]80", "between the bracket"),
        ("[zz]:80", "no IPv6"),
        (":65536", "0 to 65535"),
        (":-1", "0 to 65535"),
        (":٨", "0 to 65535"),
        (":", "0 to 65535"),
        ("unix:run/x", "absolute"),
        ("unix:", "absolute"),
        ("unix:/" + "x" * 120, "at most 107"),
        ("127.0.0.1:80\n", "control character"),
        (None, "expected an address"),
    ],
)
def test_what_is_no_bind_address(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BindAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "authority"),
    [
        ("http://127.0.0.1:9001", "127.0.0.1", 9001, "127.0.0.1:9001"),
        ("http://app", "app", 80, "app"),
        ("http://app_1.internal:80/", "app_1.internal", 80, "app_1.internal:80"),
        ("http://[::1]:9001", "::1", 9001, "[::1]:9001"),
        ("http+unix:/run/app.sock", "", 0, "localhost"),
        ("https://app", "app", 443, "app"),
        ("https://[::1]:9443", "::1", 9443, "[::1]:9443"),
        ("https+srv://_https._tcp.app", "_https._tcp.app", 0, "_https._tcp.app"),
        ("https+unix:/run/app.sock", "", 0, "localhost"),
        ("h2c://app:9002", "app", 9002, "app:9002"),
    ],
)
def test_upstream_urls(text: str, host: str, port: int, authority: str) -> None:
    url = UpstreamUrl.parse(text)
    assert (url.host, url.port, url.authority) == (host, port, authority)
    assert url.scheme == re.split("[:+]", text)[0]
    assert url.path == ("/run/app.sock" if url.is_unix else "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:9001", 'did you mean "http://127.0.0.1:9001"'),
        ("ftp://a", "unknown scheme"),
        ("http://a/path", "path or query"),
        ("http://a?x=1", "path or query"),
        ("http://a#x", "path or query"),
        ("http://user:secret@a", "no user name or password"),
        ("http://", "no host"),
        ("http://:80", "no host"),
        ("http://a:b", "0 to 65535"),
        ("http://a b", "space"),
        ("http://-a-", "neither an address"),
        ("http+unix:x", "absolute"),
        ("", "not a backend URL"),
        (9001, "expected a backend"),
    ],
)
def test_what_is_no_upstream_url(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        UpstreamUrl.parse(text)
    assert "secret" not in str(caught.value)


def test_host_and_port() -> None:
    assert (HostPort.parse("[::1]:53").host, HostPort.parse("dns:53").port) == ("::1", 53)
    with pytest.raises(ValueError, match="no host"):
        HostPort.parse(":53")


@given(st.text(max_size=40))
def test_words_answer_any_text(text: str) -> None:
    for word in schema.WORDS:
        try:
            made = word.parse(text)
        except ValueError as error:
            assert "\n" not in str(error)
            assert str(error).isprintable()
        else:
            assert word.parse(str(made)) == made


def test_words_pass_through_msgspec() -> None:
    class Some(msgspec.Struct):
        wait: Duration
        size: ByteSize
        to: UpstreamUrl

    given = {"wait": "10s", "size": "8k", "to": "http://a"}
    made = msgspec.convert(given, Some, dec_hook=schema.dec_hook)
    assert (made.wait, made.size, made.to) == (10, 8192, "http://a")
    with pytest.raises(msgspec.ValidationError, match=r"not a duration.*\$.wait"):
        msgspec.convert({**given, "wait": "soon"}, Some, dec_hook=schema.dec_hook)
    assert msgspec.to_builtins(Duration("10s"), enc_hook=schema.enc_hook) == "10s"


def test_words_describe_themselves() -> None:
    for word in schema.WORDS:
        shown = schema.word_schema(word)
        assert shown["examples"]
        for example in shown["examples"]:
            word.parse(example)
    with pytest.raises(NotImplementedError):
        schema.word_schema(int)
    with pytest.raises(NotImplementedError):
        schema.dec_hook(object, 1)
