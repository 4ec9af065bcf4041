# SPDX-License-Identifier: MIT
"""The messages that are parsed, routed and forwarded in the micro benches."""

from __future__ import annotations

SMALL = (
    b"GET /hello HTTP/1.1\r\nHost: example.com\r\nUser-Agent: wrk/4.2\r\nAccept: */*\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
BROWSER = (
    b"GET /static/app/main.js?v=123 HTTP/1.1\r\nHost: www.example.com\r\n"
    b"Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
    b"(KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,"
    b"application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Referer: https://www.example.com/\r\nCookie: session=0123456789abcdef0123456789abcdef; "
    b"theme=dark; _ga=GA1.2.1234567890.1234567890; consent=" + b"a1b2c3d4" * 50 + b"\r\n"
    b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: script\r\n"
    b"Cache-Control: max-age=0\r\n\r\n"
)
API = (
    b"POST /v1/users/4711/orders?expand=items HTTP/1.1\r\nHost: api.example.com\r\n"
    b"Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 128\r\nAccept: application/json\r\n"
    b"X-Request-ID: 018f3f3e-7c1a-7000-8000-0123456789ab\r\nUser-Agent: python-httpx/0.27\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept-Language: en\r\nConnection: keep-alive\r\n"
    b"Origin: https://app.example.com\r\nReferer: https://app.example.com/orders\r\n"
    b'Idempotency-Key: 7f3e7b5e9d3c5f4f\r\nIf-None-Match: "33a64df5"\r\n'
    b"X-Client-Version: 12.4.1\r\nX-Device: web\r\nX-Tenant: acme\r\nX-Trace: 4bf92f3577b34da6\r\n"
    b"Cache-Control: no-cache\r\nPragma: no-cache\r\n\r\n"
)
LIMIT = (
    b"GET /large HTTP/1.1\r\nHost: example.com\r\n"
    + b"".join(b"X-Field-%03d: %b\r\n" % (n, b"v" * 310) for n in range(99))
    + b"\r\n"
)
"""As many bytes of fields as the limit of 32 KiB allows, within a few."""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.5\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n"
)
HEADS = {"small": SMALL, "browser": BROWSER, "api": API, "limit": LIMIT, "answer": ANSWER}
BODIES = {
    "4 KiB chunks": (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 16 + b"0\r\n\r\n",
    "10 byte chunks": (b"a\r\n" + b"x" * 10 + b"\r\n") * 400 + b"0\r\n\r\n",
}
PATHS = {
    "plain": b"/static/app/main.js",
    "escape": b"/static/app/%41main.js",
    "dots": b"/a/b/../c",
}
