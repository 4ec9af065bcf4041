# SPDX-License-Identifier: MIT
"""A check by a bare connection: that it can be made, and what the server says on it if asked."""

from __future__ import annotations

import asyncio

from fastproxy.health.probe import Probe


class TcpProbe(Probe):
    """`send` is sent; with `expect.body`, what has come is held against it each time there is more,
    until it fits, the server ends, or there is more than `expect.limit`."""

    def question(self) -> bytes:
        return self.check.settings.send.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.check.expect.body:
            self.say("", "connected")

    def look(self, ended: bool) -> None:
        limit = self.check.expect.limit
        cut = len(self.data) > limit
        fault = self.check.expect.content(bytes(self.data[:limit]), cut)
        if not fault:
            self.say("", "answered")
        elif ended or cut:
            self.say(fault if self.data else "the connection ended before an answer")
