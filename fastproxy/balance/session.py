# SPDX-License-Identifier: MIT
"""Sessions and subsets -> tables: what a cookie says, who is found by it, who has which label."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from fastproxy import _core
from fastproxy.balance.settings import Backend, Session, Upstream
from fastproxy.memory.pack import Blob
from fastproxy.schema import Duration

NONE, COOKIE, LEARN_COOKIE, LEARN_HEADER = range(4)
"""As `cdef enum SessionKind` of table.pxd (a test compares)."""
SESSION_BYTES = 16
SECRET_MIN = 16
IDLE_MAX = Duration("7d")
COOKIE_ONLY = ("secret", "path", "domain", "max_age", "http_only", "secure", "same_site", "hide")
Fault = tuple[tuple[str, str], str, str]
"""((section, key), what is wrong, what to do about it)"""


class Member(Protocol):
    """As build.py knows it."""

    @property
    def upstream(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Backend: ...


def kind_of(session: Session) -> int:
    """Which of the kinds above."""
    if session.cookie:
        return COOKIE
    return {"cookie": LEARN_COOKIE, "header": LEARN_HEADER}.get(session.learn.partition(":")[0], 0)


# -- the roster's part ----------------------------------------------------------------------------


def sticky_tables(
    blob: Blob,
    upstream: Upstream,
    group: Sequence[Member],
    rows: Sequence[dict[str, Any]],
    key: bytes,
) -> dict[str, Any]:
    """What RosterUpstream says of who is found by a session, and by a label. Writes into the
    members' `rows` how cookies name them."""
    session = upstream.session
    if session.cookie:
        for member, row in zip(group, rows, strict=True):
            row["session"] = session_id(session, key, member.upstream, member.name)
    order = session_order(session, rows)
    return {
        "sessions": (blob.raw(struct.pack(f"={len(order)}H", *order)), len(order)),
        "subsets": blob.rows("SubsetRow", subset_rows(blob, upstream.subset.label, group)),
        "subset_strict": upstream.subset.strict,
    }


def session_id(session: Session, key: bytes, upstream: str, member: str) -> bytes:
    """How a cookie names a member: it tells nothing, and only who has the key can make it."""
    secret = session.secret.encode() or key
    said = f"{upstream}\0{member}".encode(errors="surrogateescape")
    return hmac.digest(secret, said, hashlib.sha256)[:SESSION_BYTES]


def session_order(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Indices of all RosterBackend rows, in the order that `RosterUpstream.sessions` promises."""
    kind = kind_of(session)
    if kind == NONE:
        return []
    by = "session" if kind == COOKIE else "row"
    return sorted(range(len(rows)), key=lambda at: rows[at][by])


def subset_rows(blob: Blob, label: str, group: Sequence[Member]) -> list[dict[str, Any]]:
    """A SubsetRow for each value that the label has, sorted by its bytes."""
    found: dict[bytes, int] = {}
    for index, member in enumerate(group):
        if label and label in member.backend.labels:
            value = member.backend.labels[label].encode()
            found[value] = found.get(value, 0) | 1 << index
    return [
        {"value": blob.text(value), "members": {"bits": _words(bits)}}
        for value, bits in sorted(found.items())
    ]


def _words(bits: int) -> list[int]:
    return [bits >> at & (1 << 64) - 1 for at in range(0, max(1, bits.bit_length()), 64)]


# -- the plan's part ------------------------------------------------------------------------------


def session_plan(blob: Blob, upstream: str, session: Session) -> dict[str, Any]:
    """The struct SessionPlan."""
    kind = kind_of(session)
    if kind == NONE:
        return {}
    name = session.cookie or session.learn.partition(":")[2]
    row: dict[str, Any] = {
        "kind": kind,
        "name": blob.text(name),
        "seed": int.from_bytes(hashlib.sha256(upstream.encode()).digest()[:8], "little"),
        "idle_ms": session.idle.ms,
    }
    if kind == LEARN_HEADER:
        row["field_id"] = _core.field_ids().get(name.lower(), 0)
    if kind == COOKIE:
        row |= {
            "before": blob.text(f"Set-Cookie: {name}="),
            "after": blob.text(attributes(session)),
            "secure_auto": session.secure == "auto",
            "hide": session.hide,
        }
    return row


def attributes(session: Session) -> str:
    """What stands behind the cookie's value (RFC 6265 4.1.1); a Secure that is automatic follows
    when the cookie is sent."""
    parts = [f"Path={session.path}"] if session.path else []
    if session.domain:
        parts.append(f"Domain={session.domain}")
    if session.max_age:
        parts.append(f"Max-Age={max(1, int(session.max_age))}")
    if session.http_only:
        parts.append("HttpOnly")
    if session.same_site:
        parts.append(f"SameSite={session.same_site.capitalize()}")
    if session.secure is True:
        parts.append("Secure")
    return "".join(f"; {part}" for part in parts)


# -- what single values cannot show ---------------------------------------------------------------


def faults(upstream: Upstream) -> Iterator[Fault]:
    """Everything that does not go together."""
    yield from _session_faults(upstream.session)
    subset = upstream.subset
    if bool(subset.label) != bool(subset.value):
        missing = "value" if subset.label else "label"
        text = f'a subset needs "{missing}" too'
        yield (
            ("subset", missing),
            text,
            'such as { label = "version", value = "{header:x-version}" }',
        )


def _session_faults(session: Session) -> Iterator[Fault]:
    default = Session()
    ours = [key for key in COOKIE_ONLY if getattr(session, key) != getattr(default, key)]
    if session.cookie and session.learn:
        text = '"cookie" makes a cookie of our own, "learn" takes another\'s: keep one of them'
        yield ("session", "learn"), text, ""
    elif ours and not session.cookie:
        text = "is about a cookie of our own, and there is none"
        yield ("session", ours[0]), text, 'write cookie = "NAME"'
    if 0 < len(session.secret) < SECRET_MIN:
        text = f"has {len(session.secret)} characters, fewer than {SECRET_MIN}"
        yield ("session", "secret"), text, "such as the output of: openssl rand -hex 32"
    if session.idle != default.idle and not session.learn:
        text = "is about learned sessions, and there are none"
        yield ("session", "idle"), text, 'write learn = "cookie:NAME", or max_age for a cookie'
    if not 0 < session.idle <= IDLE_MAX:
        yield ("session", "idle"), f"must be from 1ms to {IDLE_MAX}, got {session.idle}", ""
    yield from _cookie_faults(session)


def _cookie_faults(session: Session) -> Iterator[Fault]:
    """What browsers refuse (RFC 6265bis 4.1.3, 5.6)."""
    if session.same_site == "none" and session.secure is False:
        text = "browsers refuse SameSite=None without Secure"
        yield ("session", "secure"), text, "leave it out, or write secure = true"
    if session.cookie.startswith(("__Host-", "__Secure-")) and session.secure is False:
        yield ("session", "secure"), f"browsers refuse {session.cookie} without Secure", ""
    if session.cookie.startswith("__Host-") and (session.domain or session.path != "/"):
        key = "domain" if session.domain else "path"
        text = f'browsers take {session.cookie} only with path = "/" and no domain'
        yield ("session", key), text, ""
