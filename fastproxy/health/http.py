# SPDX-License-Identifier: MIT
"""A check by HTTP/1.1: one request, and its answer read as strictly as the proxy reads it.

Interim answers (1xx) are passed over. The verdict falls with the head if that is bad or all that
is wanted; else with the whole body, or with as much of it as `expect.limit` lets in. Not accepted:
folded fields, bare line feeds, a length and chunks together, chunks that are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastproxy.health.build import Check
from fastproxy.health.expect import MISSING, dig, parsed
from fastproxy.health.probe import Probe, Target
from fastproxy.health.words import SPEECH_MAX, Speech, listen

HEAD_MAX = 65536
"""Bytes of the heads of one answer, interim ones included."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\Z")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\r\n]*)?\Z")
CHUNK_LINE_MAX = 4096
NO_BODY = (204, 304)


def request(check: Check, target: Target) -> bytes:
    """The bytes that are sent."""
    settings = check.settings
    host = settings.host or target.authority
    fields = {"User-Agent": "fastproxy-health", "Accept": "*/*"}
    given = {name.lower() for name in settings.headers}
    lines = [f"{settings.method} {settings.path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in settings.headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


class BadAnswerError(Exception):
    """This is no HTTP. The text says what is wrong with it."""


class HttpProbe(Probe):
    """See above."""

    status = 0
    headers: dict[str, str]

    def question(self) -> bytes:
        self.body: Iterator[bool] | None = None
        self.found = bytearray()
        self.cut = False
        self.heads = 0
        return request(self.check, self.target)

    def look(self, ended: bool) -> None:
        try:
            self.read(ended)
        except BadAnswerError as error:
            self.say(str(error), str(self.status or ""))

    def read(self, ended: bool) -> None:
        while self.body is None:
            if not self.read_head():
                if ended:
                    raise BadAnswerError("the connection ended before an answer")
                return None
            if self.status == 101 or self.status >= 200:
                fault = self.check.expect.head(self.status, self.headers)
                if fault or not self.check.wants_body:
                    return self.verdict(fault)
                self.body = self.body_reader()
        self.ended = ended
        if next(self.body):
            return self.verdict(self.check.expect.content(bytes(self.found), self.cut))
        if ended:
            raise BadAnswerError("the body was cut short")
        return None

    def verdict(self, fault: str) -> None:
        self.say(fault, str(self.status), self.speech())

    def speech(self) -> Speech | None:
        """What the agent says by field and body."""
        agent = self.check.settings.agent
        said: Speech | None = None
        if agent.header and agent.header.lower() in self.headers:
            said = listen(self.headers[agent.header.lower()][:SPEECH_MAX])
        if agent.json and self.body is not None:
            document = parsed(bytes(self.found))
            words = MISSING if document is MISSING else dig(document, agent.json)
            if isinstance(words, str):
                heard = listen(words[:SPEECH_MAX])
                said = said.then(heard) if said else heard
        return said

    # -- head -----------------------------------------------------------------------------------

    def read_head(self) -> bool:
        """Take one head off the data; False: it is not whole yet."""
        end = self.data.find(b"\r\n\r\n")
        self.heads += end + 4 if end >= 0 else 0
        if self.heads + (len(self.data) if end < 0 else 0) > HEAD_MAX:
            raise BadAnswerError(f"a head of more than {HEAD_MAX} bytes")
        if end < 0:
            if self.data and not b"HTTP/1.".startswith(self.data[:7]):
                raise BadAnswerError("the answer is no HTTP/1")
            return False
        line, *fields = bytes(self.data[:end]).split(b"\r\n")
        del self.data[: end + 4]
        match = STATUS_LINE.match(line)
        if not match:
            raise BadAnswerError("the answer is no HTTP/1")
        self.status = int(match[1])
        self.headers = {}
        for field in fields:
            pair = FIELD.match(field)
            if not pair:
                raise BadAnswerError("a field that is none")
            name, value = pair[1].decode().lower(), pair[2].decode("latin-1")
            known = self.headers.get(name)
            self.headers[name] = value if known is None else f"{known}, {value}"
        return True

    # -- body -----------------------------------------------------------------------------------

    def body_reader(self) -> Iterator[bool]:
        """Takes what is there into `found` at each step; True: it is whole, or enough."""
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if coding is not None:
            if length is not None:
                raise BadAnswerError("Content-Length and Transfer-Encoding at once")
            if coding.lower() != "chunked":
                raise BadAnswerError("an unknown transfer coding")
            return self.read_chunks()
        if self.status in NO_BODY or self.check.settings.method == "HEAD":
            return self.read_plain(0)
        if length is None:
            return self.read_plain(None)
        sizes = set(length.split(", "))
        if len(sizes) > 1 or not re.fullmatch(r"[0-9]{1,18}", length.split(", ")[0]):
            raise BadAnswerError("a Content-Length that is none")
        return self.read_plain(int(sizes.pop()))

    def take(self, count: int) -> bool:
        """Move so many bytes of the data to the body; True: it is full."""
        room = self.check.expect.limit - len(self.found)
        self.found += self.data[: min(count, room)]
        self.cut = count > room
        del self.data[:count]
        return self.cut

    def read_plain(self, left: int | None) -> Iterator[bool]:
        """Of a known length, or until the end of the connection."""
        while left != 0:
            count = len(self.data) if left is None else min(len(self.data), left)
            if self.take(count):
                break
            if left is not None:
                left -= count
            if left != 0:
                if left is None and self.ended:
                    break
                yield False
        yield True

    def read_chunks(self) -> Iterator[bool]:
        while True:
            while (end := self.data.find(b"\r\n")) < 0:
                if len(self.data) > CHUNK_LINE_MAX:
                    raise BadAnswerError("a chunk that is none")
                yield False
            match = CHUNK_SIZE.match(self.data[:end])
            if not match:
                raise BadAnswerError("a chunk that is none")
            del self.data[: end + 2]
            left = int(match[1], 16)
            if left == 0:
                break  # trailers say nothing about health
            while left:
                count = min(left, len(self.data))
                if self.take(count):
                    yield True
                left -= count
                if left:
                    yield False
            while len(self.data) < 2:
                yield False
            if self.data[:2] != b"\r\n":
                raise BadAnswerError("a chunk longer than it says")
            del self.data[:2]
        yield True
