"""Hot path and twin side by side: AssertionError if they disagree on an input.

Tests and fuzzers call these; each names what differs, with the input.
"""

from __future__ import annotations

from typing import Any

from fastproxy import _probe
from tests.oracle import http1, http1_chunked, http1_target

METHODS = {b"GET": 1, b"HEAD": 2}


def differ(what: str, data: bytes, mine: object, twin: object) -> None:
    assert mine == twin, f"{what} of {data!r}:\n  fastproxy {mine!r}\n  twin      {twin!r}"


def _as_upstream(verdict: tuple[Any, ...], request: bool) -> tuple[Any, ...]:
    """Every fault of an upstream is 502."""
    return verdict if request or verdict[0] != "fault" else ("fault", 502, verdict[2])


def head(
    mine: tuple[Any, ...],
    request: bool,
    data: bytes,
    limits: tuple[int, int, int, int] = (8192, 8192, 32768, 128),
    method: bytes = b"GET",
) -> None:
    """What the probe said of a head against what the twin says."""
    ceilings = (65536, 65535, 65536, 128)
    line, field, fields, count = (min(a, b) for a, b in zip(limits, ceilings, strict=True))
    twin = http1.parse(request, data, http1.Limits(line, field, fields, count))
    if twin[0] != "head":
        differ("verdict", data, mine[:3], _as_upstream(twin, request))
        return
    message = twin[1]
    assert isinstance(message, http1.Message)
    differ("verdict", data, mine[:2], ("head", message.length))
    said = mine[2]
    differ("minor", data, said["minor"], message.minor)
    differ("fields", data, [f[:2] for f in said["fields"]], message.fields)
    if request:
        differ(
            "line", data, (said["method_text"], said["target"]), (message.method, message.target)
        )
        framing = http1.frame_request(message)
    else:
        differ("line", data, (said["status"], said["reason"]), (message.status, message.phrase))
        framing = http1.frame_response(message, method)
    if isinstance(framing, tuple):
        differ("framing", data, mine[3][:3], _as_upstream(framing, request))
        return
    differ("framing", data, {key: mine[3][key] for key in framing}, framing)
    marked = [bool(f[3] & 1) for f in said["fields"]]
    differ("nominated fields", data, marked, http1.nominated(message))
    if request:
        target(data, message)


def target(data: bytes, message: http1.Message) -> None:
    """The parts of an accepted request's target."""
    mine = _probe.target_parts(data)
    twin = http1_target.target_parts(message.method, message.target)
    if twin is None:
        differ("target", data, mine[:3], ("fault", 400, "AUTHORITY_BAD"))
    else:
        differ("target", data, mine, twin)


def body(data: bytes, mine: tuple[Any, ...]) -> None:
    """What the probe said of a chunked body (with room for trailers) against the twin."""
    twin = http1_chunked.chunked(data)
    if twin[0] == "fault":
        differ("body", data, mine[:2], ("fault", 400))
    elif twin[0] == "more":
        differ("body", data, (mine[0], mine[2]), twin)
    else:
        differ("body", data, mine[:4], twin)


def path(raw: bytes) -> None:
    """A path's normal form under all four option sets, and that it is a fixed point."""
    for merge in (False, True):
        for refuse in (False, True):
            mine = _probe.path_form(raw, merge | refuse << 1)
            twin = http1_target.path_form(raw, merge, refuse)
            if twin is None:
                differ("path", raw, mine[:2], ("fault", 400))
                continue
            differ("path", raw, mine[0], twin)
            again = _probe.path_form(twin, merge | refuse << 1)
            differ("normal form's normal form", raw, again[0], twin)


def host(text: bytes) -> None:
    differ("host", text, _probe.host_form(text), http1_target.authority(text))
