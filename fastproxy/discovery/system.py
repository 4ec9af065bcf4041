# SPDX-License-Identifier: MIT
"""The resolver that the C library brings (getaddrinfo): whatever nsswitch.conf says, without TTLs.

It blocks, so each question has a thread; one that hangs keeps its place until it is done, so there
are never more than THREADS_MAX.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence

from fastproxy.balance import build
from fastproxy.balance.build import Place
from fastproxy.discovery.answer import Answer, UnresolvedError, answer_of, family_of
from fastproxy.discovery.settings import Dns, families
from fastproxy.schema import UpstreamUrl

THREADS_MAX = 8
THREAD_NAME = "getaddrinfo"


class SystemResolver:
    """See above."""

    def __init__(self, dns: Dns) -> None:
        self.dns = dns
        self.gate = asyncio.Semaphore(THREADS_MAX)

    async def ask(self, url: UpstreamUrl, last: Sequence[Place] = ()) -> Answer:
        if url.is_srv:
            raise UnresolvedError('SRV records need dns.resolver = "dns"')
        try:
            async with asyncio.timeout(float(self.dns.timeout)):
                await self.gate.acquire()
                found = await self._in_thread(url)
        except TimeoutError:
            raise UnresolvedError("no answer in time") from None
        except OSError as error:
            gone = getattr(error, "errno", None) in (socket.EAI_NONAME, socket.EAI_NODATA)
            raise UnresolvedError(error.strerror or str(error), gone) from None
        wanted = families(self.dns.ipv6)
        fitting = [one for one in found if family_of(one) in wanted]
        if not fitting and self.dns.ipv6 != "auto":
            raise UnresolvedError("the name has no address of the kind that dns.ipv6 wants", True)
        return answer_of(fitting or found, float(self.dns.interval))

    def _in_thread(self, url: UpstreamUrl) -> asyncio.Future[list[bytes]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[bytes]] = loop.create_future()

        def done(found: list[bytes], fault: OSError | None) -> None:
            self.gate.release()
            if future.done():
                return
            if fault:
                future.set_exception(fault)
            else:
                future.set_result(found)

        def work() -> None:
            found: list[bytes] = []
            fault: OSError | None = None
            try:
                found = build.resolve(url)
            except OSError as error:
                fault = error
            except UnicodeError:  # a label that IDNA does not take
                fault = OSError(0, "this is no host name")
            with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(done, found, fault)

        threading.Thread(target=work, name=THREAD_NAME, daemon=True).start()
        return future
