"""Request targets: parts, normal form of the path, host; ours against the twin's."""

from __future__ import annotations

from fastproxy import _probe
from tests.oracle import compare

DICTIONARY = [b"/", b"//", b"/.", b"/..", b"/../", b"%2e", b"%2E", b"%2f", b"%5c", b"%00", b"%25"]
DICTIONARY += [b"%c0%af", b"%e0%80", b"%41", b"%7e", b";", b"?", b"http://", b"https://", b"a.b"]
DICTIONARY += [b":80", b"[::1]", b"@", b"\\", b"..;", b"*"]

LENGTH_MAX = 600


def run(data: bytes) -> object:
    compare.path(data)
    compare.host(data)
    for method in (b"GET ", b"OPTIONS ", b"CONNECT "):
        head = method + data + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        compare.head(_probe.head_parse(True, head), True, head)
    form = _probe.path_form(data, 1)
    return (
        form[:3] if form[0] == "fault" else (min(form[0].count(b"/"), 9), b"%" in form[0], form[1])
    )
