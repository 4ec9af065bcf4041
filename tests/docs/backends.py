"""The servers that the documentation assumes at 127.0.0.1:9001 and so on: those of
`fastproxy demo`, on the ports given. `python -m tests.docs.backends PORT...`; until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from fastproxy.demo import HEAD_BYTES_MAX, Backend


async def main(ports: list[int]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for number, port in enumerate(ports, 1):
        serve = Backend(number).serve
        await asyncio.start_server(serve, "127.0.0.1", port, limit=HEAD_BYTES_MAX)
    print("ready", flush=True)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main([int(one) for one in sys.argv[1:]]))
