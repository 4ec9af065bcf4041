"""B3 1 to 7: where a request ends. Whatever two parties could read in two ways is refused, nothing
of it is forwarded, and the connection is closed; what is taken is forwarded with our framing."""

from __future__ import annotations

import pytest

from tests.raw.recorder import BODY, pattern, sized
from tests.raw.talking import Running

POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# name: (bytes, status). `%S` is a request that must never be seen by the backend.
REFUSED = {
    # 1: both
    "cl.te": (POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    "te.cl": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n%S", 400),
    "cl0.te": (POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    "bad-cl.te": (POST + b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # 2: obfuscated codings
    "te-unknown": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-comma-first": (POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-comma-last": (POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n%S", 400),
    "te-not-final": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n%S", 400),
    "te-gzip": (POST + b"Transfer-Encoding: gzip\r\n\r\nabc", 400),
    "te-gzip-chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n%S", 501),
    "te-identity": (POST + b"Transfer-Encoding: identity\r\n\r\n%S", 400),
    "te-empty": (POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n%S", 400),
    "te-param": (POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n%S", 400),
    "te-quoted": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n%S', 400),
    "te-vt": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-ff": (POST + b"Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n%S", 400),
    "te-nul": (POST + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n%S", 400),
    "te-nbsp": (POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n%S", 400),
    "te-inner-space": (POST + b"Transfer-Encoding: chun ked\r\n\r\n0\r\n\r\n%S", 400),
    "te-twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n%S", 400),
    "te-twice-in-one": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-split": (
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "te-space-colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-folded": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-bare-lf": (POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S", 400),
    "te-http10": (
        b"POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%S",
        400,
    ),
    "te-options": (
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n%S",
        400,
    ),
    "te-get": (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\n\r\n%S", 400),
    # 4: Content-Length
    "cl-twice": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello%S", 400),
    "cl-twice-same": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello%S", 400),
    "cl-twice-case": (POST + b"Content-Length: 5\r\ncONTENT-lENGTH: 5\r\n\r\nhello%S", 400),
    "cl-comma": (POST + b"Content-Length: 5, 5\r\n\r\nhello%S", 400),
    "cl-empty": (POST + b"Content-Length:\r\n\r\n%S", 400),
    "cl-blank": (POST + b"Content-Length:   \r\n\r\n%S", 400),
    "cl-plus": (POST + b"Content-Length: +5\r\n\r\nhello%S", 400),
    "cl-minus": (POST + b"Content-Length: -5\r\n\r\nhello%S", 400),
    "cl-minus-zero": (POST + b"Content-Length: -0\r\n\r\n%S", 400),
    "cl-hex": (POST + b"Content-Length: 0x5\r\n\r\nhello%S", 400),
    "cl-underscore": (POST + b"Content-Length: 1_0\r\n\r\nhellohello%S", 400),
    "cl-spaced": (POST + b"Content-Length: 1 0\r\n\r\nhellohello%S", 400),
    "cl-point": (POST + b"Content-Length: 5.0\r\n\r\nhello%S", 400),
    "cl-exponent": (POST + b"Content-Length: 1e1\r\n\r\nhellohello%S", 400),
    "cl-semicolon": (POST + b"Content-Length: 5;x\r\n\r\nhello%S", 400),
    "cl-space-colon": (POST + b"Content-Length : 5\r\n\r\nhello%S", 400),
    "cl-arabic": (POST + b"Content-Length: \xd9\xa5\r\n\r\nhello%S", 400),
    "cl-vt": (POST + b"Content-Length: 5\x0b\r\n\r\nhello%S", 400),
    # 5: overflow
    "cl-2^63": (POST + b"Content-Length: 9223372036854775808\r\n\r\n%S", 400),
    "cl-2^64": (POST + b"Content-Length: 18446744073709551616\r\n\r\n%S", 400),
    "cl-2^64+5": (POST + b"Content-Length: 18446744073709551621\r\n\r\nhello%S", 400),
    "cl-zeros": (POST + b"Content-Length: %b5\r\n\r\nhello%%S" % (b"0" * 400), 400),
}

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# What follows the head: (bytes, status).
BAD_CHUNKS = {
    # 5, 6: sizes
    "size-2^64": b"10000000000000000\r\nhello%S",
    "size-2^60": b"1000000000000000\r\nhello%S",
    "size-ffffffffffffffff": b"ffffffffffffffff\r\n%S",
    "size-many-zeros": b"00000000000000005\r\nhello\r\n0\r\n\r\n%S",
    "size-0x": b"0x5\r\nhello\r\n0\r\n\r\n%S",
    "size-plus": b"+5\r\nhello\r\n0\r\n\r\n%S",
    "size-minus": b"-5\r\nhello\r\n0\r\n\r\n%S",
    "size-space-before": b" 5\r\nhello\r\n0\r\n\r\n%S",
    "size-space-after": b"5 \r\nhello\r\n0\r\n\r\n%S",
    "size-tab-after": b"5\t\r\nhello\r\n0\r\n\r\n%S",
    "size-empty": b"\r\nhello\r\n0\r\n\r\n%S",
    "size-underscore": b"1_0\r\n%S",
    "size-not-hex": b"g\r\nhello\r\n0\r\n\r\n%S",
    "size-lf": b"5\nhello\r\n0\r\n\r\n%S",
    "size-cr": b"5\rhello\r\n0\r\n\r\n%S",
    "size-nul": b"5\x00\r\nhello\r\n0\r\n\r\n%S",
    # 6: after the data
    "end-missing": b"5\r\nhello0\r\n\r\n%S",
    "end-lf": b"5\r\nhello\n0\r\n\r\n%S",
    "end-cr": b"5\r\nhello\r0\r\n\r\n%S",
    "end-any-two": b"5\r\nhelloXX0\r\n\r\n%S",
    "end-lf-cr": b"5\r\nhello\n\r0\r\n\r\n%S",
    "too-long": b"5\r\nhello!\r\n0\r\n\r\n%S",
    "last-lf": b"0\n\n%S",
    "last-half-lf": b"0\r\n\n%S",
    # 7: extensions
    "ext-bare-cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n%S",
    "ext-bare-lf": b"5;a\nhello\r\n0\r\n\r\n%S",
    "ext-nul": b"5;a\x00\r\nhello\r\n0\r\n\r\n%S",
    "ext-empty": b"5;\r\nhello\r\n0\r\n\r\n%S",
    "ext-no-value": b"5;a=\r\nhello\r\n0\r\n\r\n%S",
    "ext-open-quote": b'5;a="b\r\nhello\r\n0\r\n\r\n%S',
    "ext-quoted-crlf": b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n%S',
    "ext-space": b"5 ; a=b\r\nhello\r\n0\r\n\r\n%S",
    "ext-long": b"5;" + b"a" * 70000 + b"\r\nhello\r\n0\r\n\r\n%S",
    "ext-in-sum": b"1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n" * 200 + b"0\r\n\r\n%S",
    # trailers
    "trailer-folded": b"0\r\nA: b\r\n c\r\n\r\n%S",
    "trailer-bare-lf": b"0\r\nA: b\n\r\n%S",
    "trailer-no-colon": b"0\r\nA\r\n\r\n%S",
    "trailer-space-colon": b"0\r\nA : b\r\n\r\n%S",
    "trailer-nul": b"0\r\nA: \x00\r\n\r\n%S",
    "trailer-long": b"0\r\n" + b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 400 + b"\r\n%S",
}


def filled(data: bytes) -> bytes:
    return data.replace(b"%S", SMUGGLED)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_ambiguous_framing_is_refused(
    proxy: Running, case: tuple[bytes, int], bytewise: bool
) -> None:
    proxy.refused(filled(case[0]), case[1], bytewise)


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunks_that_come_with_the_head_are_never_forwarded(
    proxy: Running, body: bytes
) -> None:
    """In one piece with the head: refused before anything of the request leaves."""
    with proxy.client() as client:
        client.send(filled(CHUNKED + body))
        answer = client.answer()
        assert answer.status == 400
        assert answer.closes
        assert client.end() == "fin"
    proxy.recorder.settle()
    assert b"smuggled" not in proxy.recorder.bytes()
    if len(body) < 10000:
        proxy.nothing_forwarded()


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunks_later_never_complete_a_request(proxy: Running, body: bytes) -> None:
    """After a good chunk, while the request is already under way: the backend must see it cut, on
    a connection that is never used again."""
    with proxy.client() as client:
        client.send(CHUNKED + b"3\r\nabc\r\n")
        proxy.recorder.wait(lambda: proxy.recorder.requests)
        client.send(filled(body))
        answer = client.answer()
        assert answer.status == 400
        assert answer.closes
        assert client.end() == "fin"
    seen = proxy.recorder.only("/p")
    line = proxy.recorder.lines[seen.connection]
    proxy.recorder.wait(lambda: line.ended)
    assert not seen.complete
    assert b"smuggled" not in proxy.recorder.bytes()


@pytest.mark.parametrize(
    "value", [b"chunked", b"Chunked", b"CHUNKED", b" \t chunked \t "], ids=repr
)
def test_chunked_is_coded_anew(proxy: Running, value: bytes) -> None:
    """Extensions, odd sizes and trailers go; one clean Transfer-Encoding is forwarded."""
    body = b"005;a=b;c\r\nhello\r\nA ;".replace(b"A ;", b'A;x="y\\"z;"') + b"\r\n0123456789\r\n"
    answer = proxy.ask(
        POST
        + b"transfer-ENCODING:"
        + value
        + b"\r\nTrailer: X-End\r\n\r\n"
        + body
        + b"000\r\nX-End: 1\r\nContent-Length: 7\r\n\r\n"
    )
    assert answer.status == 200
    seen = proxy.recorder.only("/p")
    assert seen.framing == "chunked"
    assert seen.body == b"hello0123456789"
    assert seen.complete
    assert b"X-End" not in proxy.recorder.bytes()
    assert b";" not in seen.coded
    assert seen.coded.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get"]
)
@pytest.mark.parametrize("framing", ["none", "zero", "length", "chunked", "chunked-empty"])
def test_exactly_the_framed_body_on_every_method(proxy: Running, method: str, framing: str) -> None:
    """B3 3: no side ignores a body; what follows it is the next request, on every method."""
    text = pattern(100)
    fields, body = {
        "none": (b"", b""),
        "zero": (b"Content-Length: 0\r\n", b""),
        "length": (b"Content-Length: 100\r\n", text),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"64\r\n" + text + b"\r\n0\r\n\r\n"),
        "chunked-empty": (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    }[framing]
    first = b"%b /one HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method.encode(), fields) + body
    second = b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n"
    answers = proxy.talk(first + second, method, "GET")
    assert [one.status for one in answers] == [200, 200]
    seen = proxy.recorder.only("/one")
    assert seen.method == method
    assert seen.complete
    assert seen.framing == {"zero": "length"}.get(framing, framing.removesuffix("-empty"))
    assert seen.body == (text if framing in ("length", "chunked") else b"")
    after = proxy.recorder.only("/two")
    assert after.framing == "none"
    assert [one.path for one in proxy.recorder.requests] == ["/one", "/two"]


def test_an_answer_before_the_whole_body_spoils_the_upstream_connection(proxy: Running) -> None:
    """B3 3, 14: the rest of the body never reaches the next request on that connection."""
    proxy.recorder.on("/early", sized(b"early"))
    with proxy.client() as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 40)
        answer = client.answer()
        assert answer.status == 200
        assert not answer.closes, "60 bytes more are worth waiting for"
        proxy.ask(b"GET /between HTTP/1.1\r\nHost: a\r\n\r\n")
        client.send(b"x" * 60 + b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer().status == 200
    early = proxy.recorder.only("/early")
    assert proxy.recorder.only("/between").connection != early.connection
    assert proxy.recorder.only("/after").connection != early.connection
    proxy.recorder.wait(lambda: proxy.recorder.lines[early.connection].ended)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_early_answer_to_a_long_body_closes(proxy: Running, framing: str) -> None:
    proxy.recorder.on("/early", sized(b"no", b"413 Content Too Large"))
    fields = {"length": b"Content-Length: 999999", "chunked": b"Transfer-Encoding: chunked"}
    with proxy.client() as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % fields[framing])
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"no")
        assert answer.closes
        assert client.end() == "fin"


def test_the_rest_of_an_unwanted_body_is_no_request(proxy: Running) -> None:
    """B3 14: a local answer (no route, 405) while a body is coming."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with proxy.client() as client:
        client.send(head + body)
        assert client.answer().status == 405
        assert client.end() == "fin"
    proxy.nothing_forwarded()


@pytest.mark.parametrize("said", [b"5", b" 5", b"\t5 \t", b"005", b"000000000000000005"])
def test_the_length_is_written_anew(proxy: Running, said: bytes) -> None:
    """What the grammar allows, but somebody behind us may read otherwise, is not passed on."""
    for length in (said, said.replace(b"5", b"0")):
        proxy.recorder.clear()
        body = b"hello" if b"5" in length else b""
        assert proxy.ask(POST + b"content-LENGTH:" + length + b"\r\n\r\n" + body).status == 200
        seen = proxy.recorder.only("/p")
        assert b"\r\nContent-Length: %d\r\n" % len(body) in seen.head
        assert seen.body == body


def test_bodies_are_forwarded_as_they_came(proxy: Running) -> None:
    """Body bytes are not touched, zeros and CRLFs in them included."""
    body = bytes(range(256)) * 300
    proxy.recorder.on("/p", BODY, sized(b"ok"))
    assert proxy.ask(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body).status == 200
    seen = proxy.recorder.only("/p")
    assert seen.framing == "length"
    assert seen.body == body
