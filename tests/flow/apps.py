"""Backends of an application with sessions, for the tests of stickiness.

    with Apps(3) as apps:
        apps.urls, apps["a"].down()

An `App` answers JSON: which one it is, and the Cookie and X-Session lines that it read. The target
tells what to do besides: `/login?id=V` sets the cookie JSESSIONID to V, `/two` sets two cookies,
`/hints` sends 103 first, `/slow?ms=N` waits, `/status?code=N` answers that status. `bare` is the
path part of the target that matters, so it may stand below any prefix.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.parse
from typing import Any, Self


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        what, _, query = self.path.rpartition("/")[2].partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        cookies = []
        if what == "slow":
            time.sleep(int(asked["ms"]) / 1000)
        elif what == "login":
            cookies = [f"JSESSIONID={asked['id']}; Path=/; HttpOnly"]
        elif what == "two":
            cookies = ["a=1; Path=/", "b=2"]
        elif what == "hints":
            self.send_response_only(103)
            self.end_headers()
        said = {
            "app": self.server.name,
            "cookies": self.headers.get_all("Cookie", []),
            "sessions": self.headers.get_all("X-Session", []),
        }
        body = json.dumps(said).encode()
        code = int(asked.get("code", 200))
        self.send_response_only(code)
        for cookie in cookies:
            self.send_header("Set-Cookie", cookie)
        if code in (204, 304):
            body = b""
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True
    name = ""
    lines: set[Any]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.lines.add(request)
        super().process_request(request, client_address)

    def handle_error(self, *_: object) -> None:
        pass  # a connection that broke: tests break them on purpose


class App:
    """One backend. `down` closes its door and all its connections, `up` opens it again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.server: Server | None = None

    def up(self) -> None:
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.name, self.server.lines = self.name, set()
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self.server is None:
            return
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        for line in server.lines:
            server.shutdown_request(line)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Apps:
    """Some of them, named a, b, c..."""

    def __init__(self, count: int) -> None:
        self.all = [App(name) for name in "abcdefgh"[:count]]

    def __enter__(self) -> Self:
        for app in self.all:
            app.up()
        return self

    def __exit__(self, *_: object) -> None:
        for app in self.all:
            app.down()

    def __getitem__(self, name: str) -> App:
        return next(app for app in self.all if app.name == name)

    @property
    def urls(self) -> list[str]:
        return [app.url for app in self.all]
