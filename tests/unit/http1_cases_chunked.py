"""Chunked bodies: (name, bytes, payload, trailer lines) or (name, bytes, reason)."""

from __future__ import annotations

LAST = b"0\r\n\r\n"
OPEN = b"5\r\nhello\r\n"

ACCEPTED: list[tuple[str, bytes, bytes, bytes]] = [
    ("empty", LAST, b"", b""),
    ("one chunk", OPEN + LAST, b"hello", b""),
    ("three chunks", OPEN + b"1\r\n \r\n5\r\nworld\r\n" + LAST, b"hello world", b""),
    ("upper-case digits", b"A\r\n0123456789\r\n" + LAST, b"0123456789", b""),
    ("lower-case digits", b"a\r\n0123456789\r\n" + LAST, b"0123456789", b""),
    ("zeros before", b"00000000000005\r\nhello\r\n000\r\n\r\n", b"hello", b""),
    ("CRLF in the data", b"4\r\n\r\n\r\n\r\n" + LAST, b"\r\n\r\n", b""),
    ("a last chunk in the data", b"5\r\n0\r\n\r\n\r\n" + LAST, b"0\r\n\r\n", b""),
    ("extension", b"5;a\r\nhello\r\n0;b=c\r\n\r\n", b"hello", b""),
    ("extensions", b'5;a=b;c="d\\"\te;\xff";e\r\nhello\r\n' + LAST, b"hello", b""),
    ("quoted empty", b'5;a=""\r\nhello\r\n' + LAST, b"hello", b""),
    ("extension of 256", b"5;" + b"a" * 255 + b"\r\nhello\r\n" + LAST, b"hello", b""),
    ("extensions of 4096", (b"1;" + b"a" * 255 + b"\r\nx\r\n") * 16 + LAST, b"x" * 16, b""),
    ("trailer", OPEN + b"0\r\nX-Sum: 1\r\n\r\n", b"hello", b"X-Sum: 1\r\n"),
    ("trailer is trimmed", b"0\r\nX-Sum:\t 1 : \t\r\nY:\r\n\r\n", b"", b"X-Sum: 1 :\r\nY: \r\n"),
    (
        "trailers that may not come late",
        b"0\r\nContent-Length: 5\r\nA: 1\r\nTRANSFER-ENCODING: chunked\r\nHost: b\r\n"
        b"Authorization: x\r\nX-Forwarded-For: 1\r\nCookie: c\r\nSet-Cookie: c\r\nX_User: u\r\n"
        b"Connection: close\r\nTE: x\r\nContent-Type: x\r\nTrailer: x\r\nB: 2\r\n\r\n",
        b"",
        b"A: 1\r\nB: 2\r\n",
    ),
    (
        "trailer section of 8192",
        b"0\r\nA:" + b"b" * 8186 + b"\r\n\r\n",
        b"",
        b"A: " + b"b" * 8186 + b"\r\n",
    ),
]

REFUSED: list[tuple[str, bytes, str]] = [
    *(
        (f"size {bad!r}", bad + b"\r\nhello\r\n" + LAST, "CHUNK_SIZE_BAD")
        for bad in (
            b"",
            b"0x5",
            b"+5",
            b"-5",
            b" 5",
            b"5 ",
            b"\t5",
            b"5\t",
            b"5\0",
            b"5g",
            b"5,",
            b"5_0",
            b"\xb2",
            b"5 ;a",
            b"5\t;a",
        )
    ),
    ("size of 16 digits", b"0000000000000005\r\nhello\r\n", "CHUNK_SIZE_LONG"),
    ("size of 2**64 + 5", b"10000000000000005\r\nhello\r\n", "CHUNK_SIZE_LONG"),
    ("LF after the size", b"5\nhello\r\n", "CHUNK_SIZE_BAD"),
    ("CR alone after the size", b"5\rhello\r\n", "CHUNK_SIZE_BAD"),
    ("CR CR LF after the size", b"5\r\r\nhello\r\n", "CHUNK_SIZE_BAD"),
    ("LF after the data", b"5\r\nhello\n5\r\n", "CHUNK_END_BAD"),
    ("CR alone after the data", b"5\r\nhello\r5\r\n", "CHUNK_END_BAD"),
    ("any two bytes after the data", b"5\r\nhelloXX" + LAST, "CHUNK_END_BAD"),
    ("data too long", b"5\r\nhello!\r\n" + LAST, "CHUNK_END_BAD"),
    ("next size at once", b"5\r\nhello0\r\n\r\n", "CHUNK_END_BAD"),
    ("extension with LF", b"5;a\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("extension with CR alone", b"5;a\rb\r\nhello\r\n", "CHUNK_SIZE_BAD"),
    ("extension with NUL", b"5;a\0\r\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("empty extension", b"5;\r\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("extension without a value", b"5;a=\r\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("extension with a space", b"5; a\r\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("space before =", b"5;a =b\r\nhello\r\n", "CHUNK_EXTENSION_BAD"),
    ("open quote", b'5;a="b\r\nhello\r\n', "CHUNK_EXTENSION_BAD"),
    ("LF in quotes", b'5;a="\n"\r\nhello\r\n', "CHUNK_EXTENSION_BAD"),
    ("escaped CR in quotes", b'5;a="\\\r\n"\r\nhello\r\n', "CHUNK_EXTENSION_BAD"),
    ("text after quotes", b'5;a="b"c\r\nhello\r\n', "CHUNK_EXTENSION_BAD"),
    ("extension of 257", b"5;" + b"a" * 256 + b"\r\nhello\r\n", "CHUNK_EXTENSION_LONG"),
    ("endless extension", b"5;" + b"a" * 65536, "CHUNK_EXTENSION_LONG"),
    (
        "extensions of 4097",
        (b"1;" + b"a" * 255 + b"\r\nx\r\n") * 16 + b"1;",
        "CHUNK_EXTENSION_LONG",
    ),
    ("folded trailer", b"0\r\nA: b\r\n c\r\n\r\n", "TRAILER_BAD"),
    ("trailer without colon", b"0\r\nA\r\n\r\n", "TRAILER_BAD"),
    ("trailer with empty name", b"0\r\n: a\r\n\r\n", "TRAILER_BAD"),
    ("trailer with a space", b"0\r\nA : b\r\n\r\n", "TRAILER_BAD"),
    ("trailer with NUL", b"0\r\nA: \0\r\n\r\n", "TRAILER_BAD"),
    ("trailer with LF", b"0\r\nA: b\n\r\n", "TRAILER_BAD"),
    ("trailer with CR alone", b"0\r\nA: b\rc\r\n\r\n", "TRAILER_BAD"),
    ("LF as the empty line", b"0\r\n\n", "TRAILER_BAD"),
    ("CR alone as the empty line", b"0\r\n\rX", "TRAILER_BAD"),
    ("text after the last chunk", b"0\r\nGET / HTTP/1.1\r\n\r\n", "TRAILER_BAD"),
    ("trailer section of 8193", b"0\r\nA:" + b"b" * 8187 + b"\r\n\r\n", "TRAILER_LONG"),
]
