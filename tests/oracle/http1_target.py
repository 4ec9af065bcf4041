"""Request targets, paths and hosts again: the twin of http1/target.pxd and authority.pxd."""

from __future__ import annotations

import ipaddress
import re


def authority(text: bytes) -> tuple[bytes, int] | None:
    """(host in lower case without trailing dot, port or 0), or None."""
    m = re.fullmatch(rb"(\[[0-9A-Fa-f:.]*\]|[A-Za-z0-9._~-]{1,255})(?::([0-9]{1,5}))?", text)
    if not m:
        return None
    host = m[1].lower()
    if host.startswith(b"["):
        try:
            ipaddress.IPv6Address(host[1:-1].decode())
        except ValueError:
            return None
    elif host.startswith(b".") or b".." in host:
        return None
    port = int(m[2]) if m[2] else 0
    if m[2] and not 1 <= port <= 65535:
        return None
    return host.removesuffix(b"."), port


def target_parts(method: bytes, target: bytes) -> dict[str, object] | None:
    """The parts of a target that the parser let through; None: refused."""
    parts: dict[str, object] = {"https": 0, "has_query": 0, "authority": b"", "query": b""}
    if method == b"CONNECT":
        split = authority(target)
        if split is None or split[1] == 0:
            return None
        return parts | {"form": 3, "authority": target, "path": b""}
    if target == b"*":
        return parts | {"form": 2, "path": b"*"}
    m = re.fullmatch(rb"(?:(?i:(http|https)://)([^/?]*))?([^?]*)(?:(\?)(.*))?", target)
    assert m
    scheme, host, path, mark, query = m.groups(b"")
    parts |= {"form": 1 if scheme else 0, "https": int(scheme.lower() == b"https")}
    parts |= {"authority": host, "has_query": int(bool(mark)), "query": query}
    if scheme and authority(host) is None:
        return None
    if not path:
        path = b"*" if method == b"OPTIONS" and not mark else b"/"
    return parts | {"path": path}


def path_form(raw: bytes, merge: bool = False, refuse_slash: bool = False) -> bytes | None:
    """The normal form of a path; None: refused."""
    if raw == b"*":
        return raw
    if not raw.startswith(b"/") or re.search(rb"[^\x21-\x7e]|[\\#?]", raw):
        return None
    if re.search(rb"%(?![0-9A-Fa-f]{2})", raw):
        return None
    if re.search(rb"(?i)%[01].|%7f|%5c|%c[01]|%e0%[89].|%f0%8.", raw):
        return None
    if refuse_slash and re.search(rb"(?i)%2f", raw):
        return None

    def decode(m: re.Match[bytes]) -> bytes:
        char = bytes([int(m[1], 16)])
        return char if re.match(rb"[A-Za-z0-9._~-]", char) else m[0]

    path = re.sub(rb"%([0-9A-Fa-f]{2})", decode, raw)
    if merge:
        path = re.sub(rb"/+", b"/", path)
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    for i, segment in enumerate(segments):
        last = i == len(segments) - 1
        if re.match(rb"\.\.?;", segment):
            return None
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment != b".":
            kept.append(segment)
            continue
        if last:
            kept.append(b"")
    return b"/" + b"/".join(kept)
