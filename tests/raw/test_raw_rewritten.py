"""What rewriting makes of a message is checked like one that came: too long, or no path at all."""

from __future__ import annotations

import pytest

from tests.raw.conftest import StartProxy
from tests.raw.recorder import BODY, sized
from tests.raw.talking import Running

# Each field may have 8 KiB, the room for a head that is built is 160 KiB.
COPIES = "{" + ", ".join(f'X-{number} = "{{header:big}}"' for number in range(22)) + "}"
BIG = b"Big: " + b"v" * 8000 + b"\r\n"
ROUTES = f"""
[[routes]]
path = "/request"
upstream = "main"
request_headers.set = {COPIES}
[[routes]]
path = "/response"
upstream = "main"
response_headers.set = {COPIES}
[[routes]]
path = "/reply"
reply = {{ body = "{"{header:big}" * 9}" }}
[[routes]]
path = "/changed"
reply = {{ body = "so" }}
response_headers = {{ set = {{ X-Who = "{{client_ip}}" }}, append = {{ X-More = "1" }} }}
[[routes]]
path = "/moved"
redirect = "https://b/{{header:big}}"
[[routes]]
path = "/longer"
upstream = "main"
rewrite_path = "/{"{header:big}" * 22}"
[[routes]]
path = "/from/{{rest...}}"
upstream = "main"
rewrite_path = "{{query:to}}"
"""


@pytest.fixture(scope="module")
def plain(start: StartProxy) -> Running:
    return start(routes=ROUTES)


def ask(path: bytes, fields: bytes = BIG) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, fields)


@pytest.mark.parametrize(("path", "status"), [
    (b"/request", 500), (b"/response", 502), (b"/reply", 500), (b"/longer", 414),
])  # fmt: skip
def test_too_large_as_rewritten(proxy: Running, path: bytes, status: int) -> None:
    """Said as our own fault (or the upstream's), whole, and the connection goes on."""
    with proxy.client() as client:
        client.send(ask(path))
        assert client.answer().status == status
        client.send(ask(b"/fine", b""))
        assert client.answer().status == 200
    if path != b"/response":
        assert proxy.recorder.count(path.decode()) == 0


@pytest.mark.parametrize("path", [b"/request", b"/response", b"/reply", b"/moved", b"/longer"])
def test_just_large_is_fine(proxy: Running, path: bytes) -> None:
    status = 308 if path == b"/moved" else 200
    assert proxy.ask(ask(path, b"Big: small\r\n")).status == status
    assert proxy.ask(ask(b"/moved")).status == 308


def test_a_fixed_reply_is_changed_too(proxy: Running) -> None:
    answer = proxy.ask(ask(b"/changed", b""))
    assert (answer.status, answer.body) == (200, b"so")
    assert answer.one("x-who") == "127.0.0.1"
    assert answer.one("x-more") == "1"


@pytest.mark.parametrize(("to", "status"), [("x", 400), ("", 400), ("/fine", 200)])
def test_a_rewritten_path_that_is_none(proxy: Running, to: str, status: int) -> None:
    """It must begin with a slash; nothing else is forwarded."""
    proxy.recorder.on("/fine", BODY, sized(b"ok"))
    assert proxy.ask(ask(b"/from/x?to=" + to.encode(), b"")).status == status
    assert len(proxy.recorder.requests) == (status == 200)
