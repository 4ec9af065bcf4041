"""Ejections that control ends and makes: good checks, and the comparison of all members."""

from __future__ import annotations

import contextlib
import http.server
import time

from tests.flow.peers import Gateway, Origin, get
from tests.flow.wards import QUICK, Ward, spread, state
from tests.running import wait_until


def test_a_good_check_ends_an_ejection_for_failures() -> None:
    """Its requests fail, its check is good: ejected by its failures, back with the next check."""
    with Origin() as well, Ward() as moody:

        class Failing(Ward.Handler):
            def do_GET(self) -> None:  # noqa: N802
                if self.path != "/health":
                    return self.reply(500, b"no")
                return super().do_GET()

        moody.server.RequestHandlerClass = Failing
        table = {
            "backends": [well.url, moody.url],
            "balance": "round_robin",
            "outlier": {"consecutive": 3, "ejection": "1h", "longest": "1h"},
            "health": {**QUICK, "expect": {"status": "200, 404"}, "interval": "500ms"},
        }
        settings = {"routes": [{"upstream": "web"}], "upstreams": {"web": table}}
        with Gateway(settings=settings, workers=2) as proxy:
            wait_until(lambda: get(proxy, "/id") and proxy.backends()[moody.url]["ejections"])
            wait_until(lambda: proxy.backends()[moody.url]["ejected_until"] is None)
            assert f"{moody.url} is not ejected any more: a check was good" in proxy.log()


def test_the_sweep_ejects_who_fails_more_than_the_others() -> None:
    """30% of failures, never many in a row: only the comparison shows it."""

    class Sometimes(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        turn = 0

        def do_GET(self) -> None:
            Sometimes.turn += 1
            status = 500 if Sometimes.turn % 10 in (0, 3, 6) else 200
            self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: 4\r\n\r\nhim\n" % status)

        def log_message(self, *_: object) -> None:
            pass

    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(Ward()) for _ in range(5)]
        bad = stack.enter_context(Ward())
        bad.server.RequestHandlerClass = Sometimes  # type: ignore[assignment]
        table = {
            "backends": [bad.url, *(one.url for one in others)],
            "balance": "round_robin",
            "outlier": {"interval": "1s", "volume": 20},
        }
        settings = {"routes": [{"upstream": "web"}], "upstreams": {"web": table}}
        proxy = stack.enter_context(Gateway(settings=settings, workers=2))
        end = time.monotonic() + 20
        while not proxy.backends()[bad.url]["ejections"]:
            spread(proxy, 60)
            assert time.monotonic() < end
        assert state(proxy, bad.url).startswith("ejected")
        before = proxy.backends()[bad.url]["requests"]
        spread(proxy, 40)
        assert proxy.backends()[bad.url]["requests"] == before
        (line,) = [line for line in proxy.log().splitlines() if "is ejected" in line]
        assert bad.url in line
        assert "answers were good" in line
