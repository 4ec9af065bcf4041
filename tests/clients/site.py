"""What Chromium visits: a page with 200 images, a stream of events, and a place for its report."""

from __future__ import annotations

import http.server
import queue
import struct
import threading
import zlib
from pathlib import Path
from typing import Self

from tests.running import Backend

PAGE = (Path(__file__).parent / "page" / "index.html").read_bytes()
EVENTS = 5
WAIT_SECONDS = 20.0


def png(number: int) -> bytes:
    """A picture `number % 16 + 1` wide, one high, with some bytes of its own behind the picture."""
    width = number % 16 + 1

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)
    said = b"Comment\0" + b"%d " % number * (number * 10)
    pixels = zlib.compress(b"\0" + bytes(width))
    parts = [(b"IHDR", head), (b"tEXt", said), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class Site:
    """In this process. `reports`: what was posted; `heard`: events the page says it has."""

    def __init__(self) -> None:
        self.reports: queue.Queue[bytes] = queue.Queue()
        self.heard: queue.Queue[str] = queue.Queue()
        self.order: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                _, what, *more = self.path.split("/")
                if what == "image":
                    self.say(png(int(more[0])), "image/png")
                elif what == "events":
                    self.stream()
                else:
                    self.say(PAGE, "text/html")

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path == "/report":
                    site.reports.put(data)
                else:
                    site.heard.put(self.path.rpartition("/")[2])
                self.say(b"", "text/plain")

            def say(self, data: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(data)

            def stream(self) -> None:
                """Each event waits for the word that the last one was read."""
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for number in range(EVENTS):
                    self.wfile.write(b"data: %d\n\n" % number)
                    site.order.append(f"sent {number}")
                    try:
                        site.order.append(f"heard {site.heard.get(timeout=WAIT_SECONDS)}")
                    except queue.Empty:
                        return
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = Backend.Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
