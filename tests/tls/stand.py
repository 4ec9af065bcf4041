"""An engine with TLS in this process, for what needs no processes of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Self

from fastproxy import _core, _tls, start
from fastproxy.config import check
from fastproxy.config.load import from_data
from fastproxy.process.handover import sealed
from fastproxy.scoreboard import segment
from fastproxy.tls.keyring import Keyring, ListenerKeys, encode
from tests.tls.launcher import secured


class Stand:
    """One listener, one upstream. As a context it turns by itself."""

    def __init__(
        self, keys: ListenerKeys, backend: str = "http://127.0.0.1:9", kernel: bool | None = None
    ) -> None:
        keyring = Keyring(1, [keys], [None])
        data = {
            "listeners": ["127.0.0.1:0"],
            "upstreams": {"default": {"backends": [backend]}},
            "routes": [{"path": "/", "upstream": "default"}],
            "access_log": "off",
        }
        ready = start.prepare(check.sound(from_data(data))[0])
        self.board = segment.made(1)
        self.engine = _core.WorkerEngine(0, self.board.fd)
        for adopt, content in (
            (self.engine.plan, secured(ready.plan, keyring)),
            (self.engine.roster, ready.roster),
        ):
            fd = sealed("stand", content)
            adopt(fd)
            os.close(fd)
        _tls.attach(self.engine)
        self.notes = _tls.load(self.engine, encode(keyring), kernel)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.engine.listen(0, 0, self.listener.fileno())
        self.over = threading.Event()

    def turns(self, count: int = 4) -> None:
        for _ in range(count):
            self.engine.turn()

    def __enter__(self) -> Self:
        def turn() -> None:
            while not self.over.is_set():
                self.engine.turn()
                time.sleep(0.0002)

        self.thread = threading.Thread(target=turn, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)

    def counted(self, name: str) -> int:
        return int(segment.worker(self.board, 0)[name])
