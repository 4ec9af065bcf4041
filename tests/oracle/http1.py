"""The HTTP/1.1 grammar again: slow, whole inputs, regular expressions and plain Python.

Heads and framing are here; http1_target.py and http1_chunked.py have the rest.

Written from RFC 9110, 9112 and 3986 and from the decisions in security.md B3, not from the `.pxd`
files: tests and fuzzers compare the two. Every function takes the whole input and answers with a
tuple: ("more",), ("fault", status, reason) or what was read. Statuses are a client's; the caller of
a response maps all faults to 502.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.oracle.http1_target import authority

T = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
V = rb"[\t \x21-\x7e\x80-\xff]"
U = rb"[\x21\x22\x24-\x7e]"

VERSION_SO_FAR = re.compile(rb"(?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.[0-9]?)?)?)?)?)?)?)?")
FIELD = re.compile(rb"(%s+):(%s*)\r\n" % (T, V))
FIELD_SO_FAR = re.compile(rb"%s*|%s+:%s*\r?" % (T, T, V))
# Tried in this order at the first byte of a line that is neither whole nor a good beginning.
FIELD_FAULTS = [
    (re.compile(rb"[ \t]"), "OBS_FOLD"),
    (re.compile(rb"\r[^\n]"), "BARE_CR"),
    (re.compile(rb"\n"), "BARE_LF"),
    (re.compile(rb":"), "NAME_EMPTY"),
    (re.compile(rb"%s+[ \t]" % T), "NAME_SPACE"),
    (re.compile(rb"%s+[\r\n]" % T), "COLON_MISSING"),
    (re.compile(rb"%s*[^:]" % T), "NAME_BAD"),
    (re.compile(rb"%s+:%s*\n" % (T, V)), "BARE_LF"),
    (re.compile(rb"%s+:%s*\r[^\n]" % (T, V)), "BARE_CR"),
    (re.compile(rb"%s+:" % T), "VALUE_BAD"),
]
# NAME_BAD above matches any name followed by any byte but a colon; a name with its colon is told
# apart first.
NAME_AND_COLON = re.compile(rb"%s+:" % T)

STATUS = {
    "REQUEST_LINE_LONG": 414,
    "VERSION_UNKNOWN": 505,
    "FIELD_LONG": 431,
    "FIELDS_LONG": 431,
    "FIELDS_MANY": 431,
    "CODING_UNKNOWN": 501,
    "EXPECT_UNKNOWN": 417,
    "BODY_VERSION": 413,
    "PATH_LONG": 414,
}


def refuse(reason: str) -> tuple[str, int, str]:
    return ("fault", STATUS.get(reason, 400), reason)


@dataclass
class Limits:
    line: int = 8192
    field: int = 8192
    fields: int = 32768
    count: int = 128


@dataclass
class Message:
    """A whole head."""

    length: int = 0
    minor: int = 0
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    phrase: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        return [value for n, value in self.fields if n.lower() == name]


class Refused(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.verdict = refuse(reason)


class NeedMore(Exception):
    pass


def _version(rest: bytes, after: bytes, limited: bool) -> tuple[int, bytes]:
    """The minor version and what follows it."""
    if not VERSION_SO_FAR.fullmatch(rest[:8]):
        raise Refused("VERSION_BAD")
    if len(rest) < 8:
        raise _short(limited, "REQUEST_LINE_LONG")
    if rest[:8] not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise Refused("VERSION_UNKNOWN")
    if len(rest) == 8:
        raise _short(limited, "REQUEST_LINE_LONG")
    if rest[8:9] != after:
        raise Refused("BARE_LF" if after == b"\r" and rest[8:9] == b"\n" else "VERSION_BAD")
    return rest[7] - 48, rest[9:]


def _short(limited: bool, reason: str) -> Exception:
    return Refused(reason) if limited else NeedMore()


def _line_feed(rest: bytes, limited: bool) -> None:
    if not rest:
        raise _short(limited, "REQUEST_LINE_LONG")
    if rest[:1] != b"\n":
        raise Refused("BARE_CR")


def _good_target(method: bytes, target: bytes) -> bool:
    if method == b"CONNECT":
        return target[:1] not in (b"/", b"*")
    if target[:1] == b"/":
        return True
    if target[:1] == b"*":
        return target == b"*" and method == b"OPTIONS"
    return re.match(rb"(?i)https?://.", target) is not None


def _request_line(data: bytes, limits: Limits) -> Message:
    skip = 0
    if data[:1] == b"\r":
        if len(data) < 2:
            raise NeedMore
        if data[1:2] != b"\n":
            raise Refused("BARE_CR")
        skip = 2
    line = data[skip : skip + limits.line]
    limited = len(line) == limits.line
    m = re.match(rb"%s*" % T, line)
    assert m
    method, rest = m[0], line[m.end() :]
    if not rest:
        raise _short(limited, "REQUEST_LINE_LONG")
    if not method or rest[:1] != b" ":
        raise Refused("METHOD_BAD")
    m = re.match(rb"%s*" % U, rest[1:])
    assert m
    target, rest = m[0], rest[1 + m.end() :]
    if not rest:
        raise _short(limited, "REQUEST_LINE_LONG")
    if rest[:1] in (b"\r", b"\n"):
        raise Refused("VERSION_BAD")
    if not target or rest[:1] != b" ":
        raise Refused("TARGET_BAD")
    if not _good_target(method, target):
        raise Refused("TARGET_FORM")
    minor, rest = _version(rest[1:], b"\r", limited)
    _line_feed(rest, limited)
    length = skip + len(line) - len(rest) + 1
    return Message(length=length, minor=minor, method=method, target=target)


def _status_line(data: bytes, limits: Limits) -> Message:
    line = data[: limits.line]
    limited = len(line) == limits.line
    minor, rest = _version(line, b" ", limited)
    m = re.match(rb"(?:[1-5][0-9]{0,2})?", rest)
    assert m
    code, rest = m[0], rest[m.end() :]
    if len(code) < 3:
        raise Refused("STATUS_BAD") if rest else _short(limited, "REQUEST_LINE_LONG")
    if rest and rest[:1] not in (b" ", b"\r"):
        raise Refused("BARE_LF" if rest[:1] == b"\n" else "STATUS_BAD")
    m = re.match(rb"(?: (%s*))?" % V, rest)
    assert m
    phrase, rest = m[1] or b"", rest[m.end() :]
    if not rest:
        raise _short(limited, "REQUEST_LINE_LONG")
    if rest[:1] != b"\r":
        raise Refused("BARE_LF" if rest[:1] == b"\n" else "REASON_BAD")
    _line_feed(rest[1:], limited)
    length = len(line) - len(rest) + 2
    return Message(length=length, minor=minor, status=int(code), phrase=phrase)


def _field_lines(data: bytes, message: Message, limits: Limits) -> None:
    at = message.length
    end = at + limits.fields
    while True:
        line = data[at : min(at + limits.field, end)]
        if line.startswith(b"\r\n"):
            message.length = at + 2
            return
        if line and line[:1] not in b"\r \t" and len(message.fields) == limits.count:
            raise Refused("FIELDS_MANY")
        m = FIELD.match(line)
        if m:
            message.fields.append((m[1], m[2].strip(b" \t")))
            at += m.end()
            continue
        if line == b"\r" or FIELD_SO_FAR.fullmatch(line):
            if at + len(line) == end:
                raise Refused("FIELDS_LONG")
            raise _short(len(line) == limits.field, "FIELD_LONG")
        raise Refused(_field_fault(line))


def _field_fault(line: bytes) -> str:
    named = NAME_AND_COLON.match(line) is not None
    for pattern, reason in FIELD_FAULTS:
        if pattern.match(line) and not (named and reason == "NAME_BAD"):
            return reason
    raise AssertionError(f"not a fault after all: {line!r}")


def parse(request: bool, data: bytes, limits: Limits | None = None) -> tuple[object, ...]:
    """("more",), ("fault", status, reason) or ("head", Message)."""
    limits = limits or Limits()
    try:
        message = (_request_line if request else _status_line)(data, limits)
        _field_lines(data, message, limits)
    except NeedMore:
        return ("more",)
    except Refused as why:
        return why.verdict
    return ("head", message)


# ---- framing -----------------------------------------------------------------------------------

NONE, LENGTH, CHUNKED, CLOSE = range(4)
# End-to-end fields, and what a proxy vouches for: Connection cannot name them away.
KEPT = re.compile(
    rb"(?i)(?:host|content-.*|transfer-encoding|connection|expect|max-forwards|range|if-.*|"
    rb"cache-control|pragma|origin|referer|user-agent|accept.*|access-control-.*|sec-.*|early-data|"
    rb"authorization|proxy-authorization|proxy-authenticate|www-authenticate|authentication-info|"
    rb"cookie|set-cookie|x-forwarded-.*|x-real-ip|x-request-id|x-correlation-id|forwarded|via|"
    rb"traceparent|tracestate|age|date|expires|etag|last-modified|location|retry-after|vary|"
    rb"warning|server|allow|strict-transport-security|x-frame-options|x-content-type-options)"
)
CONNECTION_NAMES_MAX = 32


def _list(values: list[bytes]) -> list[bytes]:
    return [item.strip(b" \t") for value in values for item in value.split(b",")]


def _options(message: Message) -> tuple[set[bytes], list[bytes], bool]:
    """(close, keep-alive and upgrade; other options; is anything wrong with them)."""
    known, named, bad = set(), [], False
    for option in (o for o in _list(message.all(b"connection")) if o):
        if option.lower() in (b"close", b"keep-alive", b"upgrade"):
            known.add(option.lower())
        elif re.fullmatch(rb"%s+" % T, option) and len(named) < CONNECTION_NAMES_MAX:
            named.append(option.lower())
        else:
            bad = True
    return known, named, bad


def nominated(message: Message) -> list[bool]:
    """For each field: does Connection make it hop-by-hop?"""
    names = {n for n in _options(message)[1] if not KEPT.fullmatch(n)}
    return [name.lower() in names for name, _ in message.fields]


def _coding_fault(value: bytes) -> str:
    items = _list([value.lower()])
    good = all(re.fullmatch(rb"%s+" % T, item) for item in items)
    if good and len(items) > 1 and items[-1] == b"chunked" and items.count(b"chunked") == 1:
        return "CODING_UNKNOWN"
    return "CODING_BAD"


def _body(message: Message) -> tuple[int, int]:
    """(kind, length)."""
    codings = message.all(b"transfer-encoding")
    lengths = message.all(b"content-length")
    if codings:
        if lengths:
            raise Refused("LENGTH_AND_CODING")
        if len(codings) > 1:
            raise Refused("CODING_TWICE")
        if message.minor == 0:
            raise Refused("CODING_VERSION")
        if codings[0].lower() != b"chunked":
            raise Refused(_coding_fault(codings[0]))
        return CHUNKED, -1
    if not lengths:
        return NONE, -1
    if len(lengths) > 1:
        raise Refused("LENGTH_TWICE")
    if not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise Refused("LENGTH_BAD")
    return (LENGTH if int(lengths[0]) else NONE), int(lengths[0])


def _keep_alive(message: Message, known: set[bytes], bad: bool) -> int:
    if bad or b"close" in known:
        return 0
    return int(message.minor == 1 or b"keep-alive" in known)


def frame_request(message: Message) -> dict[str, int] | tuple[str, int, str]:
    """What the framing of a request must say, or a fault."""
    try:
        return _frame_request(message)
    except Refused as why:
        return why.verdict


def _frame_request(message: Message) -> dict[str, int]:
    known, _, bad = _options(message)
    kind, length = _body(message)
    hosts = message.all(b"host")
    if not hosts and message.minor == 1:
        raise Refused("HOST_MISSING")
    if len(hosts) > 1:
        raise Refused("HOST_TWICE")
    if hosts and authority(hosts[0]) is None:
        raise Refused("HOST_BAD")
    if bad:
        raise Refused("CONNECTION_BAD")
    expects = message.all(b"expect") if message.minor == 1 else []
    if expects and [e.lower() for e in expects] != [b"100-continue"]:
        raise Refused("EXPECT_UNKNOWN")
    if message.minor == 0 and kind != NONE and message.method in (b"GET", b"HEAD", b"DELETE"):
        raise Refused("BODY_VERSION")
    upgrades = [u.lower() for u in message.all(b"upgrade")]
    upgrade = 0
    asked = upgrades and b"upgrade" in known
    if asked and message.minor == 1 and message.method == b"GET" and kind == NONE:
        keys = message.all(b"sec-websocket-key")
        upgrade = 1 if upgrades == [b"websocket"] and len(keys) == 1 and keys[0] else 2
    return {
        "body": kind,
        "length": length,
        "keep_alive": _keep_alive(message, known, bad),
        "expect_continue": int(bool(expects) and kind != NONE),
        "upgrade": upgrade,
        "te_trailers": int(b"trailers" in [t.lower() for t in _list(message.all(b"te"))]),
    }


def frame_response(message: Message, method: bytes) -> dict[str, int] | tuple[str, int, str]:
    """What the framing of the answer to `method` must say, or a fault."""
    known, _, bad = _options(message)
    try:
        if message.all(b"transfer-encoding") and (message.status < 200 or message.status == 204):
            raise Refused("CODING_STATUS")
        kind, length = _body(message)
    except Refused as why:
        return why.verdict
    keep_alive = _keep_alive(message, known, bad)
    tunnel = method == b"CONNECT" and message.status < 300
    if message.status < 200 or message.status in (204, 304) or method == b"HEAD" or tunnel:
        kind = NONE
    elif kind == NONE and length < 0:
        kind, keep_alive = CLOSE, 0
    upgrades = [u.lower() for u in message.all(b"upgrade")]
    upgrade = 0
    if message.status == 101 and upgrades and b"upgrade" in known:
        upgrade = 1 if upgrades == [b"websocket"] else 2
    return {
        "body": kind,
        "length": length,
        "keep_alive": keep_alive,
        "expect_continue": 0,
        "upgrade": upgrade,
        "te_trailers": 0,
    }
